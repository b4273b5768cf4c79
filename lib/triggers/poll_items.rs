//! Trigger "Poll for new and changed items": asks for a list, page by page, and emits what is new in it.
//!
//! The snapshot is the time of the last change and the items that changed at that time. The API is asked for what changed
//! a little earlier, and what has been emitted is left out: of items that change in the same instant none is lost,
//! whether the API takes "since" to be later than, or not earlier than.

#[path = "moment.rs"]
mod moment;
#[path = "paging.rs"]
mod paging;
#[path = "position.rs"]
mod position;

use super::{
    api,
    fields::{self, Pointer},
    limit::Limits,
};
use anyhow::{Context as _, bail};
use futures_util::stream;
use moment::{compare, http_date, just_before, text_of};
use paging::{Answered, Pages, Paging};
use position::Position;
use reqwest::{StatusCode, header::IF_MODIFIED_SINCE};
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{cmp::Ordering, collections::HashSet, sync::Arc};

/// The step's fields, and what of the credentials is not the runtime's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    #[serde(rename = "_account", default)]
    account: String,
    #[serde(default, deserialize_with = "fields::number")]
    requests_per_minute: Option<f64>,
    path: String,
    #[serde(default)]
    items_pointer: Pointer,
    #[serde(default, deserialize_with = "fields::text")]
    id_field: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    changed_field: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    since_parameter: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    since_header: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    start_value: Option<String>,
    #[serde(default, deserialize_with = "fields::choice")]
    paging: Paging,
    #[serde(default, deserialize_with = "fields::pointer")]
    next_pointer: Option<Pointer>,
    #[serde(default, deserialize_with = "fields::text")]
    page_parameter: Option<String>,
    #[serde(default, deserialize_with = "fields::choice")]
    first_page: FirstPage,
    #[serde(default, deserialize_with = "fields::number")]
    page_size: Option<u64>,
    #[serde(default, deserialize_with = "fields::text")]
    page_size_parameter: Option<String>,
    #[serde(default, deserialize_with = "fields::flag")]
    is_sorted: bool,
    #[serde(default, deserialize_with = "fields::choice")]
    emit: Emit,
}
