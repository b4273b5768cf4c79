//! What the log says about tokens that were not saved.

use super::{account::Fault, capture::Capture, rig::Rig};
use emulator::provider::Knobs;

/// The log of a process that refreshes once, cannot save the token, and ends.
async fn log(knobs: Knobs, arrange: impl FnOnce(&Rig)) -> String {
    let capture = Capture::begin();
    let rig = Rig::expired(knobs).await;
    arrange(&rig);
    let replica = rig.replica();
    rig.drive(replica.get()).await.unwrap();
    rig.drive(replica.session.close()).await;
    capture.text()
}

/// The stored refresh token is still valid, so nothing is lost.
#[tokio::test]
async fn not_saving_what_did_not_rotate_is_a_warning() {
    let arrangements: [fn(&Rig); 3] = [
        |rig| *rig.account.down.lock().unwrap() = true,
        |rig| rig.account.fail([Fault::NoAccount]),
        |rig| rig.account.fail((0..9).map(|_| Fault::Panic)),
    ];
    for arrange in arrangements {
        let log = log(Knobs::default(), arrange).await;
        assert!(
            log.contains("the stored refresh token is still valid"),
            "{log}"
        );
        assert!(!log.contains("ERROR"), "{log}");
    }
}

#[tokio::test]
async fn ending_with_an_unsaved_refresh_token_is_an_error() {
    let log = log(Knobs::rotating(), |rig| {
        *rig.account.down.lock().unwrap() = true;
    })
    .await;
    assert!(log.contains("only this process has it"), "{log}");
    assert!(log.contains("A credential is lost"), "{log}");
}
