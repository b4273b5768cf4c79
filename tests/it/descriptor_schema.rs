//! The JSON schema of component.json (schemas/component.schema.json): every descriptor of this repository matches it, and
//! a descriptor that the platform would not accept does not.

use jsonschema::Validator;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn schema() -> Validator {
    let schema = read(format!("{ROOT}/schemas/component.schema.json"));
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

/// The errors of a descriptor, each with its place.
fn faults(schema: &Validator, descriptor: &Value) -> Vec<String> {
    schema
        .iter_errors(descriptor)
        .map(|error| format!("{} at {:?}", error, error.instance_path().as_str()))
        .collect()
}

/// A descriptor with every kind of member.
fn whole() -> Value {
    let select = json!({
        "label": "Folder",
        "viewClass": "SelectView",
        "required": true,
        "model": "getFolders",
        "require": ["box"]
    });
    json!({
        "title": "Mail",
        "version": "1.2.3",
        "buildType": "docker",
        "envVars": { "KEY": { "required": true, "description": "The key" } },
        "authClientTypes": ["oauth2"],
        "credentials": {
            "fields": { "oauth": { "label": "Connection", "viewClass": "OAuthFieldView", "required": true } },
            "oauth2": {
                "client_id": "{{KEY}}",
                "client_secret": "{{SECRET}}",
                "auth_uri": "https://a.example/authorize",
                "token_uri": "https://a.example/token",
                "scopes": ["mail"]
            }
        },
        "triggers": {
            "poll": { "main": "./poll.rs", "title": "Poll", "type": "polling", "fields": { "folder": select } }
        },
        "actions": {
            "send": {
                "main": "./send.rs",
                "title": "Send",
                "help": { "description": "Sends", "link": "/send" },
                "order": 1,
                "metadata": { "in": "./in.json", "out": { "type": "object" } }
            }
        },
        "notOfTheContract": { "at": "all" }
    })
}

#[test]
fn the_descriptors_of_this_repository_match_the_schema() {
    let schema = schema();
    let mut folders = vec![PathBuf::from(ROOT)];
    for parent in ["components", "examples"] {
        let entries = fs::read_dir(format!("{ROOT}/{parent}")).unwrap();
        folders.extend(entries.map(|entry| entry.unwrap().path()));
    }
    assert!(folders.len() >= 6, "only {folders:?} were found");
    for folder in folders {
        let faults = faults(&schema, &read(folder.join("component.json")));
        assert!(faults.is_empty(), "{}: {faults:#?}", folder.display());
    }
}

#[test]
fn the_schema_names_the_place_of_an_invalid_member() {
    let schema = schema();
    assert_eq!(faults(&schema, &whole()), Vec::<String>::new());
    let cases = [
        ("/title", json!(7)),
        ("/version", json!("1.2")),
        ("/buildType", json!("podman")),
        ("/envVars/KEY/required", json!("yes")),
        ("/authClientTypes/0", json!("oauth3")),
        ("/credentials/fields/oauth/viewClass", json!("OAuthField")),
        ("/credentials/fields/oauth/label", Value::Null),
        ("/credentials/fields/oauth/required", json!("yes")),
        ("/credentials/oauth2/scopes", json!("mail")),
        ("/credentials/oauth2/token_uri", json!("")),
        ("/triggers/poll/type", json!("pulling")),
        ("/triggers/poll/fields/folder/model", json!({})),
        ("/triggers/poll/fields/folder/model", json!({ "in": 1 })),
        ("/triggers/poll/fields/folder/require", json!("box")),
        ("/triggers/poll/fields/folder/model", json!([])),
        ("/triggers/poll/fields/folder/model", json!([true])),
        ("/triggers/poll/fields/folder/required", json!(1)),
        ("/triggers/poll/main", json!(false)),
        ("/actions/send/metadata/in", json!(true)),
        ("/actions/send/help", json!("Sends")),
        ("/actions/send/order", json!("1")),
    ];
    for (place, wrong) in cases {
        let mut descriptor = whole();
        *descriptor
            .pointer_mut(place)
            .unwrap_or_else(|| panic!("{place} is in the whole one")) = wrong.clone();
        let faults = faults(&schema, &descriptor);
        assert!(
            faults.iter().any(|fault| fault.contains(place)),
            "{place} = {wrong}: {faults:#?}"
        );
    }
}

#[test]
fn the_schema_requires_the_required_members() {
    let schema = schema();
    let cases = [
        ("", "title"),
        ("/credentials/oauth2", "client_id"),
        ("/credentials/oauth2", "token_uri"),
        ("/triggers/poll", "main"),
        ("/triggers/poll/fields/folder", "model"),
        ("/actions/send", "title"),
    ];
    for (place, member) in cases {
        let mut descriptor = whole();
        descriptor
            .pointer_mut(place)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(member)
            .unwrap();
        let faults = faults(&schema, &descriptor);
        assert!(
            faults
                .iter()
                .any(|fault| fault.contains(&format!("\"{member}\" is a required"))),
            "{place} {faults:#?}"
        );
    }
    for neither in [
        json!({ "title": "Mail" }),
        json!({ "title": "Mail", "triggers": {}, "actions": {} }),
    ] {
        assert!(!schema.is_valid(&neither), "a component without functions");
    }
}
