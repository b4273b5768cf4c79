//! The triggers: each polls.

mod chunk;
mod get_updated_objects_polling;
mod poll_page;
mod query_objects;
mod query_run;
mod query_trigger;
mod report;

pub use get_updated_objects_polling::UpdatedObjects;
pub use query_objects::{new_account, query_objects};
pub use query_trigger::QueryTrigger;
