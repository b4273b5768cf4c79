//! The command line of the reference component's binary.

use std::process::{Command, Output};

fn component(arguments: &[&str]) -> Output {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = Command::new(env!("CARGO_BIN_EXE_component"));
    command
        .args(arguments)
        .current_dir(root)
        .env_clear()
        .output()
        .unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn check_compares_component_json_with_modules_and_types() {
    let output = component(&["check"]);
    assert!(output.status.success(), "{}", text(output.stderr));
    assert_eq!(
        text(output.stdout),
        "REST API: 2 triggers, 1 actions, all with their modules; metadata is up to date\n"
    );
}

#[test]
fn schema_prints_what_the_types_say() {
    let printed = text(component(&["schema"]).stdout);
    assert!(
        printed.contains("// makeRequest, in") && printed.contains("\"Path below the base URL"),
        "{printed}"
    );
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2() {
    for arguments in [&["dance"][..], &["check", "twice"], &["--no-such-option"]] {
        assert_eq!(component(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(component(&["--help"]).status.code(), Some(0));
    assert_eq!(component(&["--version"]).status.code(), Some(0));
}

#[test]
fn a_call_without_an_address_for_its_result_ends_with_1() {
    let output = component(&["service", "verifyCredentials"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(output.stderr).contains("ELASTICIO_POST_RESULT_URL is not provided"));
}
