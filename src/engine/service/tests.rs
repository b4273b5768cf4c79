//! Tokens that one-time calls refresh (token-failures: T59; token-failures: Secrets of the platform).

use super::*;
use crate::{
    captured_log::CapturedLog,
    component::{context::ServiceContext, message::Message},
    oauth2::OAuth2,
};
use emulator::{
    platform::{Fault, Platform as Emulated, PlatformConfig, Step as EmulatedStep},
    provider::{Knobs, Provider, ProviderConfig},
};
use serde_json::Map;
use std::time::Duration;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

const DESCRIPTOR: &str = r#"{
    "title": "Lists",
    "credentials": { "fields": { "oauth": { "label": "Connection", "viewClass": "OAuthFieldView" } } },
    "actions": {
        "list": {
            "title": "List", "main": "./list.rs", "dynamicMetadata": true,
            "fields": { "item": { "label": "Item", "viewClass": "SelectView", "model": "items" } }
        }
    }
}"#;

async fn provider() -> Provider {
    Provider::start(ProviderConfig {
        knobs: Knobs::rotating(),
        ..ProviderConfig::default()
    })
    .await
    .unwrap()
}

/// A component that asks its API in each of its calls.
fn component(provider: &Provider) -> Component {
    async fn list(_: Message<Value>, _: crate::Context) -> anyhow::Result<()> {
        Ok(())
    }
    async fn metadata(cx: ServiceContext) -> anyhow::Result<Value> {
        cx.oauth().get("/items").send().await?;
        Ok(json!({ "in": {}, "out": {} }))
    }
    async fn items(cx: ServiceContext) -> anyhow::Result<Value> {
        let items: Value = cx.oauth().get("/items").send_json().await?;
        Ok(json!({ "first": items["items"][0]["name"] }))
    }
    async fn verify(cx: ServiceContext) -> anyhow::Result<Verified> {
        cx.oauth().get("/me").send().await?;
        Ok(Verified::Yes)
    }
    let oauth2 = OAuth2::new()
        .client_id(provider.client_id())
        .client_secret(provider.client_secret())
        .token_uri(provider.token_url())
        .base_url(provider.api_url());
    let component = Component::new(DESCRIPTOR)
        .unwrap()
        .action("list", list)
        .metadata("list", metadata);
    component
        .select_model("items", items)
        .verify_credentials(verify)
        .oauth2(oauth2)
        .check()
        .unwrap()
}

/// Makes the call as the platform does; the result is posted to `result_url`.
async fn call(method: &str, config: &Value, api: &str, result_url: &str, component: Component) {
    let config = config.to_string();
    let variables = [
        ("POST_RESULT_URL", result_url),
        ("CFG", &config),
        ("API_URI", api),
        ("API_USERNAME", "emulator-user"),
        ("API_KEY", "emulator-key"),
        ("WORKSPACE_ID", "ws"),
        ("ACTION_OR_TRIGGER", "list"),
        ("GET_MODEL_METHOD", "items"),
    ];
    let start = crate::settings::ServiceSettings::read(Some(method), |name| {
        let name = name.strip_prefix("ELASTICIO_")?;
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    });
    run_call(start, Ok(component)).await.unwrap();
}

struct Connected {
    platform: Emulated,
    provider: Provider,
    config: Value,
}

/// An account whose access token has expired.
async fn connected() -> Connected {
    let (platform, provider) = (
        Emulated::start(PlatformConfig::default()).await.unwrap(),
        provider().await,
    );
    let config = json!({ "_account": "acc", "oauth": provider.issue_expired() });
    platform.set_step(
        "flow",
        EmulatedStep {
            config: config.clone(),
            ..EmulatedStep::default()
        },
    );
    let account: Map<_, _> = config
        .as_object()
        .unwrap()
        .clone()
        .into_iter()
        .filter(|(name, _)| name == "oauth")
        .collect();
    platform.set_account("acc", account);
    Connected {
        platform,
        provider,
        config,
    }
}

impl Connected {
    async fn call(&self, method: &str) -> emulator::platform::ServiceResult {
        let component = component(&self.provider);
        call(
            method,
            &self.config,
            &self.platform.url(),
            &self.platform.result_url("exec"),
            component,
        )
        .await;
        self.platform.results().pop().unwrap()
    }

    fn stored(&self) -> String {
        self.platform.account("acc").unwrap()["oauth"]["refresh_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

/// token-failures: T59.
#[tokio::test]
async fn a_one_time_call_saves_refreshed_tokens() {
    for method in ["selectModel", "getMetaModel", "verifyCredentials"] {
        let connected = connected().await;
        let result = connected.call(method).await;
        assert!(result.success, "{method}: {}", result.data);
        assert_eq!(connected.provider.refreshes(), 1, "{method}");
        assert!(
            connected.provider.is_spendable(&connected.stored()),
            "{method}"
        );
        // The credential is saved before the result is posted, so a reader of the result can rely on it.
        let calls = connected.platform.calls();
        let place = |what: &str| {
            calls
                .iter()
                .position(|call| call.line().starts_with(what))
                .unwrap()
        };
        assert!(
            place("PUT /v1/accounts/acc") < place("POST /result"),
            "{method}: {calls:?}"
        );
    }
}

/// The Node sailor posts the result anyway, and the token is lost (token-failures: T59).
#[tokio::test]
async fn an_unsaved_rotated_token_fails_the_one_time_call() {
    let connected = connected().await;
    connected
        .platform
        .inject_faults("PUT /v1/accounts", vec![Fault::Status(400); 20]);
    let result = connected.call("selectModel").await;
    assert!(
        !result.success && result.data.to_string().contains("could not be saved"),
        "{}",
        result.data
    );
}

/// token-failures: Secrets of the platform.
#[tokio::test]
async fn a_secret_is_read_alone_and_in_a_list() {
    for in_list in [false, true] {
        let (platform, provider) = (MockServer::start().await, provider().await);
        let answer = |credentials: Map<String, Value>| {
            let secret = json!({ "id": "s1", "attributes": { "state": "ready", "credentials": credentials } });
            let data = if in_list { json!([secret]) } else { secret };
            ResponseTemplate::new(200).set_body_json(json!({ "data": data }))
        };
        let secret = "/v2/workspaces/ws/secrets/s1";
        let read = Mock::given(method("GET"))
            .and(path(secret))
            .respond_with(answer(provider.issue_expired()));
        let refresh = Mock::given(method("POST")).and(path(format!("{secret}/refresh")));
        let result = Mock::given(method("POST"))
            .and(path("/result"))
            .respond_with(ResponseTemplate::new(200));
        // The first read returns the expired token. The second one checks whether it has been replaced.
        read.expect(2).mount(&platform).await;
        refresh
            .respond_with(answer(provider.issue()))
            .expect(1)
            .mount(&platform)
            .await;
        result.expect(1).mount(&platform).await;

        let (config, url) = (json!({ "secretId": "s1" }), platform.uri());
        call(
            "verifyCredentials",
            &config,
            &url,
            &format!("{url}/result"),
            component(&provider),
        )
        .await;

        let requests = platform.received_requests().await.unwrap();
        let result: Value = requests.last().unwrap().body_json().unwrap();
        assert_eq!(
            result,
            json!({ "status": "success", "data": { "verified": true } }),
            "list: {in_list}"
        );
        assert_eq!(
            provider
                .api_calls()
                .iter()
                .map(|call| call.status)
                .collect::<Vec<_>>(),
            [Some(401), Some(200)]
        );
        assert_eq!(provider.refreshes(), 0);
        assert!(
            requests.iter().all(|request| request.method != "PUT"),
            "no updateKeys"
        );
    }
}

#[tokio::test]
async fn a_misspelt_select_model_names_the_one_that_is_meant() {
    let component = component(&provider().await);
    let method = Method::SelectModel {
        function: "list".into(),
        model: "item_s".into(),
    };
    let never = |_: &str| -> ServiceContextParts { unreachable!() };
    let error = dispatch(&component, &method, never).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Method \"item_s\" is not found in \"list\" action or trigger\nThere are: \"items\" (did you mean \"items\"?)"
    );
}

#[tokio::test]
async fn a_call_that_takes_minutes_is_named_in_the_log() {
    async fn list(_: Message<Value>, _: crate::Context) -> anyhow::Result<()> {
        Ok(())
    }
    async fn verify(_: ServiceContext) -> anyhow::Result<Verified> {
        tokio::time::advance(Duration::from_secs(301)).await;
        // So that the call is looked at.
        tokio::task::yield_now().await;
        Ok(Verified::Yes)
    }
    // While a blocking task runs, tokio does not move a paused clock by itself.
    tokio::time::pause();
    let (_clock, dropped) = std::sync::mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || dropped.recv());
    let platform = Emulated::start(PlatformConfig::default()).await.unwrap();
    let component =
        Component::new(r#"{ "title": "T", "actions": { "list": { "main": "./l.rs" } } }"#);
    let component = component.unwrap().action("list", list);
    let component = component.verify_credentials(verify);
    let log = CapturedLog::begin();
    let (url, result) = (platform.url(), platform.result_url("exec"));
    call("verifyCredentials", &json!({}), &url, &result, component).await;
    assert!(platform.results().pop().unwrap().success);
    log.assert_one(&[
        "The component has been working on this call for minutes",
        "seconds=300",
    ]);
}
