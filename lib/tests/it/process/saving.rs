//! New tokens that the platform does not save at once.

use super::*;
use emulator::platform::Fault;

#[tokio::test]
async fn an_unsaved_rotated_token_is_reported_and_saved_later() {
    let connected = connected(Knobs::rotating(), Provider::issue_expired).await;
    // Three attempts of the session, of three requests each.
    connected
        .platform()
        .inject_faults("PUT .*accounts", [const { Fault::Status(503) }; 9]);
    let component = connected.rig.start();
    connected.send("/echo/x");
    connected.rig.events(EventKind::Data, 1).await;
    let errors = connected.rig.events(EventKind::Error, 1).await;
    assert_eq!(errors[0].body["error"]["name"], "UnsavedCredentials");
    connected.rig.settled().await;
    assert_eq!(connected.acked_and_rejected(), (1, 0));
    let log = connected.rig.stop(component).await;
    assert!(connected.rig.has_spendable_token(), "{log:?}");
    assert_eq!(connected.provider().refreshes(), 1);
}

#[tokio::test]
async fn keys_that_the_account_has_from_the_queue_are_not_saved_again() {
    let config = EmulatorConfig {
        update_keys_over_broker: true,
        ..EmulatorConfig::default()
    };
    let connected = connected_with(Knobs::rotating(), Provider::issue_expired, config).await;
    // One attempt of the session has three requests.
    connected
        .platform()
        .inject_faults("PUT .*accounts", [const { Fault::Status(503) }; 3]);
    let component = connected.rig.start();
    connected.send("/echo/x");
    connected.rig.events(EventKind::Data, 1).await;
    connected.rig.settled().await;
    assert_eq!(connected.count(EventKind::UpdateKeys), 1, "over the broker");
    assert!(connected.rig.has_spendable_token());
    assert_eq!(connected.provider().refreshes(), 1);
    connected.rig.stop(component).await;
}

/// A gateway can respond 404 while the platform's API restarts.
#[tokio::test]
async fn a_404_when_saving_is_retried_and_keeps_the_tokens() {
    for over_broker in [false, true] {
        let config = EmulatorConfig {
            update_keys_over_broker: over_broker,
            ..EmulatorConfig::default()
        };
        let connected = connected_with(Knobs::rotating(), Provider::issue_expired, config).await;
        connected
            .platform()
            .inject_faults("PUT .*accounts", [Fault::Status(404)]);
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
        let log = connected.rig.stop(component).await;
        assert!(connected.rig.has_spendable_token(), "{log:?}");
        assert_eq!(connected.provider().refreshes(), 1, "{over_broker}");
    }
}

/// The REST API does not know the account, but the queue has taken the keys, so they count as saved.
#[tokio::test]
async fn keys_on_the_queue_count_as_saved_despite_a_404() {
    let config = EmulatorConfig {
        update_keys_over_broker: true,
        ..EmulatorConfig::default()
    };
    let connected = connected_with(Knobs::rotating(), Provider::issue_expired, config).await;
    connected
        .platform()
        .inject_faults("PUT .*accounts", [const { Fault::Status(404) }; 9]);
    let component = connected.rig.start();
    connected.send("/echo/x");
    connected.rig.events(EventKind::Data, 1).await;
    connected.rig.settled().await;
    let log = connected.rig.stop(component).await;
    assert_eq!(connected.count(EventKind::UpdateKeys), 1);
    assert_eq!(
        (
            connected.count(EventKind::Acked),
            connected.count(EventKind::Error)
        ),
        (1, 0)
    );
    assert!(connected.rig.has_spendable_token(), "{log:?}");
    assert_eq!(connected.provider().refreshes(), 1);
}

/// The error event about the credential is for the user, not for the HTTP caller that waits for a reply.
#[tokio::test]
async fn an_unsaved_rotated_token_sends_no_error_reply() {
    let connected = connected(Knobs::rotating(), Provider::issue_expired).await;
    connected
        .platform()
        .inject_faults("PUT .*accounts", [const { Fault::Status(503) }; 9]);
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
    connected.rig.stop(component).await;
}
