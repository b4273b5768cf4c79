//! Select models, dynamic metadata and verification: what they answer.

use crate::{
    calls::{Call, calls},
    rig::Org,
};
use emulator::standins::salesforce::{Call as SentCall, Fault};
use sailor::Verified;
use serde_json::{Value, json};

async fn ask(org: &Org, call: Call, fields: Value) -> Value {
    call.make(org, fields, org.provider.issue())
        .await
        .unwrap_or_else(|error| panic!("{call:?}: {error:#}"))
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn object_types_lists_the_objects_a_function_can_use() {
    let org = Org::new().await;
    let all = &["Account", "AccountHistory", "Attachment", "Contact"][..];
    let changeable = &["Account", "Attachment", "Contact"][..];
    for (function, operation, expected) in [
        ("lookupObject", "", all),
        ("lookupObjects", "", all),
        ("getUpdatedObjectsPolling", "", all),
        ("create", "", changeable),
        ("upsert", "", changeable),
        ("delete", "", changeable),
        ("bulk_cud", "insert", changeable),
        ("bulk_cud", "update", changeable),
        ("bulk_cud", "upsert", changeable),
        ("bulk_cud", "delete", changeable),
    ] {
        let fields = json!({ "operation": operation });
        let choices = ask(&org, Call::Model(function, "objectTypes"), fields).await;
        assert_eq!(keys(&choices), expected, "{function} {operation}");
        assert_eq!(choices["Account"], "Account");
    }
}

#[tokio::test]
async fn linked_objects_lists_parents_and_children() {
    let org = Org::new().await;
    let choices = ask(
        &org,
        Call::Model("lookupObject", "linkedObjectTypes"),
        json!({ "sobject": "Account" }),
    )
    .await;
    let expected = json!({
        "Owner__r": "Account (Parent)",
        "!Contacts": "Contact (Contacts)",
        "!Histories": "AccountHistory (Histories)",
    });
    assert_eq!(choices, expected);
    let choices = ask(
        &org,
        Call::Model("lookupObject", "linkedObjectTypes"),
        json!({ "sobject": "Attachment" }),
    )
    .await;
    assert_eq!(choices, json!({ "Parent": "Account, Contact (Parent ID)" }));
}

#[tokio::test]
async fn object_fields_lists_all_fields_with_labels() {
    let org = Org::new().await;
    let call = Call::Model("getUpdatedObjectsPolling", "getObjectFields");
    let choices = ask(&org, call, json!({ "sobject": "Contact" })).await;
    assert_eq!(
        (&choices["LastName"], &choices["Id"]),
        (&json!("Last Name"), &json!("Id"))
    );
    assert_eq!(choices.as_object().unwrap().len(), 9);
}

#[tokio::test]
async fn lookup_fields_follows_the_type_of_search() {
    let org = Org::new().await;
    for function in ["upsert", "delete", "lookupObject"] {
        let fields = async |search: &str| {
            let fields = json!({ "sobject": "Account", "typeOfSearch": search });
            ask(&org, Call::Model(function, "getLookupFields"), fields).await
        };
        assert_eq!(
            keys(&fields("uniqueFields").await),
            ["ErpId__c", "Id", "LegacyId__c"],
            "{function}"
        );
        assert_eq!(
            keys(&fields("externalIds").await),
            ["ErpId__c", "LegacyId__c"],
            "{function}"
        );
        let all = fields("allFields").await;
        assert!(
            all["Name"] == "Account Name" && all.get("BillingAddress").is_none(),
            "{function}: {all}"
        );
    }
}

#[tokio::test]
async fn create_metadata_has_writable_and_required_fields() {
    let org = Org::new().await;
    let metadata = ask(
        &org,
        Call::Metadata("create"),
        json!({ "sobject": "Account" }),
    )
    .await;
    let input = &metadata["in"]["properties"];
    assert_eq!(
        input["Name"],
        json!({ "type": "string", "title": "Account Name", "required": true })
    );
    let industry = json!(["Agriculture", "Banking", "Energy"]);
    assert_eq!(
        (&input["Industry"]["enum"], &input["Industry"]["required"]),
        (&industry, &json!(false))
    );
    assert_eq!(input["NumberOfEmployees"]["type"], "integer");
    assert_eq!(input["AnnualRevenue"]["type"], "number");
    // Not null, but Salesforce sets it where it is left out.
    assert_eq!(
        input["Priority__c"],
        json!({ "type": "boolean", "title": "Priority", "required": false })
    );
    for own in ["Id", "LastModifiedDate", "BillingAddress"] {
        assert_eq!(input.get(own), None, "{own}");
    }
    assert_eq!(metadata["out"]["properties"]["id"]["required"], true);
    assert!(metadata["out"]["properties"].get("Name").is_some());
}

#[tokio::test]
async fn upsert_and_delete_metadata_has_the_lookup_field() {
    let org = Org::new().await;
    let fields =
        json!({ "sobject": "Account", "typeOfSearch": "uniqueFields", "lookupField": "Id" });
    let upsert = ask(&org, Call::Metadata("upsert"), fields.clone()).await;
    assert_eq!(upsert["in"]["properties"]["Id"]["required"], false);
    assert_eq!(upsert["in"]["properties"]["Name"]["required"], false);
    assert_eq!(upsert["out"]["properties"]["created"]["type"], "boolean");
    let delete = ask(&org, Call::Metadata("delete"), fields).await;
    assert_eq!(keys(&delete["in"]["properties"]), ["Id"]);
    assert_eq!(delete["in"]["properties"]["Id"]["required"], true);
    assert!(delete["out"]["properties"]["response"]["properties"]["id"].is_object());
}

#[tokio::test]
async fn lookup_object_metadata_follows_the_fields() {
    let org = Org::new().await;
    let fields = json!({
        "sobject": "Account", "lookupField": "Name", "linkedObjects": ["Owner__r", "!Contacts"],
        "allowCriteriaToBeOmitted": "on",
    });
    let metadata = ask(&org, Call::Metadata("lookupObject"), fields).await;
    assert_eq!(
        (
            keys(&metadata["in"]["properties"]),
            &metadata["in"]["properties"]["Name"]["required"]
        ),
        (vec!["Name"], &json!(false))
    );
    let output = &metadata["out"]["properties"];
    let address = &output["BillingAddress"]["properties"];
    assert_eq!(
        (&address["city"]["type"], &output["Founded__c"]["type"]),
        (&json!("string"), &json!("string"))
    );
    assert_eq!(
        output["Owner__r"]["properties"]["Name"]["title"],
        "Account Name"
    );
    assert_eq!(
        output["Contacts"]["items"]["properties"]["LastName"]["title"],
        "Last Name"
    );
    let attachment =
        json!({ "sobject": "Attachment", "lookupField": "Name", "linkedObjects": ["Parent"] });
    let output = &ask(&org, Call::Metadata("lookupObject"), attachment).await["out"]["properties"];
    assert_eq!(
        (output.get("Body"), keys(&output["Parent"]["properties"])),
        (None, vec!["Id", "Name"])
    );
}

#[tokio::test]
async fn lookup_objects_metadata_has_the_search_terms() {
    let org = Org::new().await;
    for (method, count, input, is_record) in [
        (
            "emitAll",
            "2",
            &["limit", "link_1_2", "sTerm_1", "sTerm_2"][..],
            false,
        ),
        (
            "emitPage",
            "1",
            &["pageNumber", "pageSize", "sTerm_1"],
            false,
        ),
        ("emitIndividually", "0", &["limit"], true),
    ] {
        let fields = json!({ "sobject": "Account", "outputMethod": method, "termNumber": count });
        let metadata = ask(&org, Call::Metadata("lookupObjects"), fields).await;
        assert_eq!(keys(&metadata["in"]["properties"]), input, "{method}");
        let output = &metadata["out"]["properties"];
        assert_eq!(
            (
                output.get("Name").is_some(),
                output.get("results").is_some()
            ),
            (is_record, !is_record),
            "{method}"
        );
        if count == "2" {
            let term = &metadata["in"]["properties"]["sTerm_1"]["properties"];
            let names = term["fieldName"]["enum"].as_array().unwrap();
            assert!(names.contains(&json!("Name")) && !names.contains(&json!("BillingAddress")));
            assert_eq!(term["condition"]["enum"].as_array().unwrap().len(), 11);
        }
    }
}

#[tokio::test]
async fn polling_metadata_has_the_selected_fields() {
    let org = Org::new().await;
    let fields =
        json!({ "sobject": "Account", "selectedFields": ["Name"], "linkedObjects": ["!Contacts"] });
    let metadata = ask(&org, Call::Metadata("getUpdatedObjectsPolling"), fields).await;
    assert_eq!(
        keys(&metadata["out"]["properties"]),
        ["Contacts", "Id", "LastModifiedDate", "Name"]
    );
    assert_eq!(metadata.get("in"), None);
    let pages = json!({ "sobject": "Account", "emitBehavior": "fetchPage" });
    let metadata = ask(&org, Call::Metadata("getUpdatedObjectsPolling"), pages).await;
    assert!(metadata["out"]["properties"]["results"]["items"]["properties"]["Name"].is_object());
}

async fn verified(org: &Org) -> anyhow::Result<Verified> {
    org.harness("", json!({}), org.provider.issue())
        .verify()
        .await
}

#[tokio::test]
async fn valid_credentials_cost_one_call_and_no_refresh() {
    let org = Org::new().await;
    assert_eq!(verified(&org).await.unwrap(), Verified::Yes);
    let calls: Vec<String> = org.api.calls().iter().map(SentCall::line).collect();
    assert_eq!(
        (calls, org.provider.refreshes()),
        (vec!["GET /services/data/v60.0/sobjects".to_owned()], 0)
    );
}

#[tokio::test]
async fn dead_tokens_are_not_verified() {
    let org = Org::new().await;
    org.api.fail(
        ".*",
        [const { Fault::Refused(401, "INVALID_SESSION_ID", "Session expired or invalid") }; 2],
    );
    assert!(matches!(verified(&org).await.unwrap(), Verified::No(_)));
    let tokens = org.provider.issue_expired();
    org.provider.revoke_all();
    let verdict = org.harness("", json!({}), tokens).verify().await.unwrap();
    assert!(
        matches!(&verdict, Verified::No(reason) if reason.contains("connect the account again")),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn missing_tokens_ask_to_connect_the_account() {
    let org = Org::new().await;
    for (call, mut fields) in calls() {
        for tokens in [Value::Null, json!({ "access_token": "" })] {
            fields["oauth"] = tokens;
            let told = match call {
                // Credentials that are not there are not verified, which is no failure.
                Call::Verify => match org
                    .harness("", fields.clone(), org.provider.issue())
                    .verify()
                    .await
                    .unwrap()
                {
                    Verified::No(reason) => reason,
                    verdict => panic!("{verdict:?}"),
                },
                call => format!(
                    "{:#}",
                    call.make(&org, fields.clone(), org.provider.issue())
                        .await
                        .unwrap_err()
                ),
            };
            assert!(told.contains("connect"), "{call:?}: {told}");
        }
    }
    assert!(org.api.calls().is_empty());
}

#[tokio::test]
async fn a_disabled_rest_api_is_named_as_the_reason() {
    let org = Org::new().await;
    org.api.fail(
        ".*",
        [Fault::Refused(
            403,
            "API_DISABLED_FOR_ORG",
            "API is not enabled for this Organization",
        )],
    );
    let verdict = verified(&org).await.unwrap();
    let told = matches!(&verdict, Verified::No(reason) if reason.contains("REST API is not enabled") && reason.contains("API Enabled"));
    assert!(told, "{verdict:?}");
    assert_eq!(org.provider.refreshes(), 0);
}

#[tokio::test]
async fn a_transient_error_is_no_verification_result() {
    let org = Org::new().await;
    org.api.shutdown().await;
    let error = verified(&org).await.unwrap_err();
    assert!(
        format!("{error:#}").contains("GET /services/data/v60.0/sobjects"),
        "{error:#}"
    );
}
