//! A message, its requests and its refresh, as one trace.

use super::*;
use test_rig::{Kind, Span, TraceCollector};

#[tokio::test]
async fn requests_and_the_refresh_are_below_their_message() {
    let collector = TraceCollector::start(0).await;
    let connected = connected(Knobs::default(), Provider::issue_expired).await;
    let connected = Connected {
        rig: connected.rig.traced(&collector),
    };
    let component = connected.rig.start();
    connected.send("/items?key=secret");
    connected.rig.events(EventKind::Data, 1).await;
    connected.rig.settled().await;
    let log = connected.rig.stop(component).await;

    let spans = collector.spans();
    let find = |what: &str, is_it: &dyn Fn(&Span) -> bool| {
        let found: Vec<_> = spans.iter().filter(|span| is_it(span)).collect();
        assert_eq!(found.len(), 1, "{what}: {spans:#?}");
        found[0].clone()
    };
    let process = find("the message", &|span| span.kind == Kind::Consumer);
    assert_eq!(process.name, "process makeRequest");
    assert!(spans.iter().all(|span| span.trace == process.trace));
    let items = format!("{}/items", connected.provider().api_url());
    let requests = spans.iter().filter(|span| span.get("url.full") == items);
    let requests: Vec<_> = requests.collect();
    for (request, status, resends) in [(requests[0], "401", ""), (requests[1], "201", "1")] {
        assert_eq!((request.kind, &request.parent), (Kind::Client, &process.id));
        request.assert_has(&[
            ("http.request.method", "POST"),
            ("http.response.status_code", status),
            ("http.request.resend_count", resends),
        ]);
    }
    assert_eq!(requests.len(), 2, "{requests:#?}");
    let refresh = find("the refresh", &|span| span.name == "refresh access token");
    assert_eq!(
        (refresh.parent, refresh.is_error),
        (process.id.clone(), false)
    );
    let token_url = connected.provider().token_url();
    let exchange = find("the exchange", &|span| span.get("url.full") == token_url);
    assert_eq!((exchange.kind, exchange.parent), (Kind::Client, refresh.id));
    let saved = find("the save", &|span| span.name == "PUT");
    assert_eq!(saved.parent, process.id);
    assert_eq!(
        find("the event", &|span| span.kind == Kind::Producer).parent,
        process.id
    );

    // The API can continue the trace.
    let calls = connected.provider().api_calls();
    let ids = calls.iter().map(|call| call.headers["traceparent"].clone());
    let expected = requests
        .iter()
        .map(|span| format!("00-{}-{}-01", span.trace, span.id));
    assert_eq!(ids.collect::<Vec<_>>(), expected.collect::<Vec<_>>());

    let secrets = connected.provider().secrets();
    collector.assert_has_none_of(secrets.iter().map(String::as_str).chain(["secret", "Ada"]));
    connected.rig.assert_no_secret_in(&log);
}

#[tokio::test]
async fn a_refused_refresh_is_an_error_of_its_span() {
    let collector = TraceCollector::start(0).await;
    let connected = connected(Knobs::default(), Provider::issue_expired).await;
    let connected = Connected {
        rig: connected.rig.traced(&collector),
    };
    connected.provider().revoke_all();
    let component = connected.rig.start();
    connected.send("/items");
    connected.rig.events(EventKind::Rejected, 1).await;
    connected.rig.stop(component).await;
    let refresh = collector.named("refresh access token").await;
    assert!(refresh.is_error);
    refresh.assert_has(&[("error.type", "reauth")]);
    let secrets = connected.provider().secrets();
    collector.assert_has_none_of(secrets.iter().map(String::as_str));
}
