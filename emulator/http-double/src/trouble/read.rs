//! The members of trouble that are checked when they are read.

use regex_lite::Regex;
use serde::{Deserialize, Deserializer, de::Error as _};
use std::{num::NonZeroU32, time::Duration};

pub(super) fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match Regex::new(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(D::Error::custom(format!(
            "{text:?} is not a regular expression: {error}"
        ))),
    }
}

pub(super) fn some_pattern<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    struct Pattern(#[serde(deserialize_with = "pattern")] String);
    Ok(Option::<Pattern>::deserialize(deserializer)?.map(|Pattern(text)| text))
}

pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| D::Error::custom(format!("{seconds} is not a number of seconds")))
}

pub(super) fn probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let probability = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&probability) {
        return Ok(probability);
    }
    Err(D::Error::custom(format!(
        "a probability must be from 0 to 1, not {probability}"
    )))
}

pub(super) fn every_one() -> NonZeroU32 {
    NonZeroU32::MIN
}

#[cfg(test)]
mod tests {
    use crate::Trouble;
    use serde_json::json;

    #[test]
    fn mistakes_in_a_file_are_named() {
        for (wrong, named) in [
            (json!({ "chunks": true }), "unknown field `chunks`"),
            (json!({ "random": { "sead": 1 } }), "unknown field `sead`"),
            (
                json!({ "calls": "(" }),
                r#""(" is not a regular expression"#,
            ),
            (
                json!({ "failing_calls": "[" }),
                r#""[" is not a regular expression"#,
            ),
            (
                json!({ "random": { "limit": 1.5 } }),
                "a probability must be from 0 to 1, not 1.5",
            ),
            (
                json!({ "slow_body": { "bytes": 1, "pause": -1 } }),
                "-1 is not a number of seconds",
            ),
            (json!({ "limit": { "every": 0 } }), "nonzero"),
            (json!({ "encoding": "utf-7" }), "unknown variant `utf-7`"),
        ] {
            let error = serde_json::from_value::<Trouble>(wrong).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
