//! Steps, accounts, secrets, objects and results.

use crate::{STARTUP, basic, bearer, json_of, platform};
use emulator::platform::Step;
use serde_json::{Value, json};

#[tokio::test]
async fn a_step_has_all_members_that_sailors_need() {
    let (platform, client) = platform().await;
    let step = Step {
        id: "s2".into(),
        comp_id: "comp".into(),
        function: "f".into(),
        config: json!({"a": 1}),
        snapshot: json!({"last": 2}),
        is_passthrough: true,
        variables: json!({"v": 3}),
        ..Step::default()
    };
    platform.set_step("flow", step);
    let response = basic(client.get(platform.url() + "/v1/tasks/flow/steps/s2"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let expected = json!({"id": "s2", "comp_id": "comp", "function": "f", "config": {"a": 1}, "snapshot": {"last": 2},
        "is_passthrough": true, "variables": {"v": 3}});
    assert_eq!(json_of(response).await, expected);
}

#[tokio::test]
async fn updated_keys_are_merged_into_account_and_step() {
    let (platform, client) = platform().await;
    let keys = |keys: Value| {
        basic(client.put(platform.url() + "/v1/accounts/acc"))
            .json(&json!({"keys": keys}))
            .send()
    };
    assert_eq!(
        keys(json!({"token": "new", "refresh": "r1"}))
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(keys(json!({"refresh": "r2"})).await.unwrap().status(), 200);

    let account = basic(client.get(platform.url() + "/v1/accounts/acc"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        json_of(account).await["keys"],
        json!({"token": "new", "refresh": "r2"})
    );
    let step = basic(client.get(platform.url() + "/v1/tasks/flow/steps/step_1"))
        .send()
        .await
        .unwrap();
    let config = json!({"_account": "acc", "field": 1, "token": "new", "refresh": "r2"});
    assert_eq!(json_of(step).await["config"], config);
}

#[tokio::test]
async fn a_deleted_account_is_404_and_leaves_the_step() {
    let (platform, client) = platform().await;
    let url = platform.url() + "/v1/accounts/acc";
    let put = || {
        basic(client.put(&url))
            .json(&json!({"keys": {"token": "new"}}))
            .send()
    };
    assert_eq!(put().await.unwrap().status(), 200);
    assert!(platform.delete_account("acc"));
    assert_eq!(put().await.unwrap().status(), 404);
    assert_eq!(basic(client.get(&url)).send().await.unwrap().status(), 404);
    let step = basic(client.get(platform.url() + "/v1/tasks/flow/steps/step_1"))
        .send()
        .await
        .unwrap();
    assert_eq!(json_of(step).await["config"]["token"], "old");
    assert!(!platform.delete_account("acc"));
}

#[tokio::test]
async fn startup_data_cannot_be_posted_twice() {
    let (platform, client) = platform().await;
    let url = platform.url() + STARTUP;
    let post = || {
        basic(client.post(&url))
            .json(&json!({"subscription": 1}))
            .send()
    };
    assert_eq!(
        json_of(basic(client.get(&url)).send().await.unwrap()).await,
        json!({})
    );
    assert_eq!(post().await.unwrap().status(), 201);
    assert_eq!(post().await.unwrap().status(), 409);
    assert_eq!(
        json_of(basic(client.get(&url)).send().await.unwrap()).await,
        json!({"subscription": 1})
    );
    assert_eq!(
        basic(client.delete(&url)).send().await.unwrap().status(),
        204
    );
    assert_eq!(platform.startup_data("flow"), None);
    assert_eq!(post().await.unwrap().status(), 201);
}

#[tokio::test]
async fn a_refreshed_secret_merges_its_next_credentials() {
    let (platform, client) = platform().await;
    let credentials = json!({"access_token": "a1", "refresh_token": "r"});
    let refreshed = vec![json!({"access_token": "a2"}), json!({"access_token": "a3"})];
    platform.set_secret("ws", "s", credentials.clone(), refreshed);
    let url = platform.url() + "/v2/workspaces/ws/secrets/s";
    let refresh = || basic(client.post(format!("{url}/refresh"))).send();

    let secret = json_of(basic(client.get(&url)).send().await.unwrap()).await;
    assert_eq!(secret["data"]["type"], "auth-secret");
    assert_eq!(secret["data"]["attributes"]["credentials"], credentials);
    let merged = json!({"access_token": "a2", "refresh_token": "r"});
    assert_eq!(
        json_of(refresh().await.unwrap()).await["data"][0]["attributes"]["credentials"],
        merged
    );
    assert_eq!(platform.secret("ws", "s"), Some(merged));
    platform.return_bare_refreshed_secrets(true);
    let bare = json_of(refresh().await.unwrap()).await;
    assert_eq!(
        bare["data"]["attributes"]["credentials"]["access_token"],
        "a3"
    );
    assert_eq!(refresh().await.unwrap().status(), 422);
}

#[tokio::test]
async fn objects_can_be_replaced_and_deleted() {
    let (platform, client) = platform().await;
    let raw: Vec<u8> = (0..=255).collect();
    let posted = bearer(client.post(platform.url() + "/objects"))
        .body(raw.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(posted.status(), 201);
    let id = json_of(posted).await["objectId"]
        .as_str()
        .unwrap()
        .to_owned();
    let url = format!("{}/objects/{id}?storage_type=maester", platform.url());

    assert_eq!(
        bearer(client.get(&url))
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap(),
        raw
    );
    assert_eq!(
        bearer(client.put(&url))
            .body("new")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(platform.object(&id).unwrap(), "new");
    assert_eq!(
        bearer(client.delete(&url)).send().await.unwrap().status(),
        204
    );
    assert_eq!(bearer(client.get(&url)).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_signed_url_stores_without_credentials() {
    let (platform, client) = platform().await;
    let signed = basic(client.post(platform.url() + "/v2/resources/storage/signed-url"))
        .send()
        .await
        .unwrap();
    let signed = json_of(signed).await;
    let (put_url, get_url) = (
        signed["put_url"].as_str().unwrap(),
        signed["get_url"].as_str().unwrap(),
    );
    assert_eq!(client.get(get_url).send().await.unwrap().status(), 404);
    let put = client
        .put(put_url)
        .header("content-type", "text/csv")
        .body("a,b")
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 200);
    let got = client.get(get_url).send().await.unwrap();
    assert_eq!(got.headers()["content-type"], "text/csv");
    assert_eq!(got.text().await.unwrap(), "a,b");
    assert_eq!(
        client
            .put(platform.url() + "/signed/made-up")
            .body("x")
            .send()
            .await
            .unwrap()
            .status(),
        403
    );
}

#[tokio::test]
async fn a_posted_result_is_kept() {
    let (platform, client) = platform().await;
    let result = json!({"status": "success", "data": {"verified": true}});
    let response = client
        .post(platform.result_url("exec-1"))
        .json(&result)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let results = platform.results();
    assert_eq!(
        (results[0].exec.as_str(), results[0].success),
        ("exec-1", true)
    );
    assert_eq!(results[0].data, json!({"verified": true}));
}
