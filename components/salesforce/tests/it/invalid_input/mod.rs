//! Invalid inputs: each is an error that names the invalid input and says what to do.

mod cases;

use crate::{
    calls::{Call, calls},
    rig::Org,
};
use cases::{of_many_records, of_one_record, triggers};
use sailor::testing::{Event, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[tokio::test]
async fn every_function_names_invalid_input_and_changes_nothing() {
    let org = Org::new().await;
    org.api.insert("Account", json!({ "Name": "Acme" }));
    let files = [
        ("{empty}", org.file("empty", "")),
        ("{rows}", org.file("rows", "Name\nNew\n")),
    ];
    let cases = [triggers(), of_one_record(), of_many_records()].concat();
    let mut tested = BTreeSet::new();
    for (function, fields, mut body, expected) in cases {
        for (name, url) in &files {
            if body["attachmentUrl"] == *name {
                body["attachmentUrl"] = url.as_str().into();
            }
        }
        let emitted = org.run(function, fields.clone(), body.clone()).await;
        let [Event::Error(text)] = &emitted.events[..] else {
            panic!("{function} {fields} {body}: {emitted:?}")
        };
        assert!(
            expected.split('|').all(|part| text.contains(part)),
            "{function} {fields} {body}: {text}"
        );
        assert_eq!(emitted.verdict, Verdict::Rejected, "{function}");
        tested.insert(function.to_owned());
    }
    let descriptor = org.component.descriptor();
    assert_eq!(
        tested,
        descriptor
            .triggers
            .keys()
            .chain(descriptor.actions.keys())
            .cloned()
            .collect()
    );
    assert_eq!(org.api.records("Account").len(), 1);
}

#[tokio::test]
async fn every_field_is_read_and_validated() {
    let org = Org::new().await;
    let descriptor: Value = serde_json::from_str(include_str!("../../../component.json")).unwrap();
    let mut fields_seen = 0;
    for (function, described) in ["triggers", "actions"]
        .into_iter()
        .flat_map(|k| descriptor[k].as_object().unwrap())
    {
        let fields = described["fields"].as_object().cloned().unwrap_or_default();
        for field in fields.keys() {
            let mut values = json!({ "sobject": "Account", "lookupField": "Name", "query": "x", "operation": "insert" });
            values[field] = json!({ "no": "sense" });
            let error = org.error(function, values, json!({ "query": "x" })).await;
            assert!(
                error.contains(field.as_str()),
                "{function}, {field}: {error}"
            );
            fields_seen += 1;
        }
    }
    assert!(fields_seen > 30 && org.api.calls().is_empty());
}

#[tokio::test]
async fn a_query_too_long_says_what_to_do() {
    let org = Org::new().await;
    let names: Vec<String> = (0..9000).map(|n| format!("name {n}")).collect();
    let term =
        json!({ "sTerm_1": { "fieldName": "Name", "condition": "IN", "fieldValue": names } });
    let error = org
        .error(
            "lookupObjects",
            json!({ "sobject": "Account", "outputMethod": "emitAll" }),
            term,
        )
        .await;
    assert!(
        error.contains("longer than Salesforce takes (100000 characters)")
            && error.contains("shorter lists"),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_for_an_object_without_a_file_field_is_an_error() {
    let org = Org::new().await;
    let by_name =
        json!({ "sobject": "Account", "typeOfSearch": "allFields", "lookupField": "Name" });
    for function in ["create", "upsert"] {
        let mut fields = by_name.clone();
        fields["utilizeAttachment"] = "on".into();
        let message = json!({ "body": { "Name": "x" }, "attachments": { "a": { "url": org.file("a", "x") } } });
        let emitted = org
            .harness(function, fields, org.provider.issue())
            .run_message(message)
            .await
            .unwrap();
        let [Event::Error(text)] = &emitted.events[..] else {
            panic!("{function}: {emitted:?}")
        };
        assert!(
            text.contains("Account has no field for a file") && text.contains("uncheck"),
            "{function}: {text}"
        );
    }
}

#[tokio::test]
async fn an_impossible_snapshot_is_an_error() {
    let org = Org::new().await;
    for snapshot in [
        json!({ "lastModificationTime": "never" }),
        json!({ "page": 5 }),
    ] {
        let harness = org.harness(
            "getUpdatedObjectsPolling",
            json!({ "sobject": "Account" }),
            org.provider.issue(),
        );
        let emitted = harness
            .snapshot(snapshot.clone())
            .run(json!({}))
            .await
            .unwrap();
        let [Event::Error(text)] = &emitted.events[..] else {
            panic!("{snapshot}: {emitted:?}")
        };
        assert!(text.contains("snapshot"), "{snapshot}: {text}");
    }
}

#[tokio::test]
async fn every_call_names_its_missing_or_invalid_field() {
    let org = Org::new().await;
    for (call, fields) in calls() {
        if fields == json!({}) {
            continue;
        }
        for (wrong, expected) in [
            (json!({}), &["choose an object first", "`sobject`"][..]),
            (
                json!({ "sobject": "Nope" }),
                &["no object Nope", "`sobject`"],
            ),
            (
                json!({ "sobject": "Account; DROP" }),
                &["sobject", "API name"],
            ),
        ] {
            let error = call
                .make(&org, wrong, org.provider.issue())
                .await
                .expect_err(&format!("{call:?}"));
            let error = format!("{error:#}");
            assert!(
                expected.iter().all(|part| error.contains(part)),
                "{call:?}: {error}"
            );
        }
    }
    for function in ["delete", "lookupObject"] {
        for (fields, expected) in [
            (json!({ "sobject": "Account" }), "`lookupField`"),
            (
                json!({ "sobject": "Account", "lookupField": "Nope" }),
                "no field Nope",
            ),
        ] {
            let error = Call::Metadata(function)
                .make(&org, fields, org.provider.issue())
                .await
                .unwrap_err();
            assert!(
                format!("{error:#}").contains(expected),
                "{function}: {error:#}"
            );
        }
    }
}
