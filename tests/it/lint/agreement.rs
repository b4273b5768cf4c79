//! The linter finds an error exactly where the JSON schema refuses a descriptor, and the runtime reads every other one.

use super::{breaches, folder, has_errors, public_descriptors, schema};
use jsonschema::Validator;
use sailor::{
    Component,
    lint::{lint, lint_in},
};
use serde_json::{Value, json};

/// These are about the text, which the schema does not see.
const ABOUT_THE_TEXT: [&str; 4] = [
    "byte-order-mark",
    "duplicate-key",
    "invalid-json",
    "not-utf-8",
];

#[test]
fn the_schema_refuses_each_breach_that_is_an_error() {
    let (schema, folder) = (schema(), folder());
    let breaches = breaches::all().into_iter();
    for breach in breaches.filter(|breach| !ABOUT_THE_TEXT.contains(&breach.rule)) {
        let descriptor = serde_json::from_slice(&breach.json).unwrap();
        let is_error = has_errors(&lint_in(&breach.json, folder.path()));
        assert_eq!(
            !schema.is_valid(&descriptor),
            is_error,
            "{}: {descriptor}",
            breach.rule
        );
    }
}

/// A descriptor with every member that is read.
fn whole() -> Value {
    json!({
        "$schema": "s", "title": "T", "description": "D", "version": "1.0.0", "buildType": "docker", "language": "nodejs",
        "sailor_version": "2.7.8", "authClientTypes": ["basic", "oauth2"], "useOAuthClient": true, "consumesRawData": true,
        "deprecated": false, "service": "s", "docsUrl": "u", "url": "u",
        "envVars": { "A": { "required": true, "description": "D" } },
        "credentials": {
            "verifier": "V", "useOAuthClient": false,
            "fields": { "f": {
                "label": "L", "viewClass": "MultiSelectView", "required": true, "model": { "a": "A" }, "require": ["f"], "prompt": "P",
                "placeholder": "P", "note": "N", "help": { "description": "D", "link": "l" }, "prefix": "p", "suffix": "s", "order": 1
            } },
            "oauth1": { "consumer_key": "k", "consumer_secret": "s", "request_token_uri": "u", "auth_uri": "u", "access_token_uri": "u" },
            "oauth2": {
                "client_id": "i", "client_secret": "s", "auth_uri": "u", "token_uri": "u", "scopes": ["s"], "client_auth": "basic",
                "refresh_token_uri": "u", "revoke_uri": "u", "access_type": "offline"
            }
        },
        "triggers": { "t": {
            "title": "T", "main": "./t.js", "type": "polling", "description": "D", "help": { "description": "D", "link": "l" },
            "order": 1, "deprecated": true, "dynamicMetadata": true, "metadata": { "in": {}, "out": "./t.out.json" },
            "autoResolveObjectReferences": true, "fields": { "f": { "label": "L", "viewClass": "SelectView", "model": ["a", 1] } }
        } },
        "actions": {}
    })
}

/// The pointers of all values in a document.
fn pointers(value: &Value, pointer: &str, found: &mut Vec<String>) {
    found.push(pointer.to_owned());
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                pointers(member, &format!("{pointer}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                pointers(item, &format!("{pointer}/{n}"), found);
            }
        }
        _ => {}
    }
}

/// The descriptor with one value replaced, in every way, and without it.
fn variants(descriptor: &Value, pointer: &str) -> Vec<Value> {
    let others = [
        json!(null),
        json!(true),
        json!(7),
        json!(""),
        json!("x"),
        json!("true"),
        json!("{{A}}"),
        json!("AnyView"),
        json!([]),
        json!({}),
        json!(["x", "x"]),
        json!([7]),
        json!([null]),
        json!([{}]),
        json!({ "a": 7 }),
        json!({ "a": {} }),
        json!({ "": "x" }),
    ];
    let replaced = others.into_iter().map(|other| {
        let mut descriptor = descriptor.clone();
        *descriptor.pointer_mut(pointer).unwrap() = other;
        descriptor
    });
    replaced.chain(without(descriptor, pointer)).collect()
}

fn without(descriptor: &Value, pointer: &str) -> Option<Value> {
    let (parent, name) = pointer.rsplit_once('/')?;
    let mut descriptor = descriptor.clone();
    descriptor
        .pointer_mut(parent)?
        .as_object_mut()?
        .remove(name)?;
    Some(descriptor)
}

/// What schema, linter and runtime say about a descriptor, if they disagree.
fn disagreement(schema: &Validator, descriptor: &Value) -> Option<String> {
    let issues = lint(descriptor.to_string().as_bytes());
    let faults: Vec<_> = schema
        .iter_errors(descriptor)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    let read = Component::new(&descriptor.to_string());
    let agree = faults.is_empty() != has_errors(&issues) && (!faults.is_empty() || read.is_ok());
    (!agree).then(|| format!("{faults:?}, {issues:?}, {read:?}"))
}

#[test]
fn linter_and_schema_agree_on_every_changed_descriptor() {
    let schema = schema();
    let public = public_descriptors::all().into_iter();
    let short = public.filter(|(_, json)| json.len() < 1500);
    let short = short.map(|(_, json)| serde_json::from_str(&json).unwrap());
    let descriptors: Vec<Value> = short.chain([whole()]).collect();
    assert!(descriptors.len() > 5);
    let mut found = Vec::new();
    for descriptor in &descriptors {
        let mut places = Vec::new();
        pointers(descriptor, "", &mut places);
        for place in &places {
            for variant in variants(descriptor, place) {
                let differs = disagreement(&schema, &variant);
                found.extend(
                    differs.map(|d| format!("{place} is {:?}: {d}", variant.pointer(place))),
                );
            }
        }
    }
    assert!(
        found.is_empty(),
        "{} disagreements: {:#?}",
        found.len(),
        &found[..found.len().min(20)]
    );
}
