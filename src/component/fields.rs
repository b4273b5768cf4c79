//! Reads the fields of a step as the platform's UI sends them: a ticked box is `"on"`, numbers and lists can be text, and an
//! empty field can be an empty text (wire-contract: Fields). The functions are for serde's `deserialize_with`; with
//! `default`, a missing field counts as an empty one.
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
use serde_json::{Number, Value};

/// Reads a CheckBoxView: true if it is ticked.
///
/// # Errors
/// Returns an error if the value is not a boolean and not one of `on`, `true`, `yes`, `off`, `false` and `no`.
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Config {
///     #[serde(default, deserialize_with = "sailor::fields::checked")]
///     value: bool,
/// }
/// let config: Config = serde_json::from_str(r#"{"value": "on"}"#)?;
/// assert_eq!(config.value, true);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn checked<'de, D: Deserializer<'de>>(field: D) -> Result<bool, D::Error> {
    flag(field).map(|flag| flag.unwrap_or(false))
}

/// Reads a choice of yes and no; `None` if nothing was chosen.
///
/// # Errors
/// Returns the same errors as [`checked`].
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Config {
///     #[serde(default, deserialize_with = "sailor::fields::flag")]
///     value: Option<bool>,
/// }
/// let config: Config = serde_json::from_str(r#"{"value": "no"}"#)?;
/// assert_eq!(config.value, Some(false));
/// # Ok::<(), serde_json::Error>(())
/// ```
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

/// Reads a text and trims it; `None` if it is empty.
///
/// # Errors
/// Returns an error if the value is not a text.
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Config {
///     #[serde(default, deserialize_with = "sailor::fields::text")]
///     value: Option<String>,
/// }
/// let config: Config = serde_json::from_str(r#"{"value": " Inbox "}"#)?;
/// assert_eq!(config.value, Some("Inbox".to_owned()));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn text<'de, D: Deserializer<'de>>(field: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(field)?
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty()))
}

/// Reads a non-negative whole number, as a number or as text; `None` if nothing was entered.
///
/// # Errors
/// Returns an error if the value is anything else, or is too large for `T`.
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Config {
///     #[serde(default, deserialize_with = "sailor::fields::count")]
///     value: Option<u32>,
/// }
/// let config: Config = serde_json::from_str(r#"{"value": "50"}"#)?;
/// assert_eq!(config.value, Some(50));
/// # Ok::<(), serde_json::Error>(())
/// ```
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
        .ok_or_else(|| D::Error::custom("not usable, expected a whole number of 0 or more"))
}

/// Reads a number of any kind, as a number or as text; `None` if nothing was entered.
///
/// # Errors
/// Returns an error if the value is anything else, or does not fit `T`.
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Config {
///     #[serde(default, deserialize_with = "sailor::fields::number")]
///     vat: Option<f64>,
/// }
/// let config: Config = serde_json::from_str(r#"{"vat": "0.2"}"#)?;
/// assert_eq!(config.vat, Some(0.2));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn number<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    field: D,
) -> Result<Option<T>, D::Error> {
    let number = match Value::deserialize(field)? {
        Value::Null => return Ok(None),
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => serde_json::from_str::<Number>(text.trim()).ok(),
        Value::Number(number) => Some(number),
        _ => None,
    };
    let number = number.and_then(|number| serde_json::from_value(number.into()).ok());
    number
        .map(Some)
        .ok_or_else(|| D::Error::custom("not usable, expected a number"))
}

/// Reads a SelectView: one of several choices, or the default if nothing was chosen.
///
/// # Errors
/// Returns an error if the value is not one of the choices.
///
/// ```
/// #[derive(Debug, Default, PartialEq, serde::Deserialize)]
/// #[serde(rename_all = "camelCase")]
/// enum Emit { #[default] Each, All }
/// #[derive(serde::Deserialize)]
/// struct Config {
///     #[serde(default, deserialize_with = "sailor::fields::choice")]
///     emit: Emit,
/// }
/// let config: Config = serde_json::from_str(r#"{"emit": ""}"#)?;
/// assert_eq!(config.emit, Emit::Each);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn choice<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    field: D,
) -> Result<T, D::Error> {
    match Value::deserialize(field)? {
        Value::Null => Ok(T::default()),
        Value::String(text) if text.trim().is_empty() => Ok(T::default()),
        chosen => serde_json::from_value(chosen).map_err(D::Error::custom),
    }
}

/// Reads a MultiSelectView, or a text with commas. Empty items are left out.
///
/// # Errors
/// Returns an error if the value is neither a list of texts nor a text.
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Config {
///     #[serde(default, deserialize_with = "sailor::fields::list")]
///     value: Vec<String>,
/// }
/// let config: Config = serde_json::from_str(r#"{"value": "to, cc,"}"#)?;
/// assert_eq!(config.value, ["to", "cc"]);
/// # Ok::<(), serde_json::Error>(())
/// ```
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
    fn numbers_of_any_kind_are_read_or_rejected() {
        let good = [
            (json!("1.5"), Some(1.5)),
            (json!(" -2 "), Some(-2.0)),
            (json!(3), Some(3.0)),
            (json!("1e3"), Some(1000.0)),
            (json!(" "), None),
            (Value::Null, None),
        ];
        let bad = [
            json!("1,5"),
            json!("x"),
            json!(true),
            json!([1]),
            json!("\"1\""),
        ];
        table(number::<_, f64>, good, bad);
        table(
            number::<_, i8>,
            [(json!("-5"), Some(-5))],
            [json!("1.5"), json!(200)],
        );
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
