//! Pings: requests that only test the flow's URL. They need no signature and are not emitted.

use super::webhook_request::{Member, Received};
use serde_json::Value;
use std::str::FromStr;

/// The requests that only test the flow's URL: `empty; form:webhook_id; header:X-Event=ping`.
#[derive(Debug, Default)]
pub struct Pings(Vec<Ping>);

#[derive(Debug)]
enum Ping {
    /// No body, or an empty object.
    Empty,
    /// A form or an object with only this member.
    Only(String),
    /// A member with this text, or with any.
    With(Member, Option<String>),
}

impl Pings {
    pub fn contain(&self, request: &Received) -> bool {
        self.0.iter().any(|ping| ping.is(request))
    }
}

impl Ping {
    fn is(&self, request: &Received) -> bool {
        match (self, &request.body) {
            (Self::Empty, Value::Object(members)) => members.is_empty(),
            (Self::Empty, _) => request.raw.trim_ascii().is_empty(),
            (Self::Only(name), Value::String(form)) => {
                let (first, rest) = form.trim().split_once('=').unwrap_or((form, ""));
                first == name && !rest.contains('&')
            }
            (Self::Only(name), Value::Object(members)) => {
                members.len() == 1 && members.contains_key(name)
            }
            (Self::Only(_), _) => false,
            (Self::With(member, expected), _) => {
                let text = member.text(request);
                text.is_some_and(|text| expected.as_ref().is_none_or(|value| *value == text))
            }
        }
    }
}

impl FromStr for Pings {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pings = text
            .split(';')
            .map(str::trim)
            .filter(|ping| !ping.is_empty());
        pings.map(ping).collect::<Option<_>>().map(Self).ok_or(
            "a list such as empty; form:NAME; header:NAME=VALUE; query:NAME=VALUE; body:/POINTER=VALUE",
        )
    }
}

fn ping(text: &str) -> Option<Ping> {
    if text == "empty" {
        return Some(Ping::Empty);
    }
    if let Some(name) = text.strip_prefix("form:") {
        let is_name = !name.is_empty() && !name.contains('=');
        return is_name.then(|| Ping::Only(name.to_owned()));
    }
    let (member, value) = match text.split_once('=') {
        Some((member, value)) => (member, Some(value.to_owned())),
        None => (text, None),
    };
    Some(Ping::With(member.parse().ok()?, value))
}
