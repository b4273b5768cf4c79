//! The stand-in for Salesforce on bad days: its responses have the trouble of a test, and its objects hundreds of fields.

use emulator::provider::{Provider, ProviderConfig};
use reqwest::Client;
use salesforce_standin::{EmptyList, Salesforce, Trouble};
use serde_json::{Value, json};

struct Org {
    _provider: Provider,
    api: Salesforce,
    token: String,
}

impl Org {
    async fn new() -> Self {
        let provider = Provider::start(ProviderConfig::default()).await.unwrap();
        let api = Salesforce::start(&provider).await.unwrap();
        let tokens = provider.issue();
        Self {
            api,
            token: tokens["access_token"].as_str().unwrap().to_owned(),
            _provider: provider,
        }
    }

    /// The body of a successful response to GET.
    async fn get(&self, path: &str) -> Value {
        let request = Client::new().get(self.api.url() + path);
        let response = request.bearer_auth(&self.token).send().await.unwrap();
        let text = response.error_for_status().unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

const QUERY: &str = "/services/data/v60.0/query?q=SELECT+Id+FROM+Account";

#[tokio::test]
async fn its_responses_have_the_trouble_of_the_test() {
    let org = Org::new().await;
    org.api.set_trouble(Trouble {
        calls: "/query".into(),
        empty_list: Some(EmptyList::Missing),
        ..Trouble::default()
    });
    let found = org.get(QUERY).await;
    assert_eq!(found, json!({ "totalSize": 0, "done": true }));
}

#[tokio::test]
async fn the_last_page_can_name_itself() {
    let org = Org::new().await;
    org.api.set_page_size(1);
    for name in ["a", "b"] {
        org.api.insert("Account", json!({ "Name": name }));
    }
    org.api.set_trouble(Trouble {
        last_page_names_itself: true,
        ..Trouble::default()
    });
    let first = org.get(QUERY).await;
    let next = first["nextRecordsUrl"].as_str().unwrap();
    assert_eq!(org.get(next).await["nextRecordsUrl"], next);
}

#[tokio::test]
async fn an_object_can_have_hundreds_of_fields() {
    let org = Org::new().await;
    let before = org.api.insert("Account", json!({ "Name": "a" }));
    org.api.widen("Account", 700);
    let wide = json!({ "Name": "b", "Wide700__c": "x" });
    let after = org.api.insert("Account", wide);
    let sobjects = "/services/data/v60.0/sobjects/Account";
    let described = org.get(&format!("{sobjects}/describe")).await;
    assert!(described["fields"].as_array().unwrap().len() > 700);
    for (id, value) in [(before, json!(null)), (after, json!("x"))] {
        let record = org.get(&format!("{sobjects}/{id}")).await;
        assert_eq!(record["Wide700__c"], value);
    }
}
