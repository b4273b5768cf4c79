//! The command `emulator`, with a scripted component and, where there is one, with the Node sailor.

use serde_json::{Value, json};
use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// The example `plain-component`, which cargo builds with the tests: a component without any sailor.
fn scripted_command() -> Vec<String> {
    let this = std::env::current_exe().unwrap();
    let binary = this
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/plain-component");
    assert!(
        binary.exists(),
        "{} is missing: cargo build -p emulator --examples",
        binary.display()
    );
    vec![binary.to_str().unwrap().to_owned()]
}

struct Outcome {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Outcome {
    /// The events of `--json`, by name.
    fn events(&self, name: &str) -> Vec<Value> {
        let lines = self
            .stdout
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect(line));
        lines.filter(|event| event["event"] == name).collect()
    }
}

fn emulator<S: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = S>) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emulator"));
    let output = command
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    Outcome {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `emulator run` of the scripted component.
fn run(folder: &Path, arguments: &[&str]) -> Outcome {
    let arguments: Vec<String> = ["run", "--function", "f"]
        .iter()
        .chain(arguments)
        .map(|&s| s.to_owned())
        .collect();
    emulator(
        folder,
        [arguments, vec!["--".into()], scripted_command()].concat(),
    )
}

fn folder(files: &[(&str, Value)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content.to_string()).unwrap();
    }
    folder
}

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
    assert!(!outcome.stdout.contains('\x1b'), "no colours into a pipe");
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
fn an_unbound_data_key_is_shown_as_end_of_flow() {
    let data = "end of the flow: nothing is bound to emulated-workspace.emulated-flow/ordinary.step_1.message";
    let other = "end of the flow: nothing is bound to some.other.key (--routing-key gives it somewhere to go)";
    for (op, arguments, said) in [
        ("echo", &[][..], Some(data)),
        ("echo", &["--next-step"], None),
        ("elsewhere", &["--next-step"], Some(other)),
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
    let outcome = run(folder.path(), &["--json"]);
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

#[test]
fn a_crashed_component_shows_its_last_lines() {
    let folder = folder(&[("m.json", json!({"op": "crash"}))]);
    let outcome = run(
        folder.path(),
        &[
            "--message",
            "m.json",
            "--quiet",
            "--env",
            "RUST_BACKTRACE=0",
        ],
    );
    assert_eq!(outcome.status, 1);
    assert!(
        outcome.stdout.contains("ended with status 101"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stdout.contains("crashed as told"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn an_unsettled_message_times_out_with_status_1() {
    let folder = folder(&[("m.json", json!({"op": "hang"}))]);
    let outcome = run(folder.path(), &["--message", "m.json", "--timeout", "1"]);
    assert_eq!(outcome.status, 1);
    assert!(
        outcome
            .stdout
            .contains("did not settle all messages within 1 s"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stdout.contains("1 not settled"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn ending_a_command_ends_its_child_processes() {
    let folder = folder(&[]);
    let script = "sleep 1000 & echo child=$!; wait";
    let arguments = [
        "run",
        "--function",
        "f",
        "--start-timeout",
        "1",
        "--",
        "sh",
        "-c",
        script,
    ];
    let outcome = emulator(folder.path(), arguments);
    assert_eq!(outcome.status, 1);
    assert!(
        outcome.stdout.contains("took no message within 1 s"),
        "{}",
        outcome.stdout
    );
    let (_, child) = outcome.stdout.split_once("│ child=").unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.lines().next().unwrap()));
    assert!(
        stat.map_or(true, |stat| stat.contains(") Z ")),
        "the child still runs"
    );
}

#[test]
fn an_invalid_file_is_named_and_exits_with_2() {
    let folder = folder(&[("list.json", json!([1]))]);
    std::fs::write(folder.path().join("broken.json"), "{\n  \"a\": x}").unwrap();
    for (arguments, reason) in [
        (
            ["--message", "none.json"],
            "the message file none.json cannot be read",
        ),
        (
            ["--message", "broken.json"],
            "the message file broken.json is not JSON: line 2, column 8",
        ),
        (
            ["--message", "list.json"],
            "the message file list.json must hold a JSON object, but it holds a list",
        ),
        (
            ["--config", "broken.json"],
            "the configuration file broken.json is not JSON: line 2",
        ),
        (
            ["--snapshot", "none.json"],
            "the snapshot file none.json cannot be read",
        ),
    ] {
        let outcome = run(folder.path(), &arguments);
        assert_eq!(outcome.status, 2, "{arguments:?}");
        assert!(outcome.stderr.contains(reason), "{}", outcome.stderr);
    }
}

#[test]
fn an_invalid_command_line_exits_with_2() {
    let folder = folder(&[]);
    for arguments in [
        &["run"][..],
        &[],
        &["nonsense"],
        &["run", "--function", "f", "--prefetch", "x"],
    ] {
        assert_eq!(
            emulator(folder.path(), arguments).status,
            2,
            "{arguments:?}"
        );
    }
}

#[test]
fn an_unknown_command_is_named_in_the_error() {
    let folder = folder(&[]);
    let outcome = emulator(
        folder.path(),
        ["run", "--function", "f", "--", "no-such-program"],
    );
    assert_eq!(outcome.status, 1);
    assert!(
        outcome
            .stderr
            .contains("\"no-such-program\" cannot be started"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn the_url_placeholder_is_replaced_in_files_and_environment() {
    let folder = folder(&[("m.json", json!({"deep": ["{{EMULATOR_URL}}/sample"]}))]);
    let script = "echo url=$EMULATOR_URL more=$MORE elasticio=$ELASTICIO_LEFTOVER.; exit 1";
    let mut command = Command::new(env!("CARGO_BIN_EXE_emulator"));
    command
        .current_dir(&folder)
        .env("ELASTICIO_LEFTOVER", "from the shell");
    command.args([
        "run",
        "--function",
        "f",
        "--message",
        "m.json",
        "--env",
        "MORE=b",
        "--",
        "sh",
        "-c",
        script,
    ]);
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let url = output
        .split_once("│ url=")
        .unwrap()
        .1
        .split(' ')
        .next()
        .unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{output}");
    assert!(
        output.contains(&format!("{{\"deep\":[\"{url}/sample\"]}}")),
        "{output}"
    );
    assert!(output.contains("more=b elasticio=."), "{output}");
}

#[test]
fn provider_placeholders_are_replaced() {
    let config = json!({"url": "{{PROVIDER_URL}}/api", "oauth": "{{PROVIDER_EXPIRED_TOKENS}}", "other": "{{OTHER}}"});
    let folder = folder(&[("config.json", config)]);
    let script = "echo cfg=$ELASTICIO_CFG; echo client=$OAUTH_CLIENT_ID,$OAUTH_CLIENT_SECRET; echo at=$PROVIDER_URL";
    let run = [
        "service",
        "verifyCredentials",
        "--config",
        "config.json",
        "--provider",
        "salesforce",
    ];
    let outcome = emulator(
        folder.path(),
        run.iter().chain(&["--", "sh", "-c", script, "{METHOD}"]),
    );
    let line = |name: &str| {
        outcome
            .stdout
            .split_once(name)
            .unwrap()
            .1
            .lines()
            .next()
            .unwrap()
    };
    let config: Value = serde_json::from_str(line("│ cfg=")).unwrap();
    let url = line("│ at=");
    assert_eq!(config["url"], format!("{url}/api"));
    assert_eq!(config["oauth"]["instance_url"], format!("{url}/api"));
    assert!(config["oauth"]["refresh_token"].is_string());
    assert_eq!(config["other"], "{{OTHER}}");
    assert_eq!(line("│ client="), "emulator-client,emulator-client-secret");
}

#[test]
fn replicas_share_messages_and_are_all_ended() {
    let folder = folder(&[("m.json", json!({"op": "echo"}))]);
    let messages = ["--message", "m.json"].repeat(4);
    let outcome = run(
        folder.path(),
        &[
            &["--replicas", "2", "--prefetch", "2", "--json"],
            &messages[..],
        ]
        .concat(),
    );
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert_eq!(
        (
            outcome.events("connected").len(),
            outcome.events("acked").len()
        ),
        (2, 4)
    );
    assert_eq!(
        outcome.stderr.matches("the component ended with").count(),
        2,
        "{}",
        outcome.stderr
    );
}

#[test]
fn the_demo_fails_if_the_component_does_not_refresh() {
    let folder = folder(&[]);
    let outcome = emulator(
        folder.path(),
        [vec!["demo".to_owned(), "--".into()], scripted_command()].concat(),
    );
    assert_eq!(outcome.status, 1);
    assert!(
        outcome
            .stdout
            .contains("0 refreshes, 0 updates of the keys"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn invalid_knobs_exit_with_2() {
    let folder = folder(&[("knobs.json", json!({"rotat": true}))]);
    for (arguments, why) in [
        (["--knobs", "knobs.json"], "unknown field `rotat`"),
        (
            ["--provider", "nobody"],
            "must be one of atlassian, dropbox",
        ),
    ] {
        let outcome = run(folder.path(), &arguments);
        assert_eq!(outcome.status, 2);
        assert!(outcome.stderr.contains(why), "{}", outcome.stderr);
    }
}

#[test]
fn a_call_without_a_result_shows_the_log_and_fails() {
    let folder = folder(&[]);
    let arguments = [
        "service",
        "verifyCredentials",
        "--quiet",
        "--",
        "sh",
        "-c",
        "echo $0 $1; exit 4",
    ];
    let outcome = emulator(folder.path(), arguments);
    assert_eq!(outcome.status, 1);
    assert!(
        outcome.stdout.contains("service verifyCredentials"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome
            .stderr
            .contains("ended with status 4 without posting a result"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn up_writes_an_environment_file_and_runs_until_interrupted() {
    let folder = folder(&[]);
    let mut up = Command::new(env!("CARGO_BIN_EXE_emulator"))
        .current_dir(&folder)
        .args(["up", "--function", "it's", "--env-file", "env.sh"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(up.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.next().unwrap().contains("in memory only"));
    assert_eq!(
        lines.next().unwrap(),
        "a component's environment: source env.sh"
    );
    assert!(lines.next().unwrap().contains("Ctrl-C"));
    let read = ". ./env.sh; printf '%s\\n' \"$ELASTICIO_FUNCTION\" \"$ELASTICIO_API_URI\"";
    let shell = Command::new("sh")
        .current_dir(&folder)
        .args(["-c", read])
        .output()
        .unwrap();
    let shell = String::from_utf8(shell.stdout).unwrap();
    let (function, url) = shell.trim().split_once('\n').unwrap();
    assert_eq!(function, "it's");
    let address = url.strip_prefix("http://").unwrap();
    assert!(std::net::TcpStream::connect(address).is_ok());

    Command::new("kill")
        .args(["-INT", &up.id().to_string()])
        .status()
        .unwrap();
    assert!(up.wait().unwrap().success());
    assert!(std::net::TcpStream::connect(address).is_err());
}

/// A component for the Node sailor, or none when `EMULATOR_TEST_NODE_PATH` names no `node_modules` folder.
fn node_component() -> Option<TempDir> {
    let Some(modules) = std::env::var_os("EMULATOR_TEST_NODE_PATH").map(PathBuf::from) else {
        eprintln!(
            "skipped: EMULATOR_TEST_NODE_PATH names no node_modules folder with elasticio-sailor-nodejs"
        );
        return None;
    };
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
            "it takes the return for success"
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
    for (arguments, status, expected) in [
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
    ] {
        let command = [
            "--json",
            "--",
            "node",
            "node_modules/elasticio-sailor-nodejs/runService.js",
            "{METHOD}",
        ];
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

#[test]
fn a_named_stand_in_sets_addresses_and_provider() {
    for (name, own) in [
        ("graph", "GRAPH_BASE_URL"),
        ("salesforce", "SALESFORCE_TOKEN_URI"),
    ] {
        let folder = folder(&[("m.json", json!({"op": "echo", "url": "{{STANDIN_URL}}/x"}))]);
        let outcome = run(
            folder.path(),
            &[
                "--standin",
                name,
                "--message",
                "m.json",
                "--env",
                "X={{STANDIN_URL}}",
            ],
        );
        assert_eq!(outcome.status, 0, "{}", outcome.stdout);
        assert!(
            outcome.stdout.contains("\"url\":\"http://127.0.0.1:"),
            "{}",
            outcome.stdout
        );
        let script = format!("echo api=$STANDIN_URL x=$X own=${own} >&2; exit 1");
        let words = [
            "run",
            "--function",
            "f",
            "--standin",
            name,
            "--env",
            "X={{STANDIN_URL}}",
            "--",
            "sh",
            "-c",
            &script,
        ];
        let outcome = emulator(folder.path(), words);
        let told = outcome
            .stdout
            .split_whitespace()
            .find_map(|word| word.strip_prefix("api=http://127.0.0.1:"));
        let told = told.unwrap_or_else(|| panic!("{}", outcome.stdout));
        assert!(
            outcome
                .stdout
                .contains(&format!("x=http://127.0.0.1:{told}")),
            "{}",
            outcome.stdout
        );
        assert!(
            outcome.stdout.contains("own=http://127.0.0.1:"),
            "{}",
            outcome.stdout
        );
    }
}

/// A package that needs nothing but the compiler, with this in its `main`.
fn package(main: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let manifest = "[package]\nname = \"tiny\"\nedition = \"2024\"\n[workspace]\n";
    std::fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    std::fs::create_dir(folder.path().join("src")).unwrap();
    let main = format!("fn main() {{ {main} }}");
    std::fs::write(folder.path().join("src/main.rs"), main).unwrap();
    folder
}

#[test]
fn what_cargo_runs_is_built_in_sight_and_started_as_a_binary() {
    let package = package("std::process::exit(3)");
    for command in [&["--"][..], &["--", "cargo", "run", "-q", "--bin", "tiny"]] {
        let arguments = [&["run", "--function", "f"], command].concat();
        let outcome = emulator(package.path(), arguments);
        assert_eq!(outcome.status, 1, "{}", outcome.stderr);
        assert!(outcome.stderr.contains("Finished"), "{}", outcome.stderr);
        assert!(
            outcome.stdout.contains("debug/tiny\n"),
            "{}",
            outcome.stdout
        );
        assert!(
            outcome.stdout.contains("ended with status 3"),
            "{}",
            outcome.stdout
        );
    }
}

#[test]
fn a_component_that_cannot_be_built_ends_the_run_with_cargos_errors() {
    let package = package("no_such_function()");
    let outcome = emulator(package.path(), ["demo"]);
    assert_eq!(outcome.status, 1);
    assert!(
        outcome.stderr.contains("no_such_function"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("the component cannot be built"),
        "{}",
        outcome.stderr
    );
}
