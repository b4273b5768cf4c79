//! Public descriptors have no errors, and no warnings but those that are listed here: a new one is a false alarm, or a find
//! to be judged. tests/it/lint/public/README.md says where they come from.

use super::{ROOT, has_errors, schema};
use sailor::{
    Component,
    lint::{Issue, lint},
};
use std::{collections::BTreeMap, fs};

/// The warnings of each descriptor that has some: the rule, and how often.
const WARNINGS: &[(&str, &[(&str, usize)])] = &[
    (
        "AI-now-AG.aibox-sharepoint-connector",
        &[("missing-version", 1)],
    ),
    (
        "blendededge.REST-API-component-oih",
        &[
            ("missing-sailor-version", 1),
            ("missing-version", 1),
            ("missing-view-class", 4),
        ],
    ),
    (
        "blendededge.csv-component-oih",
        &[
            ("missing-label", 4),
            ("missing-sailor-version", 1),
            ("missing-view-class", 15),
        ],
    ),
    (
        "blendededge.graphql-component-oih",
        &[
            ("missing-sailor-version", 1),
            ("missing-version", 1),
            ("missing-view-class", 24),
            ("required-as-text", 4),
            ("same-name", 2),
        ],
    ),
    (
        "blendededge.kafka-component-oih",
        &[("missing-sailor-version", 1), ("missing-version", 1)],
    ),
    (
        "blendededge.soap-component-oih",
        &[
            ("missing-label", 2),
            ("missing-sailor-version", 1),
            ("missing-version", 1),
            ("missing-view-class", 2),
        ],
    ),
    (
        "blendededge.webhook-component-oih",
        &[("missing-sailor-version", 1), ("missing-version", 1)],
    ),
    ("elasticio.billomat-component", &[("missing-version", 1)]),
    (
        "elasticio.configuration-component",
        &[("missing-sailor-version", 1)],
    ),
    ("elasticio.csv-component", &[("missing-sailor-version", 1)]),
    ("elasticio.filter-component", &[("misspelt-member", 2)]),
    (
        "elasticio.google-pubsub",
        &[("missing-sailor-version", 1), ("misspelt-member", 1)],
    ),
    (
        "elasticio.gspreadsheets",
        &[("misspelt-member", 1), ("undeclared-name", 2)],
    ),
    (
        "elasticio.odata-component",
        &[("missing-sailor-version", 1)],
    ),
    (
        "elasticio.postgresql-component",
        &[("missing-sailor-version", 1)],
    ),
    (
        "elasticio.simple-trigger-component",
        &[("missing-sailor-version", 1)],
    ),
    (
        "elasticio.sphereio-component",
        &[("action-with-type", 1), ("metadata-twice", 1)],
    ),
    (
        "openintegrationhub.cleverreach-connector",
        &[("missing-sailor-version", 1), ("missing-version", 1)],
    ),
    (
        "openintegrationhub.google-contacts-adapter",
        &[("missing-sailor-version", 1), ("missing-version", 1)],
    ),
    (
        "openintegrationhub.hubspot-component",
        &[
            ("action-with-type", 1),
            ("missing-sailor-version", 1),
            ("missing-version", 1),
        ],
    ),
    (
        "openintegrationhub.lexoffice-connector",
        &[("missing-sailor-version", 1), ("missing-version", 1)],
    ),
    (
        "openintegrationhub.snazzycontacts-adapter",
        &[("missing-sailor-version", 1), ("missing-version", 1)],
    ),
];

/// The name and the text of each public descriptor.
pub fn all() -> Vec<(String, String)> {
    let files = fs::read_dir(format!("{ROOT}/tests/it/lint/public")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let descriptors: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(
        descriptors.len() >= 40,
        "only {} were found",
        descriptors.len()
    );
    descriptors
}

fn counted(issues: &[Issue]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for issue in issues {
        *counts.entry(issue.rule.id()).or_default() += 1;
    }
    counts
}

#[test]
fn public_descriptors_have_no_errors_and_the_listed_warnings() {
    let expected: BTreeMap<_, _> = WARNINGS.iter().copied().collect();
    for (name, json) in all() {
        let issues = lint(json.as_bytes());
        assert!(!has_errors(&issues), "{name}: {issues:#?}");
        let warnings = expected.get(name.as_str()).copied().unwrap_or_default();
        assert_eq!(
            counted(&issues),
            warnings.iter().copied().collect(),
            "{name}"
        );
    }
}

#[test]
fn public_descriptors_match_the_schema_and_are_read() {
    let schema = schema();
    for (name, json) in all() {
        let descriptor = serde_json::from_str(&json).unwrap();
        let faults: Vec<_> = schema
            .iter_errors(&descriptor)
            .map(|e| e.to_string())
            .collect();
        assert_eq!(faults, [""; 0], "{name}");
        Component::new(&json).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn every_public_descriptor_has_a_known_origin() {
    let page = fs::read_to_string(format!("{ROOT}/tests/it/lint/public/README.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ["));
    let mut listed: Vec<_> = rows
        .map(|row| row.split(['[', ']']).nth(1).unwrap().to_owned())
        .collect();
    let mut files: Vec<_> = all()
        .into_iter()
        .map(|(name, _)| format!("{name}.json"))
        .collect();
    listed.sort();
    files.sort();
    assert_eq!(listed, files);
}
