//~ mismatched types
//~ expected `&Priced`, found `&Value`
//~ cx.data(&json!({ "gross": 1 })).await
use sailor::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Serialize, JsonSchema)]
struct Priced {
    gross: f64,
}

async fn price(_: Message<NoBody>, cx: Context<Value, Priced>) -> anyhow::Result<()> {
    cx.data(&json!({ "gross": 1 })).await
}

fn main() {
    let _ = Component::new("{}").unwrap().action("price", price);
    let _ = Priced { gross: 1.0 }.gross;
}
