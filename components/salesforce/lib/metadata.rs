//! Metadata that depends on the chosen object: JSON schemas in the platform's dialect.

use crate::{
    api::Api,
    describe::{Field, Object},
    fields,
    linked::{self, Relationship},
    soql::Name,
    terms::CONDITIONS,
};
use anyhow::Context as _;
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The step's fields as far as they are filled in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    #[serde(default, deserialize_with = "fields::name")]
    sobject: Option<Name>,
    #[serde(default, alias = "extIdField", deserialize_with = "fields::name")]
    lookup_field: Option<Name>,
    #[serde(default, deserialize_with = "fields::checked")]
    allow_criteria_to_be_omitted: bool,
    #[serde(default, deserialize_with = "fields::number")]
    term_number: Option<usize>,
    #[serde(default, deserialize_with = "fields::text")]
    output_method: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    emit_behavior: Option<String>,
    #[serde(default, deserialize_with = "fields::list")]
    selected_fields: Vec<String>,
    #[serde(default, deserialize_with = "fields::list")]
    linked_objects: Vec<String>,
}

type Cx = ServiceContext<Config>;

/// In: the fields that can be set. Out: these fields, and the id.
pub async fn create(cx: Cx) -> anyhow::Result<Value> {
    let object = described(&cx).await?;
    let input = properties(
        object.fields.iter().filter(|field| field.createable),
        is_required,
    );
    let mut output = input.clone();
    output.insert(
        "id".into(),
        json!({ "type": "string", "title": "Id", "required": true }),
    );
    Ok(json!({ "in": schema(input), "out": schema(output) }))
}

/// Returns the schemas. `in` has the fields that can be set and the field to search by, `out` has the result.
pub async fn upsert(cx: Cx) -> anyhow::Result<Value> {
    let object = described(&cx).await?;
    let key = cx
        .config
        .lookup_field
        .as_ref()
        .map(Name::as_str)
        .unwrap_or_default();
    let fields = object
        .fields
        .iter()
        .filter(|f| f.createable || f.updateable || f.name == key);
    // An update may leave out what a new record needs.
    let output = json!({
        "id": { "type": "string", "required": true },
        "success": { "type": "boolean", "required": true },
        "created": { "type": "boolean", "required": true },
        "errors": { "type": "array", "items": { "type": "object", "properties": {} } },
    });
    Ok(
        json!({ "in": schema(properties(fields, |_| false)), "out": { "type": "object", "properties": output } }),
    )
}

/// In: the value to search for. Out: the result.
pub async fn delete(cx: Cx) -> anyhow::Result<Value> {
    let object = described(&cx).await?;
    let response = json!({
        "id": { "type": "string", "required": true },
        "success": { "type": "boolean", "required": true },
        "errors": { "type": "array", "items": { "type": "object", "properties": {} } },
    });
    let response = json!({ "response": { "type": "object", "properties": response } });
    Ok(
        json!({ "in": criteria(&cx, &object, true)?, "out": { "type": "object", "properties": response } }),
    )
}

/// In: the value to search for. Out: the record.
pub async fn lookup_object(cx: Cx) -> anyhow::Result<Value> {
    let object = described(&cx).await?;
    let is_needed = !cx.config.allow_criteria_to_be_omitted;
    Ok(json!({ "in": criteria(&cx, &object, is_needed)?, "out": record(&cx, &object).await? }))
}

/// In: the search terms and limits. Out: the records.
pub async fn lookup_objects(cx: Cx) -> anyhow::Result<Value> {
    let object = described(&cx).await?;
    let names: Vec<&str> = object
        .fields
        .iter()
        .filter(|f| f.filterable)
        .map(|f| f.name.as_str())
        .collect();
    let mut input = Map::new();
    let count = cx.config.term_number.unwrap_or(1).min(99);
    for number in 1..=count {
        let term = json!({
            "fieldName": { "type": "string", "title": "Field", "enum": names, "required": true },
            "condition": { "type": "string", "title": "Condition", "enum": CONDITIONS, "required": true },
            "fieldValue": { "type": "string", "title": "Value" },
        });
        let term = json!({ "type": "object", "title": format!("Search term {number}"), "required": true, "properties": term });
        input.insert(format!("sTerm_{number}"), term);
        if number < count {
            let link = json!({ "type": "string", "title": "Logical operator", "enum": ["AND", "OR"], "required": true });
            input.insert(format!("link_{number}_{}", number + 1), link);
        }
    }
    let number = |title: &str| json!({ "type": "number", "title": title });
    let record = record(&cx, &object).await?;
    let output = match cx.config.output_method.as_deref() {
        Some("emitIndividually") => record,
        _ => results(&record),
    };
    if cx.config.output_method.as_deref() == Some("emitPage") {
        input.insert("pageSize".into(), number("Records on a page"));
        input.insert("pageNumber".into(), number("Number of the page, from 0"));
    } else {
        input.insert("limit".into(), number("Most records to find"));
    }
    Ok(json!({ "in": schema(input), "out": output }))
}

/// Out: the record, or a page of them.
pub async fn updated_objects(cx: Cx) -> anyhow::Result<Value> {
    let object = described(&cx).await?;
    let record = record(&cx, &object).await?;
    let output = match cx.config.emit_behavior.as_deref() {
        None | Some("emitIndividually") => record,
        Some(_) => results(&record),
    };
    Ok(json!({ "out": output }))
}

async fn described(cx: &Cx) -> anyhow::Result<Object> {
    Object::chosen(cx.oauth(), cx.config.sobject.as_ref()).await
}

fn criteria(cx: &Cx, object: &Object, is_needed: bool) -> anyhow::Result<Value> {
    let name = cx
        .config
        .lookup_field
        .as_ref()
        .context("choose a field to search by first (the field `lookupField`)")?;
    let field = object.field(name.as_str())?;
    Ok(schema(properties([field], |_| is_needed)))
}

/// A record with the chosen fields (all, if none are chosen), and its linked objects.
async fn record(cx: &Cx, object: &Object) -> anyhow::Result<Value> {
    let selected = &cx.config.selected_fields;
    let needed: &[&str] = match cx.function() {
        "getUpdatedObjectsPolling" => &["Id", "LastModifiedDate"],
        _ => &["Id"],
    };
    let is_chosen = |field: &&Field| {
        let mut chosen = selected
            .iter()
            .map(String::as_str)
            .chain(needed.iter().copied());
        selected.is_empty() || chosen.any(|name| name.eq_ignore_ascii_case(&field.name))
    };
    let mut record = properties(
        object.fields.iter().filter(is_chosen).filter(is_queried),
        |_| false,
    );
    for link in linked::links(&Api::new(cx.oauth()), object, &cx.config.linked_objects).await? {
        let schema = match link.relationship {
            Relationship::Parent(parent) => whole(&parent),
            Relationship::AnyParent(fields) => texts(&fields),
            Relationship::Children(child) => json!({ "type": "array", "items": whole(&child) }),
        };
        record.insert(link.name.to_string(), schema);
    }
    Ok(schema(record))
}

fn whole(object: &Object) -> Value {
    schema(properties(object.fields.iter().filter(is_queried), |_| {
        false
    }))
}

/// Queries do not select files.
fn is_queried(field: &&Field) -> bool {
    field.kind != "base64"
}

fn results(record: &Value) -> Value {
    json!({ "type": "object", "properties": { "results": { "type": "array", "required": true, "items": record } } })
}

/// Whether a new record must have a value.
fn is_required(field: &Field) -> bool {
    !field.nillable && !field.defaulted_on_create && field.kind != "boolean"
}

fn schema(properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "properties": properties })
}

fn properties<'a>(
    fields: impl IntoIterator<Item = &'a Field>,
    needed: impl Fn(&Field) -> bool,
) -> Map<String, Value> {
    let property = |field: &Field| {
        let mut property = value_type(field);
        property["title"] = field.label.clone().into();
        property["required"] = needed(field).into();
        (field.name.clone(), property)
    };
    fields.into_iter().map(property).collect()
}

/// The type of a field's values.
fn value_type(field: &Field) -> Value {
    match field.kind.as_str() {
        "boolean" => json!({ "type": "boolean" }),
        "int" | "long" => json!({ "type": "integer" }),
        "double" | "currency" | "percent" => json!({ "type": "number" }),
        "picklist" => {
            let choices: Vec<&str> = field
                .picklist_values
                .iter()
                .filter(|choice| choice.active)
                .map(|choice| choice.value.as_str())
                .collect();
            if choices.is_empty() {
                json!({ "type": "string" })
            } else {
                json!({ "type": "string", "enum": choices })
            }
        }
        "address" => texts(&[
            "street",
            "city",
            "state",
            "postalCode",
            "country",
            "stateCode",
            "countryCode",
        ]),
        "location" => json!({
            "type": "object",
            "properties": { "latitude": { "type": "number" }, "longitude": { "type": "number" } },
        }),
        _ => json!({ "type": "string" }),
    }
}

fn texts(names: &[&str]) -> Value {
    let properties: Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), json!({ "type": "string" })))
        .collect();
    json!({ "type": "object", "properties": properties })
}
