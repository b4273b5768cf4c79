//! One line per module of component.json.

#[path = "api.rs"]
mod api;
#[path = "actions/bulk_change.rs"]
mod bulk_change;
#[path = "bulk_job.rs"]
mod bulk_job;
#[path = "actions/bulk_query.rs"]
mod bulk_query;
#[path = "actions/create.rs"]
mod create;
#[path = "actions/create_account.rs"]
mod create_account;
#[path = "csv.rs"]
mod csv;
#[path = "actions/delete.rs"]
mod delete;
#[path = "describe.rs"]
mod describe;
#[path = "fields.rs"]
mod fields;
#[path = "triggers/get_updated_objects_polling.rs"]
mod get_updated_objects_polling;
#[path = "linked.rs"]
mod linked;
#[path = "literal.rs"]
mod literal;
#[path = "lookup.rs"]
mod lookup;
#[path = "actions/lookup_object.rs"]
mod lookup_object;
#[path = "actions/lookup_objects.rs"]
mod lookup_objects;
#[path = "metadata.rs"]
mod metadata;
#[path = "models.rs"]
mod models;
#[path = "pages.rs"]
mod pages;
#[path = "triggers/position.rs"]
mod position;
#[path = "actions/query.rs"]
mod query;
#[path = "triggers/query_objects.rs"]
mod query_objects;
#[path = "triggers/query_trigger.rs"]
mod query_trigger;
#[path = "actions/raw_request.rs"]
mod raw_request;
#[path = "soql.rs"]
mod soql;
#[path = "terms.rs"]
mod terms;
#[path = "actions/upsert.rs"]
mod upsert;
#[path = "../verifyCredentials/mod.rs"]
mod verify_credentials;

use sailor::prelude::*;

/// The component, checked against its component.json.
pub fn component() -> anyhow::Result<Component> {
    api::version()?;
    Component::new(include_str!("../component.json"))?
        .oauth2(api::oauth2())
        .verify_credentials(verify_credentials::verify)
        .trigger(
            "getUpdatedObjectsPolling",
            get_updated_objects_polling::UpdatedObjects,
        )
        .trigger("queryTrigger", query_trigger::query)
        .trigger("queryObjects", query_objects::query_objects)
        .trigger("newAccount", query_objects::new_account)
        .action("create", create::create)
        .action("createAccount", create_account::create_account)
        .action("upsert", upsert::upsert)
        .action("delete", delete::delete)
        .action("lookupObject", lookup_object::lookup_object)
        .action("lookupObjects", lookup_objects::lookup_objects)
        .action("query", query::query)
        .action("rawRequest", raw_request::raw_request)
        .action("bulk_cud", bulk_change::bulk_change)
        .action("bulk_q", bulk_query::bulk_query)
        .select_model("objectTypes", models::object_types)
        .select_model("linkedObjectTypes", models::linked_objects)
        .select_model("getObjectFields", models::object_fields)
        .select_model("getLookupFields", models::lookup_fields)
        .metadata("create", metadata::create)
        .metadata("upsert", metadata::upsert)
        .metadata("delete", metadata::delete)
        .metadata("lookupObject", metadata::lookup_object)
        .metadata("lookupObjects", metadata::lookup_objects)
        .metadata("getUpdatedObjectsPolling", metadata::updated_objects)
        .check()
}
