//~ is not an action
//~ future cannot be sent between threads safely
//~ within `impl Future<Output = Result<(), anyhow::Error>>`
//~ `Rc<Value>`
//~ cx.data(&1).await?;
//~ has type `Rc<Value>` which is not `Send`
use sailor::prelude::*;
use serde_json::Value;
use std::rc::Rc;

async fn count(message: Message<Value>, cx: Context<Value, usize>) -> anyhow::Result<()> {
    let names = Rc::new(message.body);
    cx.data(&1).await?;
    cx.data(&names.to_string().len()).await
}

fn main() {
    let _ = Component::new("{}").unwrap().action("count", count);
    sailor::check::action(count);
}
