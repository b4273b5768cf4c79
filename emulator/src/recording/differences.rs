//! Compares values of two runs, and tells where they differ.
//!
//! Three things differ by nature and count as equal: UUIDs that a run makes itself, times that are as far from the moment of
//! their run, such as the end of a new token, and a secret that the component has from elsewhere. What comes from the message, the
//! configuration, the snapshot or a response is the same in both runs, so it is compared as it is. That also holds for a number
//! that looks like a time, and for the placeholder of a secret that is a number.

use super::{
    Exchange,
    made::{Form, found_in, is_uuid, made, plain, time},
};
use regex_lite::Match;
use sailor::jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How far from each other two times may be, each from the moment of its run: seconds.
const TOLERANCE: i64 = 3600;
/// The same for dates: a run can be at any time of its day.
const TOLERANCE_OF_DATES: i64 = 86_400 + TOLERANCE;
/// How far from its run a number may be to be a time, and not just a number with as many digits: seconds.
const TIMES: i64 = 10 * 366 * 86_400;
/// Texts in a difference are cut to this length.
const SHOWN: usize = 200;
/// How much of what is equal is shown before a difference.
const BEFORE: usize = 40;

/// What is known of the two runs.
pub(super) struct Runs {
    recorded_at: Timestamp,
    now: Timestamp,
    /// What came into the recorded run from outside, and looks as if the run had made it.
    inputs: BTreeSet<String>,
    /// The times in what the recorded run began with: a component may write one in another form.
    given: BTreeSet<Timestamp>,
}

impl Runs {
    /// `given` is what the recorded run began with.
    pub(super) fn new(recorded_at: Timestamp, given: &Value, exchanges: &[Exchange]) -> Self {
        let mut this = Self {
            recorded_at,
            now: Timestamp::now(),
            inputs: BTreeSet::new(),
            given: BTreeSet::new(),
        };
        this.inputs = found_in(&given.to_string());
        this.given = this.inputs.iter().filter_map(|text| time(text)).collect();
        this.add_exchanges(exchanges);
        this
    }

    /// Many APIs return what they were sent, so what is in a request first is the component's.
    fn add_exchanges(&mut self, exchanges: &[Exchange]) {
        let mut own = BTreeSet::new();
        for Exchange { request, response } in exchanges {
            let (url, body) = (&request.url, request.body.value());
            let sent = found_in(&format!("{url} {body} {:?}", request.headers)).into_iter();
            own.extend(sent.filter(|text| !self.inputs.contains(text)));
            let got = format!("{} {:?}", response.body.value(), response.headers);
            let got = found_in(&got).into_iter();
            self.inputs.extend(got.filter(|text| !own.contains(text)));
        }
    }

    /// How much later this run is than the recorded one.
    pub(super) fn seconds_between(&self) -> i64 {
        self.now.as_second() - self.recorded_at.as_second()
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
            (a, b) => {
                let (a, b) = shown_beside(a, b);
                let place = match place {
                    "" => String::new(),
                    place => format!("{place}: "),
                };
                found.push(format!("{place}recorded {a}, now {b}"));
            }
        }
    }

    /// Whether two texts are equal but for what each run makes itself.
    pub(super) fn same_text(&self, recorded: &str, now: &str) -> bool {
        recorded == now || self.fits(&self.pieces(recorded), now)
    }

    /// Whether a text has these pieces.
    fn fits(&self, pieces: &[Piece<'_>], now: &str) -> bool {
        let made: BTreeMap<_, _> = made(now).map(|found| (found.start(), found)).collect();
        // Where the pieces so far can end.
        let mut ends = BTreeSet::from([0]);
        for piece in pieces {
            let begins = ends.into_iter();
            ends = match piece {
                Piece::Other(text) => begins
                    .filter(|at| now[*at..].starts_with(text))
                    .map(|at| at + text.len())
                    .collect(),
                Piece::Made(text) => begins
                    .filter_map(|at| made.get(&at))
                    .filter(|found| self.same_made(text, found.as_str()))
                    .map(Match::end)
                    .collect(),
                Piece::Secret => {
                    let is_part = |c: &char| pieces.len() == 1 || !"&<>\r\n".contains(*c);
                    let mut ends = BTreeSet::new();
                    for at in begins {
                        let characters = now[at..].chars().take_while(is_part);
                        let lengths = characters.map(char::len_utf8);
                        let each = lengths.scan(at, |end, length| {
                            *end += length;
                            Some(*end)
                        });
                        // What follows a known end is known too.
                        each.take_while(|end| ends.insert(*end)).for_each(drop);
                    }
                    ends
                }
            };
        }
        ends.contains(&now.len())
    }

    fn pieces<'a>(&self, text: &'a str) -> Vec<Piece<'a>> {
        let (mut pieces, mut end) = (Vec::new(), 0);
        for found in made(text) {
            let piece = match found.as_str() {
                text if !text.starts_with("secret-") => Piece::Made(text),
                text if self.inputs.contains(text) => Piece::Other(text),
                _ => Piece::Secret,
            };
            pieces.extend([Piece::Other(&text[end..found.start()]), piece]);
            end = found.end();
        }
        pieces.push(Piece::Other(&text[end..]));
        pieces.retain(|piece| !matches!(piece, Piece::Other("")));
        pieces
    }

    fn same_made(&self, recorded: &str, now: &str) -> bool {
        if recorded == now {
            return true;
        }
        let is_input = self.is_input(recorded);
        let (Some(a), Some(b)) = (time(recorded), time(now)) else {
            let are_ids = is_uuid(recorded) && is_uuid(now);
            return are_ids && !is_input && !self.is_input(now);
        };
        let a = a.as_second() - self.recorded_at.as_second();
        let b = b.as_second() - self.now.as_second();
        let form = Form::of(recorded);
        let (tolerance, is_time) = match form {
            Form::Date => (TOLERANCE_OF_DATES, true),
            Form::Text => (TOLERANCE, true),
            Form::Number(_) => (TOLERANCE, a.abs() <= TIMES && b.abs() <= TIMES),
        };
        // A response can have the very time that the component makes. Then only the time's distance from its run tells whose it is;
        // it tells nothing about other times when the runs are close.
        let can_be_own = |distance: i64| {
            self.seconds_between().abs() > 2 * TOLERANCE_OF_DATES || distance.abs() <= tolerance
        };
        is_time
            && form == Form::of(now)
            && (a - b).abs() <= tolerance
            && (!is_input || can_be_own(a))
            && (!self.is_input(now) || can_be_own(b))
    }

    /// Whether this came into the recorded run from outside.
    fn is_input(&self, text: &str) -> bool {
        let text = plain(text);
        self.inputs.contains(&text) || time(&text).is_some_and(|time| self.given.contains(&time))
    }
}

/// A part of a recorded text.
enum Piece<'a> {
    Other(&'a str),
    /// What looks like a UUID or a time.
    Made(&'a str),
    /// The placeholder of a secret that did not come from outside: the component has the secret itself, and sends it.
    Secret,
}

pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Two values that differ. Of long ones, the part with the first difference is shown.
fn shown_beside(recorded: &Value, now: &Value) -> (String, String) {
    let (a, b) = (recorded.to_string(), now.to_string());
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    if same < SHOWN - BEFORE {
        return (shown(recorded), shown(now));
    }
    let part = |text: String| {
        let rest: String = text.chars().skip(same - BEFORE).take(SHOWN).collect();
        format!("…{rest}")
    };
    (part(a), part(b))
}

#[cfg(test)]
mod tests;
