//! The trigger `pollItems` from end to end.

use super::*;
use crate::seen;
use emulator::provider::Fault;

fn ids(data: &[Arc<Event>]) -> Vec<u64> {
    data.iter()
        .map(|event| event.body["body"]["id"].as_u64().unwrap())
        .collect()
}

fn paged() -> Value {
    json!({ "path": "/records/links", "itemsPointer": "/records", "paging": "nextLink", "nextPointer": "/next" })
}

#[tokio::test]
async fn an_expired_token_is_refreshed_between_polls() {
    let connected = Connected::start(
        "pollItems",
        Provider::issue_expired,
        paged(),
        EmulatorConfig::default(),
    )
    .await;
    let component = connected.rig.start();
    connected.send_message(json!({ "body": {} }));
    assert_eq!(
        ids(&connected.rig.events(EventKind::Data, 5).await),
        [1, 2, 3, 4, 5]
    );
    connected.rig.settled().await;
    let provider = connected.provider();
    assert_eq!(
        (provider.refreshes(), connected.rig.has_spendable_token()),
        (1, true)
    );
    assert_eq!(
        (
            &connected.snapshot()["seen"],
            &connected.snapshot()["since"]
        ),
        (&seen([5]), &json!("2026-01-31T11:00:00Z"))
    );
    let record = |id| json!({ "id": id, "updated_at": "2026-01-31T11:00:00Z" });
    provider.set_records([record(5), record(6)]);
    connected.send_message(json!({ "body": {} }));
    assert_eq!(
        ids(&connected.rig.events(EventKind::Data, 6).await)[5..],
        [6]
    );
    connected.rig.settled().await;
    assert_eq!(component.stop().await.0, 0);
    assert_eq!(
        (
            connected.count(EventKind::Acked),
            connected.count(EventKind::Data)
        ),
        (2, 6)
    );
}

#[tokio::test]
async fn an_unpublished_item_is_polled_again() {
    let mut sorted = paged();
    sorted["isSorted"] = "on".into();
    let connected = Connected::start(
        "pollItems",
        Provider::issue,
        sorted,
        EmulatorConfig::default(),
    )
    .await;
    let connected = connected.variable("ELASTICIO_AMQP_PUBLISH_RETRY_ATTEMPTS", "1");
    connected.rig.emulator.broker().nack_publishes(1);
    let component = connected.rig.start();
    connected.send_message(json!({ "body": {} }));
    connected.rig.events(EventKind::Rejected, 1).await;
    // The position stays before the item. The other one of its page is remembered.
    let snapshot = connected.snapshot();
    assert_eq!(
        (
            &snapshot["since"],
            snapshot["emitted"].as_str().map(str::len)
        ),
        (&Value::Null, Some(11))
    );
    let before = connected.count(EventKind::Data);
    connected.send_message(json!({ "body": {} }));
    connected.rig.events(EventKind::Acked, 1).await;
    assert_eq!(
        ids(&connected.rig.so_far(EventKind::Data)[before..]),
        [1, 3, 4, 5]
    );
    assert_eq!(connected.snapshot()["seen"], seen([5]));
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn a_busy_api_rebounds_the_poll() {
    let config = EmulatorConfig {
        rebound_speed_up: 100,
        ..EmulatorConfig::default()
    };
    let connected = Connected::start("pollItems", Provider::issue, paged(), config).await;
    connected
        .provider()
        .script_api([Fault::Normal, Fault::retry_after(429, "3600")]);
    let component = connected.rig.start();
    connected.send_message(json!({ "body": {} }));
    connected.rig.events(EventKind::Rebound, 1).await;
    // The first page is requested again, since the list need not be sorted. Its items are not emitted again.
    assert_eq!(
        ids(&connected.rig.events(EventKind::Data, 5).await),
        [1, 2, 3, 4, 5]
    );
    connected.rig.settled().await;
    assert_eq!(connected.count(EventKind::Data), 5);
    assert_eq!(component.stop().await.0, 0);
}
