//! The smallest component: an action that greets. To run it on the emulator:
//!
//!     cargo run -p elasticio-emulator -- run --function greet --config examples/hello/config.json --message examples/hello/message.json -- cargo run -q -p hello

#[cfg(test)]
mod tests;

use sailor::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Config {
    greeting: String,
}

#[derive(Deserialize, JsonSchema)]
struct Person {
    name: String,
}

#[derive(Serialize, JsonSchema)]
struct Greeting {
    text: String,
}

async fn greet(message: Message<Person>, cx: Context<Config, Greeting>) -> anyhow::Result<()> {
    let text = format!("{}, {}!", cx.config.greeting, message.body.name);
    cx.data(&Greeting { text }).await
}

fn component() -> anyhow::Result<Component> {
    let component = Component::new(include_str!("../component.json"))?;
    component.action("greet", greet).check()
}

fn main() -> std::process::ExitCode {
    sailor::main(component)
}
