//! The component that is measured: `echo`, which emits the body that it gets, and for `scripts/growth` three ways to emit
//! many events.

use futures_util::future;
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use std::process::ExitCode;

fn main() -> ExitCode {
    sailor::main(component)
}

fn component() -> anyhow::Result<Component> {
    let component = Component::new(include_str!("../../component.json"))?;
    component
        .action("echo", echo)
        .action("each", each)
        .action("all", all)
        .action("together", together)
        .check()
}

/// How many events a message asks for.
#[derive(Deserialize, JsonSchema)]
struct Order {
    events: usize,
}

impl Order {
    fn bodies(self) -> impl Iterator<Item = Value> + Send {
        (0..self.events).map(|number| json!({ "number": number, "text": "An event of some bytes" }))
    }
}

async fn echo(message: Message<Value>, cx: Context<Value, Value>) -> anyhow::Result<()> {
    cx.data(&message.body).await
}

/// Awaits each event before the next.
async fn each(message: Message<Order>, cx: Context<Value, Value>) -> anyhow::Result<()> {
    for body in message.body.bodies() {
        cx.data(&body).await?;
    }
    Ok(())
}

/// Leaves it to the runtime how many events are on their way.
async fn all(message: Message<Order>, cx: Context<Value, Value>) -> anyhow::Result<()> {
    cx.data_all(message.body.bodies()).await
}

/// Begins all events before it awaits any.
async fn together(message: Message<Order>, cx: Context<Value, Value>) -> anyhow::Result<()> {
    let events = message.body.bodies().map(|body| cx.data(&body));
    future::try_join_all(events).await.map(|_| ())
}
