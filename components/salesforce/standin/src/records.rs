//! One record: create, read, update, delete, upsert by external id, and blobs.

use super::{
    error::ErrorResponse,
    response::{Request, SalesforceResult, json_response, no_content},
    schema::Object,
    state::{Record, State, is_deleted},
    values::checked,
};
use axum::{Json, http::StatusCode, response::IntoResponse};
use serde_json::{Value, json};

pub(super) fn create(state: &mut State, object: &str, request: &Request) -> SalesforceResult {
    let object = state.schema.object(object)?.clone();
    let id = insert(state, &object, request.json()?)?;
    Ok((
        StatusCode::CREATED,
        Json(json!({ "id": id, "success": true, "errors": [] })),
    )
        .into_response())
}

pub(super) fn insert(
    state: &mut State,
    object: &Object,
    body: Value,
) -> Result<String, ErrorResponse> {
    if !object.createable {
        let message = format!("entity type {} does not support create", object.name);
        return Err(ErrorResponse::new(
            400,
            "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
            message,
        ));
    }
    let record = checked(object, body, true)?;
    unique(state, object, &record, None)?;
    Ok(state.insert(&object.name, record))
}

pub(super) fn change(
    state: &mut State,
    object: &Object,
    id: &str,
    body: Value,
) -> Result<(), ErrorResponse> {
    existing(state, object, id)?;
    let record = checked(object, body, false)?;
    unique(state, object, &record, Some(id))?;
    state.update(&object.name, id, record);
    Ok(())
}

pub(super) fn remove(state: &mut State, object: &Object, id: &str) -> Result<(), ErrorResponse> {
    existing(state, object, id)?;
    if !object.deletable {
        let message = format!("entity type {} does not support delete", object.name);
        return Err(ErrorResponse::new(
            400,
            "INSUFFICIENT_ACCESS_OR_READONLY",
            message,
        ));
    }
    state.delete(&object.name, id);
    Ok(())
}

fn existing<'a>(state: &'a State, object: &Object, id: &str) -> Result<&'a Record, ErrorResponse> {
    let found = state.find(&object.name, id).ok_or_else(|| {
        let message =
            "Provided external ID field does not exist or is not accessible: ".to_owned() + id;
        ErrorResponse::new(404, "NOT_FOUND", message)
    })?;
    if is_deleted(found) {
        return Err(ErrorResponse::new(
            404,
            "ENTITY_IS_DELETED",
            "entity is deleted",
        ));
    }
    Ok(found)
}

fn unique(
    state: &State,
    object: &Object,
    record: &Record,
    own: Option<&str>,
) -> Result<(), ErrorResponse> {
    for field in object.fields.iter().filter(|field| field.unique) {
        let Some(value) = record.get(&field.name).and_then(Value::as_str) else {
            continue;
        };
        if let Some(other) = state
            .having(&object.name, &field.name, value)
            .iter()
            .find(|id| Some(id.as_str()) != own)
        {
            let message = format!(
                "duplicate value found: {} duplicates value on record with id: {other}",
                field.name
            );
            return Err(ErrorResponse::of_fields(
                400,
                "DUPLICATE_VALUE",
                message,
                &[],
            ));
        }
    }
    Ok(())
}

pub(super) fn by_id(
    state: &mut State,
    object: &str,
    id: &str,
    request: &Request,
) -> SalesforceResult {
    let object = state.schema.object(object)?.clone();
    match request.method.as_str() {
        "GET" => json_response(shown(&object, existing(state, &object, id)?, request)?),
        "PATCH" => {
            change(state, &object, id, request.json()?)?;
            no_content()
        }
        "DELETE" => {
            remove(state, &object, id)?;
            no_content()
        }
        method => Err(ErrorResponse::new(
            405,
            "METHOD_NOT_ALLOWED",
            format!("HTTP Method '{method}' not allowed"),
        )),
    }
}

/// `/sobjects/Account/ErpId__c/42`, or `/sobjects/Attachment/<id>/Body`.
pub(super) fn by_field(
    state: &mut State,
    object: &str,
    field: &str,
    value: &str,
    request: &Request,
) -> SalesforceResult {
    let object = state.schema.object(object)?.clone();
    if let Some(blob) = object.field(value).filter(|field| field.kind == "base64") {
        return read_blob(existing(state, &object, field)?, &blob.name);
    }
    let field = object
        .field(field)
        .filter(|field| field.external_id)
        .cloned()
        .ok_or_else(|| {
            let message =
                format!("Provided external ID field does not exist or is not accessible: {field}");
            ErrorResponse::new(404, "NOT_FOUND", message)
        })?;
    let found = state.having(&object.name, &field.name, value);
    if let [_, _, ..] = found.as_slice() {
        let path = |id: &String| {
            format!(
                "/services/data/v{}/sobjects/{}/{id}",
                request.version, object.name
            )
        };
        return Err(ErrorResponse::with_body(
            300,
            found.iter().map(path).collect(),
        ));
    }
    match (request.method.as_str(), found.first()) {
        ("PATCH", found) => upsert(state, &object, &field.name, value, found.cloned(), request),
        (_, Some(id)) => by_id(state, &object.name, id, request),
        (_, None) => Err(ErrorResponse::no_resource()),
    }
}

fn upsert(
    state: &mut State,
    object: &Object,
    field: &str,
    value: &str,
    found: Option<String>,
    request: &Request,
) -> SalesforceResult {
    let mut body = request.json()?;
    if body.get(field).is_some() {
        let message = format!("The {field} field should not be specified in the sobject data.");
        return Err(ErrorResponse::of_fields(
            400,
            "INVALID_FIELD",
            message,
            &[field],
        ));
    }
    let (status, id) = match found {
        Some(id) => {
            change(state, object, &id, body)?;
            // Earlier versions return no body.
            if request
                .version
                .parse::<f64>()
                .is_ok_and(|version| version < 46.0)
            {
                return no_content();
            }
            (StatusCode::OK, id)
        }
        None => {
            body[field] = value.into();
            (StatusCode::CREATED, insert(state, object, body)?)
        }
    };
    let created = status == StatusCode::CREATED;
    Ok((
        status,
        Json(json!({ "id": id, "success": true, "errors": [], "created": created })),
    )
        .into_response())
}

fn read_blob(record: &Record, field: &str) -> SalesforceResult {
    let encoded = record[field].as_str().unwrap_or_default();
    let bytes = base64_simd::STANDARD
        .decode_to_vec(encoded)
        .unwrap_or_default();
    Ok(([("content-type", "application/octet-stream")], bytes).into_response())
}

fn shown(object: &Object, record: &Record, request: &Request) -> Result<Value, ErrorResponse> {
    let url = format!(
        "/services/data/v{}/sobjects/{}/{}",
        request.version,
        object.name,
        record["Id"].as_str().unwrap_or_default()
    );
    let mut shown = json!({ "attributes": { "type": object.name, "url": url } });
    match request.query.get("fields") {
        None => {
            for field in &object.fields {
                shown[&field.name] = record[&field.name].clone();
            }
        }
        Some(names) => {
            for name in names.split(',').map(str::trim).chain(["Id"]) {
                let field = object.field(name).ok_or_else(|| {
                    let message =
                        format!("No such column '{name}' on sobject of type {}", object.name);
                    ErrorResponse::new(400, "INVALID_FIELD", message)
                })?;
                shown[&field.name] = record[&field.name].clone();
            }
        }
    }
    Ok(shown)
}
