//! Microsoft Graph: its address, its paths, and how its lists are read.

use anyhow::Context as _;
use futures_util::TryStreamExt;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use sailor::{
    http::{
        BodyError, InvalidSegment, ListPage, NoList, PageLimits, PageRequest, Paging, pages,
        parse_time, path_segment, read_json, take_list,
    },
    oauth2::{AuthorizedClient, AuthorizedRequest, Error, OAuth2, Profile},
    prelude::{JsonSchema, schemars},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// An item as Graph returns it.
pub type Item = Map<String, Value>;

const BASE_URL: &str = "https://graph.microsoft.com/v1.0";
/// The largest page, in bytes. Parsed, it takes several times as much memory.
const MAX_PAGE_BYTES: usize = 32 << 20;

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

/// A page that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// Its body breaks off, is too long, or is not JSON.
    #[error("a page of {list} cannot be read: {error}")]
    Body { list: String, error: BodyError },
    /// It has no list.
    #[error("a page of {list} cannot be read: {error}")]
    NoList { list: String, error: NoList },
}

impl PageError {
    /// Whether the page is longer than what is read.
    pub fn is_too_large(&self) -> bool {
        let Self::Body { error, .. } = self else {
            return false;
        };
        matches!(error, BodyError::TooLarge { .. })
    }
}

/// Requests a page of a list, with times in UTC. `list` is its path, for errors.
///
/// # Errors
/// Returns an [`Error`] if the request fails, and a [`PageError`] if the response is not a page.
pub async fn page(request: AuthorizedRequest, list: &str) -> anyhow::Result<ListPage> {
    let request = request.header("Prefer", "outlook.timezone=\"UTC\"");
    let response = request.send().await?;
    let (url, headers) = (response.url().clone(), response.headers().clone());
    let body = read_json(response, MAX_PAGE_BYTES).await;
    let mut body: Value = body.map_err(|error| unreadable(error, list))?;
    let items = take_list(&mut body, "/value").map_err(|error| PageError::NoList {
        list: list.to_owned(),
        error,
    })?;
    Ok(ListPage {
        url,
        headers,
        items: items.items,
        body,
    })
}

/// The error of a body. A later attempt can succeed if the connection broke off.
fn unreadable(error: BodyError, list: &str) -> anyhow::Error {
    let is_interrupted = matches!(error, BodyError::Interrupted(_));
    let list = list.to_owned();
    let request = format!("GET {list}");
    let error = PageError::Body { list, error };
    if is_interrupted {
        let cause = Error::NoResponse {
            request,
            reason: "its end did not arrive".to_owned(),
            repeatable: true,
        };
        return anyhow::Error::new(cause).context(error);
    }
    error.into()
}

/// Whether Graph answers a request for none of a list's items: then an error is about what another request has asked for.
pub async fn is_available(client: &AuthorizedClient, list: &str) -> bool {
    let query = [
        ("$filter", "lastModifiedDateTime ge 2200-01-01T00:00:00Z"),
        ("$top", "1"),
        ("$select", "id"),
    ];
    page(client.get(list).query(&query), list).await.is_ok()
}

/// All items of a list. A next page that was there before is the end.
pub async fn all_items<T: DeserializeOwned, Q: Serialize + ?Sized>(
    client: &AuthorizedClient,
    path: &str,
    query: &Q,
) -> anyhow::Result<Vec<T>> {
    let fetch = |request: PageRequest| {
        let request = match request {
            PageRequest::Url(link) => client.get(link),
            _ => client.get(path).query(query),
        };
        page(request, path)
    };
    let pages = pages(Paging::OData, PageLimits::default(), fetch);
    let pages: Vec<ListPage> = pages.try_collect().await?;
    let items = pages.into_iter().flat_map(|page| page.items);
    let items = items.map(serde_json::from_value).collect::<Result<_, _>>();
    items.with_context(|| format!("GET {path} returned an unexpected item"))
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
        let text = self.date_time.trim();
        let zone = match self.time_zone.as_str() {
            "UTC" | "" => TimeZone::UTC,
            // Graph has not used the zone that the request prefers.
            name => {
                TimeZone::get(name).context("Graph returned an event in an unknown time zone")?
            }
        };
        // A time with an offset needs no zone.
        if let Ok(local) = text.parse::<DateTime>()
            && text.parse::<Timestamp>().is_err()
        {
            return Ok(local.to_zoned(zone)?.timestamp());
        }
        let instant = match zone == TimeZone::UTC {
            true => parse_time(text),
            false => text.parse().ok(),
        };
        instant.context("Graph returned an event with an invalid time")
    }
}
