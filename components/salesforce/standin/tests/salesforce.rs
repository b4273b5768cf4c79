//! The stand-in for Salesforce as a component sees it.

use emulator::provider::{Provider, ProviderConfig};
use reqwest::{Client, Method, Response};
use salesforce_standin::{Fault, Salesforce};
use serde_json::{Value, json};

struct Org {
    api: Salesforce,
    token: String,
    http: Client,
    provider: Provider,
}

impl Org {
    async fn new() -> Self {
        let provider = Provider::start(ProviderConfig::default()).await.unwrap();
        let api = Salesforce::start(&provider).await.unwrap();
        let token = provider.issue()["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        Self {
            api,
            token,
            http: Client::new(),
            provider,
        }
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method: Method = method.parse().unwrap();
        self.http
            .request(method, format!("{}{path}", self.api.url()))
            .bearer_auth(&self.token)
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = self.request(method, &format!("/services/data/v60.0/{path}"));
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        read(request.send().await.unwrap()).await
    }

    async fn query(&self, soql: &str) -> (u16, Value) {
        let request = self
            .request("GET", "/services/data/v60.0/query")
            .query(&[("q", soql)]);
        read(request.send().await.unwrap()).await
    }
}

async fn read(response: Response) -> (u16, Value) {
    let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
    (status, serde_json::from_str(&text).unwrap_or(text.into()))
}

#[tokio::test]
async fn an_invalid_token_is_401() {
    let mut org = Org::new().await;
    org.provider.expire_access_tokens();
    for token in [org.token.clone(), "none".into()] {
        org.token = token;
        let (status, body) = org.send("GET", "sobjects", Value::Null).await;
        assert_eq!(
            (status, &body[0]["errorCode"]),
            (401, &json!("INVALID_SESSION_ID"))
        );
    }
}

#[tokio::test]
async fn the_instance_url_is_the_stand_in() {
    let org = Org::new().await;
    assert_eq!(org.provider.issue()["instance_url"], org.api.url());
}

#[tokio::test]
async fn missing_things_are_named() {
    let org = Org::new().await;
    for (path, status, message) in [
        (
            "/services/data/v60.0/composite",
            501,
            "no GET /services/data/v60.0/composite",
        ),
        ("/services/apexrest/x", 501, "no GET /services/apexrest/x"),
        (
            "/services/data/v12.0/limits",
            404,
            "The requested resource does not exist",
        ),
        (
            "/services/data/v60.0/sobjects/Nope/describe",
            404,
            "The requested resource does not exist",
        ),
    ] {
        let (found, body) = read(org.request("GET", path).send().await.unwrap()).await;
        assert_eq!(
            (
                found,
                body[0]["message"].as_str().unwrap().contains(message)
            ),
            (status, true),
            "{path}: {body}"
        );
    }
    let (status, body) = org.query("SELECT AVG(AnnualRevenue) FROM Account").await;
    assert_eq!(
        (
            status,
            body[0]["message"]
                .as_str()
                .unwrap()
                .contains("SOQL function AVG")
        ),
        (501, true),
        "{body}"
    );
}

#[tokio::test]
async fn records_can_be_read_changed_found_and_deleted() {
    let org = Org::new().await;
    let (status, created) = org
        .send(
            "POST",
            "sobjects/Account",
            json!({ "Name": "Acme", "ErpId__c": "1" }),
        )
        .await;
    assert_eq!((status, &created["success"]), (201, &json!(true)));
    let path = format!("sobjects/Account/{}", created["id"].as_str().unwrap());
    assert_eq!(
        org.send("PATCH", &path, json!({ "Website": "x" })).await.0,
        204
    );
    let (_, record) = org
        .send("GET", "sobjects/Account/ErpId__c/1", Value::Null)
        .await;
    assert_eq!(
        (&record["Website"], &record["attributes"]["type"]),
        (&json!("x"), &json!("Account"))
    );
    let (status, upserted) = org
        .send(
            "PATCH",
            "sobjects/Account/ErpId__c/2",
            json!({ "Name": "New" }),
        )
        .await;
    assert_eq!((status, &upserted["created"]), (201, &json!(true)));
    assert_eq!(org.send("DELETE", &path, Value::Null).await.0, 204);
    let (status, gone) = org.send("DELETE", &path, Value::Null).await;
    assert_eq!(
        (status, &gone[0]["errorCode"]),
        (404, &json!("ENTITY_IS_DELETED"))
    );
}

#[tokio::test]
async fn invalid_writes_are_refused_by_field() {
    let org = Org::new().await;
    org.api
        .insert("Account", json!({ "Name": "Acme", "ErpId__c": "1" }));
    for (body, code) in [
        (json!({}), "REQUIRED_FIELD_MISSING"),
        (json!({ "Name": "" }), "REQUIRED_FIELD_MISSING"),
        (json!({ "Name": "x", "Nope": 1 }), "INVALID_FIELD"),
        (
            json!({ "Name": "x", "Id": "001" }),
            "INVALID_FIELD_FOR_INSERT_UPDATE",
        ),
        (
            json!({ "Name": "x", "NumberOfEmployees": "many" }),
            "JSON_PARSER_ERROR",
        ),
        (
            json!({ "Name": "x", "Founded__c": "31.1.2024" }),
            "JSON_PARSER_ERROR",
        ),
        (json!({ "Name": "x", "ErpId__c": "1" }), "DUPLICATE_VALUE"),
    ] {
        let (status, refused) = org.send("POST", "sobjects/Account", body.clone()).await;
        assert_eq!(
            (status, &refused[0]["errorCode"]),
            (400, &json!(code)),
            "{body}"
        );
    }
    assert_eq!(org.api.records("Account").len(), 1);
}

#[tokio::test]
async fn long_results_are_linked_page_by_page() {
    let org = Org::new().await;
    for n in 0..5 {
        org.api.insert("Account", json!({ "Name": n.to_string() }));
    }
    org.api.set_page_size(2);
    let (_, mut page) = org
        .query("SELECT Name FROM Account ORDER BY Name DESC")
        .await;
    let mut names = vec![];
    loop {
        assert_eq!(page["totalSize"], 5);
        names.extend(
            page["records"]
                .as_array()
                .unwrap()
                .iter()
                .map(|record| record["Name"].clone()),
        );
        let Some(next) = page["nextRecordsUrl"].as_str() else {
            break;
        };
        assert_eq!(page["done"], false);
        page = read(org.request("GET", next).send().await.unwrap()).await.1;
    }
    assert_eq!(
        (names, &page["done"]),
        (
            vec![json!("4"), json!("3"), json!("2"), json!("1"), json!("0")],
            &json!(true)
        )
    );
}

#[tokio::test]
async fn invalid_queries_are_refused() {
    let org = Org::new().await;
    for (soql, code) in [
        ("SELECT", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name = 'a", "MALFORMED_QUERY"),
        (
            "SELECT Id FROM Account WHERE Name = 'a' OR Id != null AND Id != null",
            "MALFORMED_QUERY",
        ),
        ("SELECT Nope FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Nope", "INVALID_TYPE"),
        (
            "SELECT Id FROM Account WHERE NumberOfEmployees = '5'",
            "INVALID_FIELD",
        ),
        ("SELECT Id FROM Account WHERE Name = 5", "INVALID_FIELD"),
        (
            "SELECT Id FROM Account WHERE LastModifiedDate > 2024-01-01",
            "INVALID_FIELD",
        ),
        (
            "SELECT Id FROM Account WHERE BillingAddress = 'x'",
            "INVALID_FIELD",
        ),
        (
            "SELECT Id FROM Account WHERE Name INCLUDES ('x')",
            "INVALID_FIELD",
        ),
        (
            "SELECT Id, (SELECT Id FROM Nopes) FROM Account",
            "INVALID_TYPE",
        ),
        ("SELECT Parent.ContentType FROM Attachment", "INVALID_FIELD"),
        (
            "SELECT Id FROM Account OFFSET 2001",
            "NUMBER_OUTSIDE_VALID_RANGE",
        ),
    ] {
        let (status, refused) = org.query(soql).await;
        assert_eq!(
            (status, &refused[0]["errorCode"]),
            (400, &json!(code)),
            "{soql}"
        );
    }
    let (status, _) = org
        .query(&format!(
            "SELECT Id FROM Account WHERE Name = '{}'",
            "x".repeat(20_000)
        ))
        .await;
    assert_eq!(status, 414);
}

#[tokio::test]
async fn queries_include_parents_and_children() {
    let org = Org::new().await;
    let id = org.api.insert("Account", json!({ "Name": "Acme" }));
    org.api
        .insert("Contact", json!({ "LastName": "Ada", "AccountId": id }));
    org.api.insert(
        "Attachment",
        json!({ "Name": "a", "ParentId": id, "Body": "QQ==" }),
    );
    let (_, found) = org
        .query("SELECT Account.Name FROM Contact WHERE Account.Name = 'Acme'")
        .await;
    assert_eq!(found["records"][0]["Account"]["Name"], "Acme");
    let (_, found) = org
        .query("SELECT Parent.Name, Parent.Id FROM Attachment WHERE Parent.Name = 'Acme'")
        .await;
    assert_eq!(
        found["records"][0]["Parent"]["attributes"]["type"],
        "Account"
    );
    let (_, found) = org
        .query("SELECT (SELECT LastName FROM Contacts) FROM Account")
        .await;
    assert_eq!(
        found["records"][0]["Contacts"]["records"][0]["LastName"],
        "Ada"
    );
}

#[tokio::test]
async fn ordered_faults_happen_once() {
    let org = Org::new().await;
    let new = || json!({ "Name": "Acme" });
    org.api.inject_faults(
        "POST",
        [
            Fault::Throttled(7),
            Fault::Error(403, "REQUEST_LIMIT_EXCEEDED", "no"),
        ],
    );
    let busy = org
        .request("POST", "/services/data/v60.0/sobjects/Account")
        .json(&new())
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            busy.status().as_u16(),
            busy.headers()["retry-after"].to_str().unwrap()
        ),
        (429, "7")
    );
    let (status, refused) = org.send("POST", "sobjects/Account", new()).await;
    assert_eq!(
        (status, &refused[0]["errorCode"]),
        (403, &json!("REQUEST_LIMIT_EXCEEDED"))
    );
    assert!(org.api.records("Account").is_empty());
    for (fault, records) in [(Fault::DropBefore, 0), (Fault::DropAfter, 1)] {
        org.api.inject_faults("POST", [fault]);
        let request = org
            .request("POST", "/services/data/v60.0/sobjects/Account")
            .json(&new());
        assert!(request.send().await.is_err());
        assert_eq!(org.api.records("Account").len(), records);
    }
    org.api.inject_faults("POST", [Fault::DropBefore]);
    org.api.clear_faults();
    assert_eq!(org.send("POST", "sobjects/Account", new()).await.0, 201);
    let statuses: Vec<Option<u16>> = org
        .api
        .calls_matching("POST")
        .iter()
        .map(|call| call.status)
        .collect();
    assert_eq!(statuses, [Some(429), Some(403), None, None, Some(201)]);
    assert!(!format!("{:?}", org.api.calls()).contains(&org.token));
}

#[tokio::test]
async fn a_bulk_job_reports_each_row() {
    let org = Org::new().await;
    org.api.set_job_pace(1);
    let asked = json!({ "object": "Account", "operation": "insert", "contentType": "CSV", "lineEnding": "LF" });
    let (_, job) = org.send("POST", "jobs/ingest", asked).await;
    assert_eq!(job["state"], "Open");
    let path = format!("jobs/ingest/{}", job["id"].as_str().unwrap());
    let upload = async |kind: &str| {
        let request = org
            .request("PUT", &format!("/services/data/v60.0/{path}/batches"))
            .header("content-type", kind);
        request
            .body("Name\nAcme\n\"\"\n")
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(
        (
            upload("application/json").await,
            upload("text/csv").await,
            upload("text/csv").await
        ),
        (415, 201, 400)
    );
    assert_eq!(
        org.send("PATCH", &path, json!({ "state": "UploadComplete" }))
            .await
            .1["state"],
        "UploadComplete"
    );
    assert_eq!(
        org.send("PATCH", &path, json!({ "state": "UploadComplete" }))
            .await
            .0,
        400
    );
    assert_eq!(
        org.send("GET", &path, Value::Null).await.1["state"],
        "InProgress"
    );
    let (_, done) = org.send("GET", &path, Value::Null).await;
    assert_eq!(
        (&done["state"], &done["numberRecordsFailed"]),
        (&json!("JobComplete"), &json!(1))
    );
    let (_, successful) = org
        .send("GET", &format!("{path}/successfulResults"), Value::Null)
        .await;
    let (_, failed) = org
        .send("GET", &format!("{path}/failedResults"), Value::Null)
        .await;
    assert!(
        successful.as_str().unwrap().contains("Acme")
            && failed.as_str().unwrap().contains("REQUIRED_FIELD")
    );
}

#[tokio::test]
async fn bulk_query_results_come_in_pages_with_headers() {
    let org = Org::new().await;
    for n in 0..3 {
        org.api.insert("Account", json!({ "Name": n.to_string() }));
    }
    org.api.set_page_size(2);
    let (_, job) = org
        .send(
            "POST",
            "jobs/query",
            json!({ "operation": "query", "query": "SELECT Name FROM Account" }),
        )
        .await;
    let path = format!(
        "/services/data/v60.0/jobs/query/{}/results",
        job["id"].as_str().unwrap()
    );
    let first = org.request("GET", &path).send().await.unwrap();
    let locator = first.headers()["sforce-locator"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(first.text().await.unwrap().lines().count(), 3);
    let last = org
        .request("GET", &path)
        .query(&[("locator", locator)])
        .send()
        .await
        .unwrap();
    assert_eq!(last.headers()["sforce-locator"], "null");
    assert_eq!(last.text().await.unwrap().lines().count(), 2);
}
