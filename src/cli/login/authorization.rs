//! One authorization request, and which responses belong to it (RFC 6749 section 4.1, RFC 7636, RFC 9207).

use crate::oauth2::ClientRegistration;
use base64_simd::URL_SAFE_NO_PAD as BASE64URL;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use uuid::Uuid;

/// How many characters of a provider's text are printed.
const DESCRIPTION_LIMIT: usize = 200;

/// The parts of an authorization request that its response is checked against.
pub(super) struct Authorization {
    state: String,
    verifier: SecretString,
    redirect_uri: String,
    issuer: ExpectedIssuer,
}

/// The issuer that the response may name.
enum ExpectedIssuer {
    /// Exactly this URL, which the response must contain.
    Url(String),
    /// Any URL with one of these origins. The response may contain no issuer, because not every provider sends one.
    Origins(Vec<String>),
}

/// The response of the provider.
pub(super) enum AuthorizationResponse {
    Code(SecretString),
    /// The provider or the user has denied the request. The text says why.
    Denied(String),
}

impl Authorization {
    pub(super) fn new(
        client: &ClientRegistration,
        redirect_uri: String,
        issuer: Option<String>,
    ) -> Self {
        let issuer = match issuer {
            Some(url) => ExpectedIssuer::Url(url),
            None => ExpectedIssuer::Origins(origins_of(client)),
        };
        Self {
            state: Uuid::new_v4().simple().to_string(),
            // 64 characters with 244 random bits.
            verifier: format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()).into(),
            redirect_uri,
            issuer,
        }
    }

    pub(super) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    pub(super) fn verifier(&self) -> &str {
        self.verifier.expose_secret()
    }

    /// Returns the URL that the user opens. `auth_url` may have a query, which is kept.
    pub(super) fn authorization_url(&self, client: &ClientRegistration, auth_url: &Url) -> Url {
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
        let mut parameters: BTreeMap<String, String> =
            auth_url.query_pairs().into_owned().collect();
        parameters.extend(client.authorize_params.clone());
        let ours = ours.into_iter().filter(|(_, value)| !value.is_empty());
        parameters.extend(ours.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let mut url = auth_url.clone();
        url.query_pairs_mut().clear().extend_pairs(parameters);
        url
    }

    /// Reads the URL of a callback.
    ///
    /// # Errors
    /// Returns an error with the reason if it does not belong to this request. The response may still arrive.
    pub(super) fn read_callback(
        &self,
        callback: &Url,
    ) -> Result<AuthorizationResponse, &'static str> {
        let mut parameters = BTreeMap::new();
        for (name, value) in callback.query_pairs().into_owned() {
            if parameters.insert(name, value).is_some() {
                return Err("it repeats a parameter");
            }
        }
        let get = |name: &str| {
            parameters
                .get(name)
                .map(String::as_str)
                .filter(|value| !value.is_empty())
        };
        if get("state") != Some(&self.state) {
            return Err("it belongs to another login (its state does not match)");
        }
        if let Err(reason) = self.issuer.check(get("iss")) {
            return Ok(AuthorizationResponse::Denied(reason));
        }
        match (get("error"), get("code")) {
            (Some(error), _) => Ok(denied(error, get("error_description"))),
            (None, Some(code)) => Ok(AuthorizationResponse::Code(code.into())),
            (None, None) => Err("it has neither a code nor an error"),
        }
    }
}

/// Returns the origins of the endpoints that may send the response.
fn origins_of(client: &ClientRegistration) -> Vec<String> {
    client
        .auth_url
        .iter()
        .chain([&client.token_url])
        .map(|url| url.origin().ascii_serialization())
        .collect()
}

fn denied(error: &str, description: Option<&str>) -> AuthorizationResponse {
    let description = description
        .map(printable)
        .filter(|text| !text.is_empty())
        .map(|text| format!(" ({text})"))
        .unwrap_or_default();
    AuthorizationResponse::Denied(format!(
        "the provider denied the request: {}{description}",
        printable(error)
    ))
}

impl ExpectedIssuer {
    fn check(&self, issuer: Option<&str>) -> Result<(), String> {
        match (self, issuer) {
            (Self::Origins(_), None) => Ok(()),
            (Self::Url(_), None) => Err(
                "the response names no issuer; omit --issuer if this provider never sends one"
                    .to_owned(),
            ),
            (_, Some(issuer)) if self.allows(issuer) => Ok(()),
            (_, Some(issuer)) => Err(format!(
                "the response names the issuer {}, which is not expected; if it is the provider, pass it with --issuer",
                printable(issuer)
            )),
        }
    }

    fn allows(&self, issuer: &str) -> bool {
        match self {
            Self::Url(expected) => expected == issuer,
            Self::Origins(origins) => {
                origin_of(issuer).is_some_and(|origin| origins.contains(&origin))
            }
        }
    }
}

fn origin_of(url: &str) -> Option<String> {
    Url::parse(url)
        .ok()
        .map(|url| url.origin().ascii_serialization())
}

/// Limits a provider's text to the characters that RFC 6749 allows, so that it cannot control the terminal.
fn printable(text: &str) -> String {
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

    /// Reads a callback with the right state and `query`.
    fn outcome(request: &Authorization, query: &str) -> String {
        let callback = format!("http://127.0.0.1/callback?state={}&{query}", request.state);
        match request.read_callback(&Url::parse(&callback).unwrap()) {
            Ok(AuthorizationResponse::Code(code)) => format!("code {}", code.expose_secret()),
            Ok(AuthorizationResponse::Denied(reason)) => format!("denied: {reason}"),
            Err(reason) => format!("unrelated: {reason}"),
        }
    }

    #[test]
    fn the_authorization_url_has_each_parameter_once() {
        let request = authorization(None);
        let client = client();
        let address = request.authorization_url(&client, client.auth_url.as_ref().unwrap());
        let pairs: Vec<_> = address.query_pairs().into_owned().collect();
        let parameters: BTreeMap<_, _> = pairs.iter().cloned().collect();
        assert_eq!(pairs.len(), parameters.len(), "{pairs:?}");
        let challenge = BASE64URL.encode_to_string(Sha256::digest(request.verifier()));
        for (name, value) in [
            ("response_type", "code"),
            ("client_id", "our id"),
            ("redirect_uri", "http://127.0.0.1:5000/callback"),
            ("scope", "read write"),
            ("state", request.state.as_str()),
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
            !address.as_str().contains(request.verifier()) && !address.as_str().contains("hidden")
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
        let request = authorization(None);
        for (query, expected) in [
            ("code=c%2F1", "code c/1"),
            (
                "error=access_denied",
                "denied: the provider denied the request: access_denied",
            ),
            (
                "error=access_denied&error_description=no%0A%1B%5B31mway%E2%80%AE",
                "denied: the provider denied the request: access_denied (no[31mway)",
            ),
            (
                "error=a&code=c",
                "denied: the provider denied the request: a",
            ),
            ("code=", "unrelated: it has neither a code nor an error"),
            ("code=1&code=2", "unrelated: it repeats a parameter"),
            ("state=other&code=1", "unrelated: it repeats a parameter"),
        ] {
            assert_eq!(outcome(&request, query), expected, "{query}");
        }
        for query in [
            "code=1",
            "state=&code=1",
            "state=other&code=1",
            "state=other&error=access_denied",
        ] {
            let callback = Url::parse(&format!("http://127.0.0.1/callback?{query}")).unwrap();
            assert!(
                request
                    .read_callback(&callback)
                    .is_err_and(|reason| reason.contains("another login")),
                "{query}"
            );
        }
        let long = outcome(
            &request,
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
                good || (outcome.starts_with("denied") && outcome.contains("--issuer")),
                "{outcome}"
            );
        }
    }
}
