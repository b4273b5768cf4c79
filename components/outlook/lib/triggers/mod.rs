//! The triggers: each polls a list for new and changed items.

mod change;
mod changes;
mod cid;
mod emit;
mod files;
mod get_contacts;
mod list;
mod position;
mod read_mail;

pub use get_contacts::GetContacts;
pub use read_mail::ReadMail;
