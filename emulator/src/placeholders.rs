//! Placeholders in the files of the command line, such as `{{PROVIDER_URL}}`.

use crate::{input::InputError, platform::Platform, provider::Provider, standins::RunningStandin};
use serde_json::Value;
use strsim::levenshtein;

/// Names and what they stand for.
const KNOWN: [(&str, &str); 5] = [
    ("EMULATOR_URL", "the platform's base address"),
    ("PROVIDER_URL", "the OAuth2 provider's base address"),
    (STANDIN, "the base address of the stand-in for an API"),
    (TOKENS, "the provider's response to an authorization"),
    (EXPIRED_TOKENS, "the same with an expired access token"),
];

const STANDIN: &str = "STANDIN_URL";
/// The provider's response to an authorization, as a component stores it.
const TOKENS: &str = "PROVIDER_TOKENS";
/// The same, with an expired access token.
const EXPIRED_TOKENS: &str = "PROVIDER_EXPIRED_TOKENS";

/// In how many characters a mistyped name differs at most.
const MAX_TYPOS: usize = 3;

/// What placeholders stand for.
pub(crate) struct Placeholders<'a> {
    pub(crate) platform: &'a Platform,
    pub(crate) provider: &'a Provider,
    pub(crate) standin: Option<&'a RunningStandin>,
    /// Whether `{{…}}` is left as it is.
    pub(crate) off: bool,
}

impl Placeholders<'_> {
    /// Replaces the placeholders in a value: addresses anywhere in a text, tokens where they are the whole text. `what` is
    /// the value, for errors.
    ///
    /// A text in double braces that looks like a placeholder, but is none, is an error. Any other one is part of the data.
    pub(crate) fn fill_in(&self, what: &str, value: &mut Value) -> Result<(), InputError> {
        match value {
            _ if self.off => Ok(()),
            Value::String(text) if text.contains("{{") => {
                *value = self.filled(what, text)?;
                Ok(())
            }
            Value::Array(values) => values.iter_mut().try_for_each(|v| self.fill_in(what, v)),
            Value::Object(members) => members
                .values_mut()
                .try_for_each(|value| self.fill_in(what, value)),
            _ => Ok(()),
        }
    }

    fn filled(&self, what: &str, text: &str) -> Result<Value, InputError> {
        let whole = text.strip_prefix("{{").and_then(|t| t.strip_suffix("}}"));
        match whole.map(str::trim) {
            Some(TOKENS) => return Ok(self.provider.issue().into()),
            Some(EXPIRED_TOKENS) => return Ok(self.provider.issue_expired().into()),
            _ => {}
        }
        let mut parts = text.split("{{");
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let replaced = part
                .split_once("}}")
                .map(|(name, rest)| Ok((self.address(what, name)?, rest)));
            match replaced.transpose()? {
                Some((Some(address), rest)) => filled += &(address + rest),
                _ => filled += &format!("{{{{{part}"),
            }
        }
        Ok(filled.into())
    }

    /// The address that a placeholder stands for; nothing if it is none.
    fn address(&self, what: &str, name: &str) -> Result<Option<String>, InputError> {
        match name.trim() {
            "EMULATOR_URL" => return Ok(Some(self.platform.url())),
            "PROVIDER_URL" => return Ok(Some(self.provider.url())),
            STANDIN => {
                if let Some(standin) = self.standin {
                    return Ok(Some(standin.url()));
                }
            }
            _ if !looks_like_one(name) => return Ok(None),
            _ => {}
        }
        let why = match name.trim() {
            STANDIN => "there is a stand-in only with --standin".to_owned(),
            TOKENS | EXPIRED_TOKENS => {
                "it becomes an object, so it must be the whole text".to_owned()
            }
            _ => {
                let known = KNOWN.map(|(name, meaning)| format!("{{{{{name}}}}} ({meaning})"));
                format!(
                    "there are {}. If the data has such texts, use --no-placeholders",
                    known.join(", ")
                )
            }
        };
        Err(InputError::new(format!(
            "{what} has {{{{{name}}}}}, which stands for nothing: {why}"
        )))
    }
}

/// Whether a text in double braces is probably meant as a placeholder: nearly the name of one, or capital letters with
/// underscores. A text such as `{{firstName}}` is a template of somebody else.
fn looks_like_one(name: &str) -> bool {
    let name = name.trim();
    let is_capital = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    let plain = name.to_ascii_uppercase().replace(['-', ' '], "_");
    let is_near = |known: &str| levenshtein(&plain, known) <= MAX_TYPOS;
    name.contains('_') && name.bytes().all(is_capital)
        || KNOWN.iter().any(|(known, _)| is_near(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{platform::PlatformConfig, provider::ProviderConfig};
    use serde_json::json;

    async fn services() -> (Platform, Provider) {
        let platform = Platform::start(PlatformConfig::default()).await.unwrap();
        let provider = Provider::start(ProviderConfig::default()).await.unwrap();
        (platform, provider)
    }

    fn places<'a>((platform, provider): &'a (Platform, Provider), off: bool) -> Placeholders<'a> {
        Placeholders {
            platform,
            provider,
            standin: None,
            off,
        }
    }

    #[tokio::test]
    async fn placeholders_are_replaced_at_any_depth_and_other_braces_stay() {
        let services = services().await;
        let (platform, provider) = (services.0.url(), services.1.url());
        let mut value = json!({
            "a": ["{{EMULATOR_URL}}/x?y={{ PROVIDER_URL }}", 7],
            "mail": "Dear {{firstName}}, {{ name }} {{#each x}} {{A}} {{standing_order}} {{ {{EMULATOR_URL}} }} {{",
            "tokens": { "oauth": "{{PROVIDER_TOKENS}}" },
        });
        places(&services, false).fill_in("x", &mut value).unwrap();
        assert_eq!(value["a"], json!([format!("{platform}/x?y={provider}"), 7]));
        let mail = format!(
            "Dear {{{{firstName}}}}, {{{{ name }}}} {{{{#each x}}}} {{{{A}}}} {{{{standing_order}}}} {{{{ {platform} }}}} {{{{"
        );
        assert_eq!(value["mail"], mail);
        assert!(value["tokens"]["oauth"]["access_token"].is_string());
    }

    #[tokio::test]
    async fn a_mistyped_placeholder_is_an_error_that_names_it() {
        let services = services().await;
        for text in [
            "{{PROVIDER_TOKEN}}",
            "{{PROVIDR_URL}}/a",
            "a {{provider_url}}",
            "{{EMULATOR-URL}}",
            "{{EmulatrUrls}}",
            "{{EMULATR_URLS}}",
            "{{ACME_CLIENT_ID}}",
            "{{STANDIN_URL}}",
            "Bearer {{PROVIDER_TOKENS}}",
        ] {
            let mut value = json!({ "a": [text] });
            let error = places(&services, false).fill_in("the message file", &mut value);
            let error = error.unwrap_err().to_string();
            let name = text
                .split(['{', '}'])
                .find(|part| part.contains(['_', '-']) || part.len() > 10);
            assert!(
                error.starts_with("the message file has {{") && error.contains(name.unwrap()),
                "{text}: {error}"
            );
            let unchanged = value.clone();
            places(&services, true).fill_in("x", &mut value).unwrap();
            assert_eq!(value, unchanged);
        }
    }
}
