//! Microsoft Outlook: mail, calendar and contacts of one user, through Microsoft Graph.

mod actions;
mod calendar;
mod fields;
mod graph;
mod items;
mod models;
mod time;
mod triggers;
#[path = "../verifyCredentials/mod.rs"]
mod verify_credentials;

use sailor::prelude::*;

/// The component: one line for each function of component.json.
///
/// # Errors
/// Returns an error if component.json and the functions do not match, or if an environment variable is invalid.
pub fn component() -> anyhow::Result<Component> {
    let messages_per_page = fields::count_from_env("MAIL_RETRIEVE_MAX_COUNT", 1000)?;
    let folders_per_page = fields::count_from_env("TOP_LIST_MAIL_FOLDER", 100)?;
    Component::new(include_str!("../component.json"))?
        .oauth2(graph::oauth2())
        .verify_credentials(verify_credentials::verify)
        .trigger("getContacts", triggers::GetContacts::default())
        .trigger("readMail", triggers::ReadMail::new(messages_per_page))
        .action("checkAvailability", actions::check_availability)
        .action("findNextAvailableTime", actions::find_next_available_time)
        .action("createEvent", actions::create_event)
        .action("moveMail", actions::move_mail)
        .action("sendMail", actions::send_mail)
        .select_model("getFolders", move |cx| {
            models::get_folders(cx, folders_per_page)
        })
        .select_model("getCalendars", models::get_calendars)
        .check()
}
