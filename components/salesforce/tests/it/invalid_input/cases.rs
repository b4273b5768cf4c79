//! Invalid inputs of each function.

use serde_json::{Value, json};

/// Function, fields, body, and what the error must contain, separated by bars.
pub type Case = (&'static str, Value, Value, &'static str);

pub fn triggers() -> Vec<Case> {
    let poll = |fields: Value, expected: &'static str| {
        ("getUpdatedObjectsPolling", fields, json!({}), expected)
    };
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
        // It has no fields but the credentials.
        (
            "newAccount",
            json!({ "oauth": null }),
            json!({}),
            "oauth|connect the account again",
        ),
    ]
}

pub fn of_one_record() -> Vec<Case> {
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
            "https://example.com|may not receive the token",
        ),
        (
            "rawRequest",
            json!({}),
            json!({ "method": "GET", "path": "nope" }),
            "no GET /services/data/v60.0/nope",
        ),
    ]
}

pub fn of_many_records() -> Vec<Case> {
    let lookup = |fields: Value, body: Value, expected: &'static str| {
        let mut all = json!({ "sobject": "Account", "outputMethod": "emitAll" });
        all.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        ("lookupObjects", all, body, expected)
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
            "the CSV file|not a URL",
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
