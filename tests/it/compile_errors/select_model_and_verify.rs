//~ `Credentials: serde::de::DeserializeOwned` is not satisfied
//~ required by a bound in `sailor::Component::select_model`
//~ future cannot be sent between threads safely
//~ await occurs here, with `key` maybe used later
//~ required by a bound in `sailor::Component::verify_credentials`
use sailor::prelude::*;
use serde_json::{Value, json};
use std::rc::Rc;

struct Credentials {
    key: String,
}

async fn folders(cx: ServiceContext<Credentials>) -> anyhow::Result<Value> {
    Ok(json!({ "1": cx.config.key }))
}

async fn verify(cx: ServiceContext) -> anyhow::Result<Verified> {
    let key = Rc::new(1);
    cx.update_keys(&json!({})).await?;
    drop(key);
    Ok(Verified::Yes)
}

fn main() {
    let _ = Component::new("{}")
        .unwrap()
        .select_model("folders", folders)
        .verify_credentials(verify);
}
