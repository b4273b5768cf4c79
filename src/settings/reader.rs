//! Reads single variables and gathers what is wrong with them, so that all problems are reported at once.

use super::parse::{is_clear_flag, parse_flag, parse_int};
use reqwest::Url;
use secrecy::SecretString;
use std::{fmt, ops::RangeInclusive, time::Duration};

/// What every platform variable begins with.
pub(super) const PREFIX: &str = "ELASTICIO_";

/// One variable that has to be mended before the process can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidVariable {
    /// The full name, such as `ELASTICIO_FLOW_ID`.
    pub variable: String,
    /// What is wrong and what is expected. Values are never repeated: they may be secrets.
    pub fault: String,
}

/// All variables that are missing or wrong, in the order in which they are read; at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SettingsError(pub Vec<InvalidVariable>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "The environment variables that the platform sets for a step are not complete:",
        )?;
        for InvalidVariable { variable, fault } in &self.0 {
            write!(f, "\n  {variable} {fault}")?;
        }
        Ok(())
    }
}

/// Reads variables by `get`. Names are given without the prefix unless it says otherwise.
pub(super) struct Reader<G> {
    pub(super) get: G,
    pub(super) problems: Vec<InvalidVariable>,
    pub(super) warnings: Vec<String>,
}

impl<G: Fn(&str) -> Option<String>> Reader<G> {
    pub(super) fn new(get: G) -> Self {
        Self {
            get,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// A text; an empty one counts as not set.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        (self.get)(&full(name)).filter(|text| !text.is_empty())
    }

    /// A text that must be there; the empty text and a problem when it is not.
    pub(super) fn required(&mut self, name: &str) -> String {
        self.text(name).unwrap_or_else(|| {
            self.problem(name, "is missing or empty: it is required");
            String::new()
        })
    }

    pub(super) fn required_secret(&mut self, name: &str) -> SecretString {
        self.required(name).into()
    }

    /// An address that must be there, without slashes at its end.
    pub(super) fn required_http_address(&mut self, name: &str) -> String {
        let address = self.required(name);
        if !address.is_empty() && !is_http(&address) {
            self.problem(name, "is not an address: expected http://… or https://…");
        }
        without_slashes(&address)
    }

    /// What `read` makes of a variable that is set; none where it is not.
    pub(super) fn if_set<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self, &str) -> T,
    ) -> Option<T> {
        self.text(name).map(|_| read(self, name))
    }

    pub(super) fn problem(&mut self, name: &str, fault: &str) {
        self.problems.push(InvalidVariable {
            variable: full(name),
            fault: fault.to_owned(),
        });
    }

    pub(super) fn warning(&mut self, name: &str, remark: &str) {
        self.warnings.push(format!("{} {remark}", full(name)));
    }

    pub(super) fn flag(&mut self, name: &str) -> bool {
        let Some(text) = (self.get)(&full(name)) else {
            return false;
        };
        if !is_clear_flag(&text) {
            self.warning(
                name,
                "is read as true: only the empty text and exactly `false` are false",
            );
        }
        parse_flag(&text)
    }

    /// A number from 1 up; what is no such number counts as not set.
    pub(super) fn count(&mut self, name: &str, default: u32) -> u32 {
        self.number(&full(name))
            .map_or(default, |number| u32::try_from(number).unwrap_or(u32::MAX))
    }

    pub(super) fn millis(&mut self, name: &str, default: u32) -> Duration {
        Duration::from_millis(self.count(name, default).into())
    }

    /// A number by its full name, where only some make sense; any other counts as not set.
    pub(super) fn number_within(
        &mut self,
        variable: &str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        let Some(number) = self.number(variable) else {
            return default;
        };
        if range.contains(&number) {
            return number;
        }
        let (least, most) = range.into_inner();
        self.warnings.push(format!(
            "{variable} is not between {least} and {most}: the default is used"
        ));
        default
    }

    /// Reads a number by its full name; None when it is not set, not a number, zero or negative.
    pub(super) fn number(&mut self, variable: &str) -> Option<u64> {
        let text = (self.get)(variable).filter(|text| !text.is_empty())?;
        let parsed = parse_int(&text);
        let used = parsed
            .and_then(|number| u64::try_from(number.value).ok())
            .filter(|number| *number > 0);
        let remark = match (parsed, used) {
            (None, _) => "is not a number: the default is used".to_owned(),
            (Some(_), None) => "is not above zero: the default is used".to_owned(),
            (Some(number), Some(used)) if number.garbage => {
                format!("has more than digits in it: it is read as {used}")
            }
            _ => return used,
        };
        self.warnings.push(format!("{variable} {remark}"));
        used
    }
}

/// The variable's name as the process sees it.
pub(super) fn full(name: &str) -> String {
    format!("{PREFIX}{name}")
}

pub(super) fn is_http(address: &str) -> bool {
    Url::parse(address).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

pub(super) fn without_slashes(address: &str) -> String {
    address.trim_end_matches('/').to_owned()
}
