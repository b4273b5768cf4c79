//~ is not an action
//~ `Result<(), anyhow::Error>` is not a future
//~ sailor::check::action(copy);
use sailor::prelude::*;
use serde_json::Value;

fn copy(_: Message<Value>, _: Context<Value, Value>) -> anyhow::Result<()> {
    Ok(())
}

fn main() {
    let _ = Component::new("{}").unwrap().action("copy", copy);
    sailor::check::action(copy);
}
