//! One question to the provider, and which answers belong to it (RFC 6749 §4.1, RFC 7636, RFC 9207).

use crate::oauth2::ClientRegistration;
use base64_simd::URL_SAFE_NO_PAD as BASE64URL;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use uuid::Uuid;

/// So much of a provider's own words is shown.
const DESCRIPTION_LIMIT: usize = 200;

/// What was asked, and is to be known when the answer comes.
pub(super) struct Authorization {
    state: String,
    verifier: SecretString,
    redirect_uri: String,
    issuer: Issuer,
}

/// Who may answer.
enum Issuer {
    /// This one, who says so.
    Exactly(String),
    /// Whoever has the host of one of the endpoints; not every provider says who it is.
    Origins(Vec<String>),
}

/// What a provider answers.
pub(super) enum Answer {
    Code(SecretString),
    /// It, or the user, said no. The text is for people.
    Refused(String),
}

impl Authorization {
    pub(super) fn new(
        client: &ClientRegistration,
        redirect_uri: String,
        issuer: Option<String>,
    ) -> Self {
        let origin = |url: &Url| url.origin().ascii_serialization();
        let origins = || {
            client
                .auth_url
                .iter()
                .chain([&client.token_url])
                .map(origin)
                .collect()
        };
        Self {
            state: Uuid::new_v4().simple().to_string(),
            // 64 characters with 244 random bits.
            verifier: format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()).into(),
            redirect_uri,
            issuer: issuer.map_or_else(|| Issuer::Origins(origins()), Issuer::Exactly),
        }
    }

    pub(super) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    pub(super) fn verifier(&self) -> &str {
        self.verifier.expose_secret()
    }

    /// Where the user says yes. `page` may have a query of its own, which stays.
    pub(super) fn address(&self, client: &ClientRegistration, page: &Url) -> Url {
        let challenge = BASE64URL.encode_to_string(Sha256::digest(self.verifier().as_bytes()));
        let scope = client.scopes.join(" ");
        let ours = [
            ("response_type", "code"),
            ("client_id", &client.id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", &scope),
            ("state", &self.state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let mut parameters: BTreeMap<String, String> = page.query_pairs().into_owned().collect();
        parameters.extend(client.authorize_params.clone());
        let ours = ours.into_iter().filter(|(_, value)| !value.is_empty());
        parameters.extend(ours.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let mut address = page.clone();
        address.query_pairs_mut().clear().extend_pairs(parameters);
        address
    }

    /// What the browser brings. An error tells why that is no answer to this question, which is still open then.
    pub(super) fn judge(&self, callback: &Url) -> Result<Answer, &'static str> {
        let mut parameters = BTreeMap::new();
        for (name, value) in callback.query_pairs().into_owned() {
            if parameters.insert(name, value).is_some() {
                return Err("it says something twice");
            }
        }
        let get = |name: &str| {
            parameters
                .get(name)
                .map(String::as_str)
                .filter(|value| !value.is_empty())
        };
        if get("state") != Some(&self.state) {
            return Err("it belongs to another login (its state is not ours)");
        }
        if let Err(reason) = self.issuer.check(get("iss")) {
            return Ok(Answer::Refused(reason));
        }
        match (get("error"), get("code")) {
            (Some(error), _) => {
                let description = get("error_description")
                    .map(shown)
                    .filter(|text| !text.is_empty());
                let description = description
                    .map(|text| format!(" ({text})"))
                    .unwrap_or_default();
                Ok(Answer::Refused(format!(
                    "the provider did not agree: {}{description}",
                    shown(error)
                )))
            }
            (None, Some(code)) => Ok(Answer::Code(code.into())),
            (None, None) => Err("it has neither a code nor an error"),
        }
    }
}

impl Issuer {
    fn check(&self, said: Option<&str>) -> Result<(), String> {
        match (self, said) {
            (Self::Exactly(issuer), Some(said)) if issuer == said => Ok(()),
            (Self::Exactly(_), None) => {
                Err("the answer does not say who it is from; leave --issuer out if this provider never does".into())
            }
            (Self::Origins(_), None) => Ok(()),
            (Self::Origins(origins), Some(said)) if origin_of(said).is_some_and(|origin| origins.contains(&origin)) => {
                Ok(())
            }
            (_, Some(said)) => Err(format!(
                "the answer is from {}, who was not asked; if that is the provider all the same, say so with --issuer",
                shown(said)
            )),
        }
    }
}

fn origin_of(address: &str) -> Option<String> {
    Url::parse(address)
        .ok()
        .map(|url| url.origin().ascii_serialization())
}

/// A text of somebody else's as a terminal may show it: what RFC 6749 allows in it, and not too much of that.
fn shown(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .take(DESCRIPTION_LIMIT)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> ClientRegistration {
        ClientRegistration {
            id: "our id".into(),
            secret: Some("hidden".to_owned().into()),
            token_url: Url::parse("https://token.example.com/token").unwrap(),
            refresh_url: Url::parse("https://token.example.com/token").unwrap(),
            auth_url: Some(
                Url::parse("https://login.example.com/authorize?resource=a%20b&state=theirs")
                    .unwrap(),
            ),
            revoke_url: None,
            scopes: vec!["read".into(), "write".into()],
            authorize_params: BTreeMap::from([
                ("access_type".to_owned(), "offline".to_owned()),
                (
                    "redirect_uri".to_owned(),
                    "https://elsewhere.example.com".to_owned(),
                ),
            ]),
        }
    }

    fn authorization(issuer: Option<&str>) -> Authorization {
        Authorization::new(
            &client(),
            "http://127.0.0.1:5000/callback".into(),
            issuer.map(str::to_owned),
        )
    }

    /// What comes of a callback with the right state and `query`.
    fn outcome(asked: &Authorization, query: &str) -> String {
        let callback = format!("http://127.0.0.1/callback?state={}&{query}", asked.state);
        match asked.judge(&Url::parse(&callback).unwrap()) {
            Ok(Answer::Code(code)) => format!("code {}", code.expose_secret()),
            Ok(Answer::Refused(reason)) => format!("refused: {reason}"),
            Err(reason) => format!("stray: {reason}"),
        }
    }

    #[test]
    fn the_authorization_url_has_each_parameter_once() {
        let asked = authorization(None);
        let client = client();
        let address = asked.address(&client, client.auth_url.as_ref().unwrap());
        let pairs: Vec<_> = address.query_pairs().into_owned().collect();
        let parameters: BTreeMap<_, _> = pairs.iter().cloned().collect();
        assert_eq!(pairs.len(), parameters.len(), "{pairs:?}");
        let challenge = BASE64URL.encode_to_string(Sha256::digest(asked.verifier()));
        for (name, value) in [
            ("response_type", "code"),
            ("client_id", "our id"),
            ("redirect_uri", "http://127.0.0.1:5000/callback"),
            ("scope", "read write"),
            ("state", asked.state.as_str()),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("access_type", "offline"),
            ("resource", "a b"),
        ] {
            assert_eq!(
                parameters.get(name).map(String::as_str),
                Some(value),
                "{name}"
            );
        }
        assert_eq!(parameters.len(), 9);
        assert!(
            !address.as_str().contains(asked.verifier()) && !address.as_str().contains("hidden")
        );
    }

    #[test]
    fn each_login_has_its_own_long_state_and_verifier() {
        let (one, other) = (authorization(None), authorization(None));
        assert!(one.state != other.state && one.verifier() != other.verifier());
        assert!(
            (43..=128).contains(&one.verifier().len())
                && one.verifier().bytes().all(|b| b.is_ascii_alphanumeric())
        );
    }

    #[test]
    fn only_a_complete_callback_is_accepted() {
        let asked = authorization(None);
        for (query, expected) in [
            ("code=c%2F1", "code c/1"),
            (
                "error=access_denied",
                "refused: the provider did not agree: access_denied",
            ),
            (
                "error=access_denied&error_description=no%0A%1B%5B31mway%E2%80%AE",
                "refused: the provider did not agree: access_denied (no[31mway)",
            ),
            ("error=a&code=c", "refused: the provider did not agree: a"),
            ("code=", "stray: it has neither a code nor an error"),
            ("code=1&code=2", "stray: it says something twice"),
            ("state=other&code=1", "stray: it says something twice"),
        ] {
            assert_eq!(outcome(&asked, query), expected, "{query}");
        }
        for query in [
            "code=1",
            "state=&code=1",
            "state=other&code=1",
            "state=other&error=access_denied",
        ] {
            let callback = Url::parse(&format!("http://127.0.0.1/callback?{query}")).unwrap();
            assert!(
                asked
                    .judge(&callback)
                    .is_err_and(|reason| reason.contains("another login")),
                "{query}"
            );
        }
        let long = outcome(
            &asked,
            &format!("error=e&error_description={}", "x".repeat(5000)),
        );
        assert!(long.len() < 300, "{long}");
    }

    #[test]
    fn the_issuer_must_be_the_expected_one() {
        let exact = "https://login.example.com/tenant";
        for (wanted, said, good) in [
            (None, None, true),
            (None, Some("https://login.example.com"), true),
            (None, Some("https://token.example.com/some/path"), true),
            (None, Some("https://evil.example.com"), false),
            (None, Some("http://login.example.com"), false),
            (None, Some("nonsense"), false),
            (Some(exact), Some(exact), true),
            (Some(exact), Some("https://login.example.com"), false),
            (
                Some(exact),
                Some("https://login.example.com/tenant/"),
                false,
            ),
            (Some(exact), None, false),
        ] {
            let iss = said.map(|said| format!("&iss={said}")).unwrap_or_default();
            let outcome = outcome(&authorization(wanted), &format!("code=c{iss}"));
            assert_eq!(outcome == "code c", good, "{wanted:?} {said:?}: {outcome}");
            assert!(
                good || (outcome.starts_with("refused") && outcome.contains("--issuer")),
                "{outcome}"
            );
        }
    }
}
