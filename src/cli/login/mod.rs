//! `component login` and `component logout`, for local work: the authorization-code flow with PKCE, which a browser on
//! this machine comes back from (RFC 8252), and the end of what it began (RFC 7009).
//!
//! The tokens go where `emulator run --config FILE --save-keys` reads them and keeps them fresh. Nothing secret is
//! printed, and no code is spent before it is known that the file can be written.

mod authorization;
mod file;
mod loopback;

use crate::{
    clients::http,
    component::Component,
    oauth2::{
        ClientRegistration, ErrorClass, ExchangeError, Mode, OAuth2, ResolvedConfig, TokenEndpoint,
        TokenRecord, keys_with_record,
    },
    settings,
};
use anyhow::{Context, anyhow, bail};
use authorization::{Answer, Authorization};
use clap::{Args, ValueEnum};
use file::ConfigFile;
use loopback::Loopback;
use secrecy::ExposeSecret;
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

/// Tries of a revocation.
const TRIES: u32 = 3;
/// Between them, unless the provider asks for another pause.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
pub(crate) struct Place {
    /// The step's configuration, JSON: the credential's other fields are read from it and the tokens are kept in it
    #[arg(long, value_name = "FILE", default_value = ".emulator/config.json")]
    config: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Login {
    #[command(flatten)]
    place: Place,
    /// The port that the browser comes back to, for providers that take one address only; 0 is any that is free
    #[arg(long, value_name = "N", default_value_t = 0)]
    port: u16,
    /// What this machine is called in the address that the browser comes back to, as it is registered with the provider
    #[arg(long, value_enum, default_value_t = RedirectHost::Address)]
    redirect_host: RedirectHost,
    /// Who the answer has to say it is from (RFC 9207). Otherwise it has to be somebody with the host of an endpoint
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// How many seconds to wait for the answer
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

/// Connects an account and keeps its tokens.
pub(crate) async fn login(component: &Component, options: &Login) -> anyhow::Result<()> {
    let file = ConfigFile::at(&options.place.config)?;
    let credential = Credential::of(component, Value::Object(file.read()?))?;
    let client = credential.client()?;
    let endpoint = credential.endpoint()?;
    let Some(page) = &client.auth_url else {
        bail!(
            "where users connect is not known: auth_uri in credentials.oauth2 of component.json is missing, or a variable \
             that it names is not set"
        );
    };
    file.try_writing()?;
    let loopback = Loopback::bind(options.port).await.with_context(|| {
        format!(
            "listening on port {} of 127.0.0.1, where the browser is to come back to",
            options.port
        )
    })?;
    let redirect_uri = format!(
        "http://{}:{}{}",
        options.redirect_host,
        loopback.port()?,
        loopback::PATH
    );
    let authorization = Authorization::new(client, redirect_uri, options.issuer.clone());

    let address = authorization.address(client, page);
    println!("Connect the account here:\n\n  {address}\n");
    if !options.no_browser && !open_browser(address.as_str()) {
        println!("No browser could be opened: open the address yourself.");
    }
    println!("Waiting for the answer, for {} s at most…", options.timeout);

    let (sender, answer) = oneshot::channel();
    let exchange = async {
        let answer = timeout(Duration::from_secs(options.timeout), answer).await;
        let code =
            match answer.map_err(|_| anyhow!("nobody came back within {} s", options.timeout))? {
                Ok(Answer::Code(code)) => code,
                Ok(Answer::Refused(reason)) => bail!("the account was not connected: {reason}"),
                Err(_) => bail!("the server for the answer has stopped"),
            };
        let asked_at = SystemTime::now();
        let (redirect_uri, verifier) = (authorization.redirect_uri(), authorization.verifier());
        let answer = endpoint
            .exchange_code(code.expose_secret(), redirect_uri, Some(verifier))
            .await?;
        Ok(TokenRecord::default().merged(&answer, asked_at))
    };
    let record = select! {
        record = exchange => record?,
        // It goes on meanwhile, to tell a second answer that it is too late.
        () = loopback.serve(&authorization, sender) => bail!("the server for the answer has stopped"),
    };

    // Somebody may have changed the rest of it in the minutes since.
    let mut config = file.read()?;
    config.extend(credential.with(&config, &record));
    file.write(&config)
        .context("the account is connected, but its tokens could not be kept; log in again")?;
    println!(
        "Connected. The tokens are in {}, under {}.",
        options.place.config.display(),
        credential.field()
    );
    if record.refresh_token().is_none() {
        println!(
            "The provider gave no refresh token: this works until the access token expires. Many give one for a scope \
             (offline_access) or a parameter of auth_uri (access_type=offline, prompt=consent)."
        );
    }
    Ok(())
}

/// Takes the tokens back, at the provider where that can be done, and always in the file.
pub(crate) async fn logout(component: &Component, place: &Place) -> anyhow::Result<()> {
    let file = ConfigFile::at(&place.config)?;
    let mut config = file.read()?;
    let field = component
        .oauth2_definition()
        .field_in(component.descriptor());
    let Some(record) = TokenRecord::find(&Value::Object(config.clone()), &field) else {
        println!(
            "{} holds no tokens under {}: nothing is to be done.",
            place.config.display(),
            field.join(".")
        );
        return Ok(());
    };
    let revoked = revoke(component, &config, &record).await;
    remove(&mut config, &field);
    file.write(&config)?;
    println!("The tokens are no longer in {}.", place.config.display());
    match revoked {
        Ok(true) => println!("The provider has revoked them."),
        Ok(false) => {
            println!("They were not revoked: this provider is not known to do that on request.");
        }
        Err(error) => {
            let error = format!("{error:#}");
            bail!(
                "the provider did not revoke them, take the access back in the account's settings there: {error}"
            )
        }
    }
    Ok(())
}

/// Revokes the grant by its refresh token, or else the access token. False where the provider has no such request.
async fn revoke(
    component: &Component,
    config: &Map<String, Value>,
    record: &TokenRecord,
) -> anyhow::Result<bool> {
    let credential = Credential::of(component, Value::Object(config.clone()))?;
    if credential.client()?.revoke_url.is_none() {
        return Ok(false);
    }
    let endpoint = credential.endpoint()?;
    let (token, hint) = match (record.refresh_token(), record.access_token()) {
        (Some(token), _) => (token, "refresh_token"),
        (None, Some(token)) => (token, "access_token"),
        (None, None) => return Ok(false),
    };
    let mut left = TRIES;
    loop {
        left -= 1;
        match endpoint.revoke(token, hint).await {
            Ok(()) => return Ok(true),
            Err(ExchangeError {
                class: ErrorClass::Transient,
                retry_after,
                ..
            }) if left > 0 => {
                let pause = retry_after.unwrap_or(PAUSE);
                println!(
                    "The provider cannot revoke the tokens now; trying again in {} s…",
                    pause.as_secs()
                );
                sleep(pause).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The credential that component.json and one configuration describe.
struct Credential {
    resolved: ResolvedConfig,
    /// The names of its fields, the one with the tokens among them.
    fields: Vec<String>,
}

impl Credential {
    fn of(component: &Component, config: Value) -> anyhow::Result<Self> {
        let descriptor = component.descriptor();
        let definition: OAuth2 = component.oauth2_definition();
        // Whoever refreshes them on the platform, here it is the component.
        let resolved = definition.resolve(
            descriptor,
            &config,
            Some(Mode::Expiry),
            &settings::environment,
        )?;
        let fields = descriptor
            .credentials
            .iter()
            .flat_map(|credentials| credentials.fields.keys().cloned());
        Ok(Self {
            resolved,
            fields: fields.collect(),
        })
    }

    fn client(&self) -> anyhow::Result<&ClientRegistration> {
        self.resolved.client.as_ref().context(
            "the configuration names a secret of the platform (secretId), which refreshes the tokens itself; take it out \
             of the configuration to have tokens in it",
        )
    }

    fn endpoint(&self) -> anyhow::Result<TokenEndpoint> {
        TokenEndpoint::new(http::client_without_redirects()?, &self.resolved)
            .context("there is no token endpoint")
    }

    fn field(&self) -> String {
        self.resolved.field.join(".")
    }

    /// The members of a configuration that hold the credential once `record` is its one record.
    fn with(&self, config: &Map<String, Value>, record: &TokenRecord) -> Map<String, Value> {
        keys_with_record(
            &Value::Object(config.clone()),
            &self.fields,
            &self.resolved.field,
            record,
        )
    }
}

/// Removes what is at a path.
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

/// False when there is nothing that opens addresses.
fn open_browser(address: &str) -> bool {
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let mut command = Command::new(opener);
    command
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().is_ok()
}
