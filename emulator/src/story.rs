//! The story that `emulator demo` tells: the time line, with what each step of it means, and an end.

use crate::{
    emulator::Emulator,
    event::{Event, EventKind},
    timeline::Timeline,
};
use serde_json::json;
use std::collections::BTreeMap;

/// The account that the tokens are stored in.
pub(crate) const ACCOUNT: &str = "emulated-account";
/// The credential field that holds them.
pub(crate) const FIELD: &str = "oauth";

/// What has been told.
pub(crate) struct Story {
    concurrent: usize,
    replicas: usize,
    rotating: bool,
    /// How often each scene was seen. With many messages only the first of a kind is shown.
    seen: BTreeMap<String, usize>,
}

impl Story {
    pub(crate) fn new(concurrent: usize, replicas: usize, rotating: bool) -> Self {
        Self {
            concurrent,
            replicas,
            rotating,
            seen: BTreeMap::new(),
        }
    }

    /// Shows an event, and what it means when it is the first of its kind.
    pub(crate) fn tell(&mut self, event: &Event, timeline: &Timeline) {
        let scene = scene(event);
        let count = self.seen.entry(scene.clone()).or_default();
        *count += 1;
        let first = *count == 1;
        let is_crowd =
            self.concurrent > 1 && is_of_one_message(event.kind) && event.problem.is_none();
        if matches!(event.kind, EventKind::Connected | EventKind::Disconnected)
            || is_crowd && !first
        {
            return;
        }
        timeline.event(event);
        if first && let Some(meaning) = self.meaning(&scene) {
            timeline.remark(meaning);
        }
    }

    fn meaning(&self, scene: &str) -> Option<&'static str> {
        Some(match scene {
            "issued" => {
                "what the step has stored: at is an access token, which is expired by now, rt a refresh token"
            }
            "Sent" => "a message for the step; what it wants of the API needs a token",
            "Call GET 200" => "the component learns its configuration, the stored tokens with it",
            "ApiCall 401" => "the API refuses the stored access token",
            "spent" if self.rotating => {
                "the refresh token is used, and never good again: a second use would end them all"
            }
            "spent" => "the refresh token is used",
            "issued again" => "the provider issues new tokens",
            "TokenCall 200" if self.concurrent > 1 => "one refresh, for all that wait for it",
            "TokenCall 200" => "one refresh",
            "UpdateKeys" => {
                "the whole answer, merged into what was stored, is saved before it is used"
            }
            "ApiCall 201" => "the same request once more, once, with the new token",
            "Data" => "the API's answer goes on to the next step",
            "Acked" => "and only then is the message done with",
            _ => return None,
        })
    }

    /// Sums up; true when it ended as it should.
    pub(crate) fn end(&self, emulator: &Emulator, timeline: &Timeline) -> bool {
        let times = |scene: &str| self.seen.get(scene).copied().unwrap_or_default();
        let answered = times("ApiCall 201");
        let (provider, refreshes) = (emulator.provider(), emulator.provider().refreshes());
        let stored = emulator.platform().account(ACCOUNT).unwrap_or_default();
        let stored = stored
            .get(FIELD)
            .and_then(|record| record["refresh_token"].as_str());
        let spendable = stored.is_some_and(|token| provider.is_spendable(token));
        timeline.note(&format!(
            "{} in {}: {} refused for the expired token, {}, {}, {} answered, {} acknowledged",
            count(self.concurrent, "message", "messages"),
            count(self.replicas, "process", "processes"),
            count(
                provider.api_calls().len().saturating_sub(answered),
                "request",
                "requests"
            ),
            count(refreshes, "refresh", "refreshes"),
            count(
                times("UpdateKeys"),
                "update of the keys",
                "updates of the keys"
            ),
            count(answered, "request", "requests"),
            times("Acked"),
        ));
        let fate = if spendable {
            "is good for the next refresh"
        } else {
            "is NOT good any more"
        };
        timeline.note(&format!("the refresh token that is stored {fate}"));
        timeline.result(
            &json!({"event": "story", "refreshes": refreshes, "stored_token_is_good": spendable}),
        );
        refreshes == 1 && spendable
    }
}

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// What is the same for all that happens alike.
fn scene(event: &Event) -> String {
    let text = event.body["text"].as_str().unwrap_or_default();
    let status = event.body["status"].as_u64().unwrap_or_default();
    match event.kind {
        EventKind::Token if text.starts_with("issued at-2 ") => "issued".into(),
        EventKind::Token if text.starts_with("issued") => "issued again".into(),
        EventKind::Token if text.starts_with("spent") => "spent".into(),
        EventKind::Call => format!(
            "Call {} {status}",
            event.body["method"].as_str().unwrap_or_default()
        ),
        kind @ (EventKind::TokenCall | EventKind::ApiCall) => format!("{kind:?} {status}"),
        kind => format!("{kind:?}"),
    }
}

/// Whether there is one of these for each message.
fn is_of_one_message(kind: EventKind) -> bool {
    use EventKind::{Acked, ApiCall, Call, Data, Delivered, Sent};
    matches!(kind, Sent | Delivered | Call | ApiCall | Data | Acked)
}
