//! Replays a recording: the component runs in memory, and its requests are answered from the file.

use super::{
    Recording, VERSION, data_event,
    differences::{Runs, shown},
    environment::{HTTP_HOSTS, MODE, SIZE_LIMIT},
    event,
    exchanges::Request,
    proxy::{HttpRequest, HttpResponse, NoRequest, Proxy, Respond},
    recorder::PLATFORM,
};
use anyhow::Context as _;
use sailor::{
    Component,
    http::parse_time,
    jiff::{SignedDuration, Timestamp},
    testing::{self, Harness},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The kinds of events, in the order in which they are compared.
const KINDS: [&str; 7] = [
    "data",
    "snapshot",
    "updateSnapshot",
    "updateKeys",
    "httpReply",
    "rebound",
    "error",
];

/// Why a replay has failed. The text says what differs, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReplayError(String);

/// Runs the component on a recording of `emulator run --record FILE`, without network, and compares what it emits. `path` is
/// relative to the folder of the package that is tested.
///
/// Requests are answered from the recording: each exchange once, in the recorded order among equal requests. Requests are equal if
/// method, address and body are; headers are not compared. docs/emulator.md says what differs from run to run and counts as
/// equal. Snapshot, configuration, message, the variables of the OAuth2 client and the largest message come from the recording;
/// other variables, and HTTP clients that the module makes itself, are those of the test.
///
/// # Errors
/// Returns an error if the file cannot be read, if the component sends a request that the recording does not have, or does not send
/// one that it has, and if the events differ.
///
/// ```no_run
/// # fn component() -> anyhow::Result<sailor::Component> { unimplemented!() }
/// #[tokio::test]
/// async fn a_price_is_the_recorded_one() -> anyhow::Result<()> {
///     Ok(emulator::replay(&component()?, "tests/recordings/price.json").await?)
/// }
/// ```
pub async fn replay(component: &Component, path: impl AsRef<Path>) -> Result<(), ReplayError> {
    let path = path.as_ref();
    let recording = read(path)?;
    let found = run(component, recording).await;
    let found = found.map_err(|error| ReplayError(format!("{}: {error:#}", path.display())))?;
    if found.is_empty() {
        return Ok(());
    }
    let mut text = format!("the component does not do what {} has:", path.display());
    for difference in found {
        let _ = write!(text, "\n  {difference}");
    }
    text += "\nIf that is right, record it again: emulator run --record FILE";
    Err(ReplayError(text))
}

fn read(path: &Path) -> Result<Recording, ReplayError> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| ReplayError(format!("the recording {shown} cannot be read: {error}")))?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| ReplayError(format!("the recording {shown} is not JSON: {error}")))?;
    if value["version"] != VERSION {
        return Err(ReplayError(format!(
            "the recording {shown} has version {}, and this emulator reads version {VERSION}: record it again",
            value["version"]
        )));
    }
    serde_json::from_value(value)
        .map_err(|error| ReplayError(format!("the recording {shown} cannot be used: {error}")))
}

async fn run(component: &Component, recording: Recording) -> anyhow::Result<Vec<String>> {
    let mut kept = recording.configuration.clone();
    remove_expiries(&mut kept);
    let given = json!([recording.message, kept, recording.snapshot]);
    let recorded_at = parse_time(&recording.recorded_at);
    let recorded_at = recorded_at.context("`recordedAt` of the recording is not a time")?;
    let runs = Runs::new(recorded_at, &given, &recording.exchanges);
    let later = SignedDuration::from_secs(runs.seconds_between());
    let mut configuration = recording.configuration;
    move_expiries(&mut configuration, later);
    let answers = Arc::new(Answers {
        runs,
        left: recording
            .exchanges
            .into_iter()
            .map(Some)
            .collect::<Vec<_>>()
            .into(),
        unknown: Mutex::default(),
    });
    let proxy = Proxy::start(answers.clone()).await?;
    let mut harness = Harness::new(component, &recording.function)
        .config(configuration)
        .snapshot(recording.snapshot)
        .object_storage(PLATFORM, "secret")
        .proxy(&proxy.url(), &proxy.certificate);
    // What the run did not have, the environment of the test does not give.
    for name in [HTTP_HOSTS, MODE] {
        harness = harness.environment(name, "");
    }
    for (name, value) in &recording.environment {
        harness = harness.environment(name, value);
    }
    if let Some(limit) = recording.environment.get(SIZE_LIMIT) {
        let limit = limit.parse();
        harness = harness
            .message_size_limit(limit.with_context(|| format!("{SIZE_LIMIT} of the recording"))?);
    }
    let emitted = harness.run_message(recording.message).await?;
    let now: Vec<Value> = emitted.events.into_iter().map(as_json).collect();
    let mut found = answers.differences();
    compare_events(&answers.runs, &recording.events, &now, &mut found);
    Ok(found)
}

/// Moves the times at which tokens expire: what was valid at the recording is valid now.
fn move_expiries(value: &mut Value, by: SignedDuration) {
    each_expiry(value, &|value| *value = moved(value, by));
}

/// Removes the times that are moved: they come from the recording, and are others in the replay.
fn remove_expiries(value: &mut Value) {
    each_expiry(value, &|value| *value = Value::Null);
}

fn each_expiry(value: &mut Value, change: &impl Fn(&mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each_expiry(item, change)),
        Value::Object(members) => {
            for (name, value) in members {
                if name.to_ascii_lowercase().contains("expir") {
                    change(value);
                } else {
                    each_expiry(value, change);
                }
            }
        }
        _ => {}
    }
}

fn moved(value: &Value, by: SignedDuration) -> Value {
    let seconds = by.as_secs();
    let moved = |time: i64, by: i64| Value::from(time.checked_add(by).unwrap_or(time));
    match value {
        Value::String(text) if text.contains('T') => {
            let time = parse_time(text).and_then(|time| time.checked_add(by).ok());
            time.map_or_else(|| value.clone(), |time| milliseconds(time).into())
        }
        // Smaller numbers are lifetimes.
        Value::Number(number) => match number.as_i64() {
            Some(time) if time > 1_000_000_000_000 => moved(time, seconds.saturating_mul(1000)),
            Some(time) if time > 1_000_000_000 => moved(time, seconds),
            _ => value.clone(),
        },
        _ => value.clone(),
    }
}

/// A time as JavaScript writes it.
fn milliseconds(time: Timestamp) -> String {
    format!("{time:.3}")
}

fn as_json(emitted: testing::Event) -> Value {
    use testing::Event as E;
    match emitted {
        E::Data(message) => data_event(&message, None),
        E::Error(text) => event("error", text.into()),
        E::Rebound(reason) => event("rebound", reason.into()),
        E::Snapshot(snapshot) => event("snapshot", snapshot),
        E::UpdateSnapshot(members) => event("updateSnapshot", members),
        E::UpdateKeys(keys) => event("updateKeys", keys),
        E::HttpReply(reply) => event("httpReply", serde_json::to_value(reply).unwrap_or_default()),
    }
}

fn compare_events(runs: &Runs, recorded: &[Value], now: &[Value], found: &mut Vec<String>) {
    for kind in KINDS {
        let of = |events: &[Value]| -> Vec<Value> {
            let contents = events.iter().filter_map(|event| event.get(kind));
            contents.cloned().collect()
        };
        let (recorded, now) = (of(recorded), of(now));
        for (at, pair) in recorded.iter().zip(&now).enumerate() {
            let place = format!("{kind} {}: ", at + 1);
            let before = found.len();
            runs.compare("", pair.0, pair.1, found);
            found[before..]
                .iter_mut()
                .for_each(|text| text.insert_str(0, &place));
        }
        for missing in recorded.iter().skip(now.len()) {
            found.push(format!(
                "{kind}: recorded and not emitted: {}",
                shown(missing)
            ));
        }
        for more in now.iter().skip(recorded.len()) {
            found.push(format!("{kind}: emitted and not recorded: {}", shown(more)));
        }
    }
}

/// Answers requests from a recording.
struct Answers {
    runs: Runs,
    /// The exchanges that were not used yet.
    left: Mutex<Vec<Option<super::Exchange>>>,
    /// What is wrong with requests: the recording does not have them, or TLS failed.
    unknown: Mutex<Vec<String>>,
}

impl Answers {
    fn left(&self) -> MutexGuard<'_, Vec<Option<super::Exchange>>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unknown(&self) -> MutexGuard<'_, Vec<String>> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn differences(&self) -> Vec<String> {
        let mut found = self.unknown().clone();
        for exchange in self.left().iter().flatten() {
            let line = exchange.request.line();
            found.push(format!(
                "the recording has a request that was not sent: {line}"
            ));
        }
        found
    }

    fn is_same(&self, recorded: &Request, now: &Request) -> bool {
        self.is_to_same(recorded, now) && self.differences_in_body(recorded, now).is_empty()
    }

    fn is_to_same(&self, recorded: &Request, now: &Request) -> bool {
        recorded.method == now.method && self.runs.same_text(&recorded.url, &now.url)
    }

    fn differences_in_body(&self, recorded: &Request, now: &Request) -> Vec<String> {
        let mut found = Vec::new();
        let (recorded, now) = (recorded.body.value(), now.body.value());
        self.runs.compare("", &recorded, &now, &mut found);
        found
    }

    /// What is told about a request that is not in the recording.
    fn describe(&self, request: &Request) -> String {
        let line = request.line();
        let left = self.left();
        let mut others = left.iter().flatten().map(|exchange| &exchange.request);
        let why = match others.find(|other| self.is_to_same(other, request)) {
            Some(other) => {
                let found = self.differences_in_body(other, request);
                format!("its body differs: {}", found.join("; "))
            }
            None => {
                let others = left.iter().flatten();
                let lines: BTreeSet<String> = others.map(|other| other.request.line()).collect();
                match Vec::from_iter(lines) {
                    lines if lines.is_empty() => {
                        "all recorded requests were sent already".to_owned()
                    }
                    lines => format!("it still has {}", lines.join(", ")),
                }
            }
        };
        format!("the recording has no (further) request {line}: {why}")
    }
}

impl Respond for Answers {
    async fn respond(&self, request: HttpRequest) -> HttpResponse {
        let request = Request::of(&request);
        let answer = {
            let mut left = self.left();
            let is_equal = |exchange: &super::Exchange| {
                let recorded = &exchange.request;
                (&recorded.method, &recorded.url, &recorded.body)
                    == (&request.method, &request.url, &request.body)
            };
            let of = |is: &dyn Fn(&super::Exchange) -> bool| {
                left.iter()
                    .position(|exchange| exchange.as_ref().is_some_and(is))
            };
            let at = of(&is_equal).or_else(|| of(&|e| self.is_same(&e.request, &request)));
            at.and_then(|at| left[at].take())
        };
        match answer {
            Some(exchange) => exchange.response.to_http(),
            None => {
                let text = self.describe(&request);
                self.unknown().push(text.clone());
                HttpResponse::of_proxy(format!("replay: {text}"))
            }
        }
    }

    fn had_no_request(&self, server: &str, why: NoRequest) {
        let text = match why {
            NoRequest::Distrust(alert) => {
                format!("a client does not trust the certificate of the replay's proxy ({alert})")
            }
            NoRequest::NoTls(reason) => reason,
            NoRequest::Closed => return,
        };
        self.unknown()
            .push(format!("TLS to {server} failed: {text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_moved_unless_it_is_out_of_range() {
        let later = SignedDuration::from_secs(86_400);
        for (expiry, expected) in [
            (json!(1_800_000_000), json!(1_800_086_400)),
            (json!(1_800_000_000_000_i64), json!(1_800_086_400_000_i64)),
            (
                json!("2026-01-31T08:00:00Z"),
                json!("2026-02-01T08:00:00.000Z"),
            ),
            (json!(3600), json!(3600)),
            (json!(i64::MAX), json!(i64::MAX)),
            (json!("9999-12-30T23:59:59Z"), json!("9999-12-30T23:59:59Z")),
        ] {
            let mut value = json!({"a": [{"expiresAt": expiry}]});
            move_expiries(&mut value, later);
            assert_eq!(value["a"][0]["expiresAt"], expected);
        }
        let mut value = json!({"expires": i64::MAX - 1});
        move_expiries(&mut value, SignedDuration::MAX);
        assert_eq!(value["expires"], i64::MAX - 1);
    }
}
