//! What goes wrong with the responses of an API, for as long as a test wants.
//!
//! [`Fault`](crate::Fault)s happen to single calls; [`Trouble`] is how the API behaves. A [`Troublemaker`] applies it.

mod body;
mod layer;
mod pages;
mod random;
mod read;
mod text;

pub use layer::Troublemaker;

use serde::Deserialize;
use std::{num::NonZeroU32, time::Duration};

/// What goes wrong with the responses of an API. By default nothing does. In JSON every member is optional, and an unknown
/// one is an error that names it; durations are seconds.
///
/// Unless a member says otherwise, it is about successful responses to GET. Members that change the text of a body are
/// about JSON.
///
/// ```
/// use http_double::{Encoding, Trouble};
///
/// let trouble: Trouble = serde_json::from_str(r#"{ "calls": "GET /items", "encoding": "utf-16le" }"#)?;
/// assert_eq!(trouble, Trouble {
///     calls: "GET /items".into(),
///     encoding: Some(Encoding::Utf16Le),
///     ..Trouble::default()
/// });
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trouble {
    /// The calls that all of this is about: a regular expression on `METHOD /path?query`, with the query decoded. The empty
    /// one matches every call.
    #[serde(deserialize_with = "read::pattern")]
    pub calls: String,
    /// How a response says that its list has no items.
    pub empty_list: Option<EmptyList>,
    /// The encoding of bodies.
    pub encoding: Option<Encoding>,
    /// The names of members whose texts end with half a surrogate pair, as if they were cut within an emoji.
    pub half_surrogates: Vec<String>,
    /// The `Content-Type` of bodies; an empty text leaves it out.
    pub content_type: Option<String>,
    /// Some of the calls, of any method, are refused because there were too many.
    pub limit: Option<Limit>,
    /// Every response that contains an object with one of these ids fails: its member `id`, in any case, is one of these
    /// texts or numbers. So does every call with the id as a segment of its path. A smaller page shows which item it is.
    pub failing_ids: Vec<String>,
    /// Calls, of any method, that fail: a regular expression like [`calls`](Self::calls).
    #[serde(deserialize_with = "read::some_pattern")]
    pub failing_calls: Option<String>,
    /// The status of failing responses; none is 500.
    pub failing_status: Option<u16>,
    /// How often a request for the next page returns the page before again. A page is the next one if a link or cursor
    /// names it, or if one number in its query has grown. Each page is repeated this many times, then never again.
    pub repeat_pages: u32,
    /// The last page names itself as the next one, if the pages before it name theirs.
    pub last_page_names_itself: bool,
    /// The longest path with query in bytes, for calls of any method; longer ones are refused with 414.
    pub max_url: Option<usize>,
    /// Bodies arrive slowly, whatever they contain.
    pub slow_body: Option<SlowBody>,
    /// The connection ends before the body does, whatever it contains.
    pub broken_body: Option<BrokenBody>,
    /// Bodies are sent in chunks, without `Content-Length`, whatever they contain.
    pub chunked: bool,
    /// Some of this at random.
    pub random: Option<RandomTrouble>,
}

/// How a response says that its list has no items. The list is the body, or the arrays nearest to its top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmptyList {
    /// 204 No Content.
    NoContent,
    /// 200 without a body.
    EmptyBody,
    /// 200 with the other members of the body, without the list.
    Missing,
}

/// The encoding of JSON. RFC 8259, section 8.1 asks for UTF-8 without a byte order mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Encoding {
    /// UTF-8 with a byte order mark.
    #[serde(rename = "utf-8-bom")]
    Utf8Bom,
    /// UTF-16, little endian.
    #[serde(rename = "utf-16le")]
    Utf16Le,
    /// UTF-16, little endian, with a byte order mark.
    #[serde(rename = "utf-16le-bom")]
    Utf16LeBom,
    /// UTF-16, big endian.
    #[serde(rename = "utf-16be")]
    Utf16Be,
    /// UTF-16, big endian, with a byte order mark.
    #[serde(rename = "utf-16be-bom")]
    Utf16BeBom,
    /// ISO-8859-1, and `Content-Type` says so. Other characters are escaped.
    #[serde(rename = "iso-8859-1")]
    Latin1,
    /// ISO-8859-1, and nothing says so.
    #[serde(rename = "iso-8859-1-undeclared")]
    Latin1Undeclared,
}

/// Calls that are refused because there were too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Which of the calls are refused: every one with 1, every second with 2.
    pub every: NonZeroU32,
    /// How the API says it.
    pub style: LimitStyle,
    /// When the client may call again, in seconds. Google does not say it.
    #[serde(default)]
    pub retry_after: u32,
}

/// How an API says that there were too many calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitStyle {
    /// 429 with `Retry-After`, in the service's own format (RFC 6585, section 4).
    TooManyRequests,
    /// 403 with `Retry-After`, in the service's own format.
    Forbidden,
    /// 403 with the reason `rateLimitExceeded` in the body, as at Google.
    Google,
    /// 403 with `X-RateLimit-Remaining: 0` and the time of the reset, as at GitHub.
    Github,
}

/// A body that arrives slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlowBody {
    /// How many bytes are sent before each pause.
    pub bytes: NonZeroU32,
    /// How long a pause is.
    #[serde(deserialize_with = "read::seconds")]
    pub pause: Duration,
}

/// A body whose end does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokenBody {
    /// How many bytes arrive. Shorter bodies are complete.
    pub after: usize,
    /// Which of the responses break: every one with 1, every second with 2.
    #[serde(default = "read::every_one")]
    pub every: NonZeroU32,
}

/// Trouble at random: each probability is that of one call. The same seed and the same calls give the same trouble.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomTrouble {
    /// Where the random numbers begin.
    pub seed: u64,
    /// Calls, of any method, fail with 500, 502, 503 or 504.
    #[serde(deserialize_with = "read::probability")]
    pub server_error: f64,
    /// Calls, of any method, are refused with 403 and `Retry-After: 0`.
    #[serde(deserialize_with = "read::probability")]
    pub limit: f64,
    /// Half of the body arrives.
    #[serde(deserialize_with = "read::probability")]
    pub broken_body: f64,
    /// An empty list is an empty body.
    #[serde(deserialize_with = "read::probability")]
    pub empty_body: f64,
    /// The most calls in a row that fail, are refused or break. The one after them succeeds, so a client that tries again
    /// often enough comes to an end.
    pub max_in_a_row: u32,
}

impl Default for RandomTrouble {
    fn default() -> Self {
        Self {
            seed: 0,
            server_error: 0.0,
            limit: 0.0,
            broken_body: 0.0,
            empty_body: 0.0,
            max_in_a_row: 2,
        }
    }
}
