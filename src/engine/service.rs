//! One-time calls: `verifyCredentials`, `getMetaModel`, `selectModel` (wire-contract: One-time calls). A process makes one
//! call and posts one result.

use crate::{
    clients::{
        http,
        platform::{StepData, post_result},
    },
    codes::{self, Coded},
    component::{
        Component, Verified,
        context::{Clients, ServiceContextParts},
        error::ModuleOutcome,
    },
    engine::{
        AccountClient, AccountCredentials, Step, hooks, session_config, start::platform_client,
        storage,
    },
    settings::{self, Method, ServiceSettings, ServiceStart},
};
use anyhow::Context as _;
use futures_util::FutureExt;
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;

/// Runs the call and posts its result. Returns `Ok` once the result is delivered, even if it is an error.
///
/// # Errors
/// Returns an error if there is no address to post to, or if the server at this address does not accept the result.
pub(crate) async fn run_call(
    start: ServiceStart,
    component: anyhow::Result<Component>,
) -> anyhow::Result<()> {
    // Following a redirect would turn the result's POST into a GET.
    let direct = http::client_without_redirects()?;
    let (target, result) = match start {
        ServiceStart::Ready(target, settings) => {
            for warning in &settings.warnings {
                tracing::warn!(code = %codes::DOUBTFUL_SETTING, "{warning}");
            }
            (target, call_component(*settings, component, &direct).await)
        }
        ServiceStart::Invalid(target, problem) => (target, Err(anyhow::anyhow!(problem))),
        ServiceStart::NoResultTarget(problem) => anyhow::bail!(problem),
    };
    let (status, data) = match result {
        Ok(data) => ("success", data),
        Err(error) => ("error", json!({ "message": format!("{error:#}") })),
    };
    post_result(&direct, &target, status, &data)
        .await
        .context(Coded::new(
            codes::RESULT_NOT_DELIVERED,
            "posting the result of the call",
        ))
}

async fn call_component(
    settings: ServiceSettings,
    component: anyhow::Result<Component>,
    direct: &reqwest::Client,
) -> anyhow::Result<Value> {
    let ServiceSettings {
        method,
        config,
        api,
        object_storage,
        identity,
        oauth_mode,
        ..
    } = settings;
    let platform = platform_client(direct.clone(), &api, &identity);
    let object_storage = storage(object_storage.as_ref(), None, &identity)?;
    let clients = Clients {
        http: http::client()?,
        platform: Some(platform.clone()),
        object_storage,
        webhook_uri: None,
    };
    let step = Step::new(StepData {
        config,
        ..StepData::default()
    });
    // A component that does not match its component.json is reported as the result.
    let component = component?;
    component.check_environment(settings::environment)?;
    let session = component.session(session_config(&identity, oauth_mode, None)?);
    let account = AccountClient::new(platform, step);
    let credentials = AccountCredentials::for_one_time_call(account, session.clone());
    let context = |function: &str| credentials.service_context(function, &clients);
    let call = AssertUnwindSafe(dispatch(&component, &method, context)).catch_unwind();
    let slow = "The component has been working on this call for minutes";
    let result = hooks::warn_while_slow(codes::CALL_SLOW, slow, call).await;
    credentials.close().await;
    if session.is_some_and(|session| session.has_unsaved_rotation()) {
        anyhow::bail!(
            "the provider has replaced the refresh token, and the new one could not be saved: connect the credential \
             again, and see the component's log for the reason"
        );
    }
    result.unwrap_or_else(|_| Err(anyhow::anyhow!("the component panicked; see its log")))
}

async fn dispatch(
    component: &Component,
    method: &Method,
    context: impl Fn(&str) -> ServiceContextParts,
) -> anyhow::Result<Value> {
    match method {
        Method::VerifyCredentials => {
            let verified = match component.verify_function() {
                Some(verify) => verify(context("")).await,
                None => Ok(Verified::Yes),
            };
            Ok(match verified {
                Ok(Verified::Yes) => json!({ "verified": true }),
                Ok(Verified::With(mut details)) => {
                    details.entry("verified").or_insert(Value::Bool(true));
                    Value::Object(details)
                }
                Ok(Verified::No(reason)) => json!({ "verified": false, "reason": reason }),
                Err(error) => verification_error(error)?,
            })
        }
        Method::GetMetaModel { function } => match component.metadata_function(function) {
            Some(metadata) => metadata(context(function)).await,
            None => {
                // Without dynamic metadata, the static metadata is a useful result.
                let metadata = component.module(function)?.0.metadata();
                Ok(json!({ "in": metadata.input, "out": metadata.output }))
            }
        },
        Method::SelectModel { function, model } => {
            component.module(function)?;
            let select = component.model_function(model).with_context(|| {
                format!(
                    "Method \"{model}\" is not found in \"{function}\" action or trigger\n{}",
                    component.known_models(model)
                )
            })?;
            select(context(function)).await
        }
    }
}

/// Turns a failed check into a result: the credentials do not work, with the error as the reason, as in the platform's
/// Node sailor. A transient error does not show whether the credentials work, so it fails the call.
fn verification_error(error: anyhow::Error) -> anyhow::Result<Value> {
    let result = Err(error);
    match ModuleOutcome::from(&result) {
        ModuleOutcome::Rebound(reason) => {
            anyhow::bail!("the credentials could not be checked now: {reason}")
        }
        _ => {
            let reason = result.err().map(|error| format!("{error:#}"));
            Ok(json!({ "verified": false, "reason": reason }))
        }
    }
}

#[cfg(test)]
mod tests;
