//! What component authors see: modules run in memory, and components checked against their descriptors.

use emulator::platform::{Platform, PlatformConfig};
use sailor::{
    Mismatch,
    jiff::{SignedDuration, Timestamp},
    prelude::*,
    testing::{Event, Harness, Verdict},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Config {
    prefix: String,
}

#[derive(Deserialize, JsonSchema)]
struct Pet {
    name: String,
}

#[derive(Serialize, JsonSchema)]
struct Named {
    name: String,
}

struct Name;

impl Action for Name {
    type Config = Config;
    type Input = Pet;
    type Output = Named;

    async fn process(
        &self,
        message: Message<Pet>,
        cx: Context<Config, Named>,
    ) -> anyhow::Result<()> {
        match message.body.name.as_str() {
            "" => anyhow::bail!("a pet needs a name"),
            "busy" => Err(anyhow::anyhow!("429")).rebound_if(|e| e.to_string() == "429"),
            "two errors" => {
                cx.error(anyhow::anyhow!("first")).await?;
                cx.data(&Named {
                    name: "after".to_owned(),
                })
                .await
            }
            name => {
                cx.data(&Named {
                    name: format!("{}{name}", cx.config.prefix),
                })
                .await
            }
        }
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Last {
    n: u64,
}

struct Count;

impl Trigger for Count {
    type Config = Value;
    type Snapshot = Last;
    type Output = Last;

    async fn poll(
        &self,
        since: Option<Last>,
        cx: Context<Value, Last>,
    ) -> anyhow::Result<Option<Last>> {
        let n = since.map_or(0, |last| last.n);
        let next = (n + 1..=n + 3).map(|n| Last { n });
        cx.data_all(next).await?;
        Ok(Some(Last { n: n + 3 }))
    }
}

async fn sizes(cx: ServiceContext<Config>) -> anyhow::Result<Value> {
    Ok(json!({ "s": format!("{}small", cx.config.prefix) }))
}

const DESCRIPTOR: &str = r#"{
    "title": "Pets",
    "actions": { "name": { "main": "./name.rs", "fields": { "size": { "model": "sizes" } } } },
    "triggers": { "count": { "main": "./count.rs" } }
}"#;

fn component() -> Component {
    let component = Component::new(DESCRIPTOR).unwrap();
    component
        .action("name", Name)
        .trigger("count", Count)
        .select_model("sizes", sizes)
        .check()
        .unwrap()
}

async fn name(body: Value) -> sailor::testing::Emitted {
    Harness::new(&component(), "name")
        .config(json!({ "prefix": "Sir " }))
        .run(body)
        .await
        .unwrap()
}

#[tokio::test]
async fn an_action_emits_data_and_is_acknowledged() {
    let emitted = name(json!({ "name": "Rex" })).await;
    assert_eq!(emitted.data::<Value>(), [json!({ "name": "Sir Rex" })]);
    assert_eq!(emitted.verdict, Verdict::Acknowledged);
}

#[tokio::test]
async fn a_failure_is_an_error_event_and_a_rejection() {
    let emitted = name(json!({ "name": "" })).await;
    assert_eq!(
        emitted.events,
        [Event::Error("a pet needs a name".to_owned())]
    );
    assert_eq!(emitted.verdict, Verdict::Rejected);
}

/// A snapshot with a time of `sailor::jiff`.
#[tokio::test]
async fn a_time_in_a_snapshot_comes_back() {
    #[derive(Serialize, Deserialize)]
    struct Position {
        since: Timestamp,
    }
    struct EachHour;
    impl Trigger for EachHour {
        type Config = Value;
        type Snapshot = Position;
        type Output = String;

        async fn poll(
            &self,
            last: Option<Position>,
            cx: Context<Value, String>,
        ) -> anyhow::Result<Option<Position>> {
            let since = last.map_or(Timestamp::UNIX_EPOCH, |last| last.since);
            cx.data(&since.to_string()).await?;
            let since = since + SignedDuration::from_millis(3_600_500);
            Ok(Some(Position { since }))
        }
    }
    let json = r#"{"triggers": {"hours": {"main": "./hours.rs", "type": "polling"}}}"#;
    let component = Component::new(json).unwrap().trigger("hours", EachHour);
    let mut snapshot = json!({});
    for expected in ["1970-01-01T00:00:00Z", "1970-01-01T01:00:00.5Z"] {
        let harness = Harness::new(&component, "hours").snapshot(snapshot);
        let emitted = harness.run(json!({})).await.unwrap();
        assert_eq!(emitted.data::<String>(), [expected]);
        let Some(Event::Snapshot(last)) = emitted.events.last() else {
            panic!("no snapshot")
        };
        snapshot = last.clone();
    }
    assert_eq!(snapshot, json!({ "since": "1970-01-01T02:00:01Z" }));
}

#[tokio::test]
async fn an_emitted_error_rejects_the_message_when_the_module_ends() {
    let emitted = name(json!({ "name": "two errors" })).await;
    assert_eq!(emitted.events.len(), 2);
    assert_eq!(
        (emitted.verdict, emitted.error.is_none()),
        (Verdict::Rejected, true)
    );
}

#[tokio::test]
async fn a_failure_marked_as_a_rebound_comes_again_later() {
    let emitted = name(json!({ "name": "busy" })).await;
    assert_eq!(emitted.events, [Event::Rebound("429".to_owned())]);
    assert_eq!(emitted.verdict, Verdict::Acknowledged);
}

#[tokio::test]
async fn a_body_that_does_not_fit_is_named_with_its_member() {
    let emitted = name(json!({ "name": 7 })).await;
    let [Event::Error(text)] = &emitted.events[..] else {
        panic!("{emitted:?}")
    };
    assert!(
        text.contains("name: invalid type: integer `7`, expected a string"),
        "{text}"
    );
}

#[tokio::test]
async fn a_configuration_that_does_not_fit_is_named_with_its_member() {
    let emitted = Harness::new(&component(), "name")
        .run(json!({ "name": "Rex" }))
        .await
        .unwrap();
    let [Event::Error(text)] = &emitted.events[..] else {
        panic!("{emitted:?}")
    };
    assert!(
        text.contains("configuration") && text.contains("missing field `prefix`"),
        "{text}"
    );
}

#[tokio::test]
async fn an_invalid_configuration_is_reported_without_its_value() {
    let config = json!({ "prefix": 98765 });
    let emitted = Harness::new(&component(), "name")
        .config(config)
        .run(json!({ "name": "Rex" }))
        .await
        .unwrap();
    let [Event::Error(text)] = &emitted.events[..] else {
        panic!("{emitted:?}")
    };
    assert!(
        text.contains("prefix: expected a string") && !text.contains("98765"),
        "{text}"
    );
}

#[tokio::test]
async fn a_trigger_emits_in_order_and_then_keeps_its_snapshot() {
    let component = component();
    let emitted = Harness::new(&component, "count")
        .snapshot(json!({ "n": 4 }))
        .run(json!({}))
        .await
        .unwrap();
    assert_eq!(
        emitted.data::<Value>(),
        [json!({ "n": 5 }), json!({ "n": 6 }), json!({ "n": 7 })]
    );
    assert_eq!(
        emitted.events.last(),
        Some(&Event::Snapshot(json!({ "n": 7 })))
    );
}

#[tokio::test]
async fn an_empty_snapshot_is_none() {
    let emitted = Harness::new(&component(), "count")
        .snapshot(json!({}))
        .run(json!({}))
        .await
        .unwrap();
    assert_eq!(emitted.data::<Value>()[0], json!({ "n": 1 }));
}

#[tokio::test]
async fn a_select_model_sees_the_configuration() {
    let component = component();
    let harness = Harness::new(&component, "name").config(json!({ "prefix": "very " }));
    assert_eq!(
        harness.select_model("sizes").await.unwrap(),
        json!({ "s": "very small" })
    );
}

#[tokio::test]
async fn a_misspelt_select_model_names_the_one_that_is_meant() {
    let component = component();
    let error = Harness::new(&component, "name").select_model("Sizes").await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "no select model \"Sizes\"\nThere are: \"sizes\" (did you mean \"sizes\"?)"
    );
}

#[tokio::test]
async fn passthrough_and_unknown_members_of_a_message_stay_readable() {
    async fn look(message: Message<Value>, cx: Context) -> anyhow::Result<()> {
        let earlier = message
            .passthrough::<Pet>("step_0")
            .await?
            .map(|earlier| earlier.body.name);
        cx.data(&json!({ "earlier": earlier, "method": message.method, "odd": message.raw().get("odd").is_some() }))
            .await
    }
    let component = Component::new(r#"{"actions": {"look": {"main": "./look.rs"}}}"#)
        .unwrap()
        .action("look", look);
    let message = json!({
        "body": {}, "method": "POST", "odd": 1, "passthrough": { "step_0": { "headers": {}, "body": { "name": "Rex" } } },
    });
    let emitted = Harness::new(&component, "look")
        .run_message(message)
        .await
        .unwrap();
    assert_eq!(
        emitted.data::<Value>(),
        [json!({ "earlier": "Rex", "method": "POST", "odd": true })]
    );
}

#[tokio::test]
async fn a_stored_body_of_an_earlier_step_is_fetched_on_demand() {
    const ID: &str = "x-ipaas-object-storage-id";
    async fn look(message: Message<Value>, cx: Context) -> anyhow::Result<()> {
        let step = message.body["step"].as_str().unwrap();
        match message.passthrough::<Pet>(step).await? {
            Some(Message { body, headers, .. }) => {
                cx.data(&json!({ "name": body.name, "headers": headers }))
                    .await
            }
            None => cx.data(&Value::Null).await,
        }
    }
    let platform = Platform::start(PlatformConfig::default()).await.unwrap();
    platform.set_object("kept", r#"{ "name": "Rex" }"#);
    let component = Component::new(r#"{"actions": {"look": {"main": "./look.rs"}}}"#)
        .unwrap()
        .action("look", look);
    let look = async |step: &str| {
        let message = json!({ "body": { "step": step }, "passthrough": {
            "reference": { "headers": { ID: "kept", "own": "h" }, "body": {} },
            // A body that is in the message is not fetched.
            "whole": { "headers": { ID: "gone" }, "body": { "name": "Ada" } },
            "lost": { "headers": { ID: "gone" }, "body": {} },
        } });
        let harness = Harness::new(&component, "look")
            .object_storage(&platform.url(), "emulator-storage-token");
        harness.run_message(message).await.unwrap().events
    };
    let data = |value: Value| Event::Data(json!({ "headers": {}, "body": value }));
    assert_eq!(look("nobody").await, [data(Value::Null)]);
    assert_eq!(
        look("whole").await,
        [data(json!({ "name": "Ada", "headers": {} }))]
    );
    assert!(platform.calls().is_empty());
    assert_eq!(
        look("reference").await,
        [data(json!({ "name": "Rex", "headers": { "own": "h" } }))]
    );
    assert_eq!(
        look("lost").await,
        [Event::Error(
            "Failed to get message body with id=gone".to_owned()
        )]
    );
    assert_eq!(platform.calls().len(), 2);
}

#[test]
fn check_reports_every_difference_at_once() {
    let descriptor = r#"{
        "actions": {
            "name": { "main": "./name.rs", "dynamicMetadata": true, "fields": { "size": { "model": "sizes" } } },
            "missing": { "main": "./missing.rs" },
            "nameless": {}
        }
    }"#;
    let component = Component::new(descriptor).unwrap();
    let error = component
        .action("name", Name)
        .trigger("count", Count)
        .select_model("other", sizes)
        .check()
        .unwrap_err();
    let mismatch: &Mismatch = error.downcast_ref().unwrap();
    let reported = mismatch.differences().join("\n");
    for difference in [
        "action \"name\" has dynamic metadata",
        "action \"missing\" (./missing.rs) has no module",
        "action \"nameless\" has no `main`",
        "trigger \"count\" is registered, but not in component.json",
        "field \"size\" of \"name\" asks for select model \"sizes\"",
        "select model \"other\" is registered, but no field asks for it",
    ] {
        assert!(
            reported.contains(difference),
            "{difference} is not in:\n{reported}"
        );
    }
}

#[test]
fn a_descriptor_of_the_wrong_shape_is_named_with_its_member() {
    let error = Component::new(r#"{"actions": {"a": {"main": 7}}}"#)
        .unwrap_err()
        .to_string();
    assert!(error.contains("actions.a.main"), "{error}");
}

async fn first_attachment(message: Message<NoBody>, cx: Context) -> anyhow::Result<()> {
    let file = message.attachments.get("f")?.unwrap_or_default();
    let text = cx.attachments()?.download(&file.url).await?.text().await?;
    cx.data(&json!(text)).await
}

#[tokio::test]
async fn a_message_whose_attachment_is_away_comes_back() {
    let component = Component::new(r#"{"actions": {"read": {}}}"#).unwrap();
    let component = component.action("read", first_attachment);
    let storage = Platform::start(PlatformConfig::default()).await.unwrap();
    let run = async || {
        let file = storage.store("a text", "text/plain");
        let harness = Harness::new(&component, "read").attachment("f", file);
        let harness = harness.object_storage(&storage.url(), "emulator-storage-token");
        harness.run(json!({})).await.unwrap()
    };
    assert_eq!(run().await.data::<Value>(), ["a text"]);
    // The harness makes three attempts.
    let away = [503, 503, 503].map(emulator::platform::Fault::Status);
    storage.inject_faults("GET /objects", away);
    let emitted = run().await;
    assert_eq!(emitted.verdict, Verdict::Acknowledged);
    let [Event::Rebound(reason)] = &emitted.events[..] else {
        panic!("{emitted:?}")
    };
    assert!(
        reason.contains("503") && reason.contains(&storage.url()),
        "{reason}"
    );
    storage.inject_faults("GET /objects", [emulator::platform::Fault::Status(404)]);
    assert_eq!(run().await.verdict, Verdict::Rejected);
}

#[tokio::test]
async fn a_harness_without_object_storage_names_its_call() {
    let component = Component::new(r#"{"actions": {"read": {}}}"#).unwrap();
    let component = component.action("read", first_attachment);
    let emitted = Harness::new(&component, "read")
        .run(json!({}))
        .await
        .unwrap();
    let error = emitted.error.unwrap().to_string();
    assert!(error.contains("Harness::object_storage"), "{error}");
    let error = Harness::new(&component, "read").select_model("sizes").await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("\"sizes\"") && error.contains("There are none"),
        "{error}"
    );
}
