//! The fields of the trigger "Receive webhooks".

use crate::fields::{self, Pointer};
use serde::Deserialize;

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub struct Config {
    #[serde(deserialize_with = "fields::text")]
    pub(super) webhook_secret: Option<String>,
    #[serde(deserialize_with = "fields::text")]
    pub(super) signature_header: Option<String>,
    #[serde(deserialize_with = "fields::status")]
    pub(super) reply_status: Option<u16>,
    #[serde(deserialize_with = "fields::text")]
    pub(super) reply_body: Option<String>,
    #[serde(deserialize_with = "fields::text")]
    pub(super) subscribe_path: Option<String>,
    #[serde(deserialize_with = "fields::text")]
    pub(super) subscribe_body: Option<String>,
    #[serde(deserialize_with = "fields::pointer")]
    pub(super) subscription_pointer: Option<Pointer>,
}
