//! The component that is measured: one action, which emits the body that it gets.

use sailor::prelude::*;
use serde_json::Value;
use std::process::ExitCode;

fn main() -> ExitCode {
    sailor::main(component)
}

fn component() -> anyhow::Result<Component> {
    let component = Component::new(include_str!("../../component.json"))?;
    component.action("echo", echo).check()
}

async fn echo(message: Message<Value>, cx: Context<Value, Value>) -> anyhow::Result<()> {
    cx.data(&message.body).await
}
