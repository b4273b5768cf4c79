//~ future cannot be sent between threads safely
//~ async fn startup
//~ has type `Rc<i32>` which is not `Send`
//~ cx.update_keys(&json!({})).await?;
use sailor::prelude::*;
use serde_json::{Value, json};
use std::rc::Rc;

struct Orders;

impl Action for Orders {
    type Config = Value;
    type Input = Value;
    type Output = Value;

    async fn process(&self, message: Message<Value>, cx: Context) -> anyhow::Result<()> {
        cx.data(&message.body).await
    }

    async fn startup(&self, cx: HookContext) -> anyhow::Result<Value> {
        let id = Rc::new(7);
        cx.update_keys(&json!({})).await?;
        Ok(json!({ "id": *id }))
    }
}

fn main() {
    let _ = Component::new("{}").unwrap().trigger("orders", Orders);
}
