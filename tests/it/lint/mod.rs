//! The linter of component.json: its rules, public descriptors, and its agreement with the JSON schema.

mod agreement;
mod breaches;
mod public_descriptors;

use jsonschema::Validator;
use sailor::lint::{Issue, Rule, Severity, lint_in};
use std::{collections::BTreeSet, fs};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn schema() -> Validator {
    let schema = fs::read_to_string(format!("{ROOT}/schemas/component.schema.json")).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap()
}

fn has_errors(issues: &[Issue]) -> bool {
    issues.iter().any(Issue::is_error)
}

/// The folder of a component that has one file, `lib/a.js`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("lib")).unwrap();
    fs::write(folder.path().join("lib/a.js"), "").unwrap();
    folder
}

#[test]
fn each_breach_is_reported_with_its_place_and_nothing_else() {
    let folder = folder();
    for breach in breaches::all() {
        let issues = lint_in(&breach.json, folder.path());
        let found: Vec<_> = issues
            .iter()
            .map(|i| (i.rule.id(), i.line, i.column))
            .collect();
        let expected = vec![(breach.rule, breach.line, breach.column)];
        let json = String::from_utf8_lossy(&breach.json);
        assert_eq!(found, expected, "{issues:#?} in\n{json}");
        assert!(!issues[0].problem.is_empty() && !issues[0].remedy.is_empty());
    }
}

/// These rules need the modules: they are tested beside `component/check`.
const OF_MODULES: [&str; 5] = [
    "missing-field",
    "optional-field",
    "polling-as-webhook",
    "unread-field",
    "unreadable-field",
];

#[test]
fn every_rule_has_a_breach_that_is_tested() {
    let of_the_text = breaches::all().into_iter().map(|breach| breach.rule);
    let tested: BTreeSet<&str> = of_the_text.chain(OF_MODULES).collect();
    let rules: BTreeSet<&str> = Rule::all().map(Rule::id).collect();
    assert_eq!(tested, rules);
}

#[test]
fn the_documentation_describes_every_rule() {
    let page = fs::read_to_string(format!("{ROOT}/docs/component-json.md")).unwrap();
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let described: BTreeSet<(&str, &str)> = rows
        .filter_map(|(id, rest)| Some((id, rest.split_once(" | ")?.0)))
        .filter(|(_, severity)| ["error", "warning"].contains(severity))
        .collect();
    let severity = |rule: Rule| match rule.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let rules: BTreeSet<_> = Rule::all()
        .map(|rule| (rule.id(), severity(rule)))
        .collect();
    assert_eq!(described, rules);
}

#[test]
fn an_issue_is_one_line_without_control_characters() {
    let json = b"{\"title\": \"T\", \"version\": \"1.0.0\", \"actions\": {\"a\\n\\u001b[2J\": {\"title\": \"T\"}}}";
    let issues = sailor::lint::lint(json);
    let line = issues[0].to_string();
    assert!(
        line.starts_with("1:64: error[missing-main] /actions/a"),
        "{line}"
    );
    assert!(!line.contains(char::is_control), "{line:?}");
}

#[test]
fn no_issue_repeats_a_secret() {
    let json = br#"{
        "title": "T", "version": "1.0.0", "actions": {"a": {"title": "T", "main": "./a.js"}},
        "credentials": {"oauth2": {"client_id": "i", "client_secret": "hush-hush", "auth_uri": 7, "token_uri": ""}}
    }"#;
    let issues = sailor::lint::lint(json);
    assert!(issues.len() >= 4, "{issues:?}");
    assert!(!format!("{issues:?}").contains("hush-hush"));
}

#[test]
fn a_missing_file_needs_one_of_its_kind_that_is_there() {
    let json = br#"{"title": "T", "version": "1.0.0", "actions": {"a": {"title": "T", "main": "./lib/a.js"},
        "b": {"title": "T", "main": "./lib/b", "metadata": {"in": "./lib/b.in.json"}}}}"#;
    let missing = |folder: &std::path::Path| -> Vec<String> {
        let issues = lint_in(json, folder);
        issues.into_iter().map(|issue| issue.pointer).collect()
    };
    let folder = folder();
    assert_eq!(missing(folder.path()), ["/actions/b/main"]);
    fs::write(folder.path().join("lib/b.js"), "").unwrap();
    assert_eq!(missing(folder.path()), [""; 0]);
    assert_eq!(missing(&folder.path().join("elsewhere")), [""; 0]);
}
