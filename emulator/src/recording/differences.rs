//! Compares values of two runs, and tells where they differ.
//!
//! Two things differ by nature and count as equal: UUIDs that a run makes itself, and times that are as far from the moment of
//! their run, such as the end of a new token. What comes from the message, the configuration, the snapshot or a response is the
//! same in both runs, so it is compared as it is. A number that comes from there is one of these too.

use super::Exchange;
use http_double::percent_decoded;
use regex_lite::{Match, Regex};
use sailor::{http::parse_time, jiff::Timestamp};
use serde_json::Value;
use std::collections::BTreeSet;

/// How far from each other two times may be, each from the moment of its run: seconds.
const TOLERANCE: i64 = 3600;
/// How far from its run a number may be to be a time, and not just a number with as many digits: seconds.
const TIMES: i64 = 10 * 366 * 86_400;
/// Texts in a difference are cut to this length.
const SHOWN: usize = 200;

/// What is known of the two runs.
pub(super) struct Runs {
    recorded_at: Timestamp,
    now: Timestamp,
    /// The UUIDs, times and numbers that came into the recorded run from outside.
    inputs: BTreeSet<String>,
    /// The times in what the recorded run began with: a component may write one in another form.
    given: BTreeSet<Timestamp>,
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
            given: BTreeSet::new(),
            made: made.ok(),
        };
        this.inputs = this.found_in(&given.to_string());
        this.given = this.inputs.iter().filter_map(|text| time(text)).collect();
        this.add_exchanges(exchanges);
        this
    }

    /// Many APIs return what they were sent, so what is in a request first is the component's.
    fn add_exchanges(&mut self, exchanges: &[Exchange]) {
        let mut own = BTreeSet::new();
        for Exchange { request, response } in exchanges {
            let sent = percent_decoded(&request.url);
            let sent = format!("{sent} {} {:?}", request.body.value(), request.headers);
            let sent = self.found_in(&sent).into_iter();
            own.extend(sent.filter(|text| !self.inputs.contains(text)));
            let got = format!("{} {:?}", response.body.value(), response.headers);
            let got = self.found_in(&got).into_iter();
            self.inputs.extend(got.filter(|text| !own.contains(text)));
        }
    }

    fn found_in(&self, text: &str) -> BTreeSet<String> {
        let pieces = self.made.iter().flat_map(|made| pieces(made, text));
        let found = pieces.filter_map(|piece| match piece {
            Piece::Made(text) => Some(text.to_owned()),
            Piece::Other(_) => None,
        });
        found.collect()
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
        if self.is_input(recorded) || self.is_input(now) {
            return false;
        }
        match (time(recorded), time(now)) {
            (Some(a), Some(b)) => {
                let a = seconds(a) - seconds(self.recorded_at);
                let b = seconds(b) - seconds(self.now);
                let is_same_form = match (is_number(recorded), is_number(now)) {
                    (true, true) => {
                        recorded.len() == now.len() && a.abs() <= TIMES && b.abs() <= TIMES
                    }
                    (a, b) => a == b,
                };
                is_same_form && (a - b).abs() <= TOLERANCE
            }
            (None, None) => recorded.len() == now.len(),
            _ => false,
        }
    }

    /// Whether this came into the recorded run from outside.
    fn is_input(&self, text: &str) -> bool {
        self.inputs.contains(text) || time(text).is_some_and(|time| self.given.contains(&time))
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

/// A time in text, or as seconds or milliseconds since 1970.
fn time(text: &str) -> Option<Timestamp> {
    match (text.len(), text.parse::<i64>()) {
        (10, Ok(seconds)) => Timestamp::from_second(seconds).ok(),
        (13, Ok(milliseconds)) => Timestamp::from_millisecond(milliseconds).ok(),
        _ if text.contains('T') => parse_time(text),
        _ => None,
    }
}

fn seconds(time: Timestamp) -> i64 {
    time.as_second()
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
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

    /// Also within the hour after a recording, in which any two times are as far from their runs.
    #[test]
    fn what_comes_from_outside_must_be_the_same() {
        let recorded_at = Timestamp::now();
        let exchange = serde_json::from_value(json!({
            "request": {
                "method": "POST", "url": "http://a.test/?since=2024-03-01T08%3A00%3A00Z", "headers": {"x-id": [IDS[1]]},
            },
            "response": {
                "status": 200, "headers": {"x-order": ["1700000050"]},
                "body": {"json": {"id": IDS[0], "echo": IDS[1], "since": "2024-03-01T08:00:00Z", "number": 1_700_000_100}},
            },
        }));
        let given = json!({"order": 4_711_000_123_u64, "due": "2024-01-31T08:00:00Z"});
        let runs = Runs::new(recorded_at, &given, &[exchange.unwrap()]);
        let ms = recorded_at.as_millisecond();
        for (recorded, now, same) in [
            // From the message: as it is, and in other forms.
            (json!(4_711_000_123_u64), json!(4_711_000_124_u64), false),
            (
                json!("2024-01-31T08:00:00Z"),
                json!("2024-01-31T08:30:00Z"),
                false,
            ),
            (json!(1_706_688_000), json!(1_706_689_000), false),
            (
                json!("2024-01-31T09:00:00.000+01:00"),
                json!("2024-01-31T09:10:00.000+01:00"),
                false,
            ),
            // From a response.
            (json!(1_700_000_100), json!(1_700_000_101), false),
            (json!("1700000050"), json!("1700000051"), false),
            (
                json!(IDS[0]),
                json!("00000000-0000-0000-0000-000000000001"),
                false,
            ),
            // To it.
            (json!(ms), json!(1_706_688_000_000_i64), false),
            // A number that is no time of a run.
            (json!(4_711_000_999_u64), json!(4_711_000_998_u64), false),
            (json!(ms / 1000), json!(ms), false),
            // What the component made.
            (json!(ms), json!(ms + 5), true),
            (
                json!("2024-03-01T08:00:00Z"),
                json!("2024-03-01T08:00:01Z"),
                true,
            ),
            (
                json!(IDS[1]),
                json!("00000000-0000-0000-0000-000000000001"),
                true,
            ),
        ] {
            assert_eq!(runs.same(&recorded, &now), same, "{recorded} {now}");
        }
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
