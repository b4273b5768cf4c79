//! The step's fields as the platform's UI sends them: a box that is ticked says `"on"`, numbers and lists may be text, and
//! what is left empty may be an empty text (wire-contract: Fields).
//!
//! For configurations, with serde:
//!
//! ```
//! use sailor::fields;
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! #[serde(rename_all = "camelCase")]
//! struct Config {
//!     #[serde(default, deserialize_with = "fields::text")]
//!     folder: Option<String>,
//!     #[serde(default, deserialize_with = "fields::count")]
//!     page_size: Option<usize>,
//!     #[serde(default, deserialize_with = "fields::checked")]
//!     only_unread: bool,
//! }
//!
//! let sent = r#"{"folder": "", "pageSize": "50", "onlyUnread": "on"}"#;
//! let config: Config = serde_json::from_str(sent)?;
//! assert_eq!((config.folder, config.page_size, config.only_unread), (None, Some(50), true));
//! # Ok::<(), serde_json::Error>(())
//! ```

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};
use serde_json::Value;

/// A CheckBoxView: true when it is ticked.
///
/// # Errors
/// When it is neither `"on"`, `"off"` nor another way to write yes and no.
pub fn checked<'de, D: Deserializer<'de>>(field: D) -> Result<bool, D::Error> {
    flag(field).map(|flag| flag.unwrap_or(false))
}

/// Yes or no; none when nothing was said.
///
/// # Errors
/// As [`checked`].
pub fn flag<'de, D: Deserializer<'de>>(field: D) -> Result<Option<bool>, D::Error> {
    let wrong = || D::Error::custom("not usable, expected true or false");
    match Value::deserialize(field)? {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(flag)),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "" => Ok(None),
            "on" | "true" | "yes" => Ok(Some(true)),
            "off" | "false" | "no" => Ok(Some(false)),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// A text without spaces around it; none when there is nothing else.
///
/// # Errors
/// When it is no text.
pub fn text<'de, D: Deserializer<'de>>(field: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(field)?
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty()))
}

/// A number from 0 on, or its text; none when nothing was entered.
///
/// # Errors
/// When it is no such number, or too large for `T`.
pub fn count<'de, D: Deserializer<'de>, T: TryFrom<u64>>(field: D) -> Result<Option<T>, D::Error> {
    let number = match Value::deserialize(field)? {
        Value::Null => return Ok(None),
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_u64(),
    };
    let number = number.and_then(|number| T::try_from(number).ok());
    number
        .map(Some)
        .ok_or_else(|| D::Error::custom("not such a number, expected a whole number from 0 on"))
}

/// A SelectView: one of several choices; the default where none is made.
///
/// # Errors
/// When it is none of the choices.
pub fn choice<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    field: D,
) -> Result<T, D::Error> {
    match Value::deserialize(field)? {
        Value::Null => Ok(T::default()),
        Value::String(text) if text.trim().is_empty() => Ok(T::default()),
        chosen => serde_json::from_value(chosen).map_err(D::Error::custom),
    }
}

/// A MultiSelectView, or texts with commas between them; what is empty is left out.
///
/// # Errors
/// When it is neither a list of texts nor a text.
pub fn list<'de, D: Deserializer<'de>>(field: D) -> Result<Vec<String>, D::Error> {
    let texts: Vec<String> = match Value::deserialize(field)? {
        Value::Null => vec![],
        Value::String(text) => text.split(',').map(str::to_owned).collect(),
        list => serde_json::from_value(list)
            .map_err(|_| D::Error::custom("not a list, expected a list of texts"))?,
    };
    Ok(texts
        .iter()
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Error, json};

    fn table<T: std::fmt::Debug + PartialEq>(
        read: impl Fn(Value) -> Result<T, Error>,
        good: impl IntoIterator<Item = (Value, T)>,
        bad: impl IntoIterator<Item = Value>,
    ) {
        for (field, expected) in good {
            assert_eq!(read(field.clone()).ok(), Some(expected), "{field}");
        }
        for field in bad {
            let error = read(field.clone())
                .expect_err(&field.to_string())
                .to_string();
            assert!(error.contains("expected"), "{field}: {error}");
        }
    }

    #[test]
    fn check_boxes_and_flags_are_read_or_rejected() {
        let good = [
            (json!("on"), Some(true)),
            (json!(" TRUE "), Some(true)),
            (json!(true), Some(true)),
            (json!("yes"), Some(true)),
            (json!("off"), Some(false)),
            (json!(false), Some(false)),
            (json!("no"), Some(false)),
            (json!(""), None),
            (Value::Null, None),
        ];
        let bad = [json!("maybe"), json!(1), json!([]), json!({})];
        table(flag, good.clone(), bad.clone());
        table(
            checked,
            good.map(|(field, flag)| (field, flag.unwrap_or(false))),
            bad,
        );
    }

    #[test]
    fn numbers_and_numeric_texts_are_read_or_rejected() {
        let good = [
            (json!(7), Some(7)),
            (json!(" 7 "), Some(7)),
            (json!(0), Some(0)),
            (json!(""), None),
            (json!(null), None),
        ];
        table(
            count::<_, u8>,
            good,
            [
                json!(-1),
                json!(256),
                json!("7.5"),
                json!(7.5),
                json!("many"),
                json!(true),
                json!([7]),
            ],
        );
    }

    #[test]
    fn empty_texts_and_list_items_are_dropped() {
        table(
            text,
            [
                (json!(" a b "), Some("a b".to_owned())),
                (json!("  "), None),
                (Value::Null, None),
            ],
            [json!(7), json!(["a"])],
        );
        let list_of = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        table(
            list,
            [
                (json!(["a", " b ", ""]), list_of(&["a", "b"])),
                (json!("a, b,,"), list_of(&["a", "b"])),
                (json!(""), vec![]),
                (Value::Null, vec![]),
            ],
            [json!(7), json!([7]), json!({"a": "b"})],
        );
    }

    #[test]
    fn a_choice_is_one_of_the_options_or_the_default() {
        #[derive(Debug, Default, Deserialize, PartialEq)]
        #[serde(rename_all = "camelCase")]
        enum Kind {
            #[default]
            First,
            Second,
        }
        let good = [
            (json!("second"), Kind::Second),
            (json!(""), Kind::First),
            (Value::Null, Kind::First),
        ];
        table(choice::<_, Kind>, good, [json!("third"), json!(2)]);
    }
}
