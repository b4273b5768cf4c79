//! Requests to the flow's webhook address become messages, and the component's reply becomes the response.

use crate::{
    event::{Event, EventKind},
    event_log::Events,
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

/// Responds with status and body when `events` show the reply or the verdict of the request's message. Ends early when the
/// caller goes away.
pub(crate) async fn respond(
    mut respond: oneshot::Sender<(u16, Value)>,
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

/// Status and body of the response: the reply, or the verdict when the message is settled without one.
async fn outcome(events: &mut Events, thread: &str) -> Option<(u16, Value)> {
    let mut coming_back = false;
    loop {
        let event = events.find(|event| is_of(thread, event)).await?;
        match event.kind {
            EventKind::HttpReply => return Some(reply(&event)),
            EventKind::ErrorReply => return Some((500, json!({"error": event.body["message"]}))),
            EventKind::Rebound => coming_back = true,
            EventKind::CameBack => coming_back = false,
            EventKind::Acked if !coming_back => {
                return Some((200, json!({"message": "acknowledged without a reply"})));
            }
            EventKind::Rejected => {
                return Some((500, json!({"error": "the component rejected the message"})));
            }
            _ => {}
        }
    }
}

fn is_of(thread: &str, event: &Event) -> bool {
    event.headers.get("threadId").and_then(Value::as_str) == Some(thread)
}

fn reply(event: &Event) -> (u16, Value) {
    let status = event.body["statusCode"]
        .as_u64()
        .and_then(|status| u16::try_from(status).ok());
    (status.unwrap_or(200), event.body["body"].clone())
}
