//! component.json: the result of `outlook check`, and rules that it does not check.

use serde_json::Value;
use std::process::Command;

fn descriptor() -> Value {
    serde_json::from_str(include_str!("../../component.json")).unwrap()
}

#[test]
fn check_finds_every_function_and_current_metadata() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outlook"));
    let output = command
        .arg("check")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_clear()
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.contains("2 triggers, 5 actions, all with their modules; metadata is up to date"),
        "{text}"
    );
}

#[test]
fn every_time_zone_choice_is_known() {
    let descriptor = descriptor();
    let zones = descriptor["actions"]["createEvent"]["fields"]["timeZone"]["model"]
        .as_object()
        .unwrap();
    assert!(zones.len() > 100);
    for (zone, label) in zones {
        jiff::tz::TimeZone::get(zone).unwrap();
        assert_eq!(label, zone);
    }
}

#[test]
fn every_field_has_a_label_a_view_and_an_order() {
    let descriptor = descriptor();
    for kind in ["triggers", "actions"] {
        for (name, function) in descriptor[kind].as_object().unwrap() {
            for member in [
                "/title",
                "/description",
                "/help/description",
                "/help/link",
                "/main",
                "/metadata/out",
            ] {
                assert!(
                    function.pointer(member).is_some_and(Value::is_string),
                    "{name}{member}"
                );
            }
            let none = Default::default();
            let fields = function["fields"].as_object().unwrap_or(&none);
            let mut orders: Vec<i64> = fields
                .values()
                .map(|field| field["order"].as_i64().unwrap())
                .collect();
            orders.sort_unstable();
            orders.dedup();
            assert_eq!(orders.len(), fields.len(), "{name}");
            for (field, about) in fields {
                assert!(
                    about["label"].is_string() && about["required"].is_boolean(),
                    "{name}.{field}"
                );
                match about["viewClass"].as_str().unwrap() {
                    "SelectView" => assert!(
                        about["prompt"].is_string() && !about["model"].is_null(),
                        "{name}.{field}"
                    ),
                    "TextFieldView" => assert!(about["placeholder"].is_string(), "{name}.{field}"),
                    view => assert_eq!(view, "CheckBoxView", "{name}.{field}"),
                }
            }
        }
    }
}
