//! The fields of the trigger "Poll for new and changed items".

use super::{order::text_of, position::MAX_TIME};
use crate::fields::{self, Pointer};
use anyhow::{Context as _, ensure};
use sailor::http::{self, PageRequest};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The step's fields, and the fields of the credentials that the runtime does not read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    #[serde(rename = "_account", default)]
    pub(super) account: String,
    #[serde(default, deserialize_with = "fields::number")]
    pub(super) requests_per_minute: Option<f64>,
    pub(super) path: String,
    #[serde(default)]
    pub(super) items_pointer: Pointer,
    #[serde(default, deserialize_with = "fields::text")]
    pub(super) id_field: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    pub(super) changed_field: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    pub(super) since_parameter: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    pub(super) since_header: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    start_value: Option<String>,
    /// Headers of every request.
    #[serde(default, deserialize_with = "fields::headers")]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "fields::choice")]
    paging: Paging,
    #[serde(default, deserialize_with = "fields::pointer")]
    next_pointer: Option<Pointer>,
    #[serde(default, deserialize_with = "fields::text")]
    page_parameter: Option<String>,
    #[serde(default, deserialize_with = "fields::count")]
    first_page: Option<u64>,
    #[serde(default, deserialize_with = "fields::number")]
    pub(super) page_size: Option<u64>,
    #[serde(default, deserialize_with = "fields::text")]
    page_size_parameter: Option<String>,
    #[serde(default, deserialize_with = "fields::checked")]
    pub(super) is_sorted: bool,
    #[serde(default, deserialize_with = "fields::choice")]
    pub(super) emit: Emit,
}

/// How items become messages.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) enum Emit {
    /// One message for each item.
    #[default]
    Each,
    /// One message for the new items of each page, as the member `items`.
    Page,
    /// One message for all new items, as the member `items`.
    All,
}

/// How the next page is found.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum Paging {
    /// There is only one page.
    #[default]
    None,
    /// The body of the response has its URL.
    NextLink,
    /// The `Link` header has its URL (RFC 8288).
    LinkHeader,
    /// The body of the response has its URL, as in OData.
    #[serde(rename = "odata")]
    OData,
    /// The request has the number of the page.
    Page,
    /// The request has the number of items before the page.
    Offset,
    /// The body of the response has a text for the next request.
    Cursor,
}

impl Config {
    /// How the list is divided into pages.
    ///
    /// # Errors
    /// Returns an error if the field with the place of the next page is empty and is needed.
    pub(super) fn paging(&self) -> anyhow::Result<http::Paging> {
        let next = || {
            let next = self.next_pointer.as_ref().context(
                "with this `paging`, set `nextPointer` to the JSON pointer of the next page",
            )?;
            anyhow::Ok(next.to_string())
        };
        Ok(match self.paging {
            Paging::None => http::Paging::Single,
            Paging::NextLink => http::Paging::NextLink(next()?),
            Paging::LinkHeader => http::Paging::LinkHeader,
            Paging::OData => http::Paging::OData,
            Paging::Page => http::Paging::PageNumber {
                first: self.first_page.unwrap_or(1),
            },
            Paging::Offset => http::Paging::Offset,
            Paging::Cursor => http::Paging::Cursor(next()?),
        })
    }

    /// Where polling starts without a snapshot.
    ///
    /// # Errors
    /// Returns an error if a snapshot has no room for it.
    pub(super) fn start(&self) -> anyhow::Result<Option<&str>> {
        let start = self.start_value.as_deref();
        let length = start.map_or(0, |start| Value::from(start).to_string().len());
        ensure!(
            length <= MAX_TIME,
            "`startValue` has more than {MAX_TIME} bytes: enter a time or a number"
        );
        Ok(start)
    }

    /// The path and query of a page with `size` items. A URL that the API returned is complete: nothing is added to it, not
    /// even `since`.
    pub(super) fn address(
        &self,
        page: &PageRequest,
        size: Option<u64>,
        since: Option<&Value>,
    ) -> (String, Vec<(&str, String)>) {
        let usual = match self.paging {
            Paging::Page => "page",
            Paging::Offset => "offset",
            _ => "cursor",
        };
        let parameter = self.page_parameter.as_deref().unwrap_or(usual);
        let number = match page {
            PageRequest::Url(url) => return (url.to_string(), vec![]),
            PageRequest::First => None,
            PageRequest::Number(number) => Some((parameter, number.to_string())),
            PageRequest::Cursor(cursor) => Some((parameter, cursor.clone())),
        };
        let size = size.map(|size| (self.page_size_parameter(), size.to_string()));
        let since = self.since_parameter.as_deref().zip(since.map(text_of));
        (
            self.path.clone(),
            since.into_iter().chain(size).chain(number).collect(),
        )
    }

    /// The query parameter for the number of items on a page.
    pub(super) fn page_size_parameter(&self) -> &str {
        self.page_size_parameter.as_deref().unwrap_or("limit")
    }

    /// Whether a page can be requested by the time of the last change on the page before it.
    pub(super) fn pages_by_time(&self) -> bool {
        let has_since = self.since_parameter.is_some() || self.since_header.is_some();
        self.is_sorted && has_since && matches!(self.paging, Paging::Page | Paging::Offset)
    }
}
