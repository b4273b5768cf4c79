//! CSV files as programs write them: with any separator, and with a byte order mark. Others are refused.

use crate::rig::Org;
use sailor::testing::{Emitted, Event, Verdict};
use salesforce_standin::{Fault, RecordedCall as SentCall};
use serde_json::{Value, json};

async fn insert(org: &Org, file: impl AsRef<[u8]>) -> Emitted {
    org.platform.set_object("rows.csv", file.as_ref().to_vec());
    let url = format!(
        "{}/objects/rows.csv?storage_type=maester",
        org.platform.url()
    );
    let fields = json!({ "operation": "insert", "sobject": "Account" });
    org.run("bulk_cud", fields, json!({ "attachmentUrl": url }))
        .await
}

fn error(emitted: &Emitted) -> &str {
    let [Event::Error(text)] = &emitted.events[..] else {
        panic!("{emitted:?}")
    };
    text
}

fn names(org: &Org) -> Vec<Value> {
    let records = org.api.records("Account");
    records
        .iter()
        .map(|record| record["Name"].clone())
        .collect()
}

/// The state that a job was last asked to take, and the number of jobs.
fn jobs(org: &Org) -> (Option<Value>, usize) {
    let states = org.api.calls_matching("PATCH .*/jobs/ingest");
    let state = states
        .last()
        .map(|call: &SentCall| call.content()["state"].clone());
    (state, org.api.calls_matching("POST .*/jobs/ingest").len())
}

#[tokio::test]
async fn a_csv_file_of_excel_is_loaded() {
    for file in [
        "\u{feff}Name;Website\r\nMüller, \"Söhne\";a\r\nB;b\r\n",
        "\u{feff}sep=;\r\nName;Website\r\nMüller, \"Söhne\";a\r\nB;b\r\n",
        "Name\tWebsite\nMüller, \"Söhne\"\ta\nB\tb",
        "\u{feff}Name|Website\r\nMüller, \"Söhne\"|a\r\nB|b\r\n",
        "Name^Website\nMüller, \"Söhne\"^a\nB^b\n",
        "Name`Website\nMüller, \"Söhne\"`a\nB`b\n",
        "\"Name\",\"Website\"\r\n\"Müller, \"\"Söhne\"\"\",a\r\nB,b\r\n",
    ] {
        let org = Org::new().await;
        let emitted = insert(&org, file).await;
        assert_eq!(
            emitted.verdict,
            Verdict::Acknowledged,
            "{file}: {emitted:?}"
        );
        let result = emitted.data::<Value>()[0]["result"].clone();
        assert_eq!(
            result[1]["row"],
            json!({ "Name": "B", "Website": "b" }),
            "{file}"
        );
        assert_eq!(names(&org), ["Müller, \"Söhne\"", "B"], "{file}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_utf8_creates_no_job() {
    let utf16: Vec<u8> = "\u{feff}Name;Website\r\nA;a\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for (file, wanted) in [
        (
            &b"Name;Website\r\nM\xfcller;a\r\n"[..],
            "not in UTF-8 (byte 15)",
        ),
        (&utf16, "UTF-16"),
        (&utf16[2..], "not a text (byte 1 is zero)"),
        (b"Name,Website\rA,a\r", "carriage return"),
        (b"\xef\xbb\xbf", "empty"),
        (b"", "empty"),
        (&[b'x'; 70_000], "does not end"),
    ] {
        let org = Org::new().await;
        let emitted = insert(&org, file).await;
        assert!(error(&emitted).contains(wanted), "{emitted:?}");
        assert_eq!(jobs(&org), (None, 0), "{wanted}");
    }
}

#[tokio::test]
async fn a_late_mistake_in_the_file_aborts_the_job() {
    let good = format!("Name\n{}", "Müller\n".repeat(20_000));
    for (end, wanted) in [
        (&b"M\xfcller\n"[..], "not in UTF-8"),
        (b"M\0ller\n", "is zero"),
        (b"M\xc3", "not in UTF-8"),
    ] {
        let org = Org::new().await;
        let emitted = insert(&org, [good.as_bytes(), end].concat()).await;
        assert!(error(&emitted).contains(wanted), "{emitted:?}");
        assert_eq!(jobs(&org), (Some(json!("Aborted")), 1), "{wanted}");
        assert!(names(&org).is_empty());
    }
}

#[tokio::test]
async fn a_large_file_is_complete_after_a_refused_token() {
    let org = Org::new().await;
    org.api.inject_faults(
        "PUT",
        [
            Fault::Error(401, "INVALID_SESSION_ID", "Session expired or invalid"),
            Fault::Error(503, "SERVER_UNAVAILABLE", "busy"),
        ],
    );
    let rows: Vec<String> = (0..20_000).map(|n| format!("\"Müller {n}\"\r\n")).collect();
    let file = format!("\u{feff}Name\r\n{}", rows.concat());
    assert!(file.len() > 300_000);
    let emitted = insert(&org, &file).await;
    assert_eq!(
        emitted.verdict,
        Verdict::Acknowledged,
        "{:?}",
        emitted.verdict
    );
    assert_eq!((names(&org).len(), org.provider.refreshes()), (20_000, 1));
    let uploads = org.api.calls_matching("PUT");
    let length = uploads.last().unwrap().headers["content-length"].clone();
    assert_eq!(length, (file.len() - 3).to_string());
}

#[tokio::test]
async fn an_unknown_column_fails_the_job() {
    let org = Org::new().await;
    let emitted = insert(&org, "Name;Nope\nA;a\n").await;
    assert!(
        error(&emitted).contains("Field name not found : Nope"),
        "{emitted:?}"
    );
}
