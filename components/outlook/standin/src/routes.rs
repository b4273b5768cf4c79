//! Which resource a path leads to.

use super::{
    calendar,
    error::ErrorResponse,
    mail,
    response::{GraphResult, json_response},
    state::State,
};
use axum::response::{IntoResponse, Response};
use http_double::{ErrorFormat, Service, ServiceRequest};
use serde_json::json;

impl Service for State {
    const NAME: &'static str = "Graph";

    fn respond(&mut self, request: &ServiceRequest) -> Response {
        dispatch(self, request).into_response()
    }
}

impl ErrorFormat for State {
    fn error(status: u16, code: &str, message: &str) -> Response {
        ErrorResponse::new(status, code, message).into_response()
    }

    fn unauthorized() -> Response {
        ErrorResponse::unauthorized()
    }

    fn throttled() -> Response {
        let message = "Too many requests. Please try again later.";
        ErrorResponse::new(429, "TooManyRequests", message).into_response()
    }
}

fn dispatch(state: &mut State, request: &ServiceRequest) -> GraphResult {
    let path = &request.path;
    let zone = request
        .headers
        .get("Prefer")
        .and_then(|prefer| prefer.to_str().ok());
    if zone.is_some_and(|prefer| prefer != "outlook.timezone=\"UTC\"") {
        return Err(ErrorResponse::not_here(
            "preference but outlook.timezone=\"UTC\"",
        ));
    }
    let segments = request.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["v1.0", "me", rest @ ..] = segments.as_slice() else {
        return Err(ErrorResponse::not_here(format!(
            "{} {path}",
            request.method
        )));
    };
    match (request.method.as_str(), rest) {
        ("GET", []) => json_response(json!({
            "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users/$entity",
            "id": "user-1",
            "displayName": "Adele Vance",
            "mail": "adele@example.com",
            "userPrincipalName": "adele@example.com",
        })),
        ("GET", ["contacts"]) => mail::list(state, state.contacts.iter().collect(), request),
        ("GET", ["mailFolders"]) => mail::folders(state, "", request),
        ("GET", ["mailFolders", folder]) => mail::folder(state, folder),
        ("GET", ["mailFolders", folder, "childFolders"]) => mail::folders(state, folder, request),
        ("GET", ["mailFolders", folder, "messages"]) => mail::messages(state, folder, request),
        ("POST", ["mailFolders", folder, "messages", id, "move"]) => {
            mail::move_message(state, folder, id, request)
        }
        ("GET", ["messages", id, "attachments"]) => mail::attachments(state, id, request),
        ("GET", ["messages", id, "attachments", file, "$value"]) => {
            mail::attachment(state, id, file)
        }
        ("POST", ["sendMail"]) => mail::send(state, request),
        ("GET", ["calendars"]) => calendar::calendars(state, request),
        ("POST", ["calendars", id, "events"]) => calendar::create(state, id, request),
        ("GET", ["calendarView"]) => calendar::view(state, request),
        (method, _) => Err(ErrorResponse::not_here(format!("{method} {path}"))),
    }
}
