//! The triggers: each polls a list for new and changed items.

mod changes;
mod get_contacts;
mod read_mail;

pub use get_contacts::GetContacts;
pub use read_mail::ReadMail;
