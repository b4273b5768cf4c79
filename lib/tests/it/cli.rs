//! The command line of the reference component's binary.

use crate::ROOT;
use std::fs;
use test_rig::{Ended, Process, command};

async fn component(arguments: &[&str]) -> Ended {
    component_with(arguments, &[]).await
}

async fn component_with(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = command(env!("CARGO_BIN_EXE_component"));
    command.args(arguments).current_dir(ROOT);
    command.envs(variables.iter().copied());
    Process::run(command).await
}

#[tokio::test]
async fn check_compares_component_json_with_modules_and_types() {
    let ended = component(&["check"]).await;
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    let missing = "component.json requires variables that are not set here, and a step does not start without: \
        OAUTH_AUTH_URI, OAUTH_CLIENT_ID, OAUTH_CLIENT_SECRET, OAUTH_TOKEN_URI\n";
    let good = "REST API: 2 triggers, 1 action, all with their modules; metadata is up to date\n";
    assert_eq!(ended.stdout, missing.to_owned() + good);
}

#[tokio::test]
async fn outside_of_its_folder_a_component_is_not_checked() {
    let empty = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    fs::write(
        other.path().join("component.json"),
        "{\"title\": \"Other\"}",
    )
    .unwrap();
    for (folder, why, files) in [
        (&empty, "component.json is not in this folder", 0),
        (
            &other,
            "component.json is not the one that this binary was built with",
            1,
        ),
    ] {
        for arguments in [&["check"][..], &["schema", "--write"]] {
            let mut command = command(env!("CARGO_BIN_EXE_component"));
            command.args(arguments).current_dir(folder.path());
            let ended = Process::run(command).await;
            assert_eq!(
                (ended.status, ended.stdout.as_str()),
                (1, ""),
                "{arguments:?}"
            );
            assert!(ended.stderr.contains(why), "{}", ended.stderr);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), files);
    }
    // Printing needs no folder.
    let mut command = command(env!("CARGO_BIN_EXE_component"));
    command.arg("schema").current_dir(empty.path());
    assert_eq!(Process::run(command).await.status, 0);
}

#[tokio::test]
async fn schema_prints_the_schemas_of_the_types() {
    let printed = component(&["schema"]).await.stdout;
    assert!(
        printed.contains("// makeRequest, in") && printed.contains("\"Path below the base URL"),
        "{printed}"
    );
}

#[tokio::test]
async fn schemas_are_printed_as_one_json_object_too() {
    let ended = component(&["schema", "--json"]).await;
    let schemas: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let expected = fs::read(format!("{ROOT}/lib/schemas/makeRequest.in.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
    assert_eq!(schemas["makeRequest"]["in"], expected);
    assert!(schemas["pollItems"]["out"].is_object(), "{schemas}");
    assert_eq!(component(&["schema", "--json", "--write"]).await.status, 2);
}

#[tokio::test]
async fn completions_know_the_commands_and_options() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = component(&["completions", shell]).await;
        assert_eq!(ended.status, 0, "{}", ended.stderr);
        for word in ["inspect", "descriptor", "no-browser"] {
            assert!(ended.stdout.contains(word), "{shell} does not know {word}");
        }
    }
    assert_eq!(component(&["completions", "cmd"]).await.status, 2);
}

/// A shell can load what is printed, and completes with it.
#[tokio::test]
async fn bash_completes_a_command() {
    let script = component(&["completions", "bash"]).await.stdout;
    let mut bash = command("bash");
    let complete = "COMP_WORDS=(component ins); COMP_CWORD=1; _component component ins component; echo ${COMPREPLY[*]}";
    bash.args(["-c", &format!("{script}\n{complete}")]);
    let ended = Process::run(bash).await;
    assert_eq!(
        (ended.stdout.trim(), ended.status),
        ("inspect", 0),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn an_invalid_command_line_ends_with_2() {
    for arguments in [&["dance"][..], &["check", "twice"], &["--no-such-option"]] {
        assert_eq!(component(arguments).await.status, 2, "{arguments:?}");
    }
    assert_eq!(component(&["--help"]).await.status, 0);
    let version = component(&["--version"]).await;
    assert_eq!(version.status, 0);
    let lines: Vec<&str> = version.stdout.lines().collect();
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(format!("{ROOT}/component.json")).unwrap()).unwrap();
    let own = format!(
        "{} {}",
        json["title"].as_str().unwrap(),
        json["version"].as_str().unwrap()
    );
    let sailor = format!("elasticio-sailor {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines, [own, sailor]);
}

#[tokio::test]
async fn a_call_without_an_address_for_its_result_ends_with_1() {
    // Any variable of the platform shows that it is not a call by hand.
    let variable = [("ELASTICIO_CFG", "{}")];
    let ended = component_with(&["service", "verifyCredentials"], &variable).await;
    assert_eq!(ended.status, 1);
    assert!(
        ended
            .stderr
            .contains("ELASTICIO_POST_RESULT_URL is not provided")
    );
}

#[tokio::test]
async fn a_call_by_hand_is_told_of_the_emulator() {
    let ended = component(&["service", "verifyCredentials"]).await;
    assert_eq!(ended.status, 2);
    assert!(
        ended.stderr.contains("emulator service METHOD"),
        "{}",
        ended.stderr
    );
}
