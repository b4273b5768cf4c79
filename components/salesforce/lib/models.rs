//! Select models: the objects and fields to choose from. The value of a choice is the API name, its text the label.

use crate::{api::Api, describe::Object, fields, lookup::TypeOfSearch, soql::Name};
use sailor::prelude::*;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The step's fields as far as they are filled in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    #[serde(default, deserialize_with = "fields::name")]
    sobject: Option<Name>,
    #[serde(default, deserialize_with = "fields::choice")]
    type_of_search: TypeOfSearch,
    #[serde(default, deserialize_with = "fields::text")]
    operation: Option<String>,
}

type Choices = BTreeMap<String, String>;

#[derive(Deserialize)]
struct Objects {
    sobjects: Vec<Summary>,
}

#[derive(Deserialize)]
struct Summary {
    name: String,
    label: String,
    #[serde(default)]
    queryable: bool,
    #[serde(default)]
    createable: bool,
    #[serde(default)]
    updateable: bool,
    #[serde(default)]
    deletable: bool,
}

/// The objects that the function can be used with.
pub async fn object_types(cx: ServiceContext<Config>) -> anyhow::Result<Choices> {
    let objects: Objects = Api::new(cx.oauth()).get("sobjects").read_json().await?;
    let operation = cx.config.operation.as_deref().unwrap_or("insert");
    let fits = |object: &Summary| match (cx.function(), operation) {
        ("create", _) | ("bulk_cud", "insert") => object.createable,
        ("upsert", _) | ("bulk_cud", "upsert") => object.createable && object.updateable,
        ("bulk_cud", "update") => object.updateable,
        ("delete", _) | ("bulk_cud", "delete") => object.deletable,
        _ => object.queryable,
    };
    Ok(objects
        .sobjects
        .into_iter()
        .filter(fits)
        .map(|object| (object.name, object.label))
        .collect())
}

/// Parents by the name of the relationship, and lists of children, whose names begin with `!`.
pub async fn linked_objects(cx: ServiceContext<Config>) -> anyhow::Result<Choices> {
    let object = described(&cx).await?;
    let parents = object.fields.iter().filter_map(|field| {
        let name = field.relationship_name.as_ref()?;
        Some((
            name.clone(),
            format!("{} ({})", field.reference_to.join(", "), field.label),
        ))
    });
    let children = object.child_relationships.iter().filter_map(|child| {
        let name = child.relationship_name.as_ref()?;
        Some((format!("!{name}"), format!("{} ({name})", child.object)))
    });
    Ok(parents.chain(children).collect())
}

/// All fields of the object.
pub async fn object_fields(cx: ServiceContext<Config>) -> anyhow::Result<Choices> {
    let object = described(&cx).await?;
    Ok(object
        .fields
        .into_iter()
        .map(|field| (field.name, field.label))
        .collect())
}

/// The fields to search by.
pub async fn lookup_fields(cx: ServiceContext<Config>) -> anyhow::Result<Choices> {
    let object = described(&cx).await?;
    let fields = object
        .fields
        .into_iter()
        .filter(|field| match cx.config.type_of_search {
            TypeOfSearch::UniqueFields => field.kind == "id" || field.unique || field.id_lookup,
            TypeOfSearch::ExternalIds => field.external_id,
            TypeOfSearch::AllFields => field.filterable,
        });
    Ok(fields.map(|field| (field.name, field.label)).collect())
}

async fn described(cx: &ServiceContext<Config>) -> anyhow::Result<Object> {
    Object::chosen(cx.oauth(), cx.config.sobject.as_ref()).await
}
