//! Which values look like secrets, where a name leaves it open, and which are none under any name.

use sailor::http::parse_time;

/// Flags, and the names of ways to log in.
const WORDS: [&str; 20] = [
    "api_key", "apikey", "basic", "bearer", "digest", "false", "hmac", "jwt", "no", "noauth",
    "none", "ntlm", "null", "oauth", "oauth1", "oauth2", "off", "on", "true", "yes",
];
/// Generated keys have at least this many characters.
const LENGTH: usize = 16;
/// They have a run of at least this many letters and digits.
const RUN: usize = 12;

/// Whether a value looks like a generated key: 16 characters or more without blanks, with a run of 12 or more letters and digits in
/// which small letters, capitals and digits alternate as they do not in words. A UUID does not count: it names a thing more
/// often than it opens one, and a component makes a new one in each run.
pub(super) fn looks_generated(text: &str) -> bool {
    let is_plain = text.chars().all(|c| c.is_ascii_graphic());
    let mut runs = text.split(|c: char| !c.is_ascii_alphanumeric());
    text.len() >= LENGTH && is_plain && !is_uuid(text) && runs.any(is_random)
}

/// Whether a value is no secret under any name: a flag, the name of a way to log in, or a time of day with its date.
pub(super) fn is_plain(text: &str) -> bool {
    let is_time = || text.contains(':') && parse_time(text).is_some();
    WORDS.contains(&&*text.to_ascii_lowercase()) || is_time()
}

/// Whether the kind of character changes at least every fourth character, and it has a digit.
fn is_random(run: &str) -> bool {
    let kinds: Vec<Kind> = run.bytes().map(Kind::of).collect();
    let changes = kinds.windows(2).filter(|pair| pair[0] != pair[1]).count();
    run.len() >= RUN && kinds.contains(&Kind::Digit) && changes * 4 >= run.len()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Small,
    Capital,
    Digit,
}

impl Kind {
    fn of(byte: u8) -> Self {
        match byte {
            b'0'..=b'9' => Self::Digit,
            b'A'..=b'Z' => Self::Capital,
            _ => Self::Small,
        }
    }
}

fn is_uuid(text: &str) -> bool {
    uuid::Uuid::try_parse(text).is_ok() && text.contains('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_told_from_data() {
        for key in [
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLE1KEY",
            "9f86d081884c7d659a2feaa0c55ad015",
            "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
            "key-3ax6xnjp29jd6fds4gc373sgvjxteol0",
            "AIzaSyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe",
            "R03J8XKQ2M7VZT9B4W6NYCDHF5GLPSA1",
        ] {
            assert!(looks_generated(key), "{key}");
        }
        for data in [
            "PROJ-123",
            "ACME-PLATFORM-20241",
            "customerAccountNumber2",
            "reports/2024/01/summary-of-january.pdf",
            "checkout.step1.title.of.the.page",
            "0f8fad5b-d9cb-469f-a165-70867728950e",
            "2024-01-31T08:00:00Z",
            "12345678901234567890",
            "a key with 9 words a1b2c3d4e5f6g7h8",
            "agile_board_2024_quarter_three",
        ] {
            assert!(!looks_generated(data), "{data}");
        }
    }
    #[test]
    fn flags_schemes_and_times_are_plain() {
        for text in [
            "false",
            "Basic",
            "2026-01-31T08:00:00Z",
            "Sat, 31 Jan 2026 12:00:00 GMT",
        ] {
            assert!(is_plain(text), "{text}");
        }
        for text in ["basic1", "1234", "2026-01-31", "12:34", "1769860800"] {
            assert!(!is_plain(text), "{text}");
        }
    }
}
