//! Reads single variables, and collects all problems, so that they are reported together.

use super::{
    parse::{is_canonical_flag, parse_flag, parse_int},
    variable::Variable,
};
use reqwest::Url;
use secrecy::SecretString;
use std::{fmt, time::Duration};

/// The prefix of every platform variable.
pub(super) const PREFIX: &str = "ELASTICIO_";

/// A variable that has to be corrected before the process can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidVariable {
    /// The full name, such as `ELASTICIO_FLOW_ID`.
    pub variable: String,
    /// What is wrong and what is expected. It never contains the value, which may be a secret.
    pub reason: String,
}

/// All variables that are missing or invalid, in the order in which they are read. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SettingsError(pub Vec<InvalidVariable>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment variables of the platform are missing or invalid:")?;
        for InvalidVariable { variable, reason } in &self.0 {
            write!(f, "\n  {variable} {reason}")?;
        }
        Ok(())
    }
}

/// An error, if there is any problem.
pub(super) fn no_problems(problems: Vec<InvalidVariable>) -> Result<(), SettingsError> {
    if problems.is_empty() {
        Ok(())
    } else {
        Err(SettingsError(problems))
    }
}

/// Reads variables with the function `get`.
pub(super) struct EnvReader<G> {
    pub(super) get: G,
    pub(super) problems: Vec<InvalidVariable>,
    pub(super) warnings: Vec<String>,
}

impl<G: Fn(&str) -> Option<String>> EnvReader<G> {
    pub(super) fn new(get: G) -> Self {
        Self {
            get,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Reads a text. An empty one counts as not set.
    pub(super) fn text(&self, variable: &Variable) -> Option<String> {
        (self.get)(variable.name).filter(|text| !text.is_empty())
    }

    /// Reads a text that is required. If it is missing, returns the empty text and records a problem.
    pub(super) fn required(&mut self, variable: &Variable) -> String {
        self.text(variable).unwrap_or_else(|| {
            self.problem(variable, "is required, but it is missing or empty");
            String::new()
        })
    }

    pub(super) fn required_secret(&mut self, variable: &Variable) -> SecretString {
        self.required(variable).into()
    }

    /// Reads a URL that is required, and removes slashes at its end.
    pub(super) fn required_http_url(&mut self, variable: &Variable) -> String {
        let url = self.required(variable);
        if !url.is_empty() && !is_http(&url) {
            self.problem(variable, "must be a URL: http://… or https://…");
        }
        without_trailing_slashes(&url)
    }

    /// Reads a variable with `read` if it is set.
    pub(super) fn if_set<T>(
        &mut self,
        variable: &Variable,
        read: impl FnOnce(&mut Self, &Variable) -> T,
    ) -> Option<T> {
        self.text(variable).map(|_| read(self, variable))
    }

    pub(super) fn problem(&mut self, variable: &Variable, reason: &str) {
        self.problems.push(InvalidVariable {
            variable: variable.name.to_owned(),
            reason: reason.to_owned(),
        });
    }

    pub(super) fn warning(&mut self, variable: &Variable, text: &str) {
        self.warnings.push(format!("{} {text}", variable.name));
    }

    pub(super) fn flag(&mut self, variable: &Variable) -> bool {
        let Some(text) = (self.get)(variable.name) else {
            return false;
        };
        if !is_canonical_flag(&text) {
            self.warning(
                variable,
                "is read as true: only the empty text and exactly `false` are false",
            );
        }
        parse_flag(&text)
    }

    /// Reads a number of 1 or more. Any other text counts as not set, which means the variable's default.
    pub(super) fn count(&mut self, variable: &Variable) -> u32 {
        self.number(variable).map_or(variable.number(), |number| {
            u32::try_from(number).unwrap_or(u32::MAX)
        })
    }

    pub(super) fn millis(&mut self, variable: &Variable) -> Duration {
        Duration::from_millis(self.count(variable).into())
    }

    pub(super) fn seconds(&mut self, variable: &Variable) -> Duration {
        Duration::from_secs(self.count(variable).into())
    }

    /// Reads a number. `default` counts instead of none, and of one outside of the variable's range.
    pub(super) fn number_within(&mut self, variable: &Variable, default: u32) -> u64 {
        let Some(number) = self.number(variable) else {
            return default.into();
        };
        match variable.range {
            Some((least, most)) if !(least..=most).contains(&number) => {
                let text = format!("is not between {least} and {most}; using the default");
                self.warning(variable, &text);
                default.into()
            }
            _ => number,
        }
    }

    /// Reads a number. Returns `None` if it is not set, not a number, zero or negative.
    pub(super) fn number(&mut self, variable: &Variable) -> Option<u64> {
        let text = self.text(variable)?;
        let parsed = parse_int(&text);
        let used = parsed
            .and_then(|number| u64::try_from(number.value).ok())
            .filter(|number| *number > 0);
        let warning = match (parsed, used) {
            (None, _) => "is not a number; using the default".to_owned(),
            (Some(_), None) => "is not above zero; using the default".to_owned(),
            (Some(number), Some(used)) if number.has_trailing_text => {
                format!("contains more than digits; it is read as {used}")
            }
            _ => return used,
        };
        self.warning(variable, &warning);
        used
    }
}

pub(super) fn is_http(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

pub(super) fn without_trailing_slashes(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}
