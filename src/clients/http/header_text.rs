//! Reads headers from JSON, for serde.

use reqwest::header::{HeaderMap, HeaderName};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::collections::BTreeMap;

/// Reads the name of a header.
pub(crate) fn header_name<'de, D: Deserializer<'de>>(json: D) -> Result<HeaderName, D::Error> {
    let name = String::deserialize(json)?;
    HeaderName::try_from(&name).map_err(|_| D::Error::custom("not a valid header name"))
}

/// Reads headers from an object with their values by name.
pub(crate) fn headers<'de, D: Deserializer<'de>>(json: D) -> Result<HeaderMap, D::Error> {
    let headers = BTreeMap::<String, String>::deserialize(json)?;
    let header = |(name, value): (String, String)| {
        let invalid = || D::Error::custom(format!("{name:?} is not a valid header"));
        let parsed = HeaderName::try_from(&name).ok().zip(value.parse().ok());
        parsed.ok_or_else(invalid)
    };
    headers.into_iter().map(header).collect()
}
