//! Microsoft Graph: its address, its paths, and how its lists are read.

use anyhow::Context as _;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use sailor::{
    http::{InvalidSegment, path_segment},
    oauth2::{AuthorizedClient, AuthorizedRequest, Error, OAuth2, Profile},
    prelude::{JsonSchema, schemars},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// An item as Graph returns it.
pub type Item = Map<String, Value>;

const BASE_URL: &str = "https://graph.microsoft.com/v1.0";
/// More pages than any list has: a server that always names a next page is not followed for ever.
pub const MAX_PAGES: usize = 10_000;

/// What component.json cannot say about the credential. National clouds and tests have other addresses.
pub fn oauth2() -> OAuth2 {
    let profile = Profile::built_in("microsoft").unwrap_or_default();
    OAuth2::new()
        .custom_profile(profile.base_url(BASE_URL))
        .base_url("{{GRAPH_BASE_URL}}")
        .auth_uri("{{MSAPP_AUTH_URI}}")
        .token_uri("{{MSAPP_TOKEN_URI}}")
}

/// A path of these segments. Ids of Exchange have `/`, `+` and `=` in them.
///
/// # Errors
/// Returns an error if a segment is empty, `.` or `..`: the path would lead to something else, such as from a message
/// to its folder.
pub fn path(segments: &[&str]) -> Result<String, InvalidSegment> {
    segments
        .iter()
        .map(|segment| Ok(format!("/{}", path_segment(segment)?)))
        .collect()
}

/// One page of a list.
#[derive(Deserialize)]
pub struct Page<T> {
    pub value: Vec<T>,
    /// The address of the next page; none on the last one.
    #[serde(rename = "@odata.nextLink")]
    pub next: Option<String>,
}

/// The first page of a list.
pub async fn first_page<T: DeserializeOwned, Q: Serialize + ?Sized>(
    client: &AuthorizedClient,
    path: &str,
    query: &Q,
) -> Result<Page<T>, Error> {
    get_in_utc(client, path).query(query).send_json().await
}

/// The page at a next link.
pub async fn next_page<T: DeserializeOwned>(
    client: &AuthorizedClient,
    link: &str,
) -> Result<Page<T>, Error> {
    get_in_utc(client, link).send_json().await
}

/// All items of a list.
pub async fn all_pages<T: DeserializeOwned, Q: Serialize + ?Sized>(
    client: &AuthorizedClient,
    path: &str,
    query: &Q,
) -> anyhow::Result<Vec<T>> {
    let mut page: Page<T> = first_page(client, path, query).await?;
    let mut items = page.value;
    for _ in 0..MAX_PAGES {
        let Some(link) = page.next else {
            return Ok(items);
        };
        page = next_page(client, &link).await?;
        items.append(&mut page.value);
    }
    Err(too_many_pages(path))
}

/// The error for a list whose pages never end.
pub fn too_many_pages(path: &str) -> anyhow::Error {
    anyhow::anyhow!("GET {path} does not end: Graph named a next page {MAX_PAGES} times")
}

/// A GET request whose response has its times in UTC.
fn get_in_utc(client: &AuthorizedClient, address: &str) -> AuthorizedRequest {
    client
        .get(address)
        .header("Prefer", "outlook.timezone=\"UTC\"")
}

/// Removes Graph's annotations from an item.
pub fn without_annotations(mut item: Item) -> Item {
    item.retain(|name, _| !name.starts_with("@odata."));
    item
}

// A local time and its zone. (A doc comment would be a description in the metadata.)
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZonedTime {
    pub date_time: String,
    pub time_zone: String,
}

impl ZonedTime {
    /// The instant.
    pub fn timestamp(&self) -> anyhow::Result<Timestamp> {
        let local: DateTime = self
            .date_time
            .parse()
            .context("Graph returned an event with an invalid time")?;
        let zone = match self.time_zone.as_str() {
            "UTC" | "" => TimeZone::UTC,
            // Graph has not used the zone that the request prefers.
            name => {
                TimeZone::get(name).context("Graph returned an event in an unknown time zone")?
            }
        };
        Ok(local.to_zoned(zone)?.timestamp())
    }
}
