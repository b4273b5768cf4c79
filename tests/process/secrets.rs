//! What keeps secrets inside of the process.

use super::*;
use std::fs;

/// The platform's variables whose values are secrets.
pub(super) const SECRETS: [&str; 5] = [
    "ELASTICIO_API_KEY",
    "ELASTICIO_AMQP_URI",
    "ELASTICIO_MESSAGE_CRYPTO_PASSWORD",
    "ELASTICIO_MESSAGE_CRYPTO_IV",
    "ELASTICIO_OBJECT_STORAGE_TOKEN",
];

#[tokio::test]
async fn a_module_is_given_no_secret_of_the_platform() {
    let rig = scripted(1).await;
    rig.send(json!([["echo", null]]));
    let component = rig.start();
    let events = rig.events(EventKind::Data, 1).await;
    let given = format!("{}{:?}", events[0].body, events[0].headers);
    assert!(given.contains("\"cfg\""), "{given}");
    let variables: BTreeMap<String, String> = rig.emulator.env().into_iter().collect();
    for name in SECRETS {
        assert!(!given.contains(&variables[name]), "{name}");
    }
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn core_dumps_are_off() {
    let rig = scripted(1).await;
    let mut component = rig.start();
    component.says("Fully initialized").await;
    let id = component.process().child().id().unwrap();
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let soft = core.unwrap().split_whitespace().nth(4).unwrap();
    assert!(matches!(soft, "0" | "1"), "{limits}");
}
