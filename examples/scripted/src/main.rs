//! A component that carries out the script of each message: `body.script` is a list of `[operation, argument]`. They are
//! carried out one after another. Without a script it echoes its input. The tests use it.

use anyhow::{Context as _, bail};
use sailor::prelude::*;
use serde_json::{Map, Value, json, value::RawValue};
use std::{collections::BTreeMap, process::ExitCode, time::Duration};
use tracing::Instrument as _;

fn main() -> ExitCode {
    sailor::main(component)
}

fn component() -> anyhow::Result<Component> {
    Component::new(include_str!("../component.json"))?
        .action("script", Script)
        .trigger("script_trigger", Script)
        .action("script_raw", Script)
        .action("typed", typed)
        .action("init_fails", InitFails)
        .metadata("script", metadata)
        .select_model("colours", colours)
        .select_model("failing", failing)
        .verify_credentials(verify)
        .check()
}

struct Script;

impl Action for Script {
    type Config = Value;
    type Input = Value;
    type Output = Value;

    async fn process(&self, message: Message<Value>, cx: Context) -> anyhow::Result<()> {
        let operations = match message.body.get("script").and_then(Value::as_array) {
            Some(script) => script.clone(),
            None => vec![json!(["echo"])],
        };
        for operation in operations {
            let name = operation[0]
                .as_str()
                .context("an operation is [name, argument]")?;
            carry_out(name, operation[1].clone(), &message, &cx).await?;
        }
        Ok(())
    }

    async fn startup(&self, cx: HookContext<Value>) -> anyhow::Result<Value> {
        Ok(json!({ "subscription": "sub-1", "cfg": cx.config }))
    }

    async fn shutdown(&self, cx: HookContext<Value>, _state: Value) -> anyhow::Result<()> {
        anyhow::ensure!(
            cx.config
                .get("failShutdown")
                .is_none_or(|fail| fail == false),
            "shutdown failed"
        );
        Ok(())
    }
}

async fn carry_out(
    name: &str,
    argument: Value,
    message: &Message<Value>,
    cx: &Context,
) -> anyhow::Result<()> {
    let text = || argument.as_str().unwrap_or_default().to_owned();
    let number = || argument.as_u64().unwrap_or_default();
    match name {
        "echo" => cx.emitter().data(&echo(message, cx)?).await,
        "data" | "return" => cx.message(Message::try_from(argument)?).await,
        "many" => {
            for i in 0..number() {
                cx.data(&json!({ "i": i })).await?;
            }
            Ok(())
        }
        "big" => {
            cx.data(&json!({ "pad": "x".repeat(number() as usize) }))
                .await
        }
        "error" => cx.error(anyhow::anyhow!(text())).await,
        "rebound" => cx.rebound(text()).await,
        "snapshot" => cx.snapshot(&argument).await,
        "updateSnapshot" => cx.update_snapshot(&argument).await,
        "updateKeys" => cx.update_keys(&argument).await,
        "httpReply" => cx.http_reply(serde_json::from_value(argument)?).await,
        "sleep" => {
            tokio::time::sleep(Duration::from_millis(number())).await;
            Ok(())
        }
        "block" => {
            // Blocks the thread, as a module must not.
            std::thread::sleep(Duration::from_millis(number()));
            Ok(())
        }
        "get" => {
            let response = sailor::http::send(cx.http().get(text())).await?;
            cx.data(&json!({ "status": response.status().as_u16() }))
                .await
        }
        "getInSpan" => {
            let get = sailor::http::send(cx.http().get(text()));
            let get = get.instrument(tracing::debug_span!("details"));
            get.instrument(tracing::info_span!("look up", items = 1))
                .await?;
            Ok(())
        }
        "throw" => bail!(text()),
        "panic" => panic!("{}", text()),
        "spawn" => emit_later(argument, cx).await,
        "spawnMany" => {
            for i in 0..number() {
                emit_later(json!({ "i": i }), cx).await?;
            }
            Ok(())
        }
        "end" => Ok(()),
        unknown => bail!("no operation is called \"{unknown}\""),
    }
}

/// Starts to emit and does not await it. The message must wait for it.
async fn emit_later(body: Value, cx: &Context) -> anyhow::Result<()> {
    let emitter = cx.emitter();
    let mut emitted = Box::pin(async move { emitter.data(&body).await });
    tokio::select! {
        biased;
        result = &mut emitted => return result,
        () = std::future::ready(()) => drop(tokio::spawn(emitted)),
    }
    Ok(())
}

/// What the function was given. The message's members keep their JSON text.
#[derive(serde::Serialize)]
struct Echo<'a> {
    msg: BTreeMap<&'a str, &'a RawValue>,
    cfg: &'a Value,
    snapshot: Value,
    variables: &'a Map<String, Value>,
}

fn echo<'a>(message: &'a Message<Value>, cx: &'a Context) -> anyhow::Result<Echo<'a>> {
    let mut msg = BTreeMap::new();
    for (name, json) in message.raw().iter() {
        msg.insert(name, serde_json::from_slice(json.as_bytes())?);
    }
    let snapshot = cx.stored_snapshot()?.unwrap_or_else(|| json!({}));
    Ok(Echo {
        msg,
        cfg: &cx.config,
        snapshot,
        variables: cx.variables(),
    })
}

/// A list of small objects, read into a type and emitted again.
#[derive(serde::Deserialize, serde::Serialize, JsonSchema)]
struct List {
    items: Vec<Item>,
}

#[derive(serde::Deserialize, serde::Serialize, JsonSchema)]
struct Item {
    id: u64,
    name: String,
    price: f64,
    tags: Vec<String>,
}

async fn typed(message: Message<List>, cx: Context<Value, List>) -> anyhow::Result<()> {
    cx.data(&message.body).await
}

struct InitFails;

#[derive(serde::Deserialize)]
struct InitFailsConfig {
    #[serde(default)]
    panic: bool,
}

impl Action for InitFails {
    type Config = InitFailsConfig;
    type Input = Value;
    type Output = Value;

    async fn process(
        &self,
        _message: Message<Value>,
        _cx: Context<InitFailsConfig>,
    ) -> anyhow::Result<()> {
        Ok(())
    }

    async fn init(&self, cx: HookContext<InitFailsConfig>) -> anyhow::Result<()> {
        assert!(!cx.config.panic, "a panic while initialising");
        bail!("cannot initialise")
    }
}

async fn metadata(cx: ServiceContext) -> anyhow::Result<Value> {
    anyhow::ensure!(
        cx.config.get("fail").is_none_or(|fail| fail == false),
        "no model today"
    );
    Ok(
        json!({ "in": { "type": "object", "properties": { "a": { "type": "string" } } }, "out": { "cfg": cx.config } }),
    )
}

async fn colours(cx: ServiceContext) -> anyhow::Result<Value> {
    if let Some(keys) = cx.config.get("keys") {
        cx.update_keys(&json!({ "oauth": keys })).await?;
    }
    Ok(json!({ "red": "Red", "blue": "Blue" }))
}

async fn failing(_cx: ServiceContext) -> anyhow::Result<Value> {
    bail!("select failed")
}

async fn verify(cx: ServiceContext) -> anyhow::Result<Verified> {
    Ok(match cx.config.get("mode").and_then(Value::as_str) {
        Some("throw") => bail!("bad key"),
        Some("false") => Verified::No("not you".to_owned()),
        Some("object") => Verified::With(Map::from_iter([("details".to_owned(), "fine".into())])),
        _ => Verified::Yes,
    })
}
