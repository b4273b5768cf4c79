//! The retries that all requests with one credential share.

use super::rig::Rig;
use emulator::provider::{Fault, Knobs};
use futures_util::{future::join_all, stream};
use reqwest::Body;
use sailor::oauth2::Error;
use serde_json::json;
use std::{io, time::Duration};
use tokio::time::Instant;

fn fault(status: u16, retry_after: &str) -> Fault {
    Fault::Response {
        status,
        headers: vec![("retry-after".to_owned(), retry_after.to_owned())],
        body: json!({}).to_string(),
    }
}

#[tokio::test]
async fn many_failing_requests_share_one_budget_of_retries() {
    let rig = Rig::new(Knobs::default()).await;
    let replica = rig.replica();
    rig.provider.script_api((0..200).map(|_| fault(503, "0")));
    // Slowly, because a retry comes back every ten seconds.
    let requests = join_all((0..40).map(|_| replica.get()));
    let results = rig.clock.drive_by(Duration::from_millis(1), requests).await;
    assert!(
        results
            .iter()
            .all(|result| { result.as_ref().is_err_and(Error::is_transient) })
    );
    // Forty first attempts, and thirty retries for all of them instead of three for each.
    assert_eq!(rig.statuses().len(), 70);
}

#[tokio::test]
async fn retries_come_back_with_time() {
    let rig = Rig::new(Knobs::default()).await;
    let replica = rig.replica();
    rig.provider.script_api((0..200).map(|_| fault(503, "0")));
    let slowly = Duration::from_millis(1);
    let requests = join_all((0..20).map(|_| replica.get()));
    rig.clock.drive_by(slowly, requests).await;
    let before = rig.statuses().len();
    rig.clock.advance(Duration::from_secs(20)).await;
    let requests = join_all((0..5).map(|_| replica.get()));
    rig.clock.drive_by(slowly, requests).await;
    assert_eq!((before, rig.statuses().len()), (50, 50 + 5 + 2));
}

#[tokio::test]
async fn each_success_returns_a_retry_to_the_budget() {
    let rig = Rig::new(Knobs::default()).await;
    let replica = rig.replica();
    for _ in 0..60 {
        rig.provider.script_api([fault(503, "0")]);
        rig.drive(replica.get()).await.unwrap();
    }
    assert_eq!(rig.statuses().len(), 120);
}

#[tokio::test]
async fn a_limit_that_one_request_meets_stops_the_others_until_it_is_over() {
    let rig = Rig::new(Knobs::default()).await;
    let replica = rig.replica();
    for status in [429, 403] {
        rig.provider.script_api([fault(status, "5")]);
        let start = Instant::now();
        // A stream cannot be sent again, so this request does not wait itself.
        let body = Body::wrap_stream(stream::iter([Ok::<_, io::Error>("{}")]));
        let request = replica.client().post("/echo").body(body);
        let limited = rig.drive(request.send()).await.unwrap_err();
        assert!(limited.is_transient(), "{limited}");
        assert!(start.elapsed() < Duration::from_secs(5));
        rig.drive(replica.get()).await.unwrap();
        assert!(start.elapsed() >= Duration::from_secs(5));
    }
}
