//! The reference component as a process: broker, platform, object storage, provider and API.

use super::{PATIENCE, Rig};
use emulator::{
    Emulator, EmulatorConfig, Event, EventKind,
    platform::Step,
    provider::{Provider, Scripted},
};
use sailor::protocol::Headers;
use serde_json::{Map, Value, json};
use std::{path::PathBuf, sync::Arc};
use tokio::time::timeout;

/// A step of the reference component on the emulator, whose provider knows its account.
async fn deployed(
    function: &str,
    tokens: impl FnOnce(&Provider) -> Map<String, Value>,
    fields: Value,
    config: EmulatorConfig,
) -> Rig {
    let emulator = Emulator::start(EmulatorConfig {
        next_step: true,
        ..config
    })
    .await
    .unwrap();
    let (platform, provider) = (emulator.platform(), emulator.provider());
    let mut all = json!({ "_account": "acc", "baseUrl": provider.api_url() });
    all.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    platform.set_account(
        "acc",
        Map::from_iter([("oauth".to_owned(), tokens(provider).into())]),
    );
    let step = Step {
        function: function.into(),
        config: all,
        consumes_raw_data: true,
        ..Step::default()
    };
    platform.set_step("emulated-flow", step);
    let variables = [
        ("ELASTICIO_FUNCTION", function.to_owned()),
        ("OAUTH_CLIENT_ID", provider.client_id().to_owned()),
        ("OAUTH_CLIENT_SECRET", provider.client_secret().to_owned()),
        ("OAUTH_AUTH_URI", provider.authorize_url()),
        ("OAUTH_TOKEN_URI", provider.token_url()),
        ("ELASTICIO_AMQP_PUBLISH_RETRY_DELAY", "1".to_owned()),
    ];
    Rig {
        emulator,
        binary: PathBuf::from(env!("CARGO_BIN_EXE_component")),
        variables: variables.into(),
    }
}

impl Rig {
    fn message(&self, message: Value) {
        self.emulator.send(&message, &Headers::new());
    }

    fn stored_token(&self) -> String {
        let account = self.emulator.platform().account("acc").unwrap();
        account["oauth"]["refresh_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn snapshot(&self) -> Value {
        self.emulator
            .platform()
            .step("emulated-flow", "step_1")
            .unwrap()
            .snapshot
    }

    /// A one-time execution, and what it posted.
    async fn service(&self, method: &str) -> (bool, Value) {
        let platform = self.emulator.platform();
        let config = platform.step("emulated-flow", "step_1").unwrap().config;
        let mut command = self.command();
        command
            .args(["service", method])
            .env("ELASTICIO_POST_RESULT_URL", platform.result_url("exec"));
        command.env("ELASTICIO_CFG", config.to_string());
        let output = timeout(PATIENCE, command.output())
            .await
            .expect("the call does not end")
            .unwrap();
        let result = platform
            .results()
            .pop()
            .unwrap_or_else(|| panic!("no result: {output:?}"));
        (result.success, result.data)
    }
}

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
    let rig = deployed(
        "pollItems",
        Provider::issue_expired,
        paged(),
        EmulatorConfig::default(),
    )
    .await;
    let component = rig.start();
    rig.message(json!({ "body": {} }));
    assert_eq!(ids(&rig.events(EventKind::Data, 5).await), [1, 2, 3, 4, 5]);
    rig.settled().await;
    let provider = rig.emulator.provider();
    assert_eq!(
        (
            provider.refreshes(),
            provider.is_spendable(&rig.stored_token())
        ),
        (1, true)
    );
    assert_eq!(
        (&rig.snapshot()["seen"], &rig.snapshot()["since"]),
        (&json!([5]), &json!("2026-01-31T11:00:00Z"))
    );
    let record = |id| json!({ "id": id, "updated_at": "2026-01-31T11:00:00Z" });
    provider.set_records([record(5), record(6)]);
    rig.message(json!({ "body": {} }));
    assert_eq!(ids(&rig.events(EventKind::Data, 6).await)[5..], [6]);
    rig.settled().await;
    assert_eq!(component.stop().await.0, 0);
    assert_eq!(
        (
            rig.so_far(EventKind::Acked).len(),
            rig.so_far(EventKind::Data).len()
        ),
        (2, 6)
    );
}

#[tokio::test]
async fn an_unpublished_item_is_polled_again() {
    let mut sorted = paged();
    sorted["isSorted"] = "on".into();
    let rig = deployed(
        "pollItems",
        Provider::issue,
        sorted,
        EmulatorConfig::default(),
    )
    .await;
    let rig = rig.variable("ELASTICIO_AMQP_PUBLISH_RETRY_ATTEMPTS", "1");
    rig.emulator.broker().nack_publishes(1);
    let component = rig.start();
    rig.message(json!({ "body": {} }));
    rig.events(EventKind::Rejected, 1).await;
    assert_eq!(
        (rig.snapshot(), rig.so_far(EventKind::Snapshot).len()),
        (json!({}), 0)
    );
    let before = rig.so_far(EventKind::Data).len();
    rig.message(json!({ "body": {} }));
    rig.events(EventKind::Acked, 1).await;
    assert_eq!(ids(&rig.so_far(EventKind::Data)[before..]), [1, 2, 3, 4, 5]);
    assert_eq!(rig.snapshot()["seen"], json!([5]));
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn a_busy_api_rebounds_the_poll() {
    let config = EmulatorConfig {
        rebound_speed_up: 100,
        ..EmulatorConfig::default()
    };
    let rig = deployed("pollItems", Provider::issue, paged(), config).await;
    rig.emulator
        .provider()
        .script_api([Scripted::Normal, Scripted::retry_after(429, "3600")]);
    let component = rig.start();
    rig.message(json!({ "body": {} }));
    rig.events(EventKind::Rebound, 1).await;
    // The first page again, since the list need not be sorted.
    assert_eq!(
        ids(&rig.events(EventKind::Data, 7).await),
        [1, 2, 1, 2, 3, 4, 5]
    );
    rig.settled().await;
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn files_pass_through_object_storage() {
    let fields = json!({ "bodyType": "multipart", "idempotencyHeader": "Idempotency-Key" });
    let rig = deployed(
        "makeRequest",
        Provider::issue_expired,
        fields,
        EmulatorConfig::default(),
    )
    .await;
    let platform = rig.emulator.platform();
    platform.set_object("file-1", &b"\x00\xff"[..]);
    let component = rig.start();
    let attachments = json!({ "one": { "url": format!("{}/objects/file-1", platform.url()) } });
    let request = json!({ "method": "POST", "path": "/echo", "body": { "title": "One" } });
    rig.message(json!({ "id": "message-1", "body": request, "attachments": attachments }));
    rig.message(json!({ "body": { "path": "/files/logo.png" }, "id": "message-2" }));
    let data = rig.events(EventKind::Data, 2).await;
    rig.settled().await;
    let calls = rig.emulator.provider().api_calls();
    assert_eq!(
        calls.iter().map(|call| call.status).collect::<Vec<_>>(),
        [Some(401), Some(200), Some(200)]
    );
    assert!(calls[1].body.windows(2).any(|bytes| bytes == b"\x00\xff"));
    assert_eq!(calls[1].headers["idempotency-key"], "message-1");
    let file = &data[1].body["attachments"]["logo.png"];
    let id = platform
        .object_ids()
        .into_iter()
        .find(|id| file["url"].as_str().unwrap().contains(id.as_str()))
        .unwrap();
    assert_eq!(
        platform.object(&id).unwrap()[..],
        b"\x89PNG\r\n\x1a\n\x00\xff"[..]
    );
    assert_eq!(component.stop().await.0, 0);
}

/// HMAC-SHA-256 of `{"order": 7}` with the secret `s3cret-of-the-hook`.
const SIGNATURE: &str = "sha256=212e97df374408d8177f0606154c94d34d8b4a25833f04e7e16f1df9b9dc02db";

#[tokio::test]
async fn webhooks_subscribe_receive_and_unsubscribe() {
    let fields = json!({ "webhookSecret": "s3cret-of-the-hook", "subscribePath": "/webhooks", "replyStatus": 202 });
    let config = EmulatorConfig {
        startup: true,
        ..EmulatorConfig::default()
    };
    let rig = deployed("receiveWebhooks", Provider::issue_expired, fields, config).await;
    let (platform, provider) = (rig.emulator.platform(), rig.emulator.provider());
    let mut component = rig.start();
    component.says("Fully initialized").await;
    let address = format!("{}/hook/emulated-flow", platform.url());
    assert_eq!(provider.subscriptions(), [json!({ "url": address })]);
    assert_eq!(
        (
            provider.refreshes(),
            provider.is_spendable(&rig.stored_token())
        ),
        (1, true)
    );

    let call = async |signature: &str| {
        let request = reqwest::Client::new()
            .post(&address)
            .header("x-hub-signature-256", signature);
        let answer = timeout(PATIENCE, request.body(r#"{"order": 7}"#).send())
            .await
            .unwrap()
            .unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    assert_eq!(call(SIGNATURE).await, (202, json!({})));
    assert_eq!(call(&SIGNATURE.replace('a', "b")).await.0, 401);
    assert_eq!(call("").await.0, 401);
    let data = rig.events(EventKind::Data, 1).await;
    assert_eq!(data[0].body["body"]["body"], json!({ "order": 7 }));
    rig.settled().await;
    let (status, log) = component.stop().await;
    assert_eq!(status, 0);
    assert_eq!(
        (
            rig.so_far(EventKind::Data).len(),
            rig.so_far(EventKind::Error).len()
        ),
        (1, 0)
    );
    assert!(
        !log.iter()
            .any(|line| line.to_string().contains("s3cret-of-the-hook")),
        "the secret is told"
    );

    assert_eq!(
        provider.subscriptions().len(),
        1,
        "a container that ends is not the end of the flow"
    );
    let rig = rig.variable("ELASTICIO_HOOK_SHUTDOWN", "true");
    let output = rig.run().await;
    assert!(output.status.success(), "{output:?}");
    assert!(rig.emulator.provider().subscriptions().is_empty());
    assert!(
        rig.emulator
            .platform()
            .startup_data("emulated-flow")
            .is_none()
    );
}

#[tokio::test]
async fn an_unreachable_next_step_is_not_replied_as_success() {
    let rig = deployed(
        "receiveWebhooks",
        Provider::issue,
        json!({}),
        EmulatorConfig::default(),
    )
    .await;
    let rig = rig.variable("ELASTICIO_AMQP_PUBLISH_RETRY_ATTEMPTS", "1");
    let mut component = rig.start();
    component.says("Fully initialized").await;
    rig.emulator.broker().nack_publishes(1);
    let address = format!("{}/hook/emulated-flow", rig.emulator.platform().url());
    let answer = timeout(
        PATIENCE,
        reqwest::Client::new().post(&address).body("{}").send(),
    )
    .await
    .unwrap()
    .unwrap();
    assert_eq!(answer.status().as_u16(), 500);
    rig.settled().await;
    assert_eq!(rig.so_far(EventKind::HttpReply).len(), 0);
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn verify_credentials_posts_a_result_or_an_error() {
    for (fields, script, success, told_of) in [
        (
            json!({ "verifyPath": "/me" }),
            vec![],
            true,
            r#"{"verified":true}"#,
        ),
        (
            json!({ "verifyPath": "/status/403" }),
            vec![],
            true,
            r#""verified":false"#,
        ),
        (
            json!({ "verifyPath": "/none" }),
            vec![],
            true,
            "GET /none returned 404",
        ),
        (
            json!({ "verifyPath": "/me" }),
            vec![Scripted::retry_after(429, "0")],
            true,
            r#"{"verified":true}"#,
        ),
        (
            json!({ "verifyPath": "/me" }),
            vec![Scripted::retry_after(429, "3600")],
            false,
            "could not be checked now",
        ),
        (
            json!({ "verifyPath": "/me", "baseUrl": "http://127.0.0.1:1" }),
            vec![],
            false,
            "could not be checked now",
        ),
    ] {
        let rig = deployed(
            "",
            Provider::issue_expired,
            fields.clone(),
            EmulatorConfig::default(),
        )
        .await;
        rig.emulator.provider().script_api(script);
        let (succeeded, data) = rig.service("verifyCredentials").await;
        assert_eq!(succeeded, success, "{fields}: {data}");
        assert!(data.to_string().contains(told_of), "{fields}: {data}");
    }
}
