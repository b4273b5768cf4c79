//! The built-in profiles, each against the emulator's provider with the preset of the same name.
//!
//! Each test covers a whole life: the API rejects the stored token, the token is refreshed as the provider requires, the
//! new token expires, and the user revokes the grant.

use super::{
    account::Account,
    rig::{Rig, text},
};
use emulator::provider::{Credentials, Fault, Knobs};
use sailor::oauth2::{Error, OAuth2, Profile};
use serde_json::json;
use std::time::Duration;

/// How a provider differs from others.
struct Ways {
    credentials: Credentials,
    content_type: &'static str,
    /// Parameters of a refresh other than the grant type, the token, and the client's credentials.
    more: &'static [&'static str],
    scheme: &'static str,
    /// The refresh token does not rotate.
    keeps: bool,
    /// Responses hold the lifetime, so that a token is refreshed before the API rejects it.
    tells_end: bool,
    /// The record holds the API's base URL.
    tells_base: bool,
    /// The error code for a dead refresh token.
    dead: &'static str,
}

/// A provider that follows the RFCs and rotates.
const PLAIN: Ways = Ways {
    credentials: Credentials::Parameters,
    content_type: "application/x-www-form-urlencoded",
    more: &[],
    scheme: "Bearer",
    keeps: false,
    tells_end: true,
    tells_base: false,
    dead: "invalid_grant",
};
const JSON: &str = "application/json";

macro_rules! built_in {
    ($($name:ident: $ways:expr;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                whole_life(stringify!($name), $ways).await;
            }
        )*

        #[test]
        fn every_built_in_profile_and_preset_is_tested() {
            let mut here = [$(stringify!($name)),*];
            here.sort_unstable();
            let mut built_in = Profile::built_in_names();
            built_in.sort_unstable();
            assert_eq!(here.as_slice(), built_in);
            assert!(Knobs::presets().iter().all(|preset| here.contains(&preset.as_str())));
        }
    };
}

built_in! {
    generic: Ways { keeps: true, ..PLAIN };
    microsoft: Ways { more: &["scope"], ..PLAIN };
    salesforce: Ways { more: &["format"], keeps: true, tells_end: false, tells_base: true, ..PLAIN };
    google: Ways { keeps: true, ..PLAIN };
    hubspot: Ways { keeps: true, ..PLAIN };
    github: Ways { dead: "bad_refresh_token", ..PLAIN };
    slack: Ways { dead: "invalid_refresh_token", ..PLAIN };
    atlassian: Ways { content_type: JSON, ..PLAIN };
    quickbooks: Ways { credentials: Credentials::Basic, ..PLAIN };
    xero: Ways { credentials: Credentials::Basic, ..PLAIN };
    exact: PLAIN;
    zoho: Ways { scheme: "Zoho-oauthtoken", keeps: true, tells_base: true, dead: "invalid_code", ..PLAIN };
    dropbox: Ways { keeps: true, ..PLAIN };
    notion: Ways { credentials: Credentials::Basic, content_type: JSON, tells_end: false, ..PLAIN };
}

async fn whole_life(name: &str, ways: Ways) {
    let knobs = Knobs::preset(name).unwrap_or_default();
    let (lifetime, rejected) = (knobs.access_lifetime, knobs.unauthorized.status);
    let mut rig = Rig::stale(knobs).await;
    rig.definition = OAuth2::new().profile(name);
    if !ways.tells_base {
        rig.definition = rig.definition.clone().base_url(rig.provider.api_url());
    }
    let old = text(&rig.account.oauth(), "refresh_token");
    let replica = rig.replica();

    // The API rejects the stored token.
    replica.get().await.unwrap();
    assert_eq!(rig.statuses(), [rejected, 200]);
    assert!(
        rig.provider
            .authorizations()
            .iter()
            .all(|header| header.starts_with(&format!("{} ", ways.scheme)))
    );
    let calls = rig.provider.token_calls();
    let mut expected = [&["grant_type", "refresh_token"], ways.more].concat();
    if ways.credentials == Credentials::Parameters {
        expected.extend(["client_id", "client_secret"]);
    }
    expected.sort_unstable();
    let mut sent = calls[0].names.clone();
    sent.sort_unstable();
    assert_eq!(
        (calls.len(), sent, calls[0].credentials),
        (
            1,
            expected.into_iter().map(Into::into).collect(),
            ways.credentials
        )
    );
    assert_eq!(calls[0].request.headers["content-type"], ways.content_type);
    let new = text(&rig.account.oauth(), "refresh_token");
    assert!(rig.provider.is_spendable(&new) && (new == old) == ways.keeps);

    // The new token expires.
    rig.clock.advance(lifetime + Duration::from_secs(1)).await;
    replica.get().await.unwrap();
    let statuses: &[u16] = if ways.tells_end {
        &[200]
    } else {
        &[rejected, 200]
    };
    assert_eq!(&rig.statuses()[2..], statuses);
    assert_eq!((rig.spent(), rig.account.savings()), (vec![old, new], 2));

    // The user revokes the grant.
    rig.provider.revoke_all();
    let stored = rig.account.stored();
    let error = rig.drive(replica.get()).await.unwrap_err();
    assert!(
        matches!(&error, Error::ReauthRequired(reason) if reason.contains(ways.dead)),
        "{error}"
    );
    assert_eq!(
        (rig.provider.refreshes(), rig.account.stored()),
        (3, stored)
    );
}

/// Exact refuses a refresh earlier than 30 s before the expiry.
#[tokio::test]
async fn exact_is_refreshed_only_in_the_last_half_minute() {
    let mut rig = Rig::stale(Knobs::preset("exact").unwrap()).await;
    rig.definition = rig.definition.clone().profile("exact");
    let replica = rig.replica();
    replica.get().await.unwrap();
    rig.clock.advance(Duration::from_secs(569)).await;
    replica.get().await.unwrap();
    assert_eq!(rig.provider.refreshes(), 1);
    rig.clock.advance(Duration::from_secs(8)).await;
    replica.get().await.unwrap();
    rig.account.until(|account| account.savings() == 2).await;
    assert_eq!(
        (rig.provider.refreshes(), replica.session.metrics().failures),
        (2, 0)
    );
    assert_eq!(
        rig.statuses(),
        [401, 200, 200, 200],
        "no request waited for the refresh, and none was rejected"
    );
}

/// If the API rejects a token before its expiry, the error is transient: the refresh token is valid.
#[tokio::test]
async fn an_early_refresh_error_of_exact_is_transient() {
    let mut rig = Rig::stale(Knobs::preset("exact").unwrap()).await;
    rig.definition = rig.definition.clone().profile("exact");
    let replica = rig.replica();
    replica.get().await.unwrap();
    rig.provider.script_api([Fault::Json(401, json!({}))]);
    let error = rig.drive(replica.get()).await.unwrap_err();
    assert!(
        error.is_transient() && error.to_string().contains("invalid_request"),
        "{error}"
    );
    rig.clock.advance(Duration::from_secs(600)).await;
    replica.get().await.unwrap();
    assert_eq!(replica.session.metrics().failures, 1);
}

/// Microsoft returns a new refresh token with each response, and still accepts the old ones.
#[tokio::test]
async fn an_old_microsoft_refresh_token_still_works() {
    let mut rig = Rig::stale(Knobs::preset("microsoft").unwrap()).await;
    rig.definition = rig.definition.clone().profile("microsoft");
    let (one, other) = (
        rig.replica(),
        rig.replica_with(Account::new(rig.account.stored())),
    );
    one.get().await.unwrap();
    other.get().await.unwrap();
    let spent = rig.spent();
    assert!(spent.len() == 2 && spent[0] == spent[1]);
    assert_eq!(
        one.session.metrics().refreshes + other.session.metrics().refreshes,
        2
    );
}
