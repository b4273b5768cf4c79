//! SOQL that no value can change: checked names, and texts and times as literals.

use jiff::{
    Timestamp,
    civil::Date,
    fmt::temporal::Pieces,
    tz::{Offset, TimeZone},
};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::fmt;

/// The API name of an object, a field or a relationship; for fields of parents with dots: `Account.Name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// None if the text is not a name.
    pub fn new(text: &str) -> Option<Self> {
        let is_name = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        text.split('.').all(is_name).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(text.trim()).ok_or_else(|| {
            D::Error::custom("not a name, expected an API name such as Account or Size__c")
        })
    }
}

/// A text as a literal: characters that could end it are escaped.
pub fn text(value: &str) -> String {
    let mut literal = String::with_capacity(value.len() + 2);
    literal.push('\'');
    for character in value.chars() {
        match character {
            '\\' => literal.push_str("\\\\"),
            '\'' => literal.push_str("\\'"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            '\u{8}' => literal.push_str("\\b"),
            '\u{c}' => literal.push_str("\\f"),
            character => literal.push(character),
        }
    }
    literal.push('\'');
    literal
}

/// An instant as a literal, with the offset that it is given with. A date means its start in UTC.
///
/// # Errors
/// Returns an error if the text is neither a date nor a time with an offset.
pub fn instant(text: &str) -> anyhow::Result<String> {
    literal(text.trim()).ok_or_else(|| {
        anyhow::anyhow!(
            "{:?} is not a time such as 2024-01-31T12:00:00Z or 2024-01-31T12:00:00.000+02:00",
            text.trim()
        )
    })
}

fn literal(text: &str) -> Option<String> {
    let pieces = Pieces::parse(text).ok()?;
    let offset = match (pieces.time(), pieces.to_numeric_offset()) {
        (Some(_), Some(offset)) => offset,
        (None, None) => Offset::UTC,
        _ => return None,
    };
    let local = pieces.date().to_datetime(pieces.time().unwrap_or_default());
    let local_text = local.strftime("%Y-%m-%dT%H:%M:%S%.3f");
    if offset == Offset::UTC {
        Some(format!("{local_text}Z"))
    } else {
        let zoned = local.to_zoned(TimeZone::fixed(offset)).ok()?;
        Some(zoned.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string())
    }
}

/// Whether a query is `SELECT COUNT() FROM …`, whose result has a number and no records.
pub fn is_count(soql: &str) -> bool {
    let words: String = soql
        .split_whitespace()
        .take(6)
        .collect::<Vec<_>>()
        .join(" ");
    let words = words.to_ascii_uppercase().replace(' ', "");
    words.starts_with("SELECTCOUNT()FROM")
}

/// A timestamp as a literal.
pub fn timestamp(timestamp: Timestamp) -> String {
    timestamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Whether it is a date such as 2024-01-31.
pub fn is_date(text: &str) -> bool {
    let date = Date::strptime("%Y-%m-%d", text);
    date.is_ok_and(|date| date.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads a text literal as Salesforce does: the text, and what comes after it.
    fn read(literal: &str) -> Option<(String, &str)> {
        let mut text = String::new();
        let mut rest = literal.strip_prefix('\'')?.chars();
        while let Some(character) = rest.next() {
            match character {
                '\'' => return Some((text, rest.as_str())),
                '\n' | '\r' => return None,
                '\\' => text.push(match rest.next()? {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    same @ ('\\' | '\'') => same,
                    _ => return None,
                }),
                character => text.push(character),
            }
        }
        None
    }

    proptest! {
        #[test]
        fn a_literal_of_any_text_reads_back_as_that_text(value in any::<String>()) {
            let literal = text(&value);
            prop_assert_eq!(read(&literal), Some((value.clone(), "")));
        }

        #[test]
        fn escape_sequences_do_not_end_a_literal(value in r#"['"\\\n\r\t)( =-]{0,12}"#) {
            let literal = text(&value);
            prop_assert_eq!(read(&literal), Some((value.clone(), "")));
        }

        #[test]
        fn a_name_has_only_letters_digits_underscores_and_dots(value in any::<String>()) {
            if let Some(name) = Name::new(&value) {
                let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
                prop_assert!(!name.as_str().is_empty() && name.as_str().bytes().all(is_part));
            }
        }
    }

    #[test]
    fn only_count_without_a_field_is_a_count() {
        for count in [
            "SELECT COUNT() FROM Account",
            " select\ncount ( )\tfrom Account WHERE Name != 'x'",
        ] {
            assert!(is_count(count), "{count}");
        }
        for other in [
            "",
            "SELECT COUNT(Id) FROM Account",
            "SELECT Count__c FROM Account",
            "SELECT Id, (SELECT Id FROM Contacts) FROM Account WHERE Name = 'SELECT COUNT() FROM'",
        ] {
            assert!(!is_count(other), "{other}");
        }
    }

    #[test]
    fn invalid_names_are_rejected() {
        for wrong in [
            "",
            " ",
            "Account WHERE",
            "1st",
            "Name'",
            "a..b",
            ".a",
            "a.",
            "Ünit",
            "a-b",
        ] {
            assert_eq!(Name::new(wrong), None, "{wrong}");
        }
        assert!(Name::new("Owner__r.Size__c").is_some());
    }
}
