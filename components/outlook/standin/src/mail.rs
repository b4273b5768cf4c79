//! Mail: folders, messages, attachments, sending.

use super::{
    error::ErrorResponse,
    query,
    response::{GraphResult, created, json, json_response},
    state::{Item, State},
};
use axum::{
    http::{StatusCode, header},
    response::IntoResponse,
};
use base64_simd::STANDARD as BASE64;
use http_double::ServiceRequest;
use serde_json::{Value, json};

/// The size limit of a request's body.
const MOST_BYTES: usize = 4 * 1024 * 1024;

pub(super) fn folders(state: &State, within: &str, request: &ServiceRequest) -> GraphResult {
    let within = match within {
        "" => "",
        name => state
            .folder(name)
            .map(|folder| folder.id.as_str())
            .ok_or_else(ErrorResponse::no_item)?,
    };
    let folders = state
        .folders
        .iter()
        .filter(|folder| folder.within == within);
    let counted: Vec<Item> = folders.map(|folder| state.counted(folder)).collect();
    list(state, counted.iter().collect(), request)
}

pub(super) fn folder(state: &State, name: &str) -> GraphResult {
    let folder = state.folder(name).ok_or_else(ErrorResponse::no_item)?;
    json_response(state.counted(folder).shown())
}

pub(super) fn messages(state: &State, folder: &str, request: &ServiceRequest) -> GraphResult {
    let folder = state.folder(folder).ok_or_else(ErrorResponse::no_item)?;
    list(
        state,
        state
            .messages
            .iter()
            .filter(|message| message.within == folder.id)
            .collect(),
        request,
    )
}

/// A moved message has a new id.
pub(super) fn move_message(
    state: &mut State,
    folder: &str,
    id: &str,
    request: &ServiceRequest,
) -> GraphResult {
    let body = json(request)?;
    let Some(destination) = body["destinationId"].as_str() else {
        return Err(ErrorResponse::bad_request(
            "The request body must have destinationId.",
        ));
    };
    let within = state
        .folder(folder)
        .ok_or_else(ErrorResponse::no_item)?
        .id
        .clone();
    let destination = state
        .folder(destination)
        .ok_or_else(ErrorResponse::no_item)?
        .id
        .clone();
    let new_id = state.new_id("message");
    let found = state
        .messages
        .iter_mut()
        .find(|message| message.id == id && message.within == within);
    let message = found.ok_or_else(ErrorResponse::no_item)?;
    message.id.clone_from(&new_id);
    message.within.clone_from(&destination);
    message
        .fields
        .insert("parentFolderId".to_owned(), destination.into());
    let mut shown = message.shown();
    shown["@odata.context"] = "https://graph.microsoft.com/v1.0/$metadata#message".into();
    for file in state.files.iter_mut().filter(|file| file.message == id) {
        file.message.clone_from(&new_id);
    }
    created(shown)
}

pub(super) fn attachments(state: &State, message: &str, request: &ServiceRequest) -> GraphResult {
    known(state, message)?;
    let select = request.query.get("$select");
    if select.is_some_and(|select| select.split(',').any(|name| name.trim() == "contentId")) {
        return Err(ErrorResponse::new(
            400,
            "RequestBroker--ParseUri",
            "Could not find a property named 'contentId' on type 'microsoft.graph.attachment'.",
        ));
    }
    let files = state.files.iter().filter(|file| file.message == message);
    let items: Vec<Item> = files
        .map(|file| {
            let mut fields = json!({
                "@odata.type": file.kind,
                "name": file.name,
                "contentType": file.content_type,
                // Exchange counts its overhead too.
                "size": file.bytes.len() + 100,
                "isInline": file.content_id.is_some(),
            });
            if file.kind == "#microsoft.graph.fileAttachment" {
                fields["contentId"] = file.content_id.clone().into();
                fields["contentBytes"] = BASE64.encode_to_string(&file.bytes).into();
            }
            State::default().item(&file.id, message, fields)
        })
        .collect();
    list(state, items.iter().collect(), request)
}

pub(super) fn attachment(state: &State, message: &str, id: &str) -> GraphResult {
    known(state, message)?;
    let file = state
        .files
        .iter()
        .find(|file| file.message == message && file.id == id)
        .ok_or_else(ErrorResponse::no_item)?;
    if let Some(broken) = state.broken.get(id) {
        return Err(ErrorResponse::broken(broken.status));
    }
    if file.kind == "#microsoft.graph.referenceAttachment" {
        return Err(ErrorResponse::new(
            405,
            "ErrorInvalidRequest",
            "A reference attachment has no value.",
        ));
    }
    Ok((
        [(header::CONTENT_TYPE, file.content_type.clone())],
        file.bytes.clone(),
    )
        .into_response())
}

fn known(state: &State, message: &str) -> Result<(), ErrorResponse> {
    state
        .messages
        .iter()
        .any(|known| known.id == message)
        .then_some(())
        .ok_or_else(ErrorResponse::no_item)
}

pub(super) fn send(state: &mut State, request: &ServiceRequest) -> GraphResult {
    if request.body.len() > MOST_BYTES {
        return Err(ErrorResponse::new(
            413,
            "RequestEntityTooLarge",
            "The request is larger than 4 MB.",
        ));
    }
    let mut body = json(request)?;
    check_message(&body["message"])?;
    let keep = body
        .get("saveToSentItems")
        .is_none_or(|keep| *keep != Value::Bool(false));
    if keep {
        let id = state.new_id("message");
        let item = state.item(&id, "sent-id=", body["message"].clone());
        state.messages.push(item);
    }
    state.sent.push(body.take());
    Ok(StatusCode::ACCEPTED.into_response())
}

fn check_message(message: &Value) -> Result<(), ErrorResponse> {
    let recipients = ["toRecipients", "ccRecipients", "bccRecipients"];
    let lists = recipients
        .iter()
        .filter_map(|name| message[*name].as_array());
    let addresses: Vec<Option<&str>> = lists
        .flatten()
        .map(|r| r["emailAddress"]["address"].as_str())
        .collect();
    if addresses.is_empty()
        || addresses
            .iter()
            .any(|address| address.is_none_or(|address| !address.contains('@')))
    {
        let message = "At least one recipient is not valid.";
        return Err(ErrorResponse::new(400, "ErrorInvalidRecipients", message));
    }
    if !["text", "html"]
        .iter()
        .any(|kind| message["body"]["contentType"] == *kind)
    {
        return Err(ErrorResponse::bad_request(
            "body.contentType must be text or html.",
        ));
    }
    for file in message["attachments"].as_array().into_iter().flatten() {
        let is_file =
            file["@odata.type"] == "#microsoft.graph.fileAttachment" && file["name"].is_string();
        let bytes = file["contentBytes"]
            .as_str()
            .and_then(|text| BASE64.decode_to_vec(text).ok());
        if !is_file || bytes.is_none() {
            return Err(ErrorResponse::bad_request(
                "An attachment is not a file with a name and contents in base64.",
            ));
        }
    }
    Ok(())
}

pub(super) fn list(state: &State, items: Vec<&Item>, request: &ServiceRequest) -> GraphResult {
    json_response(query::list(
        items,
        &request.query,
        &request.url,
        state.page_size,
        &state.broken,
    )?)
}
