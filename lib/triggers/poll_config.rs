//! The fields of the trigger "Poll for new and changed items".

use crate::fields::{self, Pointer};
use serde::Deserialize;

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
    pub(super) start_value: Option<String>,
    #[serde(default, deserialize_with = "fields::choice")]
    pub(super) paging: Paging,
    #[serde(default, deserialize_with = "fields::pointer")]
    pub(super) next_pointer: Option<Pointer>,
    #[serde(default, deserialize_with = "fields::text")]
    pub(super) page_parameter: Option<String>,
    #[serde(default, deserialize_with = "fields::count")]
    pub(super) first_page: Option<u64>,
    #[serde(default, deserialize_with = "fields::number")]
    pub(super) page_size: Option<u64>,
    #[serde(default, deserialize_with = "fields::text")]
    pub(super) page_size_parameter: Option<String>,
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
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Paging {
    /// There is only one page.
    #[default]
    None,
    /// The body of the response has its URL.
    NextLink,
    /// The `Link` header has its URL (RFC 8288).
    LinkHeader,
    /// The request has the number of the page.
    Page,
    /// The request has the number of items before the page.
    Offset,
    /// The body of the response has a text for the next request.
    Cursor,
}
