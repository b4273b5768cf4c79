//! The Node sailor on the emulator.

use crate::{emulator, folder};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;
use test_support::{Outcome, installed};

/// A component for the Node sailor; none when that is not installed. `scripts/test` installs it.
fn node_component() -> Option<TempDir> {
    let what = "the Node sailor, elasticio-sailor-nodejs";
    let modules = installed("EMULATOR_TEST_NODE_PATH", what)?;
    let component = json!({"title": "Test", "version": "1.0.0", "actions": {"act": {"main": "./act.js", "title": "Act"}}});
    let folder = folder(&[("component.json", component)]);
    let act = r"
        exports.process = async function (msg, cfg, snapshot) {
            const { op } = msg.body;
            if (op === 'fail') throw new Error('as told');
            if (op === 'rebound' && !snapshot.seen) {
                await this.emit('snapshot', { seen: true });
                await this.emit('rebound', new Error('not yet'));
                return;
            }
            if (op === 'keys') await this.emit('updateKeys', { oauth: { access_token: 'fresh' } });
            return { headers: {}, body: { cfg, msg: msg.body } };
        };
        exports.getMetaModel = async cfg => ({ in: {}, out: { cfg } });
        exports.colours = async () => ({ red: 'Red' });
    ";
    std::fs::write(folder.path().join("act.js"), act).unwrap();
    let verify = "module.exports = async cfg => { if (!cfg.good) throw new Error('bad key'); return true; };";
    std::fs::write(folder.path().join("verifyCredentials.js"), verify).unwrap();
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).unwrap();
    Some(folder)
}

fn node_run(folder: &Path, body: &Value, more: &[&str]) -> Outcome {
    std::fs::write(folder.join("message.json"), body.to_string()).unwrap();
    let run = [
        "run",
        "--function",
        "act",
        "--message",
        "message.json",
        "--json",
        "--rebound-speed-up",
        "100",
    ];
    let command = ["--", "node", "node_modules/elasticio-sailor-nodejs/run.js"];
    emulator(folder, run.iter().chain(more).chain(&command))
}

#[test]
fn the_node_sailor_emits_data_errors_rebounds_and_keys() {
    let Some(folder) = node_component() else {
        return;
    };
    std::fs::write(
        folder.path().join("config.json"),
        json!({"url": "{{EMULATOR_URL}}"}).to_string(),
    )
    .unwrap();
    for protocol in ["1", "2"] {
        let more = [
            "--protocol",
            protocol,
            "--passthrough",
            "--without-next-step",
            "--config",
            "config.json",
            "--startup",
        ];
        let outcome = node_run(folder.path(), &json!({"n": 1}), &more);
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        assert_eq!(
            (
                outcome.events("data").len(),
                outcome.events("returned").len()
            ),
            (1, 0)
        );
        assert!(
            outcome.events("data")[0]["end_of_flow"].is_string(),
            "the Node sailor takes the return for success"
        );
        let data = &outcome.events("data")[0]["body"];
        assert_eq!(data["body"]["msg"], json!({"n": 1}));
        assert!(
            data["body"]["cfg"]["url"]
                .as_str()
                .unwrap()
                .starts_with("http://127.0.0.1:")
        );
        assert!(data["passthrough"]["step_1"].is_object());
    }
    let outcome = node_run(folder.path(), &json!({"op": "fail"}), &[]);
    assert_eq!(outcome.status, 1);
    assert_eq!(
        outcome.events("error")[0]["body"]["error"]["message"],
        "as told"
    );

    let outcome = node_run(folder.path(), &json!({"op": "rebound"}), &[]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert_eq!(
        (
            outcome.events("rebound").len(),
            outcome.events("came-back").len()
        ),
        (1, 1)
    );

    let outcome = node_run(folder.path(), &json!({"op": "keys"}), &[]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert_eq!(
        outcome.events("update-keys")[0]["body"]["keys"],
        json!({"oauth": {"access_token": "…"}})
    );
}

#[test]
fn the_node_sailor_runs_one_time_calls() {
    let Some(folder) = node_component() else {
        return;
    };
    std::fs::write(
        folder.path().join("good.json"),
        json!({"good": true}).to_string(),
    )
    .unwrap();
    for (n, (arguments, status, expected)) in [
        (
            &["verifyCredentials", "--config", "good.json"][..],
            0,
            json!({"verified": true}),
        ),
        (
            &["verifyCredentials"],
            1,
            json!({"verified": false, "reason": "bad key"}),
        ),
        (
            &["selectModel", "--function", "act", "--model", "colours"],
            0,
            json!({"red": "Red"}),
        ),
        (
            &["nonsense"],
            1,
            json!({"message": "Unknown service method \"nonsense\""}),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        // The command for messages is enough: the emulator knows the script for calls.
        let script = ["run.js", "runService.js"][n % 2];
        let script = format!("node_modules/elasticio-sailor-nodejs/{script}");
        let command = ["--json", "--", "node", &script];
        let outcome = emulator(
            folder.path(),
            ["service"].iter().chain(arguments).chain(&command),
        );
        assert_eq!(outcome.status, status, "{}", outcome.stderr);
        assert_eq!(
            serde_json::from_str::<Value>(&outcome.stdout).unwrap()["data"],
            expected
        );
    }
}
