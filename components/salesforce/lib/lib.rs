//! Salesforce: records, queries, bulk jobs and polling for changes, through its REST API.

mod actions;
mod api;
mod bulk_job;
mod composite;
mod csv;
mod csv_file;
mod csv_layout;
mod describe;
mod fields;
mod linked;
mod literal;
mod lookup;
mod metadata;
mod models;
mod pages;
mod position;
mod soql;
mod soql_parts;
mod sorted_list;
mod terms;
mod triggers;
#[path = "../verifyCredentials/mod.rs"]
mod verify_credentials;

use sailor::prelude::*;

/// The component: one line for each function of component.json.
///
/// # Errors
/// Returns an error if component.json and the functions do not match, or if SALESFORCE_API_VERSION is invalid.
pub fn component() -> anyhow::Result<Component> {
    api::version()?;
    Component::new(include_str!("../component.json"))?
        .oauth2(api::oauth2())
        .verify_credentials(verify_credentials::verify)
        .trigger(
            "getUpdatedObjectsPolling",
            triggers::UpdatedObjects::default(),
        )
        .trigger("queryTrigger", triggers::QueryTrigger::default())
        .trigger("queryObjects", triggers::query_objects)
        .trigger("newAccount", triggers::new_account)
        .action("create", actions::create)
        .action("createAccount", actions::create_account)
        .action("upsert", actions::upsert)
        .action("delete", actions::delete)
        .action("lookupObject", actions::lookup_object)
        .action("lookupObjects", actions::lookup_objects)
        .action("query", actions::query)
        .action("rawRequest", actions::raw_request)
        .action("bulk_cud", actions::bulk_change)
        .action("bulk_q", actions::bulk_query)
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
