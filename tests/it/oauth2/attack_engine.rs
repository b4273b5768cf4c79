//! Attacks on a whole step: modules that emit keys of their own, and ends of the process while a token is refreshed.

use emulator::{
    Emulator, EmulatorConfig, EventKind,
    platform::Step,
    provider::{Knobs, Provider, ProviderConfig},
};
use sailor::{
    Action, Component, Context, Message, ServiceContext, Shutdown, oauth2::OAuth2,
    settings::Settings,
};
use serde_json::{Map, Value, json};
use std::{pin::Pin, sync::Arc, time::Duration};
use tokio::{sync::Notify, time::timeout};

/// Long enough for anything on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than what a process that abandons a refresh gives it.
const LONGER_THAN_ABANDONED: Duration = Duration::from_millis(1500);

/// Does what `do` of a message says, in turn: "request", or an object with keys to update.
struct Script {
    /// The init hook begins a request, and fails when it is told to.
    init_fails: Option<Arc<Notify>>,
}

impl Action for Script {
    type Config = Value;
    type Input = Value;
    type Output = Value;

    async fn init(&self, cx: &ServiceContext<Value>) -> anyhow::Result<()> {
        let Some(told) = &self.init_fails else {
            return Ok(());
        };
        tokio::select! {
            answer = cx.oauth().get("/me").send_json::<Value>() => answer.map(|_| ())?,
            () = told.notified() => {}
        }
        anyhow::bail!("cannot begin")
    }

    async fn process(&self, message: Message<Value>, cx: Context<Value>) -> anyhow::Result<()> {
        for operation in message.body["do"].as_array().into_iter().flatten() {
            match operation {
                Value::String(_) => {
                    cx.oauth().get("/me").send_json::<Value>().await?;
                }
                Value::Null => {
                    // All that the message has begun with, and a change.
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

struct Engine {
    emulator: Emulator,
    provider: Provider,
    component: Component,
    shutdown: Shutdown,
}

type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

impl Engine {
    async fn new(config: EmulatorConfig, init_fails: Option<Arc<Notify>>) -> Self {
        let provider = Provider::start(ProviderConfig {
            knobs: Knobs::rotating(),
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
        let mut descriptor = super::rig::descriptor();
        descriptor["actions"] = json!({ "script": { "title": "Script", "main": "./script.rs" } });
        let oauth = OAuth2::new()
            .base_url(provider.api_url())
            .client_id(provider.client_id())
            .client_secret(provider.client_secret())
            .auth_uri(provider.authorize_url())
            .token_uri(provider.token_url());
        let component = Component::new(&descriptor.to_string())
            .unwrap()
            .action("script", Script { init_fails })
            .oauth2(oauth);
        Self {
            emulator,
            provider,
            component,
            shutdown: Shutdown::default(),
        }
    }

    fn run(&self) -> Running<'_> {
        let variables = self.emulator.env();
        let settings =
            Settings::read(|name| Some(variables.iter().find(|(n, _)| n == name)?.1.clone()))
                .unwrap();
        Box::pin(sailor::run(
            settings,
            &self.component,
            self.shutdown.clone(),
        ))
    }

    fn send(&self, operations: Value) {
        self.emulator.send(
            &json!({ "headers": {}, "body": { "do": operations } }),
            &Map::new(),
        );
    }

    fn stored(&self) -> Map<String, Value> {
        self.emulator.platform().account("acc").unwrap()
    }

    fn is_spendable(&self) -> bool {
        self.provider
            .is_spendable(self.stored()["oauth"]["refresh_token"].as_str().unwrap())
    }

    async fn event(&self, kind: EventKind) {
        let mut events = self.emulator.events();
        let found = timeout(PATIENCE, events.find(|event| event.kind == kind)).await;
        found.unwrap_or_else(|_| panic!("no {kind:?}")).unwrap();
    }

    /// Works until all that was sent is settled.
    async fn work(&self) {
        let mut running = self.run();
        tokio::select! {
            ended = &mut running => panic!("ended: {ended:?}"),
            () = async { timeout(PATIENCE, self.emulator.settled()).await.expect("settled") } => {}
        }
        self.shutdown.graceful.cancel();
        running.await.unwrap();
    }
}

#[tokio::test]
async fn emitting_the_initial_configuration_keeps_the_new_token() {
    let engine = Engine::new(EmulatorConfig::default(), None).await;
    engine.send(json!(["request", null]));
    engine.work().await;
    assert_eq!(engine.stored()["prodEnv"], "changed");
    assert_eq!(engine.provider.refreshes(), 1);
    assert!(
        engine.is_spendable(),
        "the spent refresh token was saved over its successor"
    );
}

#[tokio::test]
async fn other_emitted_keys_keep_a_token_that_is_being_saved() {
    let config = EmulatorConfig {
        update_keys_over_broker: true,
        ..EmulatorConfig::default()
    };
    let engine = Engine::new(config, None).await;
    engine
        .emulator
        .broker()
        .delay_confirms(Duration::from_millis(500));
    engine.send(json!(["request"]));
    let mut running = engine.run();
    let messages = async {
        // Over REST; over the broker it takes its time.
        engine.event(EventKind::UpdateKeys).await;
        engine.send(json!([{ "prodEnv": "changed" }]));
        timeout(PATIENCE, engine.emulator.settled())
            .await
            .expect("settled");
    };
    tokio::select! {
        ended = &mut running => panic!("ended: {ended:?}"),
        () = messages => {}
    }
    engine.shutdown.graceful.cancel();
    running.await.unwrap();
    assert_eq!(
        (
            engine.stored()["prodEnv"].as_str(),
            engine.provider.refreshes()
        ),
        (Some("changed"), 1)
    );
    assert!(
        engine.is_spendable(),
        "the spent refresh token was saved over its successor"
    );
}

#[tokio::test]
async fn other_emitted_keys_keep_the_token_of_another_replica() {
    let engine = Engine::new(EmulatorConfig::default(), None).await;
    let mut running = engine.run();
    engine.send(json!([]));
    tokio::select! {
        ended = &mut running => panic!("ended: {ended:?}"),
        () = engine.event(EventKind::Acked) => {}
    }
    let theirs = engine.provider.issue();
    let mut account = engine.stored();
    account.insert("oauth".into(), theirs.clone().into());
    engine.emulator.platform().set_account("acc", account);
    engine.send(json!([{ "prodEnv": "changed" }]));
    tokio::select! {
        ended = &mut running => panic!("ended: {ended:?}"),
        () = async { timeout(PATIENCE, engine.emulator.settled()).await.expect("settled") } => {}
    }
    engine.shutdown.graceful.cancel();
    running.await.unwrap();
    assert_eq!(engine.stored()["prodEnv"], "changed");
    assert_eq!(
        engine.stored()["oauth"]["refresh_token"],
        theirs["refresh_token"]
    );
}

#[tokio::test]
async fn after_a_failed_hook_a_refresh_is_still_saved() {
    let told = Arc::new(Notify::new());
    let engine = Engine::new(EmulatorConfig::default(), Some(told.clone())).await;
    let hold = engine.provider.hold_token_responses();
    let mut running = engine.run();
    let events = async {
        hold.held(1).await;
        told.notify_one();
        engine.event(EventKind::Error).await;
        tokio::time::sleep(LONGER_THAN_ABANDONED).await;
    };
    tokio::select! {
        ended = &mut running => panic!("ended with a token that nobody has: {ended:?}"),
        () = events => {}
    }
    hold.release();
    assert!(
        running
            .await
            .unwrap_err()
            .to_string()
            .contains("cannot begin")
    );
    assert!(engine.is_spendable());
}

#[tokio::test]
async fn a_stop_during_start_up_waits_for_the_refresh_to_be_saved() {
    let told = Arc::new(Notify::new());
    let engine = Engine::new(EmulatorConfig::default(), Some(told.clone())).await;
    let hold = engine.provider.hold_token_responses();
    let variables = engine.emulator.env();
    let short = |name: &str| match name {
        "ELASTICIO_SHUTDOWN_TIMEOUT" => Some("1".into()),
        name => Some(variables.iter().find(|(n, _)| n == name)?.1.clone()),
    };
    let mut running = Box::pin(sailor::run(
        Settings::read(short).unwrap(),
        &engine.component,
        engine.shutdown.clone(),
    ));
    let events = async {
        hold.held(1).await;
        engine.shutdown.graceful.cancel();
        // The hook does not end in its time; the refresh has a little more.
        tokio::time::sleep(Duration::from_millis(1300)).await;
    };
    tokio::select! {
        ended = &mut running => panic!("ended with a token that nobody has: {ended:?}"),
        () = events => {}
    }
    hold.release();
    running.await.unwrap();
    assert!(engine.is_spendable());
}

#[tokio::test]
async fn after_a_permanent_broker_error_a_refresh_is_still_saved() {
    let engine = Engine::new(EmulatorConfig::default(), None).await;
    let hold = engine.provider.hold_token_responses();
    let mut running = engine.run();
    engine.send(json!(["request"]));
    let events = async {
        hold.held(1).await;
        let uri = engine.emulator.broker().uri();
        let connection = lapin::Connection::connect(&uri, lapin::ConnectionProperties::default())
            .await
            .unwrap();
        let channel = connection.create_channel().await.unwrap();
        let input = engine.emulator.topology().input.as_str();
        channel
            .queue_delete(input.into(), Default::default())
            .await
            .unwrap();
        tokio::time::sleep(LONGER_THAN_ABANDONED * 4).await;
    };
    tokio::select! {
        ended = &mut running => panic!("ended with a token that nobody has: {ended:?}"),
        () = events => {}
    }
    hold.release();
    running.await.unwrap_err();
    assert!(engine.is_spendable());
}
