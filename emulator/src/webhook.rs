//! Requests to the flow's webhook address become messages, and the component's reply becomes the response.

use crate::{
    event::{Event, EventKind},
    event_log::Events,
    platform::WebhookResponse,
};
use sailor::protocol::Headers;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// The headers of a request's message. `thread` is new for each request.
pub(crate) fn headers(thread: &str, reply_key: &str) -> Headers {
    Headers::from_iter([
        ("threadId".to_owned(), thread.into()),
        ("reply_to".to_owned(), reply_key.into()),
    ])
}

/// Responds when `events` show the reply or the verdict of the request's message. Ends early when the
/// caller goes away.
pub(crate) async fn respond(
    mut respond: oneshot::Sender<WebhookResponse>,
    mut events: Events,
    thread: String,
) {
    let outcome = tokio::select! {
        () = respond.closed() => None,
        outcome = outcome(&mut events, &thread) => outcome,
    };
    if let Some(outcome) = outcome {
        // The caller may go away at any time.
        let _ = respond.send(outcome);
    }
}

/// The response: the reply, or the verdict when the message is settled without one.
async fn outcome(events: &mut Events, thread: &str) -> Option<WebhookResponse> {
    let mut coming_back = false;
    loop {
        let event = events.find(|event| is_of(thread, event)).await?;
        match event.kind {
            EventKind::HttpReply => return Some(reply(&event)),
            EventKind::ErrorReply => return failure(&event.body["message"]),
            EventKind::Rebound => coming_back = true,
            EventKind::CameBack => coming_back = false,
            EventKind::Acked if !coming_back => {
                let body = json!({"message": "acknowledged without a reply"});
                return Some(WebhookResponse::json(200, body));
            }
            EventKind::Rejected => {
                return failure(&json!("the component rejected the message"));
            }
            _ => {}
        }
    }
}

fn failure(error: &Value) -> Option<WebhookResponse> {
    Some(WebhookResponse::json(500, json!({"error": error})))
}

fn is_of(thread: &str, event: &Event) -> bool {
    event.headers.get("threadId").and_then(Value::as_str) == Some(thread)
}

fn reply(event: &Event) -> WebhookResponse {
    let status = event.body["statusCode"]
        .as_u64()
        .and_then(|status| u16::try_from(status).ok());
    WebhookResponse {
        status: status.unwrap_or(200),
        headers: event.body["headers"]
            .as_object()
            .cloned()
            .unwrap_or_default(),
        body: event.body["body"].clone(),
    }
}
