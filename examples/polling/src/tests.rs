use emulator::platform::{Platform, PlatformConfig};
use sailor::testing::{Event, Harness};
use serde_json::{Value, json};

#[tokio::test]
async fn each_poll_begins_after_the_last_item() {
    let platform = Platform::start(PlatformConfig::default()).await.unwrap();
    let config = json!({ "url": format!("{}/sample/items", platform.url()) });
    let component = super::component().unwrap();
    let poll = async |snapshot: Value| {
        let harness = Harness::new(&component, "changedItems")
            .config(config.clone())
            .snapshot(snapshot);
        harness.run(json!({})).await.unwrap()
    };

    let first = poll(json!({})).await;
    assert_eq!(first.data::<Value>()[0]["id"], "item-1");
    let last = first.data::<Value>().pop().unwrap();
    assert_eq!(first.events.last(), Some(&Event::Snapshot(last.clone())));

    let second = poll(last).await;
    assert_eq!(second.data::<Value>()[0]["id"], "item-11");
}
