//! The actions: each processes one message.

mod check_availability;
mod create_event;
mod find_next_available_time;
mod move_mail;
mod send_mail;

pub use check_availability::check_availability;
pub use create_event::create_event;
pub use find_next_available_time::find_next_available_time;
pub use move_mail::move_mail;
pub use send_mail::send_mail;
