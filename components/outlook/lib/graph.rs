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
    Ok(ListPage::new(url, headers, items.items, body))
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

/// A local time and its zone.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ZonedTime {
    pub date_time: String,
    #[serde(default)]
    pub time_zone: Option<String>,
}

impl ZonedTime {
    /// The instant.
    pub fn timestamp(&self) -> anyhow::Result<Timestamp> {
        let text = self.date_time.trim();
        // A time with an offset needs no zone.
        if let Ok(instant) = text.parse() {
            return Ok(instant);
        }
        let zone = match self.time_zone.as_deref().unwrap_or_default() {
            "" | "UTC" | "tzone://Microsoft/Utc" => TimeZone::UTC,
            // Graph has not used the zone that the request prefers.
            name => {
                TimeZone::get(name).context("Graph returned an event in an unknown time zone")?
            }
        };
        if let Ok(local) = text.parse::<DateTime>() {
            return Ok(local.to_zoned(zone)?.timestamp());
        }
        let instant = parse_time(text).filter(|_| zone == TimeZone::UTC);
        instant.context("Graph returned an event with an invalid time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp(date_time: &str, time_zone: Option<&str>) -> anyhow::Result<Timestamp> {
        let time_zone = time_zone.map(str::to_owned);
        let date_time = date_time.to_owned();
        ZonedTime {
            date_time,
            time_zone,
        }
        .timestamp()
    }

    #[test]
    fn times_of_events_are_read_in_their_zone() {
        let noon: Timestamp = "2024-06-03T12:00:00Z".parse().unwrap();
        for (text, zone) in [
            ("2024-06-03T12:00:00.0000000", Some("UTC")),
            ("2024-06-03T12:00:00", None),
            ("2024-06-03T12:00:00", Some("")),
            ("2024-06-03T12:00:00", Some("tzone://Microsoft/Utc")),
            ("2024-06-03T14:00:00", Some("Europe/Berlin")),
            ("2024-06-03T12:00:00Z", Some("UTC")),
            ("2024-06-03T14:00:00+02:00", Some("America/New_York")),
            ("2024-06-03 12:00", Some("UTC")),
            ("Mon, 03 Jun 2024 12:00:00 GMT", Some("UTC")),
        ] {
            assert_eq!(timestamp(text, zone).unwrap(), noon, "{text} {zone:?}");
        }
        for (text, zone) in [
            ("soon", Some("UTC")),
            ("Mon, 03 Jun 2024 12:00:00", Some("Europe/Berlin")),
            ("2024-06-03T12:00:00", Some("Customized Time Zone")),
        ] {
            assert!(timestamp(text, zone).is_err(), "{text} {zone:?}");
        }
    }
}
