//! `component login` and `component logout`, for local work: the authorization code flow with PKCE and a loopback redirect
//! (RFC 8252), and the revocation of its tokens (RFC 7009). It knows the configuration file and the provider, but no broker
//! and no platform.
//!
//! The tokens are written to the file that `emulator run --config FILE --save-keys` reads and updates. No secret is
//! printed. A code is exchanged only after a check that the file can be written.

mod authorization;
mod callback_server;
mod credential;
mod file;

use crate::{
    clients::retry::RetryPolicy,
    component::Component,
    oauth2::{ClientRegistration, ErrorClass, ExchangeError, TokenEndpoint, TokenRecord},
};
use anyhow::{Context, anyhow, bail};
use authorization::{Authorization, AuthorizationResponse};
use callback_server::CallbackServer;
use clap::{Args, ValueEnum};
use credential::Credential;
use file::ConfigFile;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use std::{
    fmt,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};
use tokio::{
    select,
    sync::oneshot,
    time::{sleep, timeout},
};

/// The attempts of a revocation. The provider can request another delay.
const REVOKE_RETRY: RetryPolicy = RetryPolicy::constant(Duration::from_secs(1)).with_attempts(3);

#[derive(Args, Debug)]
pub(crate) struct ConfigArg {
    /// The configuration of the step, a JSON file: the other fields of the credential are read from it, and the tokens
    /// are written to it
    #[arg(long, value_name = "FILE", default_value = ".emulator/config.json")]
    config: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    #[command(flatten)]
    file: ConfigArg,
    /// The port of the redirect address, for providers that allow only a registered one; 0 picks a free port
    #[arg(long, value_name = "N", default_value_t = 0)]
    port: u16,
    /// The host name in the redirect address, as registered with the provider
    #[arg(long, value_enum, default_value_t = RedirectHost::Address)]
    redirect_host: RedirectHost,
    /// The issuer that the response must name (RFC 9207). Without it, the issuer must have the host of an endpoint
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// How many seconds to wait for the response
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Open no browser, only print the address
    #[arg(long)]
    no_browser: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RedirectHost {
    #[value(name = "127.0.0.1")]
    Address,
    #[value(name = "localhost")]
    Name,
}

impl fmt::Display for RedirectHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "127.0.0.1",
            Self::Name => "localhost",
        })
    }
}

/// Connects an account in the browser, and writes its tokens to the file.
pub(crate) async fn login(component: &Component, args: &LoginArgs) -> anyhow::Result<()> {
    let file = ConfigFile::at(&args.file.config)?;
    let credential = Credential::new(component, Value::Object(file.read()?))?;
    let client = credential.client()?;
    let endpoint = credential.endpoint()?;
    let Some(auth_url) = &client.auth_url else {
        bail!(
            "the authorization endpoint is unknown: auth_uri in credentials.oauth2 of component.json is missing, or a variable \
             that it names is not set"
        );
    };
    file.check_writable()?;
    let server = CallbackServer::bind(args.port).await.with_context(|| {
        format!(
            "listening for the browser on port {} of 127.0.0.1",
            args.port
        )
    })?;
    let redirect_uri = server.redirect_uri(args.redirect_host)?;
    let authorization = Authorization::new(client, redirect_uri, args.issuer.clone());
    ask_user(args, client, &authorization, auth_url);
    let record = receive_tokens(args, &server, &authorization, &endpoint).await?;

    // The file may have changed while the user was in the browser.
    let mut config = file.read()?;
    config.extend(credential.members_with(&config, &record));
    file.write(&config).context(
        "the account is connected, but its tokens could not be written; run login again",
    )?;
    println!(
        "Connected. The tokens are in {}, under {}.",
        args.file.config.display(),
        credential.field()
    );
    if record.refresh_token().is_none() {
        println!(
            "The provider issued no refresh token: the account works until the access token expires. Many providers issue \
             one for a scope (offline_access) or a parameter of auth_uri (access_type=offline, prompt=consent)."
        );
    }
    Ok(())
}

fn ask_user(
    args: &LoginArgs,
    client: &ClientRegistration,
    authorization: &Authorization,
    auth_url: &Url,
) {
    let url = authorization.authorization_url(client, auth_url);
    println!("Connect the account here:\n\n  {url}\n");
    if !args.no_browser && !open_browser(url.as_str()) {
        println!("The browser could not be opened; open the address yourself.");
    }
    println!("Waiting up to {} s for the response…", args.timeout);
}

/// Waits for the response of the provider, and exchanges its code for tokens.
async fn receive_tokens(
    args: &LoginArgs,
    server: &CallbackServer,
    authorization: &Authorization,
    endpoint: &TokenEndpoint,
) -> anyhow::Result<TokenRecord> {
    let (sender, response) = oneshot::channel();
    let exchange = async {
        let code = receive_code(args.timeout, response).await?;
        exchange_code(&code, authorization, endpoint).await
    };
    select! {
        record = exchange => record,
        // The server runs during the exchange too, so that it can reject a second response.
        () = server.serve(authorization, sender) => bail!("the local callback server has stopped"),
    }
}

async fn receive_code(
    seconds: u64,
    response: oneshot::Receiver<AuthorizationResponse>,
) -> anyhow::Result<SecretString> {
    let received = timeout(Duration::from_secs(seconds), response)
        .await
        .map_err(|_| anyhow!("the browser did not return within {seconds} s"))?;
    match received {
        Ok(AuthorizationResponse::Code(code)) => Ok(code),
        Ok(AuthorizationResponse::Denied(reason)) => {
            bail!("the account was not connected: {reason}")
        }
        Err(_) => bail!("the local callback server has stopped"),
    }
}

async fn exchange_code(
    code: &SecretString,
    authorization: &Authorization,
    endpoint: &TokenEndpoint,
) -> anyhow::Result<TokenRecord> {
    let sent_at = SystemTime::now();
    let (redirect_uri, verifier) = (authorization.redirect_uri(), authorization.verifier());
    let response = endpoint
        .exchange_code(code.expose_secret(), redirect_uri, Some(verifier))
        .await?;
    Ok(TokenRecord::default().merged(&response, sent_at))
}

/// Revokes the tokens if the provider supports it, and removes them from the file in any case.
pub(crate) async fn logout(component: &Component, arg: &ConfigArg) -> anyhow::Result<()> {
    let file = ConfigFile::at(&arg.config)?;
    let mut config = file.read()?;
    let field = component
        .oauth2_definition()
        .field_in(component.descriptor());
    let Some(record) = TokenRecord::find(&Value::Object(config.clone()), &field) else {
        println!(
            "{} has no tokens under {}; there is nothing to do.",
            arg.config.display(),
            field.join(".")
        );
        return Ok(());
    };
    let revoked = revoke(component, &config, &record).await;
    remove(&mut config, &field);
    file.write(&config)?;
    println!("The tokens are no longer in {}.", arg.config.display());
    match revoked {
        Ok(Revocation::Done) => println!("The provider has revoked them."),
        Ok(Revocation::NotSupported) => {
            bail!(
                "the tokens were not revoked, because the provider's profile has no revocation endpoint: they may still be \
                 valid; remove the access in the account's settings at the provider"
            );
        }
        Err(error) => {
            let error = format!("{error:#}");
            bail!(
                "the provider did not revoke the tokens; remove the access in the account's settings at the provider: {error}"
            )
        }
    }
    Ok(())
}

enum Revocation {
    Done,
    /// The provider has no revocation endpoint, or there is no token.
    NotSupported,
}

/// Revokes the grant by its refresh token, or else its access token.
async fn revoke(
    component: &Component,
    config: &Map<String, Value>,
    record: &TokenRecord,
) -> anyhow::Result<Revocation> {
    let credential = Credential::new(component, Value::Object(config.clone()))?;
    if credential.client()?.revoke_url.is_none() {
        return Ok(Revocation::NotSupported);
    }
    let endpoint = credential.endpoint()?;
    let (token, hint) = match (record.refresh_token(), record.access_token()) {
        (Some(token), _) => (token, "refresh_token"),
        (None, Some(token)) => (token, "access_token"),
        (None, None) => return Ok(Revocation::NotSupported),
    };
    let mut delays = REVOKE_RETRY.delays();
    loop {
        let Err(error) = endpoint.revoke(token, hint).await else {
            return Ok(Revocation::Done);
        };
        let Some(delay) = delays.next().filter(|_| is_transient(&error)) else {
            return Err(error.into());
        };
        let delay = error.retry_after.unwrap_or(delay);
        println!(
            "The provider cannot revoke the tokens now; trying again in {} s…",
            delay.as_secs()
        );
        sleep(delay).await;
    }
}

fn is_transient(error: &ExchangeError) -> bool {
    matches!(error.class, ErrorClass::Transient)
}

/// Removes the member at a path.
fn remove(members: &mut Map<String, Value>, path: &[String]) {
    match path {
        [] => {}
        [name] => drop(members.remove(name)),
        [name, rest @ ..] => {
            if let Some(Value::Object(below)) = members.get_mut(name) {
                remove(below, rest);
            }
        }
    }
}

/// Opens a URL in the browser. Returns false if no program can open it.
fn open_browser(url: &str) -> bool {
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    Command::new(opener)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .is_ok()
}
