//! The fields of the trigger "Receive webhooks".

use super::{
    handshake_reply::ReplyTemplate, pings::Pings, signed_text::SignedText, webhook_request::Member,
};
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
    pub(super) previous_secret: Option<String>,
    #[serde(deserialize_with = "fields::text")]
    pub(super) signature_header: Option<String>,
    #[serde(deserialize_with = "fields::parsed")]
    pub(super) signed_text: Option<SignedText>,
    #[serde(deserialize_with = "fields::number")]
    pub(super) time_tolerance: Option<u64>,
    #[serde(deserialize_with = "fields::parsed")]
    pub(super) handshake: Option<Member>,
    #[serde(deserialize_with = "fields::parsed")]
    pub(super) handshake_reply: Option<ReplyTemplate>,
    #[serde(deserialize_with = "fields::text")]
    pub(super) verify_token: Option<String>,
    #[serde(deserialize_with = "fields::parsed")]
    pub(super) verify_token_member: Option<Member>,
    #[serde(deserialize_with = "fields::checked")]
    pub(super) keep_handshake_secret: bool,
    #[serde(deserialize_with = "fields::parsed")]
    pub(super) pings: Option<Pings>,
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
