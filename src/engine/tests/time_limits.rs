//! A module that takes long: `PROCESS_TIMEOUT`, and the warnings of what has no limit.

use super::*;
use crate::{
    broker::amqp::{
        Amqp,
        simulated::{SimulatedBroker, Simulation},
    },
    captured_log::CapturedLog,
    clients::object_storage::ObjectStorage,
    codes,
    component::{context::HookContext, module::Action},
    engine::{
        account::AccountCredentials,
        bodies::BodyStorage,
        deduplication::Deduplication,
        hooks::{self, warn_while_slow},
        value_room::ValueRoom,
    },
    protocol::StepIdentity,
    settings::{MemoryShares, Mode, Settings},
};
use futures_util::FutureExt;
use http_double::{PreparedResponse, ScriptedDouble};
use tokio::{sync::mpsc, time::Instant};

const LIMIT: [(&str, &str); 1] = [("PROCESS_TIMEOUT", "500")];

#[tokio::test(start_paused = true)]
async fn a_module_that_takes_too_long_is_stopped() {
    let log = CapturedLog::begin();
    let (sender, mut contexts) = mpsc::unbounded_channel();
    let component = acts(move |message, cx| {
        let sender = sender.clone();
        async move {
            cx.data(&message.body).await?;
            if message.body == json!("slow") {
                sender.send((cx.emitter(), cx.cancelled.clone())).unwrap();
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    });
    let mut rig = Rig::with(component, &LIMIT, 0).await;
    let slow = rig.deliver("1", json!("slow"));
    assert_eq!(rig.confirm(Route::Data).await, "slow");
    let (emitter, cancelled) = contexts.recv().await.unwrap();
    let report = rig.confirm(Route::Error).await;
    let text = report["message"].as_str().unwrap();
    assert!(
        text.contains("500 ms") && text.contains("raise the limit"),
        "{text}"
    );
    assert!(cancelled.is_cancelled());
    log.assert_one(&[
        "The module took longer than ELASTICIO_PROCESS_TIMEOUT and is stopped",
        "milliseconds=500",
    ]);
    rig.assert_settled(slow, Verdict::Rejected).await;
    // A task that the module has left behind can do no harm.
    let error = emitter.data(&"late").await.unwrap_err();
    assert!(error.to_string().contains("ELASTICIO_PROCESS_TIMEOUT"));
    let quick = rig.deliver("2", json!("quick"));
    assert_eq!(rig.confirm(Route::Data).await, "quick");
    rig.assert_settled(quick, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn events_from_before_the_limit_are_waited_for() {
    let component = acts(|message, cx| async move {
        let emitter = cx.emitter();
        tokio::join!(emitter.data(&message.body), std::future::pending::<()>()).0
    });
    let mut rig = Rig::with(component, &LIMIT, 0).await;
    let delivery = rig.deliver("1", json!(1));
    let event = rig.broker.published().await;
    rig.confirm(Route::Error).await;
    rig.assert_idle().await;
    event.confirm();
    rig.assert_settled(delivery, Verdict::Rejected).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_setting_a_module_may_take_hours() {
    let log = CapturedLog::begin();
    let mut rig = Rig::start(acts(|message, cx| async move {
        tokio::time::sleep(Duration::from_secs(5 * 3600)).await;
        cx.data(&message.body).await
    }))
    .await;
    let delivery = rig.deliver("1", json!(1));
    tokio::time::sleep(Duration::from_secs(5 * 3600)).await;
    rig.confirm(Route::Data).await;
    let warning = "The module has been processing this message for minutes";
    assert!((59..=60).contains(&log.count(&[warning])));
    log.assert_one(&[warning, "seconds=17700"]);
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn slow_work_is_named_in_the_log_every_five_minutes() {
    let log = CapturedLog::begin();
    let work = tokio::time::sleep(Duration::from_secs(901));
    warn_while_slow(codes::HOOK_SLOW, "the hook is slow", work).await;
    assert_eq!(log.count(&["the hook is slow"]), 3);
    warn_while_slow(codes::HOOK_SLOW, "the other is not", async {}).await;
    assert_eq!(log.count(&["the other is not"]), 0);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_confirms_nothing_is_named_in_the_log() {
    let log = CapturedLog::begin();
    let mut rig = Rig::start(acts(|message, cx| async move {
        // Not awaited.
        let emitter = cx.emitter();
        TaskTracker::new().spawn(async move { emitter.data(&message.body).await });
        tokio::task::yield_now().await;
        Ok(())
    }))
    .await;
    let delivery = rig.deliver("1", json!(1));
    let event = rig.broker.published().await;
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert_eq!(
        log.count(&["waiting for minutes for the broker to confirm"]),
        2
    );
    event.confirm();
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

/// A component whose hooks take 301 seconds.
struct SlowHooks;

impl SlowHooks {
    async fn work() -> anyhow::Result<()> {
        tokio::time::sleep(Duration::from_secs(301)).await;
        Ok(())
    }
}

impl Action for SlowHooks {
    type Config = Value;
    type Input = Value;
    type Output = Value;

    async fn startup(&self, _cx: HookContext<Value>) -> anyhow::Result<Value> {
        Self::work().await.map(|()| json!({}))
    }

    async fn init(&self, _cx: HookContext<Value>) -> anyhow::Result<()> {
        Self::work().await
    }

    async fn shutdown(&self, _cx: HookContext<Value>, _state: Value) -> anyhow::Result<()> {
        Self::work().await
    }

    async fn process(&self, _message: Message<Value>, _cx: Context<Value>) -> anyhow::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_that_take_minutes_are_named_in_the_log() {
    let component = Component::new(DESCRIPTOR).unwrap().action("act", SlowHooks);
    let (transport, _broker) = memory::channel(0);
    let server = ScriptedDouble::start().await.unwrap();
    server.respond("", [PreparedResponse::json(200, &json!({}))]);
    let settings = settings(&[("API_URI", &server.url())]);
    let (step, http) = (in_memory::empty_step(), http::client_without_redirects());
    let engine = in_memory::engine(&component, settings, step, transport, http.unwrap()).unwrap();
    let platform = engine.account.platform.clone();
    let credentials = AccountCredentials::new(engine.account.clone(), None);
    let context = || credentials.service_context("act", &engine.clients);
    let (log, module) = (CapturedLog::begin(), &*engine.module);
    hooks::startup(module, context(), &platform).await.unwrap();
    hooks::init(module, context()).await.unwrap();
    hooks::shutdown(module, context(), &platform).await.unwrap();
    for warning in [
        "The startup hook has been running for minutes",
        "The init hook has been running for minutes",
        "The shutdown hook has been running for minutes",
    ] {
        log.assert_one(&[warning, "seconds=300"]);
    }
}

/// The broker falls silent, so the log of finished messages cannot be read.
#[tokio::test(start_paused = true)]
async fn a_silent_log_of_finished_messages_delays_but_blocks_nothing() {
    let silent = SimulatedBroker::new(1, usize::MAX, None, |_| {});
    let _simulation = Simulation::of(silent.clone());
    silent.declare_exchange("exchange");
    let Settings {
        mode: Mode::Run(run),
        ..
    } = settings(&[])
    else {
        panic!("the settings of a step")
    };
    let amqp = Amqp::connect(&run.amqp, Arc::default()).await.unwrap();
    silent.silence(|_, _| true);
    let log = CapturedLog::begin();
    let open = |reader| Some(Arc::new(amqp.finished_log(reader)) as _);
    let step = StepIdentity::default();
    let deduplication = Deduplication::new(&step, &run.crypto_password, open);
    let start = Instant::now();
    deduplication.read_log().await;
    assert_eq!(start.elapsed().as_secs(), 30);
    let line = "The log of finished messages is not read: what";
    log.assert_one(&[line, "seconds=30"]);

    let component = acts(|message, cx| async move { cx.data(&message.body).await });
    let deduplicated =
        |engine: &mut Engine<MemoryTransport>| engine.deduplication = Some(deduplication);
    let mut rig = Rig::changed(component, &[], 0, deduplicated).await;
    let start = Instant::now();
    let delivery = rig.redeliver("m", json!(1));
    assert_eq!(rig.confirm(Route::Data).await, 1);
    assert_eq!(start.elapsed().as_secs(), 5);
    log.assert_one(&[
        "The log of finished messages is not read in time",
        "seconds=5",
    ]);
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_memory_to_parse_is_named_in_the_log() {
    let log = CapturedLog::begin();
    let component = acts(|_message, cx| async move { cx.data(&json!(1)).await });
    // Each body takes 128 KB as a value.
    let memory = MemoryShares {
        values: 200 * 1024,
        ..MemoryShares::new(None)
    };
    let small = |engine: &mut Engine<MemoryTransport>| engine.values = ValueRoom::new(&memory);
    let mut rig = Rig::changed(component, &[], 0, small).await;
    let deliveries = ["1", "2"].map(|id| rig.deliver(id, json!(vec![0; 3000])));
    let event = rig.broker.published().await;
    tokio::time::sleep(Duration::from_secs(601)).await;
    let line = "The message has been waiting for minutes for memory to parse its body";
    assert_eq!(log.count(&[line]), 2, "{}", log.text());
    log.assert_one(&[line, "messageId=\"2\"", "seconds=600"]);
    event.confirm();
    rig.assert_settled(deliveries[0], Verdict::Acknowledged)
        .await;
    assert_eq!(rig.confirm(Route::Data).await, 1);
    rig.assert_settled(deliveries[1], Verdict::Acknowledged)
        .await;
    rig.stop().await.unwrap();
}

#[tokio::test]
async fn a_wait_for_memory_to_download_a_body_is_named_in_the_log() {
    let log = CapturedLog::begin();
    let server = ScriptedDouble::start().await.unwrap();
    // One request finds no memory, the next one does.
    let stored = "x".repeat(100_000);
    let response = format!("\"{stored}\"");
    server.respond("", [(); 2].map(|()| PreparedResponse::ok(response.clone())));
    let variables = [
        ("OBJECT_STORAGE_URI", &*server.url()),
        ("OBJECT_STORAGE_TOKEN", "token"),
    ];
    let component = acts(|message, cx| async move { cx.data(&message.body).await });
    let client = || http::client_without_redirects().unwrap();
    let storage = settings(&variables).object_storage.unwrap();
    let storage = ObjectStorage::new(client(), client(), &storage, None, &StepIdentity::default());
    let (mut memory, mut other) = (None, None);
    let full = |engine: &mut Engine<MemoryTransport>| {
        engine.bodies = BodyStorage(Some(storage));
        let shared = memory.insert(engine.transport.memory().clone());
        other = shared.room_for_body(usize::MAX).now_or_never();
    };
    let mut rig = Rig::changed(component, &variables, 0, full).await;
    let (memory, other) = (memory.unwrap(), other.unwrap());
    let plain = r#"{"headers":{"x-ipaas-object-storage-id":"1"},"body":{}}"#;
    let body = rig.cipher.encrypt(plain.into(), Encoding::Raw);
    let delivery = rig.broker.deliver(headers("1"), body.into());
    while memory.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(601)).await;
    let line = "The message has been waiting for minutes for memory to download its body";
    assert_eq!(log.count(&[line]), 2, "{}", log.text());
    log.assert_one(&[line, "messageId=\"1\"", "seconds=600"]);
    tokio::time::resume();
    drop(other);
    assert_eq!(rig.confirm(Route::Data).await, stored);
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    assert_eq!(memory.used(), 0);
    tokio::time::pause();
    rig.stop().await.unwrap();
}
