//! The triggers: each polls.

mod get_updated_objects_polling;
mod position;
mod query_objects;
mod query_trigger;

pub use get_updated_objects_polling::UpdatedObjects;
pub use query_objects::{new_account, query_objects};
pub use query_trigger::query;
