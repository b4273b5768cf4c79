//! The API: its credentials, how its responses are read, and the choices that come from it.

use sailor::{
    http,
    oauth2::{AuthorizedRequest, OAuth2},
    prelude::*,
};
use serde::{Deserialize, de::DeserializeOwned};
use std::collections::BTreeMap;

/// The largest response that is read, in bytes.
const MAX_RESPONSE: usize = 4 << 20;

/// What component.json cannot say about the credentials. The paths of requests are relative to the base URL.
pub fn oauth2() -> OAuth2 {
    OAuth2::new().base_url("{{baseUrl}}")
}

/// Sends a request, and reads the JSON of its response.
pub async fn read<T: DeserializeOwned>(request: AuthorizedRequest) -> anyhow::Result<T> {
    let response = request.send().await?;
    Ok(http::read_json(response, MAX_RESPONSE).await?)
}

/// What the functions below read of the configuration: no field. Requests find the base URL and the tokens by themselves.
#[derive(Deserialize)]
pub struct NoFields {}

/// Checks credentials with a request that succeeds only with valid ones.
pub async fn verify(cx: ServiceContext<NoFields>) -> anyhow::Result<Verified> {
    let result = cx.oauth().get("/me").send().await;
    Ok(http::verify(result)?)
}

#[derive(Deserialize)]
struct Items {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    id: String,
    name: String,
}

/// The select model of the field `parent`: the names of the items by their ids.
pub async fn get_items(cx: ServiceContext<NoFields>) -> anyhow::Result<BTreeMap<String, String>> {
    let list: Items = read(cx.oauth().get("/items")).await?;
    let items = list.items.into_iter();
    Ok(items.map(|item| (item.id, item.name)).collect())
}
