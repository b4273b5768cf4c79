//! The reply to a handshake that expects more than its text: JSON with the text and its HMAC-SHA-256.

use super::signature;
use anyhow::{Context as _, bail};
use serde_json::{Map, Value};
use std::str::FromStr;

const TEXT: &str = "{{text}}";
const HMAC: &str = "{{hmac}}";
const HMAC_BASE64: &str = "{{hmacBase64}}";

/// A JSON object with placeholders in its texts.
#[derive(Debug)]
pub struct ReplyTemplate {
    members: Map<String, Value>,
    /// It has an HMAC of the text.
    pub is_signed: bool,
}

impl ReplyTemplate {
    /// The reply for a text. The secret is the key of the HMAC.
    ///
    /// # Errors
    /// Returns an error if the reply needs a secret and there is none.
    pub fn fill(&self, text: &str, secret: Option<&str>) -> anyhow::Result<Value> {
        if !self.is_signed {
            let filled = |part: &str| part.replace(TEXT, text);
            return Ok(replaced(&self.members.clone().into(), &filled));
        }
        let Some(secret) = secret else {
            bail!("`handshakeReply` has an HMAC: set the secret for it in `webhookSecret`");
        };
        let mac = signature::hmac(secret, text).context("computing the reply to a handshake")?;
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        let base64 = base64_simd::STANDARD.encode_to_string(&mac);
        // The text comes last: it is not searched for placeholders.
        let filled = |part: &str| {
            let part = part.replace(HMAC_BASE64, &base64).replace(HMAC, &hex);
            part.replace(TEXT, text)
        };
        Ok(replaced(&self.members.clone().into(), &filled))
    }
}

/// Whether a text can be signed for anybody who asks: it is a random word, not a body or a text with a time. Otherwise the
/// reply would be the signature of a webhook that somebody has made up.
pub fn is_word(text: &str) -> bool {
    let word = text.trim_end_matches('=');
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+/".contains(&byte);
    text.len() <= 256 && !word.is_empty() && word.bytes().all(is_part)
}

fn replaced(value: &Value, filled: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => filled(text).into(),
        Value::Array(items) => items.iter().map(|item| replaced(item, filled)).collect(),
        Value::Object(members) => {
            let members = members.iter();
            members
                .map(|(name, value)| (name.clone(), replaced(value, filled)))
                .collect()
        }
        other => other.clone(),
    }
}

impl FromStr for ReplyTemplate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "a JSON object in whose texts {{text}}, {{hmac}} or {{hmacBase64}} stand";
        let members: Map<String, Value> = serde_json::from_str(text).map_err(|_| EXPECTED)?;
        let is_signed = text.contains(HMAC) || text.contains(HMAC_BASE64);
        if !is_signed && !text.contains(TEXT) {
            return Err(EXPECTED);
        }
        Ok(Self { members, is_signed })
    }
}
