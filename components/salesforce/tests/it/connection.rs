//! Secrets, one-time calls and logins in a process: where tokens come from, and where they are saved.

use crate::rig::process::Deployed;
use emulator::{EventKind, provider::Provider};
use salesforce_standin::Fault;
use serde_json::{Map, Value, json};
use std::sync::Mutex;
use test_rig::{ACCOUNT, FLOW, Process, bodies};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

#[tokio::test]
async fn a_platform_secret_is_refreshed_and_its_instance_url_used() {
    let deployed = Deployed::new("newAccount", json!({}), Provider::issue).await;
    let platform = deployed.emulator.platform();
    // The platform stores members that it does not know separately.
    let as_secret = |mut tokens: Map<String, Value>| {
        let instance_url = tokens.remove("instance_url").unwrap();
        tokens.insert(
            "undefined_params".into(),
            json!({ "instance_url": instance_url }),
        );
        Value::Object(tokens)
    };
    let (stale, fresh) = (
        as_secret(deployed.provider().issue_expired()),
        as_secret(deployed.provider().issue()),
    );
    platform.set_secret("emulated-workspace", "secret-1", stale, vec![fresh]);
    let mut step = deployed.step();
    step.config = json!({ "secretId": "secret-1" });
    platform.set_step(FLOW, step);
    deployed.api.insert("Account", json!({ "Name": "Acme" }));
    let component = deployed.start();
    deployed.send(json!({}));
    let data = deployed.events(EventKind::Data, 1).await;
    assert_eq!(bodies(&data)[0]["records"][0]["Name"], "Acme");
    let refreshes = platform
        .calls()
        .iter()
        .filter(|call| call.path.ends_with("/secrets/secret-1/refresh"))
        .count();
    assert_eq!((refreshes, deployed.provider().refreshes()), (1, 0));
    deployed.stop(component, &[]).await;
}

#[tokio::test]
async fn metadata_and_select_models_save_refreshed_tokens() {
    let fields =
        json!({ "sobject": "Account", "typeOfSearch": "allFields", "lookupField": "Name" });
    let deployed = Deployed::new("lookupObject", fields, Provider::issue_expired).await;
    let (success, metadata) = deployed.service("getMetaModel", None).await;
    assert!(success, "{metadata}");
    assert_eq!(metadata["in"]["properties"]["Name"]["required"], true);
    assert!(deployed.has_valid_token());
    assert_eq!(deployed.provider().refreshes(), 1);
    deployed.provider().expire_access_tokens();
    let (success, choices) = deployed
        .service("selectModel", Some("getLookupFields"))
        .await;
    assert!(success && choices["ErpId__c"] == "ERP Id", "{choices}");
    assert!(deployed.has_valid_token());
    assert_eq!(deployed.provider().refreshes(), 2);
}

#[tokio::test]
async fn verify_credentials_saves_a_refreshed_token() {
    let deployed = Deployed::new("", json!({}), Provider::issue_expired).await;
    assert_eq!(
        deployed.service("verifyCredentials", None).await,
        (true, json!({ "verified": true }))
    );
    assert!(deployed.has_valid_token());
    assert_eq!(deployed.provider().refreshes(), 1);
    deployed
        .api
        .inject_faults(".*", [Fault::Error(403, "API_DISABLED_FOR_ORG", "no")]);
    let (success, verdict) = deployed.service("verifyCredentials", None).await;
    assert!(success && verdict["verified"] == false, "{verdict}");
    assert!(
        verdict["reason"].as_str().unwrap().contains("API Enabled"),
        "{verdict}"
    );
    deployed.api.shutdown().await;
    let (success, error) = deployed.service("verifyCredentials", None).await;
    assert!(!success && error.get("verified").is_none(), "{error}");
}

/// Runs verifyCredentials with an expired token, and the token endpoint of component.json. Returns the hosts that a
/// proxy was asked for, and the result.
async fn asked_for_tokens(login: &str) -> (Vec<String>, String) {
    let deployed = Deployed::new("", json!({}), Provider::issue_expired).await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let deployed = deployed
        .variable("SALESFORCE_TOKEN_URI", "")
        .variable("HTTPS_PROXY", address);
    let platform = deployed.emulator.platform();
    let mut step = deployed.step();
    step.config["prodEnv"] = login.into();
    platform.set_step(FLOW, step);
    let mut keys = platform.account(ACCOUNT).unwrap();
    keys.insert("prodEnv".into(), login.into());
    platform.set_account(ACCOUNT, keys);
    let hosts = Mutex::default();
    let refuse_all = async {
        loop {
            let mut stream = BufReader::new(proxy.accept().await.unwrap().0);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            Vec::push(
                &mut hosts.lock().unwrap(),
                line.split(' ').nth(1).unwrap_or_default().to_owned(),
            );
            let refusal =
                b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(refusal).await.unwrap();
        }
    };
    let (success, data) = tokio::select! {
        () = refuse_all => unreachable!("the proxy never ends"),
        result = deployed.service("verifyCredentials", None) => result,
    };
    assert!(!success || data["verified"] == false, "{data}");
    (hosts.into_inner().unwrap(), data.to_string())
}

#[tokio::test]
async fn a_sandbox_or_my_domain_refreshes_at_its_own_host() {
    for (login, host) in [
        ("login", "login.salesforce.com:443"),
        ("test", "test.salesforce.com:443"),
        ("acme.my", "acme.my.salesforce.com:443"),
        (
            "acme--dev.sandbox.my",
            "acme--dev.sandbox.my.salesforce.com:443",
        ),
    ] {
        let (hosts, text) = asked_for_tokens(login).await;
        assert!(
            !hosts.is_empty() && hosts.iter().all(|asked| asked == host),
            "{login}: {hosts:?} {text}"
        );
    }
}

#[tokio::test]
async fn login_uses_the_login_host_scopes_and_prompt() {
    for (login, host) in [
        ("test", "test.salesforce.com"),
        (
            "acme--dev.sandbox.my",
            "acme--dev.sandbox.my.salesforce.com",
        ),
    ] {
        let deployed = Deployed::new("", json!({}), Provider::issue).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("account.json");
        std::fs::write(&file, json!({ "prodEnv": login }).to_string()).unwrap();
        let mut command = deployed.command();
        command
            .env_remove("SALESFORCE_TOKEN_URI")
            .args(["login", "--no-browser", "--config"])
            .arg(&file);
        let mut process = Process::start(command);
        let address = loop {
            let line = process.next_line().await.expect("it ends");
            if let Some(address) = line.trim().strip_prefix("https://") {
                break address.to_owned();
            }
        };
        assert!(
            address.starts_with(&format!("{host}/services/oauth2/authorize?")),
            "{address}"
        );
        for part in [
            "scope=api+refresh_token",
            "prompt=login+consent",
            "code_challenge_method=S256",
        ] {
            assert!(address.contains(part), "{part} in {address}");
        }
    }
}

#[tokio::test]
async fn an_invalid_login_host_gets_no_client_secret() {
    for login in [
        "evil.example/",
        "evil.example#",
        "evil.example?",
        "user@evil.example/",
    ] {
        let (hosts, text) = asked_for_tokens(login).await;
        assert!(
            hosts.is_empty() && text.contains("prodEnv"),
            "{login}: {hosts:?} {text}"
        );
    }
}
