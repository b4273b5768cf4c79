//! `component logout`: it revokes the refresh token and deletes the tokens.

use super::*;
use emulator::provider::ProviderEventKind;

/// token-failures: Revoking tokens.
#[tokio::test]
async fn logout_revokes_the_refresh_token_and_deletes_the_record() {
    let setup = Setup::new().await;
    let refresh_token = setup.connected();
    let end = setup.logout().await;
    assert!(end.status == 0, "{}", end.output());
    assert!(!setup.provider.is_spendable(&refresh_token));
    assert_eq!(setup.stored(), json!({"baseUrl": setup.provider.api_url()}));
    assert!(
        setup.logout().await.status == 0,
        "there is nothing to do the second time"
    );
    assert_eq!(revocations(&setup.provider), [refresh_token]);
}

/// token-failures: Revoking tokens.
#[tokio::test]
async fn an_unknown_token_counts_as_revoked() {
    let setup = Setup::new().await;
    setup.store(&json!({"baseUrl": setup.provider.api_url(), "oauth": {"refresh_token": "of somebody else"}}));
    let end = setup.logout().await;
    assert!(end.status == 0, "{}", end.output());
    assert_eq!(setup.stored().get("oauth"), None);
}

/// token-failures: Revoking tokens.
#[tokio::test]
async fn revocation_is_retried_after_retry_after() {
    let setup = Setup::new().await;
    let refresh_token = setup.connected();
    setup
        .provider
        .script_revoke([Fault::retry_after(503, "1"), Fault::retry_after(503, "0")]);
    let end = setup.logout().await;
    assert!(
        end.status == 0 && end.output().contains("trying again in 1 s"),
        "{}",
        end.output()
    );
    assert_eq!(revocations(&setup.provider).len(), 3);
    assert!(!setup.provider.is_spendable(&refresh_token));
}

/// token-failures: Revoking tokens.
#[tokio::test]
async fn logout_deletes_the_tokens_in_any_case() {
    for (responses, shown) in [
        (vec![Fault::retry_after(503, "0"); 3], "503"),
        (
            vec![Fault::oauth_error("unsupported_token_type")],
            "unsupported_token_type",
        ),
        (
            vec![
                Fault::DropBefore,
                Fault::retry_after(503, "0"),
                Fault::retry_after(503, "0"),
            ],
            "503",
        ),
    ] {
        let setup = Setup::new().await;
        setup.connected();
        setup.provider.script_revoke(responses);
        let end = setup.logout().await;
        assert_eq!(
            end.status,
            1,
            "the user must see the failure: {}",
            end.output()
        );
        assert!(
            end.output().contains(shown) && end.output().contains("account's settings"),
            "{}",
            end.output()
        );
        assert_eq!(setup.stored().get("oauth"), None);
    }
}

/// token-failures: Revoking tokens.
#[tokio::test]
async fn logout_without_revocation_still_deletes_the_tokens() {
    for (variable, value, status) in [("OAUTH_PROFILE", "generic", 1), ("OAUTH_CLIENT_ID", "", 1)] {
        let mut setup = Setup::new().await;
        let refresh_token = setup.connected();
        setup.variables.insert(variable, value.into());
        let end = setup.logout().await;
        assert_eq!(end.status, status, "{}", end.output());
        assert_eq!(setup.stored().get("oauth"), None);
        assert!(
            setup.provider.is_spendable(&refresh_token) && end.output().contains("not revoke"),
            "{}",
            end.output()
        );
    }
}

fn revocations(provider: &Provider) -> Vec<String> {
    let calls = provider
        .log()
        .into_iter()
        .filter_map(|entry| match entry.kind {
            ProviderEventKind::RevokeCall { token, .. } => Some(token),
            _ => None,
        });
    calls.collect()
}
