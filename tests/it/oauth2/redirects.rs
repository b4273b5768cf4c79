//! Which redirects are followed, and what is sent along. Two servers on two ports are two origins.

use super::rig::{Rig, text};
use emulator::provider::Knobs;
use http_double::{PreparedResponse, RecordedCall, ScriptedDouble};
use reqwest::{Method, StatusCode};
use sailor::oauth2::{AuthorizedRequest, Error, OAuth2, Profile};
use serde_json::{Value, json};
use std::{cell::Cell, time::Duration};
use tokio::time::Instant;

const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
/// Secrets of a module that are for the API only.
const OWN: [&str; 4] = ["own-key", "own-cookie", "query-secret", "body-secret"];

/// The API, another host, and a credential for the API. An address is a server's letter and a path.
struct Hosts {
    rig: Rig,
    api: ScriptedDouble,
    other: ScriptedDouble,
    /// The paths of each round begin with its number, so that none responds as an earlier one.
    round: Cell<usize>,
}

impl Hosts {
    async fn new() -> Self {
        let mut rig = Rig::new(Knobs::rotating()).await;
        let api = ScriptedDouble::start().await.unwrap();
        let other = ScriptedDouble::start().await.unwrap();
        rig.definition = OAuth2::new().base_url(api.url());
        Self {
            rig,
            api,
            other,
            round: Cell::new(0),
        }
    }

    /// Sets up redirects from each address to the next, and a response at the last.
    fn chain(&self, status: u16, addresses: &[&str]) {
        self.next_round();
        for (at, address) in addresses.iter().enumerate() {
            let response = match addresses.get(at + 1) {
                Some(to) => PreparedResponse::redirect(status, &self.address(to)),
                None => PreparedResponse::json(200, &json!("the end")),
            };
            self.respond(address, response);
        }
    }

    fn next_round(&self) {
        self.round.set(self.round.get() + 1);
    }

    fn respond(&self, address: &str, response: PreparedResponse) {
        let pattern = format!(" {}([?]|$)", self.path(address));
        self.server(address).respond(&pattern, [response]);
    }

    fn server(&self, address: &str) -> &ScriptedDouble {
        if address.starts_with('A') {
            &self.api
        } else {
            &self.other
        }
    }

    fn path(&self, address: &str) -> String {
        format!("/{}{}", self.round.get(), &address[1..])
    }

    fn address(&self, address: &str) -> String {
        self.server(address).url() + &self.path(address)
    }

    /// A request with everything that must not go to other origins.
    fn request(&self, method: &Method) -> AuthorizedRequest {
        let request = self
            .rig
            .replica()
            .client()
            .request(method.clone(), self.path("A/start"));
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

    fn shows_nothing(&self, call: &RecordedCall, what: &str) {
        let body = String::from_utf8_lossy(&call.body);
        let shown = format!("{} {:?} {body}", call.path_and_query(), call.headers);
        for secret in OWN.iter().map(ToString::to_string).chain([self.token()]) {
            assert!(
                !shown.contains(&secret),
                "{what}: {secret} goes to another origin: {shown}"
            );
        }
        assert!(
            !call.headers.contains_key("authorization") && !call.headers.contains_key("referer"),
            "{what}"
        );
        assert!(call.body.is_empty() && call.query.is_empty(), "{what}");
    }

    /// The calls of this round that a server got, in order.
    fn received(&self, server: &ScriptedDouble) -> Vec<RecordedCall> {
        let pattern = format!(" /{}/", self.round.get());
        server.calls().matching(&pattern)
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
            hosts.chain(*status, chain);
            let response = hosts.request(&method).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{what}");
            let (api, other) = (hosts.received(&hosts.api), hosts.received(&hosts.other));
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
            assert_eq!(api[0].query, "access_token=query-secret", "{what}");
            assert!(
                api[1..].iter().all(|request| request.query.is_empty()),
                "{what}"
            );
            for request in api[*own..].iter().chain(&other) {
                assert_eq!(request.method, method.as_str(), "{what}");
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
                hosts.chain(status, chain);
                let error = hosts.request(&method).send().await.unwrap_err();
                if matches!(status, 307 | 308) {
                    assert!(matches!(error, Error::NotSent(_)), "{what}: {error}");
                }
                assert!(
                    !error.is_transient() && error.to_string().contains(&hosts.other.url()),
                    "{what}: {error}"
                );
                assert!(!error.to_string().contains("/one"), "{what}: {error}");
                assert_eq!(hosts.received(&hosts.api).len(), 1, "{what}");
                assert!(hosts.received(&hosts.other).is_empty(), "{what}");
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
            hosts.chain(303, chain);
            assert_eq!(
                hosts.request(&method).send_json::<Value>().await.unwrap(),
                "the end",
                "{what}"
            );
            let (api, other) = (hosts.received(&hosts.api), hosts.received(&hosts.other));
            assert_eq!(api.len() + other.len(), chain.len(), "{what}");
            for request in api[1..].iter().chain(&other) {
                assert_eq!(request.method, "GET", "{what}");
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
            hosts.chain(status, &["A/start", "A/one", "A/two"]);
            let result = hosts.request(&method).send_json::<Value>().await;
            let api = hosts.received(&hosts.api);
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
                        .contains(&format!("the API redirects to {}", hosts.api.url())),
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
                    !request.headers.contains_key("referer") && request.query.is_empty(),
                    "{what}"
                );
                let expected = if status == 303 {
                    ("GET", 0)
                } else {
                    (method.as_str(), api[0].body.len())
                };
                assert_eq!(
                    (request.method.as_str(), request.body.len()),
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
    hosts.chain(301, &["A/start", "A/one"]);
    assert_eq!(
        hosts
            .request(&Method::POST)
            .idempotent(true)
            .send_json::<Value>()
            .await
            .unwrap(),
        "the end"
    );
    assert_eq!(hosts.received(&hosts.api)[1].method, "POST");
    hosts.chain(302, &["A/start", "A/one"]);
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
        hosts.next_round();
        for (from, to) in [("A/start", "B/way"), ("B/way", end)] {
            hosts.respond(from, PreparedResponse::redirect(302, &hosts.address(to)));
        }
        hosts.respond(end, PreparedResponse::status(401));
        let error = hosts.request(&Method::GET).send().await.unwrap_err();
        assert_eq!(status_of(&error), Some(401), "{end}: {error}");
    }
    assert!(hosts.rig.provider.token_calls().is_empty());
}

#[tokio::test]
async fn a_redirect_to_an_allowed_origin_keeps_the_token() {
    let mut hosts = Hosts::new().await;
    hosts.rig.definition = hosts.rig.definition.clone().allow_origin(hosts.other.url());
    for (method, status) in [(Method::GET, 302), (Method::POST, 307), (Method::PUT, 308)] {
        hosts.chain(status, &["A/start", "B/one"]);
        hosts.request(&method).send().await.unwrap();
        let other = hosts.received(&hosts.other);
        assert_eq!(
            other[0].headers["authorization"],
            format!("Bearer {}", hosts.token()),
            "{method}"
        );
        assert_eq!(
            (other[0].method.as_str(), other[0].query.as_str()),
            (method.as_str(), "")
        );
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
        hosts.chain(status, &["A/start", "A/one", "A/two"]);
        hosts.request(&Method::GET).send().await.unwrap();
        let api = hosts.received(&hosts.api);
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
            hosts.chain(status, chain);
            let error = hosts.request(&Method::GET).send().await.unwrap_err();
            assert_eq!(
                (status_of(&error), error.is_transient()),
                (Some(status), false),
                "{chain:?}: {error}"
            );
            assert!(
                hosts.received(&hosts.other).is_empty(),
                "{status} {chain:?}"
            );
        }
    }
    assert!(hosts.rig.provider.token_calls().is_empty());
}

#[tokio::test]
async fn redirect_loops_end_and_invalid_targets_are_returned() {
    let hosts = Hosts::new().await;
    hosts.next_round();
    for address in ["A/start", "A/round"] {
        hosts.respond(address, PreparedResponse::redirect(302, "round"));
    }
    let error = hosts.request(&Method::GET).send().await.unwrap_err();
    assert_eq!(
        (status_of(&error), hosts.received(&hosts.api).len()),
        (Some(302), 11),
        "{error}"
    );
    for location in [
        None,
        Some("ftp://files.example.com/"),
        Some("javascript:1"),
        Some("http://:0"),
    ] {
        hosts.next_round();
        let nowhere = match location {
            Some(location) => PreparedResponse::redirect(302, location),
            None => PreparedResponse::status(302),
        };
        hosts.respond("A/start", nowhere);
        let error = hosts.request(&Method::GET).send().await.unwrap_err();
        assert_eq!(
            (status_of(&error), hosts.received(&hosts.api).len()),
            (Some(302), 1),
            "{location:?}"
        );
    }
    // An address of another host, with the API's name as the user name.
    hosts.next_round();
    let api = hosts.api.url().replace("http://", "");
    let disguised = hosts
        .address("B/one")
        .replace("http://", &format!("http://{api}@"));
    hosts.respond("A/start", PreparedResponse::redirect(302, &disguised));
    hosts.respond("B/one", PreparedResponse::status(200));
    hosts.request(&Method::GET).send().await.unwrap();
    hosts.shows_nothing(&hosts.received(&hosts.other)[0], "disguised");
}

#[tokio::test]
async fn a_limit_of_another_host_does_not_hold_up_the_account() {
    let hosts = Hosts::new().await;
    let client = hosts.rig.replica().client();
    hosts.next_round();
    let elsewhere = hosts.address("B/one");
    hosts.respond("A/start", PreparedResponse::redirect(302, &elsewhere));
    let limited = PreparedResponse::status(429).header("retry-after", "25");
    hosts.respond("B/one", limited);
    let own = client.get(hosts.path("A/start")).send();
    let work = async {
        // The request itself waits.
        let waiting = tokio::time::timeout(Duration::from_secs(6), own).await;
        assert!(waiting.is_err());
        let start = Instant::now();
        hosts.chain(302, &["A/start"]);
        client.get(hosts.path("A/start")).send().await.unwrap();
        start.elapsed()
    };
    let took = hosts
        .rig
        .clock
        .drive_by(Duration::from_millis(20), work)
        .await;
    assert!(took < Duration::from_secs(15), "{took:?}");
}
