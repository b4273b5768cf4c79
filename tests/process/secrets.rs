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

/// Variables with secrets that work nowhere, and a part of each secret.
const BROKEN: [(&str, &str, &str); 11] = [
    ("ELASTICIO_API_KEY", "secret-one", "secret-one"),
    (
        "ELASTICIO_API_URI",
        "http://user:secret-two@127.0.0.1:1/?key=secret-three",
        "secret-t",
    ),
    (
        "ELASTICIO_AMQP_URI",
        "amqp://guest:secret-four@127.0.0.1:1/%2f?x=secret-five",
        "secret-f",
    ),
    (
        "ELASTICIO_MESSAGE_CRYPTO_PASSWORD",
        "secret-six",
        "secret-six",
    ),
    (
        "ELASTICIO_MESSAGE_CRYPTO_IV",
        "secret-seven-16!",
        "secret-seven",
    ),
    (
        "ELASTICIO_OBJECT_STORAGE_TOKEN",
        "secret-eight",
        "secret-eight",
    ),
    (
        "ELASTICIO_OBJECT_STORAGE_URI",
        "http://user:secret-nine@127.0.0.1:1",
        "secret-nine",
    ),
    (
        "HTTPS_PROXY",
        "http://user:secret-ten@proxy:3128",
        "secret-ten",
    ),
    (
        "ELASTICIO_ADDITIONAL_VARS_FOR_HEADERS",
        "ANOTHER",
        "secret-eleven",
    ),
    ("ANOTHER", "secret-eleven", "secret-eleven"),
    (
        "ELASTICIO_FLOW_WEBHOOK_URI",
        "https://hooks/secret-twelve",
        "secret-twelve",
    ),
];

/// The commands that tell about a step and its messages.
const COMMANDS: [&[&str]; 4] = [
    &["doctor"],
    &["doctor", "--json"],
    &["inspect", "--queue"],
    &["inspect", "--queue", "--json"],
];

#[tokio::test]
async fn doctor_and_inspect_print_no_secret_that_works() {
    let rig = scripted(1).await;
    rig.send(json!([["data", { "body": "secret-body" }]]));
    let variables: BTreeMap<String, String> = rig.emulator.env().into_iter().collect();
    for arguments in COMMANDS {
        let told = run_command(&rig, arguments).await.output();
        for name in SECRETS {
            assert!(!told.contains(&variables[name]), "{name}: {told}");
        }
        assert!(!told.contains("secret-body"), "{told}");
    }
}

#[tokio::test]
async fn doctor_and_inspect_print_no_secret_that_is_wrong() {
    for arguments in COMMANDS {
        let mut all = scripted(1).await;
        for (name, value, part) in BROKEN {
            let one = scripted(1).await.variable(name, value);
            let told = run_command(&one, arguments).await.output();
            assert!(!told.contains(part), "{name}: {told}");
            all = all.variable(name, value);
        }
        let told = run_command(&all, arguments).await.output();
        assert!(!told.contains("secret-"), "{told}");
    }
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
