//! Compares values of two runs, and tells where they differ.
//!
//! Two things differ by nature and count as equal: UUIDs that a run makes itself, and times that are as far from the moment of
//! their run, such as the end of a new token. A UUID that comes from the message, the configuration or a response is compared.

use super::Exchange;
use regex_lite::{Match, Regex};
use sailor::{http::parse_time, jiff::Timestamp};
use serde_json::Value;
use std::collections::BTreeSet;

/// How far from each other two times may be, each from the moment of its run: seconds.
const TOLERANCE: i64 = 3600;
/// Texts in a difference are cut to this length.
const SHOWN: usize = 200;

/// What is known of the two runs.
pub(super) struct Runs {
    recorded_at: Timestamp,
    now: Timestamp,
    /// The UUIDs that came into the recorded run from outside.
    inputs: BTreeSet<String>,
    made: Option<Regex>,
}

impl Runs {
    /// `given` is what the recorded run began with.
    pub(super) fn new(recorded_at: Timestamp, given: &Value, exchanges: &[Exchange]) -> Self {
        let made = Regex::new(concat!(
            r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
            r"|\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?",
            r"|\d{13}|\d{10}"
        ));
        let mut this = Self {
            recorded_at,
            now: Timestamp::now(),
            inputs: BTreeSet::new(),
            made: made.ok(),
        };
        this.inputs = this.inputs_of(given, exchanges);
        this
    }

    /// Many APIs return what they were sent, so a UUID that is in a request first is the component's.
    fn inputs_of(&self, given: &Value, exchanges: &[Exchange]) -> BTreeSet<String> {
        let mut inputs = self.found_in(&given.to_string());
        let mut own = BTreeSet::new();
        for Exchange { request, response } in exchanges {
            let sent = format!("{} {}", request.url, request.body.value());
            let sent = self.found_in(&sent).into_iter();
            own.extend(sent.filter(|id| !inputs.contains(id)));
            let got = self
                .found_in(&response.body.value().to_string())
                .into_iter();
            inputs.extend(got.filter(|id| !own.contains(id)));
        }
        inputs
    }

    fn found_in(&self, text: &str) -> BTreeSet<String> {
        let found = self.made.iter().flat_map(|made| made.find_iter(text));
        found.map(|found| found.as_str().to_owned()).collect()
    }

    /// How much later this run is than the recorded one.
    pub(super) fn seconds_between(&self) -> i64 {
        self.now.as_second() - self.recorded_at.as_second()
    }

    pub(super) fn same(&self, recorded: &Value, now: &Value) -> bool {
        let mut found = Vec::new();
        self.compare("", recorded, now, &mut found);
        found.is_empty()
    }

    /// Adds each difference, with its place below `place`.
    pub(super) fn compare(
        &self,
        place: &str,
        recorded: &Value,
        now: &Value,
        found: &mut Vec<String>,
    ) {
        match (recorded, now) {
            (Value::Object(a), Value::Object(b)) => {
                let names = a
                    .keys()
                    .chain(b.keys().filter(|name| !a.contains_key(*name)));
                for name in names {
                    let place = format!("{place}/{name}");
                    match (a.get(name), b.get(name)) {
                        (Some(a), Some(b)) => self.compare(&place, a, b, found),
                        (Some(a), None) => {
                            found.push(format!("{place}: recorded {}, now missing", shown(a)));
                        }
                        (None, b) => {
                            let b = b.map(shown).unwrap_or_default();
                            found.push(format!("{place}: not recorded, now {b}"));
                        }
                    }
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (at, (a, b)) in a.iter().zip(b).enumerate() {
                    self.compare(&format!("{place}/{at}"), a, b, found);
                }
            }
            (Value::String(a), Value::String(b)) if self.same_text(a, b) => {}
            (Value::Number(a), Value::Number(b))
                if self.same_text(&a.to_string(), &b.to_string()) => {}
            (a, b) if a == b => {}
            (a, b) => found.push(format!("{place}: recorded {}, now {}", shown(a), shown(b))),
        }
    }

    /// Whether two texts are equal but for what each run makes itself.
    pub(super) fn same_text(&self, recorded: &str, now: &str) -> bool {
        if recorded == now {
            return true;
        }
        let Some(made) = &self.made else { return false };
        let (a, b) = (pieces(made, recorded), pieces(made, now));
        a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| self.same_piece(a, b))
    }

    fn same_piece(&self, recorded: &Piece<'_>, now: &Piece<'_>) -> bool {
        match (recorded, now) {
            (Piece::Other(a), Piece::Other(b)) => a == b,
            (Piece::Made(a), Piece::Made(b)) => a == b || self.same_made(a, b),
            _ => false,
        }
    }

    fn same_made(&self, recorded: &str, now: &str) -> bool {
        match (time(recorded), time(now)) {
            (Some(a), Some(b)) => {
                let (a, b) = (a - self.recorded_at.as_second(), b - self.now.as_second());
                (a - b).abs() <= TOLERANCE
            }
            (None, None) => recorded.len() == now.len() && !self.inputs.contains(recorded),
            _ => false,
        }
    }
}

/// A part of a text.
enum Piece<'a> {
    Other(&'a str),
    /// What looks like a UUID or a time.
    Made(&'a str),
}

fn pieces<'a>(made: &Regex, text: &'a str) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut end = 0;
    for found in made
        .find_iter(text)
        .filter(|found| stands_alone(text, found))
    {
        pieces.push(Piece::Other(&text[end..found.start()]));
        pieces.push(Piece::Made(found.as_str()));
        end = found.end();
    }
    pieces.push(Piece::Other(&text[end..]));
    pieces
}

/// Ten digits of a longer number are no time.
fn stands_alone(text: &str, found: &Match<'_>) -> bool {
    let is_digit = |c: char| c.is_ascii_digit();
    !text[..found.start()].ends_with(is_digit) && !text[found.end()..].starts_with(is_digit)
}

/// The seconds since 1970 of a time in text, or of an epoch in seconds or milliseconds.
fn time(text: &str) -> Option<i64> {
    match (text.len(), text.parse::<i64>()) {
        (10, Ok(seconds)) => Some(seconds),
        (13, Ok(milliseconds)) => Some(milliseconds / 1000),
        _ if text.contains('T') => parse_time(text).map(Timestamp::as_second),
        _ => None,
    }
}

pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const IDS: [&str; 2] = [
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    ];

    fn differences(inputs: &str, recorded: Value, now: Value) -> Vec<String> {
        let recorded_at = Timestamp::now() - sailor::jiff::SignedDuration::from_hours(24 * 30);
        let mut found = Vec::new();
        Runs::new(recorded_at, &inputs.into(), &[]).compare("", &recorded, &now, &mut found);
        found
    }

    #[test]
    fn differences_have_their_place() {
        let recorded = json!({"a": [1, {"b": "x"}], "gone": 1, "same": null});
        let now = json!({"a": [1, {"b": "y"}], "new": [2], "same": null});
        assert_eq!(
            differences("", recorded, now),
            [
                "/a/1/b: recorded \"x\", now \"y\"",
                "/gone: recorded 1, now missing",
                "/new: not recorded, now [2]",
            ]
        );
        let lengths = differences("", json!([1]), json!([1, 2]));
        assert_eq!(lengths, [": recorded [1], now [1,2]"]);
    }

    #[test]
    fn a_uuid_counts_unless_the_run_made_it() {
        let [a, b] = IDS.map(|id| json!(format!("urn:{id}")));
        assert_eq!(differences("", a.clone(), b.clone()), [""; 0]);
        assert_eq!(differences(IDS[0], a.clone(), b).len(), 1);
        assert_eq!(differences("", a, json!("urn:none")).len(), 1);
    }

    #[test]
    fn a_time_counts_by_its_distance_from_the_run() {
        let now = Timestamp::now();
        let day = sailor::jiff::SignedDuration::from_hours(24);
        let then = now - day * 30;
        for (recorded, now, same) in [
            (json!(then.to_string()), json!(now.to_string()), true),
            (
                json!((then + day).to_string()),
                json!((now + day).to_string()),
                true,
            ),
            (json!(then.as_second()), json!(now.as_second()), true),
            (
                json!(then.as_millisecond()),
                json!(now.as_millisecond()),
                true,
            ),
            (
                json!((then + day).to_string()),
                json!(now.to_string()),
                false,
            ),
            (
                json!("2024-01-31T08:00:00Z"),
                json!("2024-01-31T09:00:00Z"),
                false,
            ),
            (json!(12_345_678_901_u64), json!(12_345_678_902_u64), false),
            (json!(1), json!(2), false),
        ] {
            let found = differences("", recorded.clone(), now.clone());
            assert_eq!(found.is_empty(), same, "{recorded} {now}");
        }
    }
}
