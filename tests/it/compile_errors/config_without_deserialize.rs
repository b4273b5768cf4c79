//~ is not an action
//~ `Config` and `Input` must implement `DeserializeOwned`
//~ the future must be `Send`
//~ sailor::check::action(…)
//~ `Config: serde::de::DeserializeOwned` is not satisfied
//~ sailor::check::action(price);
use sailor::prelude::*;
use serde::{Deserialize, Serialize};

struct Config {
    vat: f64,
}
#[derive(Deserialize, JsonSchema)]
struct Order {
    amount: f64,
}
#[derive(Serialize, JsonSchema)]
struct Priced {
    gross: f64,
}

async fn price(message: Message<Order>, cx: Context<Config, Priced>) -> anyhow::Result<()> {
    let gross = message.body.amount * (1.0 + cx.config.vat);
    cx.data(&Priced { gross }).await
}

fn main() {
    let _ = Component::new("{}").unwrap().action("price", price);
    sailor::check::action(price);
}
