//~ is not a trigger
//~ future cannot be sent between threads safely
//~ `std::sync::MutexGuard<'_, usize>`
//~ which is not `Send`
//~ cx.data(&seen).await
use sailor::prelude::*;
use serde_json::Value;
use std::sync::Mutex;

static SEEN: Mutex<usize> = Mutex::new(0);

async fn count(_: Message<NoBody>, cx: Context<Value, usize>) -> anyhow::Result<()> {
    let mut seen = SEEN.lock().unwrap();
    *seen += 1;
    cx.data(&seen).await
}

fn main() {
    let _ = Component::new("{}").unwrap().trigger("count", count);
    sailor::check::action(count);
}
