//! The platform's API with the step, the clock, object storage, and the token endpoint of the step's credential.

use super::finding::{Finding, limited};
use crate::{
    clients::{
        http::{self, HttpError},
        object_storage::ObjectStorage,
        platform::{DatedStep, Platform, PlatformError, StepData},
    },
    component::Component,
    oauth2::{ResolvedConfig, TokenRecord},
    settings::{self, OAuthMode},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::{
    iter,
    time::{Duration, SystemTime},
};

/// A clock that is off by more is a warning. The response has whole seconds, and travels for a while.
const CLOCK_WARNING: Duration = Duration::from_secs(30);
/// A clock that is off by more breaks certificates and the expiry of tokens.
const CLOCK_ERROR: Duration = Duration::from_secs(300);

/// Probes the API, and with its response the clock and the credential.
pub(super) async fn findings(
    platform: Result<Platform, Finding>,
    component: Option<&Component>,
    oauth_mode: Option<OAuthMode>,
) -> Vec<Finding> {
    let platform = match platform {
        Ok(platform) => platform,
        Err(finding) => {
            let not_probed = |probe| Finding::not_probed(probe, "platform API");
            let others = ["clock", "credential", "token endpoint"].map(not_probed);
            return iter::once(finding).chain(others).collect();
        }
    };
    let asking = async { Ok(platform.dated_step().await) };
    let asked_at = SystemTime::now();
    let answer = limited(asking).await;
    let answered_at = SystemTime::now();
    let (step, date) = match answer {
        Ok(DatedStep { step, date }) => (step.map_err(|error| api_error(&error)), date),
        Err(text) => {
            let remedy = "check that ELASTICIO_API_URI names the platform's API, and that the container may reach it";
            (Err(Finding::error("platform API", text, remedy)), None)
        }
    };
    let mut found = vec![clock(date, asked_at, answered_at)];
    let config = match step {
        Ok(StepData { config, .. }) => {
            found.push(Finding::ok(
                "platform API",
                "reached; it takes the credentials and has the step",
            ));
            Some(config)
        }
        Err(finding) => {
            found.push(finding);
            None
        }
    };
    match component {
        Some(component) => found.extend(credential(component, config, oauth_mode).await),
        None => found.extend(
            ["credential", "token endpoint"].map(|probe| Finding::not_probed(probe, "component")),
        ),
    }
    found
}

fn api_error(error: &PlatformError) -> Finding {
    let remedy = match error.status() {
        Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            "check ELASTICIO_API_USERNAME and ELASTICIO_API_KEY: the API refuses them"
        }
        Some(status) if status.is_redirection() => {
            "check ELASTICIO_API_URI: requests are not redirected, so it must be the API's final address"
        }
        Some(StatusCode::NOT_FOUND) => {
            "check ELASTICIO_FLOW_ID and ELASTICIO_STEP_ID: the flow may be stopped or deleted; and the path of \
             ELASTICIO_API_URI"
        }
        Some(status) if status.is_server_error() => {
            "the API is in trouble, or does not know the flow or the step: check ELASTICIO_FLOW_ID and ELASTICIO_STEP_ID, \
             and try again"
        }
        Some(_) => "check ELASTICIO_API_URI, ELASTICIO_FLOW_ID and ELASTICIO_STEP_ID",
        None => {
            "check that ELASTICIO_API_URI names the platform's API, and that the container may reach it"
        }
    };
    // The response may repeat what was sent.
    Finding::error("platform API", error.without_contents(), remedy)
}

/// Compares the own clock with the API's. The response was written at some time between the request and now.
fn clock(date: Option<SystemTime>, asked_at: SystemTime, answered_at: SystemTime) -> Finding {
    const REMEDY: &str = "correct the clock of the machine, for example with NTP: tokens and certificates expire by it";
    let Some(date) = date else {
        let found = "the API has told no time to compare with";
        return Finding::unknown(
            "clock",
            found,
            "see platform API, or compare the clock yourself",
        );
    };
    let ahead = asked_at.duration_since(date).unwrap_or_default();
    let behind = date.duration_since(answered_at).unwrap_or_default();
    let (off, how) = if ahead > behind {
        (ahead, "ahead of")
    } else {
        (behind, "behind")
    };
    let found = format!("{} s {how} the clock of the platform", off.as_secs());
    if off > CLOCK_ERROR {
        Finding::error("clock", found, REMEDY)
    } else if off > CLOCK_WARNING {
        Finding::warning("clock", found, REMEDY)
    } else {
        Finding::ok(
            "clock",
            "agrees with that of the platform within half a minute",
        )
    }
}

/// Probes object storage with an object that cannot exist.
pub(super) async fn object_storage(storage: Option<&ObjectStorage>) -> Finding {
    const PROBE: &str = "object storage";
    let Some(storage) = storage else {
        return Finding::ok(
            PROBE,
            "not used: ELASTICIO_OBJECT_STORAGE_URI and ELASTICIO_OBJECT_STORAGE_TOKEN are not set",
        );
    };
    let error = match limited(async { Ok(storage.look().await) }).await {
        Ok(Ok(())) => return Finding::ok(PROBE, "reached; it takes the token"),
        Ok(Err(error)) => error,
        Err(text) => {
            return Finding::error(
                PROBE,
                text,
                "check that ELASTICIO_OBJECT_STORAGE_URI can be reached",
            );
        }
    };
    let text = error.without_contents();
    match error.status() {
        Some(StatusCode::NOT_FOUND) => Finding::ok(
            PROBE,
            "reached; it takes the token, and has no object of a new name",
        ),
        Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Finding::error(
            PROBE,
            text,
            "check ELASTICIO_OBJECT_STORAGE_TOKEN: the storage refuses it",
        ),
        Some(status) if status.is_server_error() => {
            Finding::error(PROBE, text, "the storage is in trouble: see its log")
        }
        Some(_) => Finding::warning(
            PROBE,
            text,
            "check the path of ELASTICIO_OBJECT_STORAGE_URI",
        ),
        None => Finding::failed(
            PROBE,
            &text,
            "check that ELASTICIO_OBJECT_STORAGE_URI names the storage, and that it runs",
        ),
    }
}

/// Probes the stored tokens and the token endpoint. No token is sent.
async fn credential(
    component: &Component,
    config: Option<Value>,
    mode: Option<OAuthMode>,
) -> Vec<Finding> {
    if !component.has_oauth2() {
        return vec![Finding::ok(
            "credential",
            "the component has no OAuth2 credential",
        )];
    }
    let known = config.is_some();
    let config = config.unwrap_or_else(|| json!({}));
    let definition = component.oauth2_definition();
    let resolved = definition.resolve(
        component.descriptor(),
        &config,
        mode,
        &settings::environment,
    );
    let resolved = match resolved {
        Ok(resolved) => resolved,
        Err(_) if !known => {
            return ["credential", "token endpoint"]
                .map(|probe| Finding::not_probed(probe, "platform API"))
                .into();
        }
        Err(error) => {
            let remedy =
                "set the variables and fields that credentials.oauth2 of component.json names";
            return vec![Finding::failed("credential", &error.to_string(), remedy)];
        }
    };
    let stored = if known {
        stored_tokens(&resolved, &config)
    } else {
        Finding::not_probed("credential", "platform API")
    };
    vec![stored, token_endpoint(&resolved).await]
}

fn stored_tokens(resolved: &ResolvedConfig, config: &Value) -> Finding {
    const CONNECT: &str = "the user connects the account again";
    if resolved.client.is_none() {
        return Finding::ok(
            "credential",
            "the platform keeps the tokens, as the secret that the step names",
        );
    }
    let field = resolved.field.join(".");
    let Some(record) = TokenRecord::find(config, &resolved.field) else {
        let found = format!("the step's configuration has no tokens in {field}");
        return Finding::error("credential", found, CONNECT);
    };
    let is_expired = record
        .expires_at()
        .is_some_and(|expiry| expiry <= SystemTime::now());
    match (record.refresh_token().is_some(), is_expired) {
        (true, _) => Finding::unknown(
            "credential",
            format!(
                "{field} has a refresh token; whether the provider takes it cannot be told without using it up"
            ),
            "look in the log of the step for reauth-required: then the user has to connect the account again",
        ),
        (false, true) => Finding::error(
            "credential",
            format!("the access token in {field} has expired, and there is no refresh token"),
            CONNECT,
        ),
        (false, false) => Finding::warning(
            "credential",
            format!("{field} has no refresh token: it works until the access token expires"),
            "many providers issue one for a scope (offline_access) or a parameter of auth_uri (access_type=offline); then the \
             user connects the account again",
        ),
    }
}

/// Asks the token endpoint for nothing. Any response shows that it is there.
async fn token_endpoint(resolved: &ResolvedConfig) -> Finding {
    const PROBE: &str = "token endpoint";
    let Some(client) = &resolved.client else {
        return Finding::ok(PROBE, "not used: the platform refreshes the tokens");
    };
    let url = http::redacted_url(&client.refresh_url);
    let direct = match http::client_without_redirects() {
        Ok(direct) => direct,
        Err(error) => {
            return Finding::failed(
                PROBE,
                &error.without_contents(),
                "check the files of ELASTICIO_CA_CERTS",
            );
        }
    };
    let asking = async {
        let (_, response) = http::send_dated(direct.get(client.refresh_url.clone())).await;
        Ok(response.map(|response| response.status()))
    };
    let remedy = "check that the container may reach the provider, and the address in component.json or its variables";
    match limited(asking).await {
        Ok(Ok(status)) => reached(&url, status),
        Ok(Err(HttpError::Status { status, .. })) => reached(&url, status),
        Ok(Err(error)) => Finding::failed(PROBE, &error.without_contents(), remedy),
        Err(text) => Finding::error(PROBE, format!("{url}: {text}"), remedy),
    }
}

fn reached(url: &str, status: StatusCode) -> Finding {
    let found = format!("{url} is reached: {status} to a request without a token");
    if status.is_server_error() {
        Finding::warning(
            "token endpoint",
            found,
            "the provider may be in trouble: see its status page",
        )
    } else if status == StatusCode::NOT_FOUND {
        // Some endpoints answer so to everything but an exchange.
        Finding::unknown(
            "token endpoint",
            found,
            "if tokens are not refreshed, check the path of the address",
        )
    } else {
        Finding::ok("token endpoint", found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn a_clock_is_compared_with_the_time_of_the_request() {
        let now = SystemTime::now();
        let seconds = Duration::from_secs;
        for (date, level, found) in [
            (now, Level::Ok, "agrees"),
            (now - seconds(20), Level::Ok, "agrees"),
            // The response took ten seconds.
            (now + seconds(39), Level::Ok, "agrees"),
            (now - seconds(60), Level::Warning, "60 s ahead"),
            (now + seconds(70), Level::Warning, "60 s behind"),
            (now + seconds(4000), Level::Error, "3990 s behind"),
        ] {
            let finding = clock(Some(date), now, now + seconds(10));
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(found), "{finding:?}");
        }
        assert_eq!(clock(None, now, now).level, Level::Unknown);
    }
}
