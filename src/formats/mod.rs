//! The text formats of HTTP APIs, as pure functions: character sets, JSON, times, and two headers. Each accepts more than
//! its standard allows, because APIs send more.

pub(crate) mod charset;
pub(crate) mod disposition;
pub(crate) mod json;
pub(crate) mod link;
pub(crate) mod time;
