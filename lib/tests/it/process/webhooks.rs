//! The trigger `receiveWebhooks` from end to end.

use super::*;

/// HMAC-SHA-256 of `{"order": 7}` with the secret `s3cret-of-the-hook`.
const SIGNATURE: &str = "sha256=212e97df374408d8177f0606154c94d34d8b4a25833f04e7e16f1df9b9dc02db";

#[tokio::test]
async fn webhooks_subscribe_receive_and_unsubscribe() {
    let fields = json!({ "webhookSecret": "s3cret-of-the-hook", "subscribePath": "/webhooks", "replyStatus": 202 });
    let config = EmulatorConfig {
        startup: true,
        ..EmulatorConfig::default()
    };
    let connected =
        Connected::start("receiveWebhooks", Provider::issue_expired, fields, config).await;
    let (platform, provider) = (connected.platform(), connected.provider());
    let mut component = connected.rig.start();
    component.says("Fully initialized").await;
    let address = format!("{}/hook/emulated-flow", platform.url());
    assert_eq!(provider.subscriptions(), [json!({ "url": address })]);
    assert_eq!(
        (provider.refreshes(), connected.rig.has_spendable_token()),
        (1, true)
    );

    let call = async |signature: &str| {
        let request = reqwest::Client::new()
            .post(&address)
            .header("x-hub-signature-256", signature);
        let request = request.body(r#"{"order": 7}"#);
        let response = soon("a response", request.send()).await.unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    assert_eq!(call(SIGNATURE).await, (202, json!({})));
    assert_eq!(call(&SIGNATURE.replace('a', "b")).await.0, 401);
    assert_eq!(call("").await.0, 401);
    let data = connected.rig.events(EventKind::Data, 1).await;
    assert_eq!(data[0].body["body"]["body"], json!({ "order": 7 }));
    connected.rig.settled().await;
    let (status, log) = component.stop().await;
    assert_eq!(status, 0);
    assert_eq!(
        (
            connected.count(EventKind::Data),
            connected.count(EventKind::Error)
        ),
        (1, 0)
    );
    assert!(
        !log.iter()
            .any(|line| line.to_string().contains("s3cret-of-the-hook")),
        "the secret is logged"
    );

    assert_eq!(
        provider.subscriptions().len(),
        1,
        "a stopped container does not end the flow"
    );
    let connected = connected.variable("ELASTICIO_HOOK_SHUTDOWN", "true");
    let ended = connected.rig.run().await;
    assert!(ended.status == 0, "{ended:?}");
    assert!(connected.provider().subscriptions().is_empty());
    assert!(connected.platform().startup_data("emulated-flow").is_none());
}

#[tokio::test]
async fn an_unreachable_next_step_is_not_replied_as_success() {
    let connected = Connected::start(
        "receiveWebhooks",
        Provider::issue,
        json!({}),
        EmulatorConfig::default(),
    )
    .await;
    let connected = connected.variable("ELASTICIO_AMQP_PUBLISH_RETRY_ATTEMPTS", "1");
    let mut component = connected.rig.start();
    component.says("Fully initialized").await;
    connected.rig.emulator.broker().nack_publishes(1);
    let address = format!("{}/hook/emulated-flow", connected.platform().url());
    let request = reqwest::Client::new().post(&address).body("{}");
    let response = soon("a response", request.send()).await.unwrap();
    assert_eq!(response.status().as_u16(), 500);
    connected.rig.settled().await;
    assert_eq!(connected.count(EventKind::HttpReply), 0);
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn a_handshake_is_echoed_to_the_api_as_plain_text() {
    let fields =
        json!({ "webhookSecret": "s3cret-of-the-hook", "handshake": "query:validationToken" });
    let config = EmulatorConfig::default();
    let connected = Connected::start("receiveWebhooks", Provider::issue, fields, config).await;
    let mut component = connected.rig.start();
    component.says("Fully initialized").await;
    let address = format!("{}/hook/emulated-flow", connected.platform().url());
    // As Microsoft Graph sends it.
    let request = reqwest::Client::new()
        .post(format!(
            "{address}?validationToken=Validation%3A+a%20%3Cb%3E"
        ))
        .header("content-type", "text/plain; charset=utf-8");
    let response = soon("a response", request.send()).await.unwrap();
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(response.text().await.unwrap(), "Validation: a <b>");
    connected.rig.settled().await;
    assert_eq!(connected.count(EventKind::Data), 0);
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn a_handshakes_secret_reaches_another_replica() {
    let fields = json!({
        "handshake": "header:X-Hook-Secret", "keepHandshakeSecret": "on", "signatureHeader": "X-Hook-Signature",
    });
    let config = EmulatorConfig::default();
    let connected = Connected::start("receiveWebhooks", Provider::issue, fields, config).await;
    let mut component = connected.rig.start();
    component.says("Fully initialized").await;
    // Another replica has had the handshake, after this one has started.
    let platform = connected.platform();
    let mut step = platform.step("emulated-flow", "step_1").unwrap();
    step.snapshot = json!({ "handshakeSecret": "s3cret-of-the-hook" });
    platform.set_step("emulated-flow", step);
    let address = format!("{}/hook/emulated-flow", platform.url());
    let request = reqwest::Client::new()
        .post(&address)
        .header("x-hook-signature", SIGNATURE)
        .body(r#"{"order": 7}"#);
    let response = soon("a response", request.send()).await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    connected.rig.settled().await;
    assert_eq!(connected.count(EventKind::Data), 1);
    assert_eq!(component.stop().await.0, 0);
}
