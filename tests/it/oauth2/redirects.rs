//! Which redirects are followed, and what is sent along. Two servers on two ports are two origins.

use super::rig::{Rig, text};
use emulator::provider::Knobs;
use reqwest::{Method, StatusCode};
use sailor::oauth2::{AuthorizedRequest, Error, OAuth2, Profile};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{any, path},
};

const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
/// Secrets of a module that are for the API only.
const OWN: [&str; 4] = ["own-key", "own-cookie", "query-secret", "body-secret"];

/// The API, another host, and a credential for the API.
struct Hosts {
    rig: Rig,
    api: MockServer,
    other: MockServer,
}

impl Hosts {
    async fn new() -> Self {
        let mut rig = Rig::new(Knobs::rotating()).await;
        let (api, other) = (MockServer::start().await, MockServer::start().await);
        rig.definition = OAuth2::new().base_url(api.uri());
        Self { rig, api, other }
    }

    /// Sets up redirects from each address to the next, and a response at the last. An address is a server's letter and a
    /// path.
    async fn chain(&self, status: u16, addresses: &[&str]) {
        for server in [&self.api, &self.other] {
            server.reset().await;
        }
        for (at, address) in addresses.iter().enumerate() {
            let response = match addresses.get(at + 1) {
                Some(to) => {
                    ResponseTemplate::new(status).insert_header("location", self.address(to))
                }
                None => ResponseTemplate::new(200).set_body_json("the end"),
            };
            Mock::given(path(&address[1..]))
                .respond_with(response)
                .mount(self.server(address))
                .await;
        }
    }

    fn server(&self, address: &str) -> &MockServer {
        if address.starts_with('A') {
            &self.api
        } else {
            &self.other
        }
    }

    fn address(&self, address: &str) -> String {
        format!("{}{}", self.server(address).uri(), &address[1..])
    }

    /// A request with everything that must not go to other origins.
    fn request(&self, method: &Method) -> AuthorizedRequest {
        let request = self
            .rig
            .replica()
            .client()
            .request(method.clone(), "/start");
        let request = request.query(&[("access_token", "query-secret")]);
        let request = request
            .header("x-api-key", "own-key")
            .header("cookie", "own-cookie");
        match *method {
            Method::GET | Method::HEAD => request,
            _ => request.json(&json!({ "secret": "body-secret" })),
        }
    }

    fn token(&self) -> String {
        text(&self.rig.account.oauth(), "access_token")
    }

    fn shows_nothing(&self, request: &Request, what: &str) {
        let shown = format!("{request:?} {}", String::from_utf8_lossy(&request.body));
        for secret in OWN.iter().map(ToString::to_string).chain([self.token()]) {
            assert!(
                !shown.contains(&secret),
                "{what}: {secret} goes to another origin: {shown}"
            );
        }
        assert!(
            !request.headers.contains_key("authorization")
                && !request.headers.contains_key("referer"),
            "{what}"
        );
        assert!(
            request.body.is_empty() && request.url.query().is_none(),
            "{what}"
        );
    }

    /// The requests that a server got, in order.
    async fn received(server: &MockServer) -> Vec<Request> {
        server.received_requests().await.unwrap()
    }
}

fn status_of(error: &Error) -> Option<u16> {
    error.status().map(|status| status.as_u16())
}

#[tokio::test]
async fn a_get_is_redirected_to_another_origin_without_the_token() {
    let hosts = Hosts::new().await;
    let chains: [(&[&str], usize); 5] = [
        (&["A/start", "B/one"], 1),
        (&["A/start", "B/one", "B/two"], 1),
        (&["A/start", "B/one", "A/two"], 1),
        (&["A/start", "A/one", "B/two"], 2),
        (&["A/start", "B/one", "A/two", "A/three"], 1),
    ];
    for method in [Method::GET, Method::HEAD] {
        for (status, (chain, own)) in STATUSES
            .iter()
            .flat_map(|status| chains.iter().map(move |chain| (status, chain)))
        {
            let what = format!("{method} {status} {chain:?}");
            hosts.chain(*status, chain).await;
            let response = hosts.request(&method).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{what}");
            let (api, other) = (
                Hosts::received(&hosts.api).await,
                Hosts::received(&hosts.other).await,
            );
            assert_eq!(api.len() + other.len(), chain.len(), "{what}");
            for request in &api[..*own] {
                assert_eq!(
                    request.headers["authorization"],
                    format!("Bearer {}", hosts.token()),
                    "{what}"
                );
                assert_eq!(request.headers["x-api-key"], "own-key", "{what}");
                assert!(!request.headers.contains_key("referer"), "{what}");
            }
            assert_eq!(
                api[0].url.query(),
                Some("access_token=query-secret"),
                "{what}"
            );
            assert!(
                api[1..].iter().all(|request| request.url.query().is_none()),
                "{what}"
            );
            for request in api[*own..].iter().chain(&other) {
                assert_eq!(request.method, method, "{what}");
                hosts.shows_nothing(request, &what);
            }
        }
    }
    assert_eq!(hosts.rig.provider.refreshes(), 0);
}

#[tokio::test]
async fn a_write_is_not_redirected_to_another_origin() {
    let hosts = Hosts::new().await;
    for method in [Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
        for status in [301, 302, 307, 308] {
            for chain in [
                &["A/start", "B/one", "B/two"][..],
                &["A/start", "B/one", "A/two"],
            ] {
                let what = format!("{method} {status} {chain:?}");
                hosts.chain(status, chain).await;
                let error = hosts.request(&method).send().await.unwrap_err();
                if matches!(status, 307 | 308) {
                    assert!(matches!(error, Error::NotSent(_)), "{what}: {error}");
                }
                assert!(
                    !error.is_transient() && error.to_string().contains(&hosts.other.uri()),
                    "{what}: {error}"
                );
                assert!(!error.to_string().contains("/one"), "{what}: {error}");
                assert_eq!(Hosts::received(&hosts.api).await.len(), 1, "{what}");
                assert!(Hosts::received(&hosts.other).await.is_empty(), "{what}");
            }
        }
    }
}

/// A 303 says that the request is processed. The result may be at any host: a GET without the token and body reads it.
#[tokio::test]
async fn after_a_303_the_result_is_read_elsewhere_without_the_token() {
    let hosts = Hosts::new().await;
    for method in [Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
        for chain in [
            &["A/start", "B/one"][..],
            &["A/start", "B/one", "B/two"],
            &["A/start", "B/one", "A/two"],
        ] {
            let what = format!("{method} {chain:?}");
            hosts.chain(303, chain).await;
            assert_eq!(
                hosts.request(&method).send_json::<Value>().await.unwrap(),
                "the end",
                "{what}"
            );
            let (api, other) = (
                Hosts::received(&hosts.api).await,
                Hosts::received(&hosts.other).await,
            );
            assert_eq!(api.len() + other.len(), chain.len(), "{what}");
            for request in api[1..].iter().chain(&other) {
                assert_eq!(request.method, Method::GET, "{what}");
                hosts.shows_nothing(request, &what);
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_within_the_api_keeps_token_and_body() {
    let hosts = Hosts::new().await;
    for method in [Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
        for status in STATUSES {
            let what = format!("{method} {status}");
            hosts.chain(status, &["A/start", "A/one", "A/two"]).await;
            let result = hosts.request(&method).send_json::<Value>().await;
            let api = Hosts::received(&hosts.api).await;
            if matches!(status, 301 | 302) && matches!(method, Method::POST | Method::PATCH) {
                // Nobody knows whether the request was processed, so it must not become a GET or be repeated.
                let error = result.unwrap_err();
                assert_eq!(
                    (status_of(&error), error.is_transient(), api.len()),
                    (Some(status), false, 1),
                    "{what}: {error}"
                );
                assert!(
                    error
                        .to_string()
                        .contains(&format!("the API redirects to {}", hosts.api.uri())),
                    "{what}: {error}"
                );
                assert!(!error.to_string().contains("/one"), "{what}: {error}");
                continue;
            }
            assert_eq!(
                (result.unwrap(), api.len()),
                (json!("the end"), 3),
                "{what}"
            );
            for request in &api[1..] {
                assert_eq!(
                    request.headers["authorization"],
                    format!("Bearer {}", hosts.token()),
                    "{what}"
                );
                assert_eq!(request.headers["x-api-key"], "own-key", "{what}");
                assert!(
                    !request.headers.contains_key("referer") && request.url.query().is_none(),
                    "{what}"
                );
                let expected = if status == 303 {
                    (Method::GET, 0)
                } else {
                    (method.clone(), api[0].body.len())
                };
                assert_eq!(
                    (request.method.clone(), request.body.len()),
                    expected,
                    "{what}"
                );
                assert_eq!(
                    request.headers.contains_key("content-type"),
                    status != 303,
                    "{what}"
                );
            }
        }
    }
    // The author can allow it.
    hosts.chain(301, &["A/start", "A/one"]).await;
    assert_eq!(
        hosts
            .request(&Method::POST)
            .idempotent(true)
            .send_json::<Value>()
            .await
            .unwrap(),
        "the end"
    );
    assert_eq!(Hosts::received(&hosts.api).await[1].method, Method::POST);
    hosts.chain(302, &["A/start", "A/one"]).await;
    let raw = hosts
        .request(&Method::PATCH)
        .send_any_status()
        .await
        .unwrap();
    assert_eq!(raw.headers()["location"], hosts.address("A/one"));
}

/// A response to a request without a token says nothing about the token, even if it comes from the API.
#[tokio::test]
async fn a_401_after_a_foreign_hop_costs_no_refresh() {
    let hosts = Hosts::new().await;
    for end in ["B/one", "A/one"] {
        hosts.chain(302, &["A/start", "B/way"]).await;
        let to = ResponseTemplate::new(302).insert_header("location", hosts.address(end));
        Mock::given(path("/way"))
            .respond_with(to)
            .with_priority(1)
            .mount(&hosts.other)
            .await;
        Mock::given(path("/one"))
            .respond_with(ResponseTemplate::new(401))
            .mount(hosts.server(end))
            .await;
        let error = hosts.request(&Method::GET).send().await.unwrap_err();
        assert_eq!(status_of(&error), Some(401), "{end}: {error}");
    }
    assert!(hosts.rig.provider.token_calls().is_empty());
}

#[tokio::test]
async fn a_redirect_to_an_allowed_origin_keeps_the_token() {
    let mut hosts = Hosts::new().await;
    hosts.rig.definition = hosts.rig.definition.clone().allow_origin(hosts.other.uri());
    for (method, status) in [(Method::GET, 302), (Method::POST, 307), (Method::PUT, 308)] {
        hosts.chain(status, &["A/start", "B/one"]).await;
        hosts.request(&method).send().await.unwrap();
        let other = Hosts::received(&hosts.other).await;
        assert_eq!(
            other[0].headers["authorization"],
            format!("Bearer {}", hosts.token()),
            "{method}"
        );
        assert_eq!((&other[0].method, other[0].url.query()), (&method, None));
    }
}

#[tokio::test]
async fn a_token_in_a_custom_header_stays_within_the_api() {
    let mut hosts = Hosts::new().await;
    let profile =
        json!({ "name": "own", "token_header": { "name": "x-acme-token", "scheme": "" } })
            .to_string();
    hosts.rig.definition = hosts
        .rig
        .definition
        .clone()
        .custom_profile(Profile::from_json(&profile).unwrap());
    for status in STATUSES {
        hosts.chain(status, &["A/start", "A/one", "A/two"]).await;
        hosts.request(&Method::GET).send().await.unwrap();
        let api = Hosts::received(&hosts.api).await;
        assert!(
            api.iter()
                .all(|request| request.headers["x-acme-token"] == hosts.token()
                    && !request.headers.contains_key("authorization")),
            "{status}"
        );

        for chain in [
            &["A/start", "B/one", "B/two"][..],
            &["A/start", "A/one", "B/two"],
        ] {
            hosts.chain(status, chain).await;
            let error = hosts.request(&Method::GET).send().await.unwrap_err();
            assert_eq!(
                (status_of(&error), error.is_transient()),
                (Some(status), false),
                "{chain:?}: {error}"
            );
            assert!(
                Hosts::received(&hosts.other).await.is_empty(),
                "{status} {chain:?}"
            );
        }
    }
    assert!(hosts.rig.provider.token_calls().is_empty());
}

#[tokio::test]
async fn redirect_loops_end_and_invalid_targets_are_returned() {
    let hosts = Hosts::new().await;
    let round = ResponseTemplate::new(302).insert_header("location", "/round");
    Mock::given(any())
        .respond_with(round)
        .mount(&hosts.api)
        .await;
    let error = hosts.request(&Method::GET).send().await.unwrap_err();
    assert_eq!(
        (status_of(&error), Hosts::received(&hosts.api).await.len()),
        (Some(302), 11),
        "{error}"
    );
    for location in [
        None,
        Some("ftp://files.example.com/"),
        Some("javascript:1"),
        Some("http://:0"),
    ] {
        hosts.api.reset().await;
        let mut nowhere = ResponseTemplate::new(302);
        if let Some(location) = location {
            nowhere = nowhere.insert_header("location", location);
        }
        Mock::given(any())
            .respond_with(nowhere)
            .mount(&hosts.api)
            .await;
        let error = hosts.request(&Method::GET).send().await.unwrap_err();
        assert_eq!(
            (status_of(&error), Hosts::received(&hosts.api).await.len()),
            (Some(302), 1),
            "{location:?}"
        );
    }
    // An address of another host, with the API's name as the user name.
    hosts.api.reset().await;
    let disguised = format!(
        "http://{}@{}/one",
        hosts.api.address(),
        hosts.other.address()
    );
    let response = ResponseTemplate::new(302).insert_header("location", disguised);
    Mock::given(any())
        .respond_with(response)
        .mount(&hosts.api)
        .await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200))
        .mount(&hosts.other)
        .await;
    hosts.request(&Method::GET).send().await.unwrap();
    hosts.shows_nothing(&Hosts::received(&hosts.other).await[0], "disguised");
}
