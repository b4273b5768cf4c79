//! The explanations of `emulator demo`: what the events of the time line mean, and a summary.

use crate::{
    config::EmulatorConfig,
    emulator::Emulator,
    event::{Event, EventKind},
    timeline::Timeline,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The account that the tokens are stored in.
pub(crate) const ACCOUNT: &str = "emulated-account";
/// The credential field that holds them.
pub(crate) const FIELD: &str = "oauth";

/// The explanations shown so far.
pub(crate) struct DemoNotes {
    concurrent: usize,
    replicas: usize,
    rotating: bool,
    /// How often each kind of event was seen. With many messages only the first of a kind is shown.
    seen: BTreeMap<String, usize>,
}

impl DemoNotes {
    pub(crate) fn new(concurrent: usize, replicas: usize, rotating: bool) -> Self {
        Self {
            concurrent,
            replicas,
            rotating,
            seen: BTreeMap::new(),
        }
    }

    /// Shows an event, and explains it if it is the first of its kind.
    pub(crate) fn note(&mut self, event: &Event, timeline: &Timeline) {
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
                "the step's stored tokens: at is an access token (already expired), rt a refresh token"
            }
            "Sent" => "a message for the step; its API request needs a token",
            "Call GET 200" => "the component reads its configuration, with the stored tokens",
            "ApiCall 401" => "the API refuses the stored access token",
            "spent" if self.rotating => {
                "the refresh token is used; it is now invalid, and a second use would revoke all tokens"
            }
            "spent" => "the refresh token is used",
            "issued again" => "the provider issues new tokens",
            "TokenCall 200" if self.concurrent > 1 => {
                "one refresh, for all messages that wait for it"
            }
            "TokenCall 200" => "one refresh",
            "UpdateKeys" => {
                "the whole token response is merged into the stored tokens and saved before it is used"
            }
            "ApiCall 201" => "the same request is sent once more, with the new token",
            "Data" => "the API's response goes to the next step",
            "Acked" => "only now is the message acknowledged",
            _ => return None,
        })
    }

    /// Prints the summary. Returns true when there was one refresh and the stored token is valid.
    pub(crate) fn end(&self, emulator: &Emulator, timeline: &Timeline) -> bool {
        let times = |scene: &str| self.seen.get(scene).copied().unwrap_or_default();
        let succeeded = times("ApiCall 201");
        let (provider, refreshes) = (emulator.provider(), emulator.provider().refreshes());
        // Without an update, the tokens are those that the step began with.
        let EmulatorConfig { flow, step, .. } = EmulatorConfig::default();
        let stored = emulator.platform().step(&flow, &step.id);
        let stored = stored.map(|step| step.config[FIELD]["refresh_token"].clone());
        let stored = stored.as_ref().and_then(Value::as_str);
        let spendable = stored.is_some_and(|token| provider.is_spendable(token));
        timeline.note(&format!(
            "{} in {}: {} refused for the expired token, {}, {}, {} successful, {} acknowledged",
            count(self.concurrent, "message", "messages"),
            count(self.replicas, "process", "processes"),
            count(
                provider.api_calls().len().saturating_sub(succeeded),
                "request",
                "requests"
            ),
            count(refreshes, "refresh", "refreshes"),
            count(
                times("UpdateKeys"),
                "update of the keys",
                "updates of the keys"
            ),
            count(succeeded, "request", "requests"),
            times("Acked"),
        ));
        let state = if spendable {
            "is valid for the next refresh"
        } else {
            "is NOT valid any more"
        };
        timeline.note(&format!("the stored refresh token {state}"));
        timeline.result(
            &json!({"event": "story", "refreshes": refreshes, "stored_token_is_good": spendable}),
        );
        refreshes == 1 && spendable
    }
}

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// The kind of an event: the same for events with the same meaning.
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
