//! `component doctor` for a step whose account is connected: its tokens and the token endpoint.

use super::*;
use emulator::provider::Fault;
use test_rig::{Ended, Process};

impl Connected {
    async fn examined(&self) -> Ended {
        let mut command = self.rig.command();
        command.args(["doctor", "--json"]);
        Process::run(command).await
    }

    /// Level, text and remedy of a finding. Asserts that no token was used, and no secret is shown.
    async fn finding(&self, probe: &str) -> [String; 3] {
        let before = self.rig.stored_tokens();
        let ended = self.examined().await;
        let secrets = self.provider().secrets();
        assert!(
            !secrets.is_empty() && !secrets.iter().any(|secret| ended.output().contains(secret))
        );
        assert_eq!(
            (self.provider().refreshes(), self.rig.stored_tokens()),
            (0, before)
        );
        let printed: Value = serde_json::from_str(&ended.stdout).unwrap();
        let findings = printed["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["probe"] == probe);
        let finding = finding.unwrap_or_else(|| panic!("no finding {probe}: {printed}"));
        ["level", "found", "remedy"]
            .map(|name| finding[name].as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test]
async fn the_doctor_reaches_the_token_endpoint_and_uses_no_token() {
    let connected = connected(Knobs::rotating(), Provider::issue_expired).await;
    let [level, found, _] = connected.finding("token endpoint").await;
    assert!(
        level == "ok" && found.contains(&connected.provider().token_url()),
        "{level}: {found}"
    );
    let [level, found, remedy] = connected.finding("credential").await;
    assert!(
        level == "unknown" && found.contains("without using it up"),
        "{level}: {found}"
    );
    assert!(remedy.contains("reauth-required"), "{remedy}");
    assert!(connected.rig.has_spendable_token());
}

#[tokio::test]
async fn the_doctor_finds_an_unreachable_token_endpoint() {
    let connected = connected(Knobs::default(), Provider::issue).await;
    let connected = connected.variable("OAUTH_TOKEN_URI", "http://127.0.0.1:1/token");
    let [level, found, remedy] = connected.finding("token endpoint").await;
    assert!(
        level == "error" && found.contains("127.0.0.1:1") && remedy.contains("reach the provider"),
        "{found}; {remedy}"
    );
}

#[tokio::test]
async fn the_doctor_finds_a_provider_in_trouble() {
    let connected = connected(Knobs::default(), Provider::issue).await;
    connected.provider().script_token([Fault::Status(503)]);
    let [level, found, _] = connected.finding("token endpoint").await;
    assert!(
        level == "warning" && found.contains("503"),
        "{level}: {found}"
    );
}

#[tokio::test]
async fn the_doctor_finds_missing_tokens_and_settings() {
    let connected = connected(Knobs::default(), Provider::issue).await;
    connected.rig.connect(json!({ "access_token": "" }));
    let [level, found, remedy] = connected.finding("credential").await;
    assert!(
        level == "error" && found.contains("no tokens in oauth") && remedy.contains("connects"),
        "{found}; {remedy}"
    );
    let connected = connected.variable("OAUTH_CLIENT_ID", "");
    let [level, found, _] = connected.finding("credential").await;
    assert!(
        level == "error" && found.contains("OAUTH_CLIENT_ID"),
        "{level}: {found}"
    );
}
