//~ is not a trigger
//~ `Input` and `Output` `JsonSchema`
//~ sailor::check::action(…)
//~ JsonSchema` is not satisfied
//~ required by this bound in `action`
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Deserialize)]
struct Order {
    amount: f64,
}
#[derive(Serialize, JsonSchema)]
struct Priced {
    gross: f64,
}

async fn price(message: Message<Order>, cx: Context<Value, Priced>) -> anyhow::Result<()> {
    cx.data(&Priced { gross: message.body.amount }).await
}

fn main() {
    let _ = Component::new("{}").unwrap().trigger("price", price);
    sailor::check::action(price);
}
