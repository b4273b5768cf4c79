//! Microsoft Graph: where it is, how its addresses are written, and how its lists are read.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sailor::oauth2::{AuthorizedClient, Error, OAuth2, Profile};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// An item as Graph gives it.
pub type Item = Map<String, Value>;

const ADDRESS: &str = "https://graph.microsoft.com/v1.0";
/// What may stand in a segment of a path as it is; the ids of Exchange hold `/`, `+` and `=`.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// More pages than any list here has; a server that never ends is not followed for ever.
pub const MOST_PAGES: usize = 10_000;

/// What component.json cannot say of the credential. The addresses can be others in a national cloud, or in a test.
pub fn oauth2() -> OAuth2 {
    let profile = Profile::built_in("microsoft").unwrap_or_default();
    OAuth2::new()
        .custom_profile(profile.base_url(ADDRESS))
        .base_url("{{GRAPH_BASE_URL}}")
        .auth_uri("{{MSAPP_AUTH_URI}}")
        .token_uri("{{MSAPP_TOKEN_URI}}")
}

/// A path of these segments, each written so that it stays one segment.
///
/// # Errors
/// When one is a way up or down: the path would lead to something else, such as from a message to its folder.
pub fn path(segments: &[&str]) -> anyhow::Result<String> {
    let wrong = segments
        .iter()
        .find(|segment| matches!(**segment, "" | "." | ".."));
    anyhow::ensure!(
        wrong.is_none(),
        "{:?} cannot be an id",
        wrong.unwrap_or(&"")
    );
    Ok(segments
        .iter()
        .map(|segment| format!("/{}", utf8_percent_encode(segment, SEGMENT)))
        .collect())
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
    in_utc(client, path).query(query).send_json().await
}

/// The page that another one names as its next.
pub async fn next_page<T: DeserializeOwned>(
    client: &AuthorizedClient,
    link: &str,
) -> Result<Page<T>, Error> {
    in_utc(client, link).send_json().await
}

/// A list to its end, over all its pages.
pub async fn all<T: DeserializeOwned, Q: Serialize + ?Sized>(
    client: &AuthorizedClient,
    path: &str,
    query: &Q,
) -> anyhow::Result<Vec<T>> {
    let mut page: Page<T> = first_page(client, path, query).await?;
    let mut items = page.value;
    for _ in 0..MOST_PAGES {
        let Some(link) = page.next else {
            return Ok(items);
        };
        page = next_page(client, &link).await?;
        items.append(&mut page.value);
    }
    anyhow::bail!("GET {path} has no end: Graph named a next page {MOST_PAGES} times")
}

/// A GET request whose answer tells times in UTC.
fn in_utc(client: &AuthorizedClient, address: &str) -> sailor::oauth2::AuthorizedRequest {
    client
        .get(address)
        .header("Prefer", "outlook.timezone=\"UTC\"")
}

/// Takes off what Graph says about an item, beside what the item is.
pub fn without_annotations(mut item: Item) -> Item {
    item.retain(|name, _| !name.starts_with("@odata."));
    item
}

/// Whether Graph has refused the credentials, as opposed to trouble that says nothing of them.
pub fn refuses_credentials(error: &Error) -> bool {
    matches!(
        error,
        Error::ReauthRequired(_) | Error::InsufficientScope { .. }
    ) || error
        .status()
        .is_some_and(|status| matches!(status.as_u16(), 401 | 403))
}
