//! The OAuth2 provider as a client sees it.

mod api;
mod authorize;
mod faults;
mod requests;
mod rotation;
mod sample;

use emulator::provider::{Knobs, Provider, ProviderConfig};
use reqwest::{Client, Response, redirect::Policy};
use serde_json::{Map, Value};
use std::time::Duration;

const ID: &str = "emulator-client";
const SECRET: &str = "emulator-client-secret";

async fn provider(knobs: Knobs) -> Provider {
    Provider::start(ProviderConfig {
        knobs,
        ..ProviderConfig::default()
    })
    .await
    .unwrap()
}

fn client() -> Client {
    Client::builder().redirect(Policy::none()).build().unwrap()
}

/// A refresh as most clients send it.
async fn send_refresh(provider: &Provider, refresh_token: &str) -> reqwest::Result<Response> {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
        ("client_id", ID),
        ("client_secret", SECRET),
    ];
    client().post(provider.token_url()).form(&form).send().await
}

/// Status and body of a refresh.
async fn refresh(provider: &Provider, refresh_token: &str) -> (u16, Value) {
    let response = send_refresh(provider, refresh_token).await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// A call of the token endpoint with this form.
async fn token_call(provider: &Provider, form: &[(&str, &str)]) -> (u16, Value) {
    let response = client()
        .post(provider.token_url())
        .form(form)
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn me(provider: &Provider, access_token: &str) -> u16 {
    let request = client()
        .get(provider.api_url() + "/me")
        .bearer_auth(access_token);
    request.send().await.unwrap().status().as_u16()
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> &'a str {
    members[name].as_str().unwrap()
}

fn refresh_token(response: &Value) -> &str {
    response["refresh_token"].as_str().unwrap()
}

fn access_token(response: &Value) -> &str {
    response["access_token"].as_str().unwrap()
}

/// The log from the first issued token on, without calls.
fn story(provider: &Provider) -> Vec<String> {
    let entries = provider.log().into_iter().map(|entry| entry.kind);
    let tokens = entries.filter(|kind| {
        use emulator::provider::ProviderEventKind;
        !matches!(
            kind,
            ProviderEventKind::TokenCall(_)
                | ProviderEventKind::ApiCall(_)
                | ProviderEventKind::AuthorizeCall { .. }
                | ProviderEventKind::RevokeCall { .. }
        )
    });
    tokens.map(|kind| kind.to_string()).collect()
}

const SECOND: Duration = Duration::from_secs(1);

/// Holds tokio's clock, which tests then move: while a blocking task runs, it does not move by itself, so that waiting
/// for a socket makes no timer fire.
struct Clock {
    _release: std::sync::mpsc::Sender<()>,
}

impl Clock {
    fn pause() -> Self {
        tokio::time::pause();
        let (release, released) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || {
            // Returns an error when the clock is dropped, which ends the task.
            let _ = released.recv();
        });
        Self { _release: release }
    }

    /// A little more than `time`: timers go off at whole milliseconds, which may be after their time.
    async fn advance(&self, time: Duration) {
        tokio::time::advance(time + Duration::from_millis(1)).await;
    }
}
