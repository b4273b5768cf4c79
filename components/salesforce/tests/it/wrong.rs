//! Wrong inputs: each is an error that names what is wrong and what to do.

use crate::{
    calls::{Call, calls},
    rig::Org,
};
use sailor::testing::{Event, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Function, fields, body, and what the error must tell, with bars between.
type Case = (&'static str, Value, Value, &'static str);

fn triggers() -> Vec<Case> {
    let poll =
        |fields: Value, told: &'static str| ("getUpdatedObjectsPolling", fields, json!({}), told);
    let account = |name: &str, value: Value| json!({ "sobject": "Account", name: value });
    vec![
        poll(json!({}), "sobject"),
        poll(json!({ "sobject": "Account WHERE" }), "sobject|API name"),
        poll(json!({ "sobject": "Nope" }), "no object Nope|`sobject`"),
        poll(
            json!({ "sobject": "AccountHistory" }),
            "AccountHistory|cannot be polled",
        ),
        poll(account("pageSize", json!("0")), "`pageSize`|1 to 10000"),
        poll(account("pageSize", json!("many")), "pageSize|whole number"),
        poll(
            account("startTime", json!("yesterday")),
            "`startTime`|2024-01-31T12:00:00Z",
        ),
        poll(
            account("endTime", json!("1 OR Id != null")),
            "`endTime`|2024-01-31T12:00:00Z",
        ),
        poll(
            account("selectedFields", json!(["Name, Id"])),
            "`selectedFields`|Name, Id",
        ),
        poll(
            account("selectedFields", json!("Nope")),
            "No such column 'Nope'",
        ),
        poll(
            account("linkedObjects", json!(["!Nope"])),
            "`linkedObjects`|!Nope",
        ),
        poll(
            account("linkedObjects", json!(["Nope"])),
            "`linkedObjects`|Nope",
        ),
        poll(
            account("emitBehavior", json!("sometimes")),
            "emitBehavior|fetchPage",
        ),
        ("queryTrigger", json!({}), json!({}), "query"),
        (
            "queryTrigger",
            json!({ "query": " " }),
            json!({}),
            "`query` is empty|SOQL",
        ),
        (
            "queryTrigger",
            json!({ "query": "SELECT" }),
            json!({}),
            "MALFORMED_QUERY",
        ),
        (
            "queryTrigger",
            json!({ "query": "x", "outputMethod": "no" }),
            json!({}),
            "outputMethod|emitAll",
        ),
        (
            "queryObjects",
            json!({ "query": "" }),
            json!({}),
            "`query` is empty|SOQL",
        ),
        (
            "queryObjects",
            json!({ "query": "SELECT Nope FROM Account" }),
            json!({}),
            "No such column 'Nope'",
        ),
        // It takes nothing but the credentials.
        (
            "newAccount",
            json!({ "oauth": null }),
            json!({}),
            "oauth|connected",
        ),
    ]
}

fn of_one_record() -> Vec<Case> {
    let by = |field: &str| json!({ "sobject": "Account", "typeOfSearch": "allFields", "lookupField": field });
    let account = || json!({ "sobject": "Account" });
    let external = || json!({ "sobject": "Account", "typeOfSearch": "externalIds", "lookupField": "ErpId__c" });
    vec![
        ("create", json!({}), json!({}), "sobject"),
        (
            "create",
            account(),
            json!({}),
            "no fields|Account|body is empty",
        ),
        (
            "create",
            account(),
            json!({ "Website": "x" }),
            "REQUIRED_FIELD_MISSING|Name",
        ),
        (
            "create",
            account(),
            json!({ "Name": "x", "Nope": 1 }),
            "No such column 'Nope'",
        ),
        (
            "create",
            json!({ "sobject": "Nope" }),
            json!({ "Name": "x" }),
            "NOT_FOUND|Nope",
        ),
        (
            "create",
            json!({ "sobject": "Account", "utilizeAttachment": "perhaps" }),
            json!({}),
            "utilizeAttachment|true or false",
        ),
        ("createAccount", json!({}), json!({}), "Name"),
        (
            "createAccount",
            json!({}),
            json!({ "Name": " " }),
            "`Name` is empty",
        ),
        ("upsert", account(), json!({}), "lookupField"),
        (
            "upsert",
            json!({ "sobject": "Account", "lookupField": "Id", "typeOfSearch": "no" }),
            json!({}),
            "typeOfSearch|externalIds",
        ),
        (
            "upsert",
            external(),
            json!({}),
            "no fields for Account|body is empty",
        ),
        (
            "upsert",
            external(),
            json!({ "ErpId__c": {} }),
            "`ErpId__c`|single value",
        ),
        (
            "upsert",
            external(),
            json!({ "ErpId__c": ".." }),
            "\"..\"|path",
        ),
        (
            "upsert",
            by("Nope"),
            json!({ "Nope": 1 }),
            "Account has no field Nope",
        ),
        (
            "upsert",
            by("NumberOfEmployees"),
            json!({ "NumberOfEmployees": "many" }),
            "`NumberOfEmployees`|a number",
        ),
        (
            "upsert",
            by("Id"),
            json!({ "Id": "0010000000nope", "Name": "x" }),
            "NOT_FOUND",
        ),
        ("delete", by("Name"), json!({}), "no value for `Name`"),
        (
            "delete",
            by("Name"),
            json!({ "Name": ["x"] }),
            "`Name`|single value",
        ),
        (
            "delete",
            by("Priority__c"),
            json!({ "Priority__c": "perhaps" }),
            "`Priority__c`|true or false",
        ),
        (
            "delete",
            json!({ "sobject": "Nope", "lookupField": "Name" }),
            json!({ "Name": "x" }),
            "no object Nope|`sobject`",
        ),
        (
            "delete",
            json!({ "sobject": "Account", "lookupField": "Name = '" }),
            json!({}),
            "lookupField|API name",
        ),
        (
            "lookupObject",
            by("Name"),
            json!({}),
            "no value for `Name`|Allow criteria to be omitted",
        ),
        (
            "lookupObject",
            by("Name"),
            json!({ "Name": "x" }),
            "no Account has this value in Name|Allow zero results",
        ),
        (
            "lookupObject",
            by("Founded__c"),
            json!({ "Founded__c": "31.1.2024" }),
            "`Founded__c`|2024-01-31",
        ),
        (
            "lookupObject",
            by("BillingAddress"),
            json!({ "BillingAddress": "x" }),
            "`BillingAddress`|cannot be searched",
        ),
        (
            "rawRequest",
            json!({}),
            json!({ "method": "FETCH", "path": "limits" }),
            "`method`|GET, POST",
        ),
        (
            "rawRequest",
            json!({}),
            json!({ "method": "GET", "path": " " }),
            "`path` is empty|sobjects/Account",
        ),
        ("rawRequest", json!({}), json!({ "method": "GET" }), "path"),
        (
            "rawRequest",
            json!({}),
            json!({ "method": "GET", "path": "https://example.com/" }),
            "https://example.com|no origin",
        ),
        (
            "rawRequest",
            json!({}),
            json!({ "method": "GET", "path": "nope" }),
            "no GET /services/data/v60.0/nope",
        ),
    ]
}

fn of_many_records() -> Vec<Case> {
    let lookup = |fields: Value, body: Value, told: &'static str| {
        let mut all = json!({ "sobject": "Account", "outputMethod": "emitAll" });
        all.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        ("lookupObjects", all, body, told)
    };
    let term = |field: &str, condition: &str, value: Value| json!({ "sTerm_1": { "fieldName": field, "condition": condition, "fieldValue": value } });
    let insert = || json!({ "operation": "insert", "sobject": "Account" });
    vec![
        lookup(
            json!({ "termNumber": "100" }),
            json!({}),
            "`termNumber`|0 to 99",
        ),
        lookup(
            json!({ "outputMethod": "emitNone" }),
            json!({}),
            "outputMethod|emitAll",
        ),
        lookup(json!({}), json!({}), "`sTerm_1` is missing|1 search term"),
        lookup(
            json!({}),
            json!({ "sTerm_1": {} }),
            "`sTerm_1`|fieldName, condition and fieldValue",
        ),
        lookup(
            json!({}),
            term("Nope", "=", json!(1)),
            "`sTerm_1`|no field Nope",
        ),
        lookup(
            json!({}),
            term("Name", "IS", json!(1)),
            "`condition` must be one of|LIKE",
        ),
        lookup(
            json!({}),
            term("Name", "LIKE", json!(1)),
            "`fieldValue` must be a text",
        ),
        lookup(
            json!({}),
            term("Name", "IN", json!("")),
            "`fieldValue` must be a list",
        ),
        lookup(
            json!({}),
            term("NumberOfEmployees", ">", json!("0) OR (Id != null")),
            "`NumberOfEmployees`|a number",
        ),
        lookup(
            json!({ "termNumber": 2 }),
            json!({ "sTerm_1": term("Name", "=", json!(1))["sTerm_1"], "sTerm_2": term("Name", "=", json!(1))["sTerm_1"] }),
            "`link_1_2` must be AND or OR",
        ),
        lookup(
            json!({ "termNumber": 0 }),
            json!({ "limit": "few" }),
            "`limit`|numbers",
        ),
        lookup(
            json!({ "termNumber": 0, "outputMethod": "emitPage" }),
            json!({ "pageSize": 0 }),
            "`pageSize` must be at least 1",
        ),
        ("query", json!({}), json!({}), "query"),
        (
            "query",
            json!({}),
            json!({ "query": "" }),
            "`query` is empty|SOQL",
        ),
        (
            "query",
            json!({}),
            json!({ "query": "SELECT Id FROM Nope" }),
            "INVALID_TYPE|Nope",
        ),
        (
            "query",
            json!({ "maxFetch": "-1" }),
            json!({ "query": "x" }),
            "maxFetch|whole number",
        ),
        (
            "bulk_cud",
            json!({ "operation": "merge", "sobject": "Account" }),
            json!({}),
            "operation|upsert",
        ),
        (
            "bulk_cud",
            insert(),
            json!({}),
            "no CSV file|`attachmentUrl`",
        ),
        (
            "bulk_cud",
            insert(),
            json!({ "attachmentUrl": "nowhere" }),
            "the CSV file|not an address",
        ),
        (
            "bulk_cud",
            insert(),
            json!({ "attachmentUrl": "{empty}" }),
            "the CSV file is empty",
        ),
        (
            "bulk_cud",
            json!({ "operation": "upsert", "sobject": "Account" }),
            json!({ "attachmentUrl": "{rows}" }),
            "`extIdField`",
        ),
        (
            "bulk_cud",
            json!({ "operation": "insert", "sobject": "Nope" }),
            json!({ "attachmentUrl": "{rows}" }),
            "Unable to find object: Nope",
        ),
        (
            "bulk_q",
            json!({}),
            json!({ "query": " " }),
            "`query` is empty|SOQL",
        ),
        (
            "bulk_q",
            json!({}),
            json!({ "query": "SELECT (SELECT Id FROM Contacts) FROM Account" }),
            "not supported in Bulk Query",
        ),
        (
            "bulk_q",
            json!({ "timeout": "soon" }),
            json!({ "query": "x" }),
            "timeout|whole number",
        ),
    ]
}

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
    for (function, fields, mut body, told) in cases {
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
            told.split('|').all(|part| text.contains(part)),
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
    let descriptor: Value = serde_json::from_str(include_str!("../../component.json")).unwrap();
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
    let names: Vec<String> = (0..2000).map(|n| format!("name {n}")).collect();
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
        error.contains("longer than Salesforce takes (414)") && error.contains("shorter lists"),
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
        for (wrong, told) in [
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
                told.iter().all(|part| error.contains(part)),
                "{call:?}: {error}"
            );
        }
    }
    for function in ["delete", "lookupObject"] {
        for (fields, told) in [
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
            assert!(format!("{error:#}").contains(told), "{function}: {error:#}");
        }
    }
}
