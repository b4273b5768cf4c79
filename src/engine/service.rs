//! One-time calls: verifyCredentials, getMetaModel, selectModel (wire-contract: One-time calls). One result is posted per run.

use crate::{
    clients::{
        http,
        platform::{Platform, StepData, post_result},
    },
    component::{
        Component, Verified,
        context::{Clients, ServiceContextParts},
        error::ModuleOutcome,
    },
    engine::{Account, AccountStore, Step, storage, tools},
    settings::{Method, ServiceSettings, ServiceStart},
};
use anyhow::Context as _;
use futures_util::FutureExt;
use serde_json::{Value, json};
use std::{panic::AssertUnwindSafe, sync::Arc};

/// Answers the call and posts the result. Once that is delivered this is `Ok`, whatever the result says.
///
/// # Errors
/// When there is no address to post to, or it does not take the result.
pub(crate) async fn serve(
    start: ServiceStart,
    component: anyhow::Result<Component>,
) -> anyhow::Result<()> {
    // Redirects would make a GET of the result's POST.
    let direct = http::client_without_redirects()?;
    let (target, result) = match start {
        ServiceStart::Ready(target, settings) => {
            for warning in &settings.warnings {
                tracing::warn!("{warning}");
            }
            (target, answer(*settings, component, &direct).await)
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
        .context("posting the result of the call")
}

async fn answer(
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
    let platform = Platform::new(
        direct.clone(),
        &api,
        &identity.flow_id,
        &identity.step_id,
        &identity.workspace_id,
    );
    let object_storage = storage(object_storage.as_ref(), None, &identity)?;
    let clients = Clients {
        http: http::client()?,
        platform: Some(platform.clone()),
        object_storage,
        webhook_uri: None,
    };
    let step = Arc::new(Step::new(StepData {
        config,
        ..StepData::default()
    }));
    // A component that does not agree with its component.json is a result like any other.
    let component = component?;
    let session = component.session(tools(&identity, direct.clone(), oauth_mode, None));
    let store = AccountStore::outside_of_a_flow(Account { platform, step }, session.clone());
    let run = |function: &str| store.service_run(function, &clients);
    let answered = AssertUnwindSafe(dispatch(&component, &method, run))
        .catch_unwind()
        .await;
    store.close().await;
    if session.is_some_and(|session| session.has_unsaved_rotation()) {
        anyhow::bail!(
            "the provider has replaced the refresh token, and the new one could not be saved: connect the credential \
             again, and see the component's log for why the platform did not take it"
        );
    }
    answered.unwrap_or_else(|_| {
        Err(anyhow::anyhow!(
            "the component panicked; its log has the place"
        ))
    })
}

async fn dispatch(
    component: &Component,
    method: &Method,
    run: impl Fn(&str) -> ServiceContextParts,
) -> anyhow::Result<Value> {
    match method {
        Method::VerifyCredentials => {
            let verified = match component.verify_function() {
                Some(verify) => verify(run("")).await,
                None => Ok(Verified::Yes),
            };
            Ok(match verified {
                Ok(Verified::Yes) => json!({ "verified": true }),
                Ok(Verified::With(mut details)) => {
                    details.entry("verified").or_insert(Value::Bool(true));
                    Value::Object(details)
                }
                Ok(Verified::No(reason)) => json!({ "verified": false, "reason": reason }),
                Err(error) => not_verified(error)?,
            })
        }
        Method::GetMetaModel { function } => match component.metadata_function(function) {
            Some(metadata) => metadata(run(function)).await,
            None => {
                // What is static is known here too: better than a refusal.
                let metadata = component.module(function)?.0.metadata();
                Ok(json!({ "in": metadata.input, "out": metadata.output }))
            }
        },
        Method::SelectModel { function, model } => {
            component.module(function)?;
            let select = component.model_function(model).with_context(|| {
                format!("Method \"{model}\" is not found in \"{function}\" action or trigger")
            })?;
            select(run(function)).await
        }
    }
}

/// A failure is a verdict on the credentials, with the error as its reason, as the platform's Node sailor has it. One
/// that may pass is none: trouble on the network must not have users connect again.
fn not_verified(error: anyhow::Error) -> anyhow::Result<Value> {
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
