//! `component health`: what it says of a step that starts, runs, has lost its broker, or is not there.

use super::*;
use test_rig::Health;

/// A step with a health port.
async fn monitored() -> (Rig, Health) {
    let health = Health::new();
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_HEALTH_PORT", health.port());
    (rig, health)
}

/// Runs the command beside the step. Returns the status and all that it printed.
async fn asked(rig: &Rig, arguments: &[&str]) -> (i32, String) {
    let ended = run_command(rig, &[&["health"], arguments].concat()).await;
    (ended.status, ended.stdout + &ended.stderr)
}

#[tokio::test]
async fn a_step_is_live_and_ready_while_it_consumes_its_queue() {
    let (rig, health) = monitored().await;
    let component = rig.start();
    health.until_status("/readyz", 200).await;
    assert_eq!(asked(&rig, &[]).await, (0, "ok\n".to_owned()));
    assert_eq!(asked(&rig, &["--ready"]).await, (0, "ok\n".to_owned()));

    rig.emulator.broker().refuse_connections(true);
    rig.emulator.broker().drop_connections();
    health.until_status("/readyz", 503).await;
    assert_eq!(asked(&rig, &[]).await.0, 0);
    let (status, said) = asked(&rig, &["--ready"]).await;
    assert_eq!(status, 1);
    // Which connections are away differs from one moment to the next.
    assert!(
        said.contains("says 503: ") && said.contains(" broker "),
        "{said}"
    );

    component.stop().await;
    for arguments in [&[][..], &["--ready"], &["--optional"]] {
        let (status, said) = asked(&rig, arguments).await;
        assert_eq!(status, 1, "{said}");
        assert!(said.contains("has not started, or has ended"), "{said}");
    }
}

#[tokio::test]
async fn without_a_port_only_an_optional_question_succeeds() {
    let rig = scripted(1).await;
    let (status, said) = asked(&rig, &[]).await;
    assert_eq!(status, 1);
    assert!(said.contains("ELASTICIO_HEALTH_PORT is not set"), "{said}");
    let (status, said) = asked(&rig, &["--optional"]).await;
    assert_eq!(
        (status, &*said),
        (0, "not asked: ELASTICIO_HEALTH_PORT is not set\n")
    );
}

#[tokio::test]
async fn a_port_that_is_none_is_an_error() {
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_HEALTH_PORT", "9100/tcp");
    for arguments in [&[][..], &["--optional"]] {
        let (status, said) = asked(&rig, arguments).await;
        assert_eq!(status, 1);
        assert!(
            said.contains("ELASTICIO_HEALTH_PORT must be a port"),
            "{said}"
        );
    }
}
