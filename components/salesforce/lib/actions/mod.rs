//! The actions: each processes one message.

mod bulk_change;
mod bulk_query;
mod create;
mod create_account;
mod delete;
mod lookup_object;
mod lookup_objects;
mod query;
mod raw_request;
mod upsert;

pub use bulk_change::bulk_change;
pub use bulk_query::bulk_query;
pub use create::create;
pub use create_account::create_account;
pub use delete::delete;
pub use lookup_object::lookup_object;
pub use lookup_objects::lookup_objects;
pub use query::query;
pub use raw_request::raw_request;
pub use upsert::upsert;
