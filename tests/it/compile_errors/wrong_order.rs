//~ is not an action
//~ `async fn(Message<Input>, Context<Config, Output>) -> anyhow::Result<()>`
//~ type mismatch in function arguments
//~ expected function signature `fn(sailor::Message<_>, sailor::Context<_, _>) -> _`
use sailor::prelude::*;
use serde_json::Value;

async fn copy(cx: Context<Value, Value>, message: Message<Value>) -> anyhow::Result<()> {
    cx.data(&message.body).await
}

fn main() {
    let _ = Component::new("{}").unwrap().action("copy", copy);
    sailor::check::action(copy);
}
