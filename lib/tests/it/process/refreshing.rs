//! Access tokens that have expired, from end to end.

use super::*;
use emulator::provider::Fault;
use std::time::Duration;

#[tokio::test]
async fn a_refreshed_token_is_saved_before_the_resend() {
    let config = EmulatorConfig {
        update_keys_over_broker: true,
        ..EmulatorConfig::default()
    };
    let connected = connected_with(Knobs::rotating(), Provider::issue_expired, config).await;
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
            connected.provider().refreshes(),
            connected.count(EventKind::Acked)
        ),
        (1, 1)
    );
    assert_eq!(
        connected.count(EventKind::UpdateKeys),
        2,
        "once over REST, once over the broker"
    );
    let requests = connected.provider().api_calls();
    assert_eq!(
        requests.iter().map(|call| call.status).collect::<Vec<_>>(),
        [Some(401), Some(200)]
    );
    assert_eq!(requests[0].body, requests[1].body);
    assert!(connected.rig.has_spendable_token());
    // The next message begins with the new token.
    connected.send("/echo/contacts");
    connected.rig.settled().await;
    assert_eq!(
        (
            connected.provider().refreshes(),
            connected.provider().api_calls().len()
        ),
        (1, 3)
    );
    connected.rig.stop(component).await;
}

#[tokio::test]
async fn many_messages_share_one_refresh() {
    let knobs = Knobs {
        kill_family_on_reuse: true,
        ..Knobs::rotating()
    };
    let connected = connected(knobs, Provider::issue_expired).await;
    for n in 0..20 {
        connected.send(&format!("/echo/{n}"));
    }
    let component = connected.rig.start();
    connected.rig.events(EventKind::Data, 20).await;
    connected.rig.settled().await;
    assert_eq!(
        (
            connected.provider().refreshes(),
            connected.count(EventKind::Acked)
        ),
        (1, 20)
    );
    connected.rig.stop(component).await;
}

#[tokio::test]
async fn a_refused_refresh_token_fails_the_message_with_advice() {
    let connected = connected(Knobs::rotating(), Provider::issue_expired).await;
    connected.provider().revoke_all();
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
            connected.provider().refreshes(),
            connected.count(EventKind::Rejected)
        ),
        (1, 2)
    );
    connected.rig.stop(component).await;
}

#[tokio::test]
async fn an_unavailable_provider_rebounds_messages() {
    let config = EmulatorConfig {
        rebound_speed_up: 100,
        ..EmulatorConfig::default()
    };
    let connected = connected_with(Knobs::rotating(), Provider::issue_expired, config).await;
    connected
        .provider()
        .script_token((0..3).map(|_| Fault::retry_after(503, "1")));
    let component = connected.rig.start();
    connected.send("/echo/x");
    connected.rig.events(EventKind::Rebound, 1).await;
    connected.rig.events(EventKind::Data, 1).await;
    connected.rig.settled().await;
    assert_eq!(
        (
            connected.provider().refreshes(),
            connected.count(EventKind::Error)
        ),
        (4, 0)
    );
    connected.rig.stop(component).await;
}

#[tokio::test]
async fn a_stop_waits_for_the_refresh_to_be_saved() {
    let connected = connected(Knobs::rotating(), Provider::issue_expired).await;
    let held = connected.provider().hold_token_responses();
    let component = connected.rig.start();
    connected.send("/echo/x");
    held.held(1).await;
    component.signal("TERM");
    held.release();
    let (status, log) = component.end().await;
    assert_eq!(status, 0);
    connected.rig.assert_no_secret_in(&log);
    assert!(connected.rig.has_spendable_token());
    assert_eq!(connected.count(EventKind::Data), 1);
}

#[tokio::test]
async fn replicas_refresh_once_without_any_setting() {
    let knobs = Knobs {
        kill_family_on_reuse: true,
        ..Knobs::rotating()
    };
    let config = EmulatorConfig {
        prefetch: 4,
        ..EmulatorConfig::default()
    };
    let connected = connected_with(knobs, Provider::issue_expired, config).await;
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
    assert_eq!(connected.provider().refreshes(), 1);
    // The messages of those that wait for the lock are no events of the step.
    assert_eq!(connected.count(EventKind::Returned), 0);
    for replica in replicas {
        connected.rig.stop(replica).await;
    }
}

#[tokio::test]
async fn a_broker_without_locks_is_warned_of_once() {
    for (setting, warnings) in [("broker", 1), ("off", 0)] {
        let connected = connected(Knobs::rotating(), Provider::issue_expired)
            .await
            .variable("ELASTICIO_OAUTH_LOCK", setting);
        connected.rig.emulator.broker().deny_configure(true);
        let component = connected.rig.start();
        for n in 1..=3 {
            connected.send("/echo/x");
            connected.rig.events(EventKind::Data, n).await;
            connected.rig.settled().await;
            assert_eq!(connected.provider().refreshes(), n);
            connected.provider().expire_access_tokens();
        }
        let log = connected.rig.stop(component).await;
        let refused = |line: &&Value| {
            let text = line["msg"].as_str().unwrap_or_default();
            text.contains("does not allow the lock between replicas")
        };
        let refusals: Vec<_> = log.iter().filter(refused).collect();
        assert_eq!(refusals.len(), warnings, "{setting}: {refusals:?}");
        for refusal in refusals {
            let reason = refusal["reason"].as_str().unwrap();
            assert!(reason.contains("elasticio-sailor:oauth2:"), "{reason}");
        }
    }
}

/// The process is killed after the provider has issued tokens and before they are saved, while it holds the lock. The
/// provider accepts the spent refresh token for a while.
#[tokio::test]
async fn a_killed_lock_holder_frees_the_lock() {
    let knobs = Knobs {
        grace: Duration::from_secs(60),
        ..Knobs::rotating()
    };
    let connected = connected(knobs, Provider::issue_expired)
        .await
        .variable("ELASTICIO_OAUTH_LOCK", "broker");
    let held = connected.provider().hold_token_responses();
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
            connected.provider().refreshes(),
            connected.count(EventKind::Acked)
        ),
        (2, 1)
    );
    assert!(connected.rig.has_spendable_token());
    connected.rig.stop(next).await;
}
