//! `component login` and `component logout` as processes, with the emulator's provider. The test is the browser.

mod authorizing;
mod callbacks;
mod logout;

use emulator::provider::{Fault, Knobs, Provider, ProviderConfig};
use reqwest::{Client, Response, StatusCode, Url, redirect::Policy};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::PathBuf};
use tempfile::TempDir;
use test_rig::{Ended, Process, command, soon};
use tokio::{net::TcpStream, process::Command};

/// A provider, and a folder with a configuration.
struct Setup {
    provider: Provider,
    folder: TempDir,
    variables: BTreeMap<&'static str, String>,
    browser: Client,
}

/// A login that waits for the provider's redirect.
struct Waiting {
    process: Process,
    address: Url,
}

impl Setup {
    async fn new() -> Self {
        Self::with(Knobs::default()).await
    }

    async fn with(knobs: Knobs) -> Self {
        let provider = Provider::start(ProviderConfig {
            knobs,
            ..ProviderConfig::default()
        })
        .await
        .unwrap();
        let variables = BTreeMap::from([
            ("OAUTH_CLIENT_ID", provider.client_id().to_owned()),
            ("OAUTH_CLIENT_SECRET", provider.client_secret().to_owned()),
            ("OAUTH_AUTH_URI", provider.authorize_url()),
            ("OAUTH_TOKEN_URI", provider.token_url()),
            ("OAUTH_SCOPES", "read write".to_owned()),
            // The profile has a revocation endpoint.
            ("OAUTH_PROFILE", "salesforce".to_owned()),
        ]);
        let browser = Client::builder().redirect(Policy::none()).build().unwrap();
        let setup = Self {
            provider,
            folder: tempfile::tempdir().unwrap(),
            variables,
            browser,
        };
        setup.store(&json!({"baseUrl": setup.provider.api_url(), "other": {"kept": true}}));
        setup
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("config.json")
    }

    fn store(&self, config: &Value) {
        fs::write(self.file(), config.to_string()).unwrap();
    }

    fn stored(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap()
    }

    /// Stores the tokens of a grant. Returns its refresh token.
    fn connected(&self) -> String {
        let record = self.provider.issue();
        let refresh_token = record["refresh_token"].as_str().unwrap().to_owned();
        self.store(&json!({"baseUrl": self.provider.api_url(), "oauth": record}));
        refresh_token
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(env!("CARGO_BIN_EXE_component"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.file())
            .current_dir(self.folder.path())
            .envs(&self.variables);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        let ended = Process::run(self.command(arguments)).await;
        self.assert_no_secret_in(&ended);
        ended
    }

    async fn logout(&self) -> Ended {
        self.run(&["logout"]).await
    }

    /// Starts a login and waits until it prints the address to open.
    async fn login(&self, arguments: &[&str]) -> Waiting {
        let arguments = [&["login", "--no-browser"], arguments].concat();
        let mut process = Process::start(self.command(&arguments));
        while let Some(line) = process.next_line().await {
            if let Ok(address) = Url::parse(line.trim()) {
                return Waiting { process, address };
            }
        }
        panic!("it printed no address: {:?}", process.end().await);
    }

    /// The browser's request to an address, and its response. It follows no redirects.
    async fn get(&self, address: Url) -> Response {
        soon("a response", self.browser.get(address).send())
            .await
            .unwrap()
    }

    /// Approves at the provider, and returns the address that the provider redirects to.
    async fn agree(&self, waiting: &Waiting) -> Url {
        let response = self.get(waiting.address.clone()).await;
        let Some(location) = response.headers().get("location") else {
            panic!("no redirect: {}", response.text().await.unwrap());
        };
        location.to_str().unwrap().parse().unwrap()
    }

    fn assert_no_secret_in(&self, ended: &Ended) {
        let output = ended.output();
        for secret in self.provider.secrets() {
            assert!(!output.contains(&secret), "{secret} is shown: {output}");
        }
    }
}

impl Waiting {
    async fn end(self, setup: &Setup) -> Ended {
        let ended = self.process.end().await;
        setup.assert_no_secret_in(&ended);
        ended
    }
}

/// The parameters in an address's query.
fn parameters(address: &Url) -> BTreeMap<String, String> {
    address.query_pairs().into_owned().collect()
}
