//! The metrics of tokens.

use super::*;
use emulator::platform::Fault;
use test_rig::Health;

#[tokio::test]
async fn refreshes_failures_and_unsaved_rotations_are_counted() {
    let mut health = Health::new();
    let knobs = Knobs {
        narrow_scope: Some("less".into()),
        ..Knobs::rotating()
    };
    let connected = connected(knobs, Provider::issue_expired)
        .await
        .variable("ELASTICIO_HEALTH_PORT", health.port());
    let component = connected.rig.start();
    health.until_status("/readyz", 200).await;
    health.scrape().await;
    // Three attempts of the session, of three requests each.
    connected
        .platform()
        .inject_faults("PUT .*accounts", [const { Fault::Status(503) }; 9]);
    connected.send("/echo/x");
    for series in [
        "token_refreshes_total",
        "refresh_token_save_failures_total",
        "refresh_token_unsaved",
        "tokens_narrowed_total",
    ] {
        health.until(series, |value| value == 1.0).await;
    }
    // It is saved later.
    health
        .until("refresh_token_unsaved", |value| value == 0.0)
        .await;
    connected.rig.settled().await;
    // The user connects the account again.
    connected.provider().revoke_all();
    connected.rig.connect(connected.provider().issue());
    connected.send("/echo/x");
    health
        .until("tokens_adopted_total", |value| value == 1.0)
        .await;
    connected.rig.settled().await;
    connected.provider().revoke_all();
    connected.send("/echo/x");
    health
        .until("token_refresh_failures_total", |value| value == 1.0)
        .await;
    connected.rig.settled().await;
    let unmoved = health.unmoved();
    let unmoved: Vec<_> = unmoved
        .into_iter()
        .filter(|series| series.contains("_token"))
        .collect();
    assert_eq!(unmoved, [""; 0]);
    connected.rig.stop(component).await;
}
