//! A whole step in this process, whose module uses and emits credentials.

use super::rig::descriptor;
use emulator::{
    Emulator, EmulatorConfig, EventKind,
    platform::Step,
    provider::{Knobs, Provider, ProviderConfig},
};
use sailor::{
    Action, Component, Context, HookContext, Message, Shutdown, oauth2::OAuth2, settings::Settings,
};
use serde_json::{Map, Value, json};
use std::{pin::Pin, sync::Arc, time::Duration};
use tokio::{sync::Notify, time::timeout};

/// Long enough for anything on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Does what `do` of a message lists: a text sends a request, an object updates keys, and `null` emits the configuration
/// that the message started with, with a change.
struct Script {
    /// If set, the init hook sends a request, and fails when it is notified.
    init_fails: Option<Arc<Notify>>,
    /// Is notified when a message is told that the process stops.
    stopping: Arc<Notify>,
}

impl Action for Script {
    type Config = Value;
    type Input = Value;
    type Output = Value;

    async fn init(&self, cx: HookContext<Value>) -> anyhow::Result<()> {
        let Some(fail) = &self.init_fails else {
            return Ok(());
        };
        tokio::select! {
            response = cx.oauth().get("/me").send_json::<Value>() => response.map(|_| ())?,
            () = fail.notified() => {}
        }
        anyhow::bail!("cannot start")
    }

    async fn process(&self, message: Message<Value>, cx: Context<Value>) -> anyhow::Result<()> {
        let (stopping, cancelled) = (self.stopping.clone(), cx.cancelled.clone());
        tokio::spawn(async move {
            cancelled.cancelled().await;
            stopping.notify_one();
        });
        for operation in message.body["do"].as_array().into_iter().flatten() {
            match operation {
                Value::String(_) => {
                    cx.oauth().get("/me").send_json::<Value>().await?;
                }
                Value::Null => {
                    let mut keys = cx.config.clone();
                    keys["prodEnv"] = "changed".into();
                    cx.update_keys(&keys).await?;
                }
                keys => cx.update_keys(keys).await?,
            }
        }
        Ok(())
    }
}

/// A step on the emulator's platform, with a credential whose token has expired.
pub struct Engine {
    pub emulator: Emulator,
    pub provider: Provider,
    component: Component,
    pub stopping: Arc<Notify>,
    pub shutdown: Shutdown,
}

pub type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

impl Engine {
    pub async fn new(config: EmulatorConfig, init_fails: Option<Arc<Notify>>) -> Self {
        Self::with_provider(Knobs::rotating(), config, init_fails).await
    }

    pub async fn with_provider(
        knobs: Knobs,
        config: EmulatorConfig,
        init_fails: Option<Arc<Notify>>,
    ) -> Self {
        let provider = Provider::start(ProviderConfig {
            knobs,
            ..ProviderConfig::default()
        })
        .await
        .unwrap();
        let account = json!({ "oauth": provider.issue_expired(), "prodEnv": "as it was" });
        let account = account.as_object().unwrap().clone();
        let mut fields = account.clone();
        fields.insert("_account".into(), "acc".into());
        let step = Step {
            function: "script".into(),
            config: fields.into(),
            ..Step::default()
        };
        let emulator = Emulator::start(EmulatorConfig {
            step,
            prefetch: 5,
            ..config
        })
        .await
        .unwrap();
        emulator.platform().set_account("acc", account);
        let mut descriptor = descriptor();
        descriptor["actions"] = json!({ "script": { "title": "Script", "main": "./script.rs" } });
        let oauth = OAuth2::new()
            .base_url(provider.api_url())
            .client_id(provider.client_id())
            .client_secret(provider.client_secret())
            .auth_uri(provider.authorize_url())
            .token_uri(provider.token_url());
        let stopping = Arc::new(Notify::new());
        let script = Script {
            init_fails,
            stopping: stopping.clone(),
        };
        let component = Component::new(&descriptor.to_string())
            .unwrap()
            .action("script", script)
            .oauth2(oauth);
        Self {
            emulator,
            provider,
            component,
            stopping,
            shutdown: Shutdown::default(),
        }
    }

    pub fn run(&self) -> Running<'_> {
        self.run_with(&[])
    }

    /// Runs the step with these variables instead of the emulator's.
    pub fn run_with(&self, overrides: &[(&str, &str)]) -> Running<'_> {
        let variables = self.emulator.env();
        let variable = |name: &str| {
            if let Some((_, value)) = overrides.iter().find(|(known, _)| *known == name) {
                return Some((*value).to_owned());
            }
            let (_, value) = variables.iter().find(|(known, _)| known == name)?;
            Some(value.clone())
        };
        let settings = Settings::read(variable).unwrap();
        Box::pin(sailor::run(
            settings,
            &self.component,
            self.shutdown.clone(),
        ))
    }

    pub fn send(&self, operations: Value) {
        self.emulator.send(
            &json!({ "headers": {}, "body": { "do": operations } }),
            &Map::new(),
        );
    }

    pub fn stored(&self) -> Map<String, Value> {
        self.emulator.platform().account("acc").unwrap()
    }

    pub fn is_spendable(&self) -> bool {
        self.provider
            .is_spendable(self.stored()["oauth"]["refresh_token"].as_str().unwrap())
    }

    pub async fn event(&self, kind: EventKind) {
        let mut events = self.emulator.events();
        let found = timeout(PATIENCE, events.find(|event| event.kind == kind)).await;
        found.unwrap_or_else(|_| panic!("no {kind:?}")).unwrap();
    }

    /// Runs until all messages are settled.
    pub async fn work(&self) {
        let mut running = self.run();
        tokio::select! {
            ended = &mut running => panic!("ended: {ended:?}"),
            () = async { timeout(PATIENCE, self.emulator.settled()).await.expect("settled") } => {}
        }
        self.shutdown.graceful.cancel();
        running.await.unwrap();
    }
}
