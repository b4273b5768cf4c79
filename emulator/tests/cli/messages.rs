//! The results of the messages of `emulator run`.

use crate::{folder, run};
use serde_json::{Value, json};

#[test]
fn successful_messages_are_shown_and_exit_with_0() {
    let folder = folder(&[
        ("m1.json", json!({"op": "echo", "n": 1})),
        ("m2.json", json!({"id": "two", "body": {}})),
    ]);
    let outcome = run(
        folder.path(),
        &[
            "--message",
            "m1.json",
            "--message",
            "m2.json",
            "--prefetch",
            "2",
        ],
    );
    assert_eq!(outcome.status, 0, "{}", outcome.stdout);
    let first = outcome.stdout.lines().next().unwrap();
    assert!(
        first.contains("127.0.0.1") && first.contains("in memory only"),
        "{first}"
    );
    for part in [
        "→ message",
        "← data           {\"n\":1,\"op\":\"echo\"}",
        "✓ acknowledged   two",
        "2 sent, 2 acknowledged",
    ] {
        assert!(
            outcome.stdout.contains(part),
            "{part} in {}",
            outcome.stdout
        );
    }
    assert!(!outcome.stdout.contains('\x1b'), "a pipe gets no colours");
}

#[test]
fn without_a_message_an_empty_body_is_sent() {
    let folder = folder(&[]);
    let outcome = run(folder.path(), &["--json", "--quiet"]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert_eq!(outcome.events("sent")[0]["body"], json!({"body": {}}));
    assert_eq!(outcome.events("result")[0]["ok"], true);
}

#[test]
fn an_error_event_exits_with_1() {
    let folder = folder(&[("m.json", json!({"op": "fail"}))]);
    let outcome = run(folder.path(), &["--message", "m.json", "--json"]);
    assert_eq!(outcome.status, 1);
    assert_eq!(
        outcome.events("error")[0]["body"]["error"]["message"],
        "as told"
    );
    let result = &outcome.events("result")[0];
    assert_eq!(
        (&result["rejected"], &result["errors"], &result["ok"]),
        (&json!(1), &json!(1), &json!(false))
    );
}

#[test]
fn changed_keys_are_saved_only_on_request() {
    let config = json!({"_account": "acc", "token": "stale", "other": 1});
    for (arguments, token) in [(&["--save-keys"][..], "fresh"), (&[], "stale")] {
        let folder = folder(&[
            ("m.json", json!({"op": "put keys"})),
            ("config.json", config.clone()),
        ]);
        let outcome = run(
            folder.path(),
            &[
                &["--message", "m.json", "--config", "config.json"],
                arguments,
            ]
            .concat(),
        );
        assert_eq!(outcome.status, 0, "{}", outcome.stdout);
        let stored = std::fs::read(folder.path().join("config.json")).unwrap();
        let stored: Value = serde_json::from_slice(&stored).unwrap();
        assert_eq!(
            stored,
            json!({"_account": "acc", "token": token, "other": 1})
        );
    }
}

#[test]
fn an_unreadable_or_returned_event_exits_with_1() {
    for (op, why) in [
        ("garbage", "the payload cannot be decrypted"),
        (
            "fail",
            "no queue is bound for the routing key \"emulated-workspace.emulated-flow/ordinary.step_1.error\"",
        ),
    ] {
        let folder = folder(&[("m.json", json!({"op": op}))]);
        let outcome = run(
            folder.path(),
            &["--message", "m.json", "--without-collector"],
        );
        assert_eq!(outcome.status, 1);
        assert!(outcome.stdout.contains(why), "{}", outcome.stdout);
    }
}

#[test]
fn the_shutdown_hook_runs_after_the_messages() {
    let folder = folder(&[]);
    for (arguments, status, said) in [
        (&["--shutdown"][..], 0, "the shutdown hook succeeded"),
        (
            &["--shutdown", "--env", "HOOK_FAILS=yes"],
            1,
            "the shutdown hook ended with status 1",
        ),
    ] {
        let outcome = run(folder.path(), arguments);
        assert_eq!(outcome.status, status, "{}", outcome.stdout);
        let places = ["✓ acknowledged", "│ this is the hook of step_1", said]
            .map(|text| outcome.stdout.find(text).expect(text));
        assert!(places.is_sorted(), "{}", outcome.stdout);
        let failed = outcome.stdout.contains("FAILED: ");
        assert_eq!(failed, status == 1, "{}", outcome.stdout);
    }
    let outcome = run(folder.path(), &[]);
    assert!(!outcome.stdout.contains("hook"), "{}", outcome.stdout);

    let ends_early = ["--shutdown", "--env", "ELASTICIO_MESSAGE_CRYPTO_IV=short"];
    let outcome = run(folder.path(), &ends_early);
    assert_eq!(outcome.status, 1, "{}", outcome.stdout);
    let said = "the shutdown hook does not run: not all messages are settled";
    assert!(outcome.stdout.contains(said), "{}", outcome.stdout);
}

#[test]
fn an_unbound_data_key_is_shown_as_end_of_flow() {
    let data = "end of the flow: nothing is bound to emulated-workspace.emulated-flow/ordinary.step_1.message";
    let other = "end of the flow: nothing is bound to some.other.key (--routing-key binds a queue)";
    for (op, arguments, said) in [
        ("echo", &["--without-next-step"][..], Some(data)),
        ("echo", &[], None),
        ("elsewhere", &[], Some(other)),
        ("elsewhere", &["--routing-key", "some.other.key"], None),
        (
            "snapshot",
            &["--without-collector"],
            Some("end of the flow: nothing is bound to "),
        ),
        ("snapshot", &[], None),
    ] {
        let folder = folder(&[("m.json", json!({"op": op}))]);
        let outcome = run(
            folder.path(),
            &[&["--message", "m.json"], arguments].concat(),
        );
        assert_eq!(outcome.status, 0, "{}", outcome.stdout);
        assert_eq!(
            outcome.stdout.contains("end of the flow"),
            said.is_some(),
            "{op} {arguments:?}: {}",
            outcome.stdout
        );
        assert!(
            outcome.stdout.contains(said.unwrap_or("✓ acknowledged")),
            "{}",
            outcome.stdout
        );
        assert!(!outcome.stdout.contains("! returned"), "{}", outcome.stdout);
    }
    let folder = folder(&[]);
    let outcome = run(folder.path(), &["--json", "--without-next-step"]);
    assert!(
        outcome.events("data")[0]["end_of_flow"]
            .as_str()
            .unwrap()
            .starts_with("nothing is bound to ")
    );
    assert!(
        outcome.events("data")[0].get("problem").is_none() && outcome.events("returned").is_empty()
    );
}

#[test]
fn a_rebound_is_waited_for() {
    let folder = folder(&[("m.json", json!({"op": "rebound"}))]);
    let outcome = run(
        folder.path(),
        &["--message", "m.json", "--json", "--rebound-speed-up", "300"],
    );
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert_eq!(outcome.events("came-back").len(), 1);
    assert_eq!(outcome.events("data")[0]["body"]["body"], "again");
}
