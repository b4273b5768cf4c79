//~ is not an action
//~ `Priced: serde::Serialize` is not satisfied
//~ sailor::check::action(price);
use sailor::prelude::*;
use serde_json::Value;

#[derive(JsonSchema)]
struct Priced {
    gross: f64,
}

async fn price(_: Message<NoBody>, cx: Context<Value, Priced>) -> anyhow::Result<()> {
    cx.emitter().data(&1).await
}

fn main() {
    let _ = Component::new("{}").unwrap().action("price", price);
    sailor::check::action(price);
    let _ = Priced { gross: 1.0 }.gross;
}
