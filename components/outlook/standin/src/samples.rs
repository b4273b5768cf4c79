//! The sample data of `emulator run --standin graph`.

use super::{AttachmentKind, Graph};
use serde_json::{Value, json};

impl Graph {
    /// Adds contacts, folders, mail with a file and with a picture, a calendar and an event. Ids begin with `sample-`.
    pub fn add_samples(&self) {
        for [id, name, surname, changed] in [
            [
                "sample-contact-1",
                "Ada",
                "Lovelace",
                "2024-05-01T10:00:00Z",
            ],
            [
                "sample-contact-2",
                "Grace",
                "Hopper",
                "2024-05-02T10:00:00Z",
            ],
        ] {
            self.add_contact(contact(id, name, surname, changed));
        }
        let projects = self.add_folder_with_id("sample-projects", "inbox", "Projects");
        self.add_folder_with_id("sample-archive", &projects, "Archive");
        let mut notes = mail(
            "sample-mail-1",
            "Ada",
            "Notes on the engine",
            "2024-05-03T09:00:00Z",
        );
        notes["isRead"] = true.into();
        let text = "<p>See below.</p><img src=\"cid:engine@example.com\">";
        notes["body"] = json!({ "contentType": "html", "content": text });
        self.add_message("inbox", notes);
        self.attach_inline(
            "sample-mail-1",
            "engine@example.com",
            "engine.svg",
            "image/svg+xml",
            "<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
        );
        let report = mail(
            "sample-mail-2",
            "Grace",
            "The report",
            "2024-05-03T10:00:00Z",
        );
        self.add_message("inbox", report);
        self.attach(
            "sample-mail-2",
            AttachmentKind::File,
            "report.csv",
            "text/csv",
            "month,sum\n2024-04,12\n",
        );
        self.add_calendar_with_id("sample-calendar", "Team");
        self.add_event(
            "2024-06-03T10:00:00",
            "2024-06-03T11:00:00",
            json!({ "subject": "Talk", "showAs": "busy" }),
        );
    }
}

fn contact(id: &str, name: &str, surname: &str, changed: &str) -> Value {
    json!({
        "id": id,
        "displayName": format!("{name} {surname}"),
        "givenName": name,
        "surname": surname,
        "emailAddresses": [address(name)],
        "lastModifiedDateTime": changed,
    })
}

fn mail(id: &str, from: &str, subject: &str, received: &str) -> Value {
    json!({
        "id": id,
        "subject": subject,
        "from": { "emailAddress": address(from) },
        "toRecipients": [{ "emailAddress": address("Adele") }],
        "body": { "contentType": "text", "content": "See below." },
        "isRead": false,
        "hasAttachments": false,
        "receivedDateTime": received,
        "lastModifiedDateTime": received,
    })
}

fn address(name: &str) -> Value {
    json!({ "name": name, "address": format!("{}@example.com", name.to_lowercase()) })
}
