//! Helpers for HTTP APIs, in addition to [`AuthorizedClient`](crate::oauth2::AuthorizedClient), which sends the requests.
//!
//! | for | use |
//! |---|---|
//! | a request of `cx.http()` as a part of the message's trace | [`send`] |
//! | responses with a limit, in any character set | [`read_body`], [`read_json`], [`read_text`], [`headers_as_json`] |
//! | bytes that were read already | [`parse_json`], [`decode_text`], [`decode_text_lossy`] |
//! | lists in pages | [`pages`], [`Paging`], [`PageGuard`], [`take_list`], [`next_link`] |
//! | a list with an item that cannot be read | [`read_around`], [`may_be_about_content`] |
//! | times in any notation | [`parse_time`], [`time_of`], [`looks_like_time`], [`http_date`] |
//! | names of files | [`file_name`] |
//! | ids in paths | [`path_segment`] |
//! | the request limit of an account | [`RateLimiter`] |
//! | `verifyCredentials` | [`verify`] |

mod around;
mod body;
mod list;
mod page_guard;
mod paging;
mod path;
mod rate_limit;
mod send;
mod verify;

pub use crate::formats::{
    charset::{decode_text, decode_text_lossy},
    disposition::file_name,
    json::{JsonError, parse_json},
    link::next_link,
    time::{http_date, looks_like_time, parse_time, time_of},
};
pub use around::{Around, may_be_about_content, read_around};
pub use body::{BodyError, headers_as_json, read_body, read_json, read_text};
pub use list::{List, NoList, take_list};
pub use page_guard::{PageGuard, PageLimits, PagingError};
pub use paging::{ListPage, PageRequest, Paging, pages};
pub use path::{InvalidSegment, path_segment};
pub use rate_limit::RateLimiter;
pub use send::send;
pub use verify::verify;
