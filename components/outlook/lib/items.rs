//! The members of Graph's items, for the metadata. The items are emitted as Graph returns them, with members that are not
//! named here.
#![expect(dead_code, reason = "most of the structs are only schemas")]

use crate::graph::Item;
use sailor::prelude::*;
use serde::Serialize;

/// A contact.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Contact(#[schemars(with = "ContactFields")] pub Item);

/// A message, or all messages of a page.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Received(#[schemars(with = "ReceivedFields")] pub Item);

/// A message after its move.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
pub struct MovedMail(#[schemars(with = "MovedMailFields")] pub Item);

/// An event.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
pub struct CreatedEvent(#[schemars(with = "EventFields")] pub Item);

/// A file of a message.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailAttachment {
    /// Name of the file.
    pub name: String,
    /// Its media type.
    pub content_type: Option<String>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Whether the text of the message shows it, such as a picture.
    pub is_inline: Option<bool>,
    /// What the text refers to it by: `cid:` and this id.
    pub content_id: Option<String>,
    /// URL of its content in the platform's object storage. A link has none, nor a file that could not be fetched.
    pub url: Option<String>,
    /// Why the file could not be fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ContactFields {
    id: String,
    created_date_time: Option<String>,
    last_modified_date_time: String,
    change_key: Option<String>,
    parent_folder_id: Option<String>,
    birthday: Option<String>,
    file_as: Option<String>,
    display_name: Option<String>,
    given_name: Option<String>,
    initials: Option<String>,
    middle_name: Option<String>,
    nick_name: Option<String>,
    surname: Option<String>,
    title: Option<String>,
    email_addresses: Option<Vec<EmailAddress>>,
    job_title: Option<String>,
    company_name: Option<String>,
    department: Option<String>,
    office_location: Option<String>,
    profession: Option<String>,
    business_home_page: Option<String>,
    assistant_name: Option<String>,
    manager: Option<String>,
    home_phones: Option<Vec<String>>,
    mobile_phone: Option<String>,
    business_phones: Option<Vec<String>>,
    home_address: Option<PostalAddress>,
    business_address: Option<PostalAddress>,
    other_address: Option<PostalAddress>,
    spouse_name: Option<String>,
    personal_notes: Option<String>,
}

#[derive(JsonSchema)]
struct EmailAddress {
    name: Option<String>,
    address: Option<String>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct PostalAddress {
    street: Option<String>,
    city: Option<String>,
    state: Option<String>,
    country_or_region: Option<String>,
    postal_code: Option<String>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct MailFields {
    id: Option<String>,
    created_date_time: Option<String>,
    last_modified_date_time: Option<String>,
    change_key: Option<String>,
    categories: Option<Vec<String>>,
    received_date_time: Option<String>,
    sent_date_time: Option<String>,
    has_attachments: Option<bool>,
    internet_message_id: Option<String>,
    subject: Option<String>,
    body_preview: Option<String>,
    importance: Option<String>,
    parent_folder_id: Option<String>,
    conversation_id: Option<String>,
    conversation_index: Option<String>,
    is_delivery_receipt_requested: Option<bool>,
    is_read_receipt_requested: Option<bool>,
    is_read: Option<bool>,
    is_draft: Option<bool>,
    web_link: Option<String>,
    inference_classification: Option<String>,
    body: Option<Text>,
    sender: Option<Recipient>,
    from: Option<Recipient>,
    to_recipients: Option<Vec<Recipient>>,
    cc_recipients: Option<Vec<Recipient>>,
    bcc_recipients: Option<Vec<Recipient>>,
    reply_to: Option<Vec<Recipient>>,
    flag: Option<Flag>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ReceivedMailFields {
    #[serde(flatten)]
    mail: MailFields,
    /// The files, if the step fetches them.
    attachments: Option<Vec<MailAttachment>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ReceivedFields {
    #[serde(flatten)]
    mail: ReceivedMailFields,
    /// With the emit behavior "Emit All": only the messages of the page.
    results: Option<Vec<ReceivedMailFields>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct MovedMailFields {
    #[serde(flatten)]
    mail: MailFields,
    /// The folder that the message is in now.
    current_folder: FolderFields,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct FolderFields {
    id: String,
    display_name: Option<String>,
    parent_folder_id: Option<String>,
    child_folder_count: Option<u32>,
    unread_item_count: Option<u32>,
    total_item_count: Option<u32>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Text {
    content_type: Option<String>,
    content: Option<String>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Recipient {
    email_address: EmailAddress,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Flag {
    flag_status: Option<String>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct EventFields {
    id: String,
    /// The calendar that the event is in.
    calendar_id: String,
    created_date_time: Option<String>,
    last_modified_date_time: Option<String>,
    change_key: Option<String>,
    i_cal_u_id: Option<String>,
    subject: Option<String>,
    body: Option<Text>,
    body_preview: Option<String>,
    start: Option<ZonedTime>,
    end: Option<ZonedTime>,
    location: Option<Place>,
    importance: Option<String>,
    sensitivity: Option<String>,
    show_as: Option<String>,
    is_all_day: Option<bool>,
    is_reminder_on: Option<bool>,
    reminder_minutes_before_start: Option<i32>,
    web_link: Option<String>,
}

// The local time and its zone. (A doc comment would be a description in the metadata.)
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ZonedTime {
    date_time: String,
    time_zone: String,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Place {
    display_name: Option<String>,
    address: Option<PostalAddress>,
}
