//~ `Since: serde::Deserialize<'de>` is not satisfied
//~ type Snapshot = Since;
//~ required by a bound in `sailor::Trigger::Snapshot`
use sailor::prelude::*;
use serde_json::Value;

struct Since(u64);
struct Poll;

impl Trigger for Poll {
    type Config = Value;
    type Snapshot = Since;
    type Output = Value;

    async fn poll(&self, since: Option<Since>, _: Context) -> anyhow::Result<Option<Since>> {
        Ok(since.map(|since| Since(since.0 + 1)))
    }
}

fn main() {
    let _ = Component::new("{}").unwrap().trigger("poll", Poll);
}
