//! verifyCredentials and the select models getFolders and getCalendars.

use crate::rig::Rig;
use graph_standin::Fault;
use sailor::Verified;
use serde_json::{Map, Value, json};

const MODELS: [&str; 2] = ["getFolders", "getCalendars"];

async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.graph.add_samples();
    rig
}

async fn model(rig: &Rig, name: &str, tokens: Map<String, Value>) -> anyhow::Result<Value> {
    // The function does not matter to a select model.
    rig.connected("readMail", json!({}), tokens.into())
        .select_model(name)
        .await
}

async fn verify(rig: &Rig, tokens: Map<String, Value>) -> anyhow::Result<Verified> {
    rig.connected("readMail", json!({}), tokens.into())
        .verify()
        .await
}

fn expected(model: &str) -> Value {
    match model {
        "getFolders" => json!({
            "inbox-id=": "Inbox", "sent-id=": "Sent Items", "deleted-id=": "Deleted Items",
            "sample-projects": "Projects", "sample-archive": "Archive",
        }),
        _ => json!({ "calendar-id=": "Calendar", "sample-calendar": "Team" }),
    }
}

#[tokio::test]
async fn folder_and_calendar_models_list_all_pages() {
    for page in [1, 2, 100] {
        for name in MODELS {
            let rig = rig().await;
            rig.graph.limit_pages(page);
            assert_eq!(
                model(&rig, name, rig.provider.issue()).await.unwrap(),
                expected(name),
                "{name}, {page}"
            );
        }
    }
}

#[tokio::test]
async fn models_and_verification_survive_an_expired_token_or_a_429() {
    for name in MODELS {
        let rig = rig().await;
        assert_eq!(
            model(&rig, name, rig.provider.issue_expired())
                .await
                .unwrap(),
            expected(name)
        );
        assert_eq!(rig.provider.refreshes(), 1, "{name}");
        rig.graph.inject_faults(".", [Fault::Throttled(0)]);
        assert_eq!(
            model(&rig, name, rig.provider.issue()).await.unwrap(),
            expected(name)
        );
        assert_eq!(rig.provider.refreshes(), 1, "{name}");
    }
    let rig = rig().await;
    assert_eq!(
        verify(&rig, rig.provider.issue_expired()).await.unwrap(),
        Verified::Yes
    );
    rig.graph.inject_faults(".", [Fault::Throttled(0)]);
    assert_eq!(
        verify(&rig, rig.provider.issue()).await.unwrap(),
        Verified::Yes
    );
    let statuses: Vec<_> = rig
        .graph
        .calls_matching("GET /v1.0/me$")
        .iter()
        .filter_map(|call| call.status)
        .collect();
    assert_eq!(
        (statuses, rig.provider.refreshes()),
        (vec![401, 200, 429, 200], 1)
    );
}

#[tokio::test]
async fn a_model_error_contains_graphs_message() {
    for name in MODELS {
        let rig = rig().await;
        rig.graph.inject_faults(
            ".",
            [Fault::Error(403, "ErrorAccessDenied", "Access is denied.")],
        );
        let error = format!(
            "{:#}",
            model(&rig, name, rig.provider.issue()).await.unwrap_err()
        );
        assert!(error.contains("ErrorAccessDenied"), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_disconnected_account_says_what_to_do() {
    for name in MODELS {
        let rig = rig().await;
        let error = format!("{:#}", model(&rig, name, Map::new()).await.unwrap_err());
        assert!(
            error.contains("connect the account again"),
            "{name}: {error}"
        );
        assert!(rig.graph.calls_matching(".").is_empty());
    }
}

#[tokio::test]
async fn an_endless_429_fails_models_and_verification() {
    for name in MODELS {
        let rig = rig().await;
        rig.graph.inject_faults(".", vec![Fault::Throttled(0); 4]);
        let error = format!(
            "{:#}",
            model(&rig, name, rig.provider.issue()).await.unwrap_err()
        );
        assert!(error.contains("429"), "{name}: {error}");
    }
    for faults in [
        vec![Fault::Throttled(0); 4],
        vec![Fault::Throttled(120)],
        vec![Fault::DropBefore; 4],
    ] {
        let rig = rig().await;
        rig.graph.inject_faults(".", faults);
        assert!(verify(&rig, rig.provider.issue()).await.is_err());
    }
}

#[tokio::test]
async fn invalid_credentials_are_not_verified_with_the_reason() {
    let rig = rig().await;
    assert_eq!(
        verify(&rig, rig.provider.issue()).await.unwrap(),
        Verified::Yes
    );
    rig.graph.inject_faults(
        "GET /v1.0/me$",
        [Fault::Error(
            403,
            "Authorization_RequestDenied",
            "Insufficient privileges.",
        )],
    );
    let Verified::No(reason) = verify(&rig, rig.provider.issue()).await.unwrap() else {
        panic!()
    };
    assert!(reason.contains("Authorization_RequestDenied"), "{reason}");
    let tokens = rig.provider.issue();
    rig.provider.revoke_all();
    let Verified::No(reason) = verify(&rig, tokens).await.unwrap() else {
        panic!()
    };
    assert!(reason.contains("connect the account again"), "{reason}");
    let Verified::No(reason) = verify(&rig, Map::new()).await.unwrap() else {
        panic!()
    };
    assert!(reason.contains("connect the account again"), "{reason}");
}

#[tokio::test]
async fn models_survive_repeated_links_and_missing_names() {
    for name in MODELS {
        let rig = rig().await;
        let link = format!("{}/me/list?page=2", rig.graph.url());
        let items =
            json!([{ "id": "a", "displayName": "A", "name": "A" }, { "id": "b", "name": null }]);
        let page = json!({ "value": items, "@odata.nextLink": link });
        rig.graph
            .inject_faults(".", vec![Fault::Json(200, page); 2]);
        assert_eq!(
            model(&rig, name, rig.provider.issue()).await.unwrap(),
            json!({ "a": "A", "b": "b" }),
            "{name}"
        );
    }
}
