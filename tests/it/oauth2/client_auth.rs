//! How the client authenticates at the token endpoint. token-failures: T33.

use super::rig::{Rig, text};
use emulator::provider::{ClientAuth, Credentials, Fault, Knobs};
use sailor::oauth2::{Error, Profile};
use serde_json::{Value, json};
use std::time::Duration;

fn rotating(client_auth: ClientAuth) -> Knobs {
    Knobs {
        client_auth,
        ..Knobs::rotating()
    }
}

impl Rig {
    /// A provider that requires one way, and a component that is configured for another.
    async fn requires(required: ClientAuth, configured: &str) -> Self {
        let mut rig = Self::stale(rotating(required)).await;
        rig.configure(configured);
        rig
    }

    fn configure(&mut self, client_auth: &str) {
        let profile = json!({ "client_auth": client_auth }).to_string();
        let profile = Profile::from_json(&profile).unwrap();
        self.definition = self.definition.clone().custom_profile(profile);
    }

    /// Where the credentials were in the calls of the token endpoint, and the statuses of these.
    fn attempts(&self) -> Vec<(Credentials, u16)> {
        let calls = self.provider.token_calls().into_iter();
        calls
            .map(|call| (call.credentials, call.request.status.unwrap_or_default()))
            .collect()
    }
}

const POST: Credentials = Credentials::Parameters;
const BASIC: Credentials = Credentials::Basic;

/// The first one is Fitbit.
#[tokio::test]
async fn after_invalid_client_the_other_way_is_tried_and_kept() {
    for (required, configured, first, other) in [
        (ClientAuth::Basic, "post", POST, BASIC),
        (ClientAuth::Post, "basic", BASIC, POST),
        (ClientAuth::Post, "basic_raw", BASIC, POST),
    ] {
        let rig = Rig::requires(required, configured).await;
        let replica = rig.replica();
        replica.get().await.unwrap();
        assert_eq!(rig.attempts(), [(first, 401), (other, 200)]);
        let refresh_token = text(&rig.account.oauth(), "refresh_token");
        assert!(rig.provider.is_spendable(&refresh_token) && rig.account.savings() == 1);

        // Another field of the credential changes, so the endpoint is resolved again.
        let mut stored = rig.account.stored();
        stored["prodEnv"] = "test".into();
        rig.account.set(stored);
        for _ in 0..2 {
            rig.clock.advance(Duration::from_secs(4000)).await;
            replica.get().await.unwrap();
        }
        assert_eq!(rig.attempts()[2..], [(other, 200), (other, 200)]);
    }
}

#[tokio::test]
async fn a_client_that_is_refused_both_ways_loses_nothing() {
    let rig = Rig::stale(Knobs::rotating()).await;
    let mut config = rig.config();
    config.environment = std::sync::Arc::new({
        let environment = config.environment;
        move |name| match name {
            "TEST_CLIENT_SECRET" => Some("a wrong secret".to_owned()),
            name => environment(name),
        }
    });
    let replica = rig.replica_using(rig.account.clone(), config);
    let error = rig.drive(replica.get()).await.unwrap_err();
    let shown = error.to_string();
    assert!(
        matches!(&error, Error::Config(reason) if reason.contains("invalid_client")),
        "{shown}"
    );
    assert!(
        shown.contains("HTTP Basic") && !shown.contains("a wrong secret"),
        "{shown}"
    );
    assert_eq!(rig.attempts(), [(POST, 401), (BASIC, 401)]);
    let refresh_token = text(&rig.account.oauth(), "refresh_token");
    assert!(rig.provider.is_spendable(&refresh_token) && rig.account.savings() == 0);
}

#[tokio::test]
async fn a_dead_token_is_recognized_in_the_other_way() {
    let rig = Rig::requires(ClientAuth::Basic, "post").await;
    rig.provider.revoke_all();
    let error = rig.drive(rig.replica().get()).await.unwrap_err();
    assert!(
        matches!(&error, Error::ReauthRequired(reason) if reason.contains("invalid_grant")),
        "{error}"
    );
    assert_eq!(rig.attempts(), [(POST, 401), (BASIC, 400)]);
}

/// The provider repeats a lost response within its grace period.
#[tokio::test]
async fn a_rotation_in_the_other_way_is_not_lost() {
    let mut rig = Rig::requires(ClientAuth::Basic, "post").await;
    rig.provider
        .knobs(|knobs| knobs.grace = Duration::from_secs(60));
    let refused = json!({ "errors": [{ "errorType": "invalid_client" }], "success": false });
    rig.provider
        .script_token([Fault::Json(401, refused), Fault::DropAfter]);
    rig.drive(rig.replica().get()).await.unwrap();
    assert_eq!(
        rig.attempts(),
        [(POST, 401), (BASIC, 0), (POST, 401), (BASIC, 200)]
    );
    let refresh_token = text(&rig.account.oauth(), "refresh_token");
    assert!(rig.provider.is_spendable(&refresh_token));

    // The way is known to every session of the component in this process.
    rig.clock.advance(Duration::from_secs(4000)).await;
    rig.replica().get().await.unwrap();
    assert_eq!(rig.attempts()[4..], [(BASIC, 200)]);
    // A public client has no other way.
    rig.configure("none");
    rig.account
        .set(json!({ "oauth": Value::Object(rig.provider.issue_expired()) }));
    let error = rig.drive(rig.replica().get()).await.unwrap_err();
    assert!(matches!(error, Error::Config(_)), "{error}");
}
