//! OAuth2 from end to end: the reference component as a process, broker, platform, provider and API.

use super::{PATIENCE, Rig, Running};
use emulator::{
    Emulator, EmulatorConfig, EventKind,
    platform::{Fault, Step},
    provider::{Knobs, Provider, ProviderConfig, Scripted},
};
use sailor::protocol::Headers;
use serde_json::{Map, Value, json};
use std::{path::PathBuf, time::Duration};
use tokio::time::timeout;

/// The reference component on a step of its own, connected with a provider.
struct Connected {
    rig: Rig,
    provider: Provider,
}

impl Connected {
    async fn with(knobs: Knobs, tokens: impl FnOnce(&Provider) -> Map<String, Value>) -> Self {
        Self::configured(
            knobs,
            tokens,
            EmulatorConfig {
                prefetch: 20,
                ..EmulatorConfig::default()
            },
        )
        .await
    }

    async fn configured(
        knobs: Knobs,
        tokens: impl FnOnce(&Provider) -> Map<String, Value>,
        config: EmulatorConfig,
    ) -> Self {
        let provider = Provider::start(ProviderConfig {
            knobs,
            ..ProviderConfig::default()
        })
        .await
        .unwrap();
        let account = json!({ "oauth": tokens(&provider), "verifyPath": "/me" });
        let mut fields = json!({ "_account": "acc", "baseUrl": provider.api_url() });
        fields
            .as_object_mut()
            .unwrap()
            .extend(account.as_object().unwrap().clone());
        let step = Step {
            function: "makeRequest".into(),
            config: fields,
            ..Step::default()
        };
        let emulator = Emulator::start(EmulatorConfig {
            step,
            next_step: true,
            ..config
        })
        .await
        .unwrap();
        emulator
            .platform()
            .set_account("acc", account.as_object().unwrap().clone());
        let rig = Rig {
            emulator,
            binary: PathBuf::from(env!("CARGO_BIN_EXE_component")),
            variables: vec![],
        }
        .variable("OAUTH_CLIENT_ID", provider.client_id())
        .variable("OAUTH_CLIENT_SECRET", provider.client_secret())
        .variable("OAUTH_AUTH_URI", provider.authorize_url())
        .variable("OAUTH_TOKEN_URI", provider.token_url())
        .variable("LOG_LEVEL", "trace");
        Self { rig, provider }
    }

    fn send(&self, path: &str) {
        let message = json!({ "headers": {}, "body": { "method": "POST", "path": path, "body": { "name": "Ada" } } });
        self.rig.emulator.send(&message, &Headers::new());
    }

    /// The tokens that the platform has.
    fn stored(&self) -> Value {
        self.rig.emulator.platform().account("acc").unwrap()["oauth"].clone()
    }

    fn count(&self, kind: EventKind) -> usize {
        self.rig.so_far(kind).len()
    }

    /// Stops the component; nothing it has said tells a secret.
    async fn stop(&self, component: Running) -> Vec<Value> {
        let (status, log) = component.stop().await;
        assert_eq!(status, 0);
        self.assert_nothing_told(&log);
        log
    }

    fn assert_nothing_told(&self, log: &[Value]) {
        let secrets = self.provider.secrets();
        assert!(secrets.len() > 2, "there is something to tell");
        for line in log {
            let line = line.to_string();
            assert!(
                !secrets.iter().any(|secret| line.contains(secret.as_str())),
                "a secret is told: {line}"
            );
        }
        for error in self.rig.so_far(EventKind::Error) {
            let text = error.body["error"].to_string();
            assert!(
                !secrets.iter().any(|secret| text.contains(secret.as_str())),
                "a secret is told: {text}"
            );
        }
    }

    async fn service(&self, method: &str) -> Value {
        let platform = self.rig.emulator.platform();
        let mut command = self.rig.command();
        command
            .args(["service", method])
            .env("ELASTICIO_POST_RESULT_URL", platform.result_url("exec"));
        let mut config = platform
            .step("emulated-flow", "step_1")
            .map(|step| step.config)
            .unwrap_or_default();
        config["_account"] = "acc".into();
        command.env("ELASTICIO_CFG", config.to_string());
        let output = timeout(PATIENCE, command.output())
            .await
            .expect("the call does not end")
            .unwrap();
        let log = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        self.assert_nothing_told(&lines);
        let result = platform
            .results()
            .pop()
            .unwrap_or_else(|| panic!("no result: {log}"));
        json!({ "success": result.success, "data": result.data })
    }
}

#[tokio::test]
async fn a_refreshed_token_is_saved_before_the_resend() {
    let config = EmulatorConfig {
        update_keys_over_broker: true,
        ..EmulatorConfig::default()
    };
    let connected = Connected::configured(Knobs::rotating(), Provider::issue_expired, config).await;
    let component = connected.rig.start();
    connected.send("/echo/contacts?x=1");
    connected.rig.settled().await;
    let data = connected.rig.events(EventKind::Data, 1).await;
    assert_eq!(
        data[0].body["body"]["body"]["body"],
        json!(r#"{"name":"Ada"}"#)
    );
    assert_eq!(
        (
            connected.provider.refreshes(),
            connected.count(EventKind::Acked)
        ),
        (1, 1)
    );
    assert_eq!(
        connected.count(EventKind::UpdateKeys),
        2,
        "once over REST, once over the broker"
    );
    let requests = connected.provider.api_calls();
    assert_eq!(
        requests.iter().map(|call| call.status).collect::<Vec<_>>(),
        [Some(401), Some(200)]
    );
    assert_eq!(requests[0].body, requests[1].body);
    assert!(
        connected
            .provider
            .is_spendable(connected.stored()["refresh_token"].as_str().unwrap())
    );
    // The next message begins with the new token.
    connected.send("/echo/contacts");
    connected.rig.settled().await;
    assert_eq!(
        (
            connected.provider.refreshes(),
            connected.provider.api_calls().len()
        ),
        (1, 3)
    );
    connected.stop(component).await;
}

#[tokio::test]
async fn many_messages_share_one_refresh() {
    let knobs = Knobs {
        kill_family_on_reuse: true,
        ..Knobs::rotating()
    };
    let connected = Connected::with(knobs, Provider::issue_expired).await;
    for n in 0..20 {
        connected.send(&format!("/echo/{n}"));
    }
    let component = connected.rig.start();
    connected.rig.events(EventKind::Data, 20).await;
    connected.rig.settled().await;
    assert_eq!(
        (
            connected.provider.refreshes(),
            connected.count(EventKind::Acked)
        ),
        (1, 20)
    );
    connected.stop(component).await;
}

#[tokio::test]
async fn an_unsaved_rotated_token_is_reported_and_saved_later() {
    let connected = Connected::with(Knobs::rotating(), Provider::issue_expired).await;
    // Three tries of the session, of three requests each.
    connected
        .rig
        .emulator
        .platform()
        .fail("PUT .*accounts", [const { Fault::Status(503) }; 9]);
    let component = connected.rig.start();
    connected.send("/echo/x");
    connected.rig.events(EventKind::Data, 1).await;
    let errors = connected.rig.events(EventKind::Error, 1).await;
    assert_eq!(errors[0].body["error"]["name"], "UnsavedCredentials");
    connected.rig.settled().await;
    assert_eq!(
        (
            connected.count(EventKind::Acked),
            connected.count(EventKind::Rejected)
        ),
        (1, 0)
    );
    let log = connected.stop(component).await;
    assert!(
        connected
            .provider
            .is_spendable(connected.stored()["refresh_token"].as_str().unwrap()),
        "{log:?}"
    );
    assert_eq!(connected.provider.refreshes(), 1);
}

#[tokio::test]
async fn keys_are_queued_once_while_rest_is_retried() {
    let config = EmulatorConfig {
        update_keys_over_broker: true,
        ..EmulatorConfig::default()
    };
    let connected = Connected::configured(Knobs::rotating(), Provider::issue_expired, config).await;
    // Two tries of the session, of three requests each.
    connected
        .rig
        .emulator
        .platform()
        .fail("PUT .*accounts", [const { Fault::Status(503) }; 6]);
    let component = connected.rig.start();
    connected.send("/echo/x");
    connected.rig.events(EventKind::Data, 1).await;
    connected.rig.settled().await;
    assert_eq!(
        connected.count(EventKind::UpdateKeys),
        2,
        "once over REST, once over the broker"
    );
    assert_eq!(connected.provider.refreshes(), 1);
    connected.stop(component).await;
}

/// As from a gateway while the platform's API is started anew.
#[tokio::test]
async fn a_404_at_saving_is_tried_again_and_takes_no_tokens_away() {
    for over_broker in [false, true] {
        let config = EmulatorConfig {
            update_keys_over_broker: over_broker,
            ..EmulatorConfig::default()
        };
        let connected =
            Connected::configured(Knobs::rotating(), Provider::issue_expired, config).await;
        connected
            .rig
            .emulator
            .platform()
            .fail("PUT .*accounts", [Fault::Status(404)]);
        let component = connected.rig.start();
        connected.send("/echo/x");
        connected.rig.events(EventKind::Data, 1).await;
        connected.rig.settled().await;
        assert_eq!(
            (
                connected.count(EventKind::Acked),
                connected.count(EventKind::Error)
            ),
            (1, 0),
            "{over_broker}"
        );
        let log = connected.stop(component).await;
        assert!(
            connected
                .provider
                .is_spendable(connected.stored()["refresh_token"].as_str().unwrap()),
            "{log:?}"
        );
        assert_eq!(connected.provider.refreshes(), 1, "{over_broker}");
    }
}

/// Where the REST API has no such account, the queue's word counts.
#[tokio::test]
async fn keys_that_the_queue_has_taken_are_saved_though_rest_says_404() {
    let config = EmulatorConfig {
        update_keys_over_broker: true,
        ..EmulatorConfig::default()
    };
    let connected = Connected::configured(Knobs::rotating(), Provider::issue_expired, config).await;
    connected
        .rig
        .emulator
        .platform()
        .fail("PUT .*accounts", [const { Fault::Status(404) }; 9]);
    let component = connected.rig.start();
    connected.send("/echo/x");
    connected.rig.events(EventKind::Data, 1).await;
    connected.rig.settled().await;
    let log = connected.stop(component).await;
    assert!(
        log.iter().any(|line| line["msg"]
            .as_str()
            .is_some_and(|text| text.contains("queue only"))),
        "{log:?}"
    );
    assert_eq!(
        (
            connected.count(EventKind::Acked),
            connected.count(EventKind::Error)
        ),
        (1, 0)
    );
    assert!(
        connected
            .provider
            .is_spendable(connected.stored()["refresh_token"].as_str().unwrap()),
        "{log:?}"
    );
    assert_eq!(connected.provider.refreshes(), 1);
}

#[tokio::test]
async fn a_refused_refresh_token_fails_the_message_with_advice() {
    let connected = Connected::with(Knobs::rotating(), Provider::issue_expired).await;
    connected.provider.revoke_all();
    let component = connected.rig.start();
    connected.send("/echo/x");
    connected.send("/echo/y");
    let errors = connected.rig.events(EventKind::Error, 2).await;
    connected.rig.settled().await;
    for error in &errors {
        let message = error.body["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("connect the account again") && message.contains("invalid_grant"),
            "{message}"
        );
        assert_eq!(
            error.body["errorInput"]["body"]["body"],
            json!({ "name": "Ada" })
        );
    }
    assert_eq!(
        (
            connected.provider.refreshes(),
            connected.count(EventKind::Rejected)
        ),
        (1, 2)
    );
    connected.stop(component).await;
}

#[tokio::test]
async fn an_unavailable_provider_rebounds_messages() {
    let config = EmulatorConfig {
        rebound_speed_up: 100,
        ..EmulatorConfig::default()
    };
    let connected = Connected::configured(Knobs::rotating(), Provider::issue_expired, config).await;
    connected
        .provider
        .script_token((0..3).map(|_| Scripted::retry_after(503, "1")));
    let component = connected.rig.start();
    connected.send("/echo/x");
    connected.rig.events(EventKind::Rebound, 1).await;
    connected.rig.events(EventKind::Data, 1).await;
    connected.rig.settled().await;
    assert_eq!(
        (
            connected.provider.refreshes(),
            connected.count(EventKind::Error)
        ),
        (4, 0)
    );
    connected.stop(component).await;
}

#[tokio::test]
async fn a_stop_waits_for_the_refresh_to_be_saved() {
    let connected = Connected::with(Knobs::rotating(), Provider::issue_expired).await;
    let held = connected.provider.hold_token_answers();
    let component = connected.rig.start();
    connected.send("/echo/x");
    held.held(1).await;
    component.signal("TERM");
    held.release();
    let (status, log) = component.end().await;
    assert_eq!(status, 0);
    connected.assert_nothing_told(&log);
    assert!(
        connected
            .provider
            .is_spendable(connected.stored()["refresh_token"].as_str().unwrap())
    );
    assert_eq!(connected.count(EventKind::Data), 1);
}

#[tokio::test]
async fn replicas_with_the_lock_refresh_once() {
    let knobs = Knobs {
        kill_family_on_reuse: true,
        ..Knobs::rotating()
    };
    let config = EmulatorConfig {
        prefetch: 4,
        ..EmulatorConfig::default()
    };
    let mut connected = Connected::configured(knobs, Provider::issue_expired, config).await;
    connected.rig = connected.rig.variable("ELASTICIO_OAUTH_LOCK", "broker");
    let mut replicas = [
        connected.rig.start(),
        connected.rig.start(),
        connected.rig.start(),
    ];
    for replica in &mut replicas {
        replica.says("Fully initialized").await;
    }
    for n in 0..12 {
        connected.send(&format!("/echo/{n}"));
    }
    connected.rig.events(EventKind::Data, 12).await;
    connected.rig.settled().await;
    assert_eq!(connected.provider.refreshes(), 1);
    for replica in replicas {
        connected.stop(replica).await;
    }
}

/// Killed between the provider's answer and its saving, with the lock held; the provider forgives that for a while.
#[tokio::test]
async fn a_killed_lock_holder_frees_the_lock() {
    let knobs = Knobs {
        grace: Duration::from_secs(60),
        ..Knobs::rotating()
    };
    let mut connected = Connected::with(knobs, Provider::issue_expired).await;
    connected.rig = connected.rig.variable("ELASTICIO_OAUTH_LOCK", "broker");
    let held = connected.provider.hold_token_answers();
    let killed = connected.rig.start();
    connected.send("/echo/x");
    held.held(1).await;
    let mut next = connected.rig.start();
    next.says("Fully initialized").await;
    killed.signal("KILL");
    killed.end().await;
    held.release();
    connected.rig.events(EventKind::Data, 1).await;
    connected.rig.settled().await;
    assert_eq!(
        (
            connected.provider.refreshes(),
            connected.count(EventKind::Acked)
        ),
        (2, 1)
    );
    assert!(
        connected
            .provider
            .is_spendable(connected.stored()["refresh_token"].as_str().unwrap())
    );
    connected.stop(next).await;
}

#[tokio::test]
async fn a_platform_secret_is_refreshed_by_the_platform() {
    let provider_tokens = |provider: &Provider| provider.issue_expired();
    let connected = Connected::with(Knobs::default(), provider_tokens).await;
    let emulator = &connected.rig.emulator;
    let stale = Value::Object(connected.provider.issue_expired());
    let fresh = Value::Object(connected.provider.issue());
    emulator
        .platform()
        .set_secret("emulated-workspace", "secret-1", stale, vec![fresh]);
    let mut step = emulator.platform().step("emulated-flow", "step_1").unwrap();
    step.config["secretId"] = "secret-1".into();
    emulator.platform().set_step("emulated-flow", step);
    let component = connected.rig.start();
    connected.send("/echo/x");
    connected.rig.events(EventKind::Data, 1).await;
    connected.rig.settled().await;
    let calls = emulator.platform().calls();
    let refreshes = calls
        .iter()
        .filter(|call| call.path.ends_with("/secrets/secret-1/refresh"))
        .count();
    assert_eq!(
        (
            refreshes,
            connected.provider.refreshes(),
            connected.count(EventKind::UpdateKeys)
        ),
        (1, 0, 0)
    );
    connected.stop(component).await;
}

/// Of a secret, which the platform does not want to refresh, or give.
/// token-failures: T28.
#[tokio::test]
async fn a_refused_platform_secret_fails_the_message() {
    for (call, told) in [
        ("POST .*refresh", "could not refresh the secret"),
        ("GET .*secrets", "does not allow reading the secret"),
    ] {
        let connected = Connected::with(Knobs::default(), Provider::issue_expired).await;
        let platform = connected.rig.emulator.platform();
        platform.set_secret(
            "emulated-workspace",
            "secret-1",
            connected.provider.issue_expired().into(),
            vec![],
        );
        platform.fail(call, [const { Fault::Status(403) }; 9]);
        let mut step = platform.step("emulated-flow", "step_1").unwrap();
        step.config["secretId"] = "secret-1".into();
        platform.set_step("emulated-flow", step);
        let component = connected.rig.start();
        connected.send("/echo/x");
        let errors = connected.rig.events(EventKind::Error, 1).await;
        assert!(
            errors[0].body["error"]["message"]
                .as_str()
                .unwrap()
                .contains(told),
            "{call}: {}",
            errors[0].body
        );
        connected.rig.settled().await;
        assert_eq!(
            (
                connected.count(EventKind::Rebound),
                connected.count(EventKind::Rejected)
            ),
            (0, 1)
        );
        connected.stop(component).await;
    }
}

/// What the user is told of a credential is no answer to whoever waits for the message's reply.
#[tokio::test]
async fn an_unsaved_rotated_token_sends_no_error_reply() {
    let connected = Connected::with(Knobs::rotating(), Provider::issue_expired).await;
    connected
        .rig
        .emulator
        .platform()
        .fail("PUT .*accounts", [const { Fault::Status(503) }; 9]);
    let component = connected.rig.start();
    let message =
        json!({ "headers": {}, "body": { "method": "POST", "path": "/echo/x", "body": {} } });
    let headers = Headers::from_iter([("reply_to".to_owned(), json!("someone.waits"))]);
    connected.rig.emulator.send(&message, &headers);
    let errors = connected.rig.events(EventKind::Error, 1).await;
    assert_eq!(errors[0].body["error"]["name"], "UnsavedCredentials");
    connected.rig.events(EventKind::Data, 1).await;
    connected.rig.settled().await;
    assert_eq!(
        (
            connected.count(EventKind::ErrorReply),
            connected.count(EventKind::Acked)
        ),
        (0, 1)
    );
    connected.stop(component).await;
}

#[tokio::test]
async fn verify_credentials_saves_a_refreshed_token() {
    let connected = Connected::with(Knobs::rotating(), Provider::issue_expired).await;
    assert_eq!(
        connected.service("verifyCredentials").await["data"],
        json!({ "verified": true })
    );
    assert_eq!(connected.provider.refreshes(), 1);
    assert!(
        connected
            .provider
            .is_spendable(connected.stored()["refresh_token"].as_str().unwrap())
    );
    assert_eq!(
        connected.service("verifyCredentials").await["data"],
        json!({ "verified": true })
    );
    assert_eq!(connected.provider.refreshes(), 1);
}

#[tokio::test]
async fn an_unsaved_rotated_token_fails_a_one_time_call() {
    let connected = Connected::with(Knobs::rotating(), Provider::issue_expired).await;
    connected
        .rig
        .emulator
        .platform()
        .fail("PUT .*accounts", [const { Fault::Status(400) }; 10]);
    let result = connected.service("verifyCredentials").await;
    assert_eq!(result["success"], json!(false), "{result}");
    assert!(
        result["data"]["message"]
            .as_str()
            .unwrap()
            .contains("could not be saved"),
        "{result}"
    );
}

/// token-failures: T58.
#[tokio::test]
async fn verification_of_an_unreachable_api_is_an_error() {
    let connected = Connected::with(Knobs::default(), Provider::issue).await;
    let platform = connected.rig.emulator.platform();
    let mut step = platform.step("emulated-flow", "step_1").unwrap();
    step.config["baseUrl"] = "http://127.0.0.1:1".into();
    platform.set_step("emulated-flow", step);
    let result = connected.service("verifyCredentials").await;
    assert_eq!(result["success"], json!(false), "{result}");
    assert!(
        result["data"]["message"]
            .as_str()
            .unwrap()
            .contains("could not be checked now"),
        "{result}"
    );
    assert!(connected.provider.token_calls().is_empty());
}
