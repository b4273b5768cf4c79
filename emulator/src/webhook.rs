//! Requests to the flow's webhook address become messages, and the component's reply becomes the response.

use crate::{
    event::{Event, EventKind},
    event_log::Events,
    platform::Webhook,
};
use sailor::protocol::Headers;
use serde_json::{Value, json};
use uuid::Uuid;

/// Sends the message with `send` and `reply_key`, and responds when `events` show the reply or the verdict. Ends early when
/// the caller goes away.
pub(crate) async fn serve(
    webhook: Webhook,
    reply_key: &str,
    mut events: Events,
    send: impl FnOnce(&Value, &Headers),
) {
    let Webhook {
        message,
        mut respond,
    } = webhook;
    let thread = Uuid::new_v4().to_string();
    let headers = [("threadId", thread.as_str()), ("reply_to", reply_key)];
    send(
        &message,
        &headers
            .map(|(name, value)| (name.to_owned(), value.into()))
            .into_iter()
            .collect(),
    );
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
        let event = events
            .find(|event| event.headers.get("threadId").is_some_and(|id| id == thread))
            .await?;
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

fn reply(event: &Event) -> (u16, Value) {
    let status = event.body["statusCode"]
        .as_u64()
        .and_then(|status| u16::try_from(status).ok());
    (status.unwrap_or(200), event.body["body"].clone())
}
