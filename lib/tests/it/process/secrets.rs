//! Credentials that the platform keeps as secrets and refreshes itself.

use super::*;
use emulator::platform::Fault;

#[tokio::test]
async fn a_platform_secret_is_refreshed_by_the_platform() {
    let connected = connected(Knobs::default(), Provider::issue_expired).await;
    let stale = Value::Object(connected.provider().issue_expired());
    let fresh = Value::Object(connected.provider().issue());
    connected
        .platform()
        .set_secret("emulated-workspace", "secret-1", stale, vec![fresh]);
    connected.set_field("secretId", "secret-1");
    let component = connected.rig.start();
    connected.send("/echo/x");
    connected.rig.events(EventKind::Data, 1).await;
    connected.rig.settled().await;
    let calls = connected.platform().calls();
    let refreshes = calls
        .iter()
        .filter(|call| call.path.ends_with("/secrets/secret-1/refresh"))
        .count();
    assert_eq!(
        (
            refreshes,
            connected.provider().refreshes(),
            connected.count(EventKind::UpdateKeys)
        ),
        (1, 0, 0)
    );
    connected.rig.stop(component).await;
}

/// The platform refuses to refresh or to return the secret.
///
/// token-failures: T28.
#[tokio::test]
async fn a_refused_platform_secret_fails_the_message() {
    for (call, reason) in [
        ("POST .*refresh", "could not refresh the secret"),
        ("GET .*secrets", "does not allow reading the secret"),
    ] {
        let connected = connected(Knobs::default(), Provider::issue_expired).await;
        let platform = connected.platform();
        platform.set_secret(
            "emulated-workspace",
            "secret-1",
            connected.provider().issue_expired().into(),
            vec![],
        );
        platform.inject_faults(call, [const { Fault::Status(403) }; 9]);
        connected.set_field("secretId", "secret-1");
        let component = connected.rig.start();
        connected.send("/echo/x");
        let errors = connected.rig.events(EventKind::Error, 1).await;
        assert!(
            errors[0].body["error"]["message"]
                .as_str()
                .unwrap()
                .contains(reason),
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
        connected.rig.stop(component).await;
    }
}
