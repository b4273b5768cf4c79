//! What each run makes itself: how it is found in a text, and which time it is.

use http_double::percent_decoded;
use regex_lite::{Captures, Match, Regex};
use sailor::{http::parse_time, jiff::Timestamp};
use std::{collections::BTreeSet, sync::LazyLock};

/// What a run makes itself, also where an address or a form has it: UUIDs, the placeholders of secrets, dates with and without time,
/// dates of HTTP, and seconds and milliseconds since 1970.
static MADE: LazyLock<Regex> = LazyLock::new(|| {
    let colon = "(?::|%3[Aa])";
    let blank = r"(?: |\+|%20)";
    let clock = r"\d\d{colon}\d\d(?:{colon}\d\d(?:\.\d+)?)?";
    let zone = r"(?:Z|{blank}?(?:[+-]|%2[Bb])\d\d{colon}?\d\d|{blank}(?:UTC|GMT))";
    let all = [
        r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
        r"secret-\d+",
        r"\d{4}-\d\d-\d\d(?:(?:T|{blank}){clock}{zone}?)?",
        r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)(?:,|%2[Cc]){blank}\d\d?{blank}[A-Z][a-z][a-z]{blank}\d{4}{blank}{clock}{zone}",
        r"(?:\d{13}|\d{10})(?:\.\d+)?",
    ];
    // Before it there may be another encoded character.
    let text = format!("(?i:%[0-9a-f]{{2}})?({})", all.join("|"));
    let text = text.replace("{zone}", zone).replace("{clock}", clock);
    let text = text.replace("{colon}", colon).replace("{blank}", blank);
    Regex::new(&text).expect("a regular expression")
});

/// In which form a time is written.
#[derive(PartialEq, Eq)]
pub(super) enum Form {
    Date,
    Text,
    /// With so many digits before the point.
    Number(usize),
}

impl Form {
    pub(super) fn of(text: &str) -> Self {
        let whole = text.split('.').next().unwrap_or_default();
        match text.len() {
            _ if whole.bytes().all(|byte| byte.is_ascii_digit()) => Self::Number(whole.len()),
            10 => Self::Date,
            _ => Self::Text,
        }
    }
}

/// What looks as if a run had made it. Ten digits of a longer number do not.
pub(super) fn made(text: &str) -> impl Iterator<Item = Match<'_>> {
    let is_digit = |c: char| c.is_ascii_digit();
    let found = MADE.captures_iter(text);
    found.filter_map(move |found: Captures<'_>| {
        let (whole, made) = (found.get(0)?, found.get(1)?);
        let is_alone = whole.start() < made.start() || !text[..made.start()].ends_with(is_digit);
        (is_alone && !text[made.end()..].starts_with(is_digit)).then_some(made)
    })
}

pub(super) fn found_in(text: &str) -> BTreeSet<String> {
    made(text).map(|found| plain(found.as_str())).collect()
}

/// A time as it is written outside of addresses and forms.
pub(super) fn plain(text: &str) -> String {
    let text = if text.contains('%') {
        percent_decoded(&text.replace('+', " "))
    } else {
        text.to_owned()
    };
    match text.as_bytes().get(10) {
        Some(b'+') => text.replacen('+', " ", 1),
        _ => text,
    }
}

pub(super) fn time(text: &str) -> Option<Timestamp> {
    parse_time(&plain(text)).filter(|_| !is_uuid(text))
}

pub(super) fn is_uuid(text: &str) -> bool {
    text.as_bytes().get(8) == Some(&b'-')
}
