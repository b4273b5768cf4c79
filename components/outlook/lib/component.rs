//! One line per function of component.json.

#[path = "calendar.rs"]
mod calendar;
#[path = "actions/check_availability.rs"]
mod check_availability;
#[path = "actions/create_event.rs"]
mod create_event;
#[path = "fields.rs"]
mod fields;
#[path = "actions/find_next_available_time.rs"]
mod find_next_available_time;
#[path = "triggers/get_contacts.rs"]
mod get_contacts;
#[path = "graph.rs"]
mod graph;
#[path = "items.rs"]
mod items;
#[path = "models.rs"]
mod models;
#[path = "actions/move_mail.rs"]
mod move_mail;
#[path = "poll.rs"]
mod poll;
#[path = "triggers/read_mail.rs"]
mod read_mail;
#[path = "actions/send_mail.rs"]
mod send_mail;
#[path = "time.rs"]
mod time;
#[path = "../verifyCredentials/mod.rs"]
mod verify_credentials;

use sailor::prelude::*;

/// The component, checked against its component.json.
pub fn component() -> anyhow::Result<Component> {
    let messages_per_page = fields::count_from_env("MAIL_RETRIEVE_MAX_COUNT", 1000)?;
    let folders_per_page = fields::count_from_env("TOP_LIST_MAIL_FOLDER", 100)?;
    Component::new(include_str!("../component.json"))?
        .trigger("getContacts", get_contacts::GetContacts)
        .trigger("readMail", read_mail::ReadMail { messages_per_page })
        .action("checkAvailability", check_availability::check_availability)
        .action(
            "findNextAvailableTime",
            find_next_available_time::find_next_available_time,
        )
        .action("createEvent", create_event::create_event)
        .action("moveMail", move_mail::move_mail)
        .action("sendMail", send_mail::send_mail)
        .select_model("getFolders", move |cx| {
            models::get_folders(cx, folders_per_page)
        })
        .select_model("getCalendars", models::get_calendars)
        .oauth2(graph::oauth2())
        .verify_credentials(verify_credentials::verify)
        .check()
}
