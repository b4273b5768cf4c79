//! The stand-in for Microsoft Graph as a client sees it: what it refuses, and how the provider records its calls.

use emulator::provider::{Provider, ProviderConfig};
use graph_standin::{Fault, Graph, Trouble};
use reqwest::{Client, Method};
use serde_json::{Value, json};

struct Mailbox {
    provider: Provider,
    graph: Graph,
    token: String,
}

impl Mailbox {
    async fn new() -> Self {
        let provider = Provider::start(ProviderConfig::default()).await.unwrap();
        let graph = Graph::start(&provider).await.unwrap();
        let token = provider.issue()["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        Self {
            provider,
            graph,
            token,
        }
    }

    /// Status and body of the response to a JSON request.
    async fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = Client::new()
            .request(method, self.graph.url() + path)
            .bearer_auth(&self.token);
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        let response = request.send().await.unwrap();
        (
            response.status().as_u16(),
            response.json().await.unwrap_or_default(),
        )
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, Value::Null).await
    }
}

#[tokio::test]
async fn an_invalid_token_is_refused_as_graph_does() {
    let mut mailbox = Mailbox::new().await;
    assert_eq!(mailbox.get("/me").await.0, 200);
    mailbox.provider.expire_access_tokens();
    for token in [mailbox.token.clone(), String::new(), "unknown".to_owned()] {
        mailbox.token = token;
        let (status, body) = mailbox.get("/me").await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (401, &json!("InvalidAuthenticationToken"))
        );
    }
    let calls = mailbox.provider.api_calls();
    assert_eq!(
        calls
            .iter()
            .map(|call| call.status.unwrap())
            .collect::<Vec<_>>(),
        [200, 401, 401, 401]
    );
    assert!(calls.iter().all(|call| call.path == "/v1.0/me"));
}

#[tokio::test]
async fn missing_things_are_named() {
    let mailbox = Mailbox::new().await;
    for (path, named) in [
        ("/me/drive", "/v1.0/me/drive"),
        ("/users/x/messages", "/v1.0/users/x/messages"),
        ("/me/contacts?$search=x", "$search"),
        ("/me/contacts?$orderby=displayName", "$orderby=displayName"),
    ] {
        let (status, body) = mailbox.get(path).await;
        assert_eq!(status, 501, "{path}");
        assert!(
            body["error"]["message"].as_str().unwrap().contains(named),
            "{body}"
        );
    }
}

#[tokio::test]
async fn invalid_requests_are_refused_as_graph_does() {
    let mailbox = Mailbox::new().await;
    for path in [
        "/me/contacts?$top=1001",
        "/me/contacts?$top=0",
        "/me/contacts?$filter=lastModifiedDateTime%20ge%20yesterday",
        "/me/mailFolders/inbox/messages?$filter=isRead%20eq%20false&$orderby=lastModifiedDateTime%20asc",
        "/me/calendarView",
    ] {
        assert_eq!(mailbox.get(path).await.0, 400, "{path}");
    }
    assert_eq!(mailbox.get("/me/mailFolders/none").await.0, 404);
    let event = |start: &str, zone: &str| {
        let time = json!({ "dateTime": start, "timeZone": zone });
        json!({ "start": time, "end": time })
    };
    for (path, body) in [
        (
            "/me/calendars/calendar-id=/events",
            event("2024-07-01T09:30:00Z", "UTC"),
        ),
        (
            "/me/calendars/calendar-id=/events",
            event("2024-07-01T09:30:00", ""),
        ),
        (
            "/me/calendars/calendar-id=/events",
            json!({ "isAllDay": true }),
        ),
        (
            "/me/sendMail",
            json!({ "message": { "body": { "contentType": "text" } } }),
        ),
    ] {
        assert_eq!(mailbox.ask(Method::POST, path, body).await.0, 400, "{path}");
    }
    assert!(mailbox.graph.sent().is_empty() && mailbox.graph.events("calendar-id=").is_empty());
}

#[tokio::test]
async fn long_lists_are_linked_page_by_page() {
    let mailbox = Mailbox::new().await;
    for n in 0..25 {
        mailbox
            .graph
            .add_contact(json!({ "displayName": n.to_string() }));
    }
    let (mut path, mut names) = ("/me/contacts?$select=displayName".to_owned(), Vec::new());
    loop {
        let (_, page) = mailbox.get(&path).await;
        let items = page["value"].as_array().unwrap();
        assert!(
            items.len() <= 10
                && items
                    .iter()
                    .all(|item| item.get("lastModifiedDateTime").is_none())
        );
        names.extend(
            items
                .iter()
                .map(|item| item["displayName"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["@odata.nextLink"].as_str() else {
            break;
        };
        path = next.strip_prefix(&mailbox.graph.url()).unwrap().to_owned();
    }
    assert_eq!(names, (0..25).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn ordered_faults_and_hooks_take_effect() {
    let mailbox = Mailbox::new().await;
    mailbox.graph.inject_faults(
        "GET .*/me$",
        [
            Fault::Throttled(7),
            Fault::Error(403, "ErrorAccessDenied", "no"),
        ],
    );
    mailbox
        .graph
        .before_response("contacts", |graph| drop(graph.add_contact(json!({}))));
    let response = Client::new()
        .get(mailbox.graph.url() + "/me")
        .bearer_auth(&mailbox.token)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            &response.headers()["retry-after"]
        ),
        (429, &"7".parse().unwrap())
    );
    assert_eq!(
        mailbox.get("/me").await.1["error"]["code"],
        "ErrorAccessDenied"
    );
    assert_eq!(mailbox.get("/me").await.0, 200);
    for _ in 0..2 {
        assert_eq!(
            mailbox.get("/me/contacts").await.1["value"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
    assert_eq!(mailbox.graph.calls_matching("GET").len(), 5);
}

#[tokio::test]
async fn its_responses_have_the_trouble_of_the_test() {
    let mailbox = Mailbox::new().await;
    for id in ["1", "2"] {
        mailbox.graph.add_contact(json!({ "id": id }));
    }
    mailbox.graph.set_trouble(Trouble {
        failing_ids: vec!["2".into()],
        failing_status: Some(504),
        ..Trouble::default()
    });
    assert_eq!(mailbox.get("/me/contacts?$top=1").await.0, 200);
    let (status, body) = mailbox.get("/me/contacts").await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (504, &json!("internal_error"))
    );
}

#[tokio::test]
async fn the_last_page_can_name_itself() {
    let mailbox = Mailbox::new().await;
    for id in ["1", "2"] {
        mailbox.graph.add_contact(json!({ "id": id }));
    }
    mailbox.graph.set_trouble(Trouble {
        last_page_names_itself: true,
        ..Trouble::default()
    });
    let (_, first) = mailbox.get("/me/contacts?$top=1").await;
    let next = first["@odata.nextLink"].as_str().unwrap();
    let path = next.strip_prefix(&mailbox.graph.url()).unwrap();
    assert_eq!(mailbox.get(path).await.1["@odata.nextLink"], next);
}
