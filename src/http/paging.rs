//! Lists in pages, in the styles that APIs have.

use super::{PageGuard, PageLimits, PagingError, next_link, page_guard::hash};
use futures_util::{Stream, stream};
use reqwest::{Url, header::HeaderMap};
use serde_json::Value;
use std::{collections::HashSet, hash::Hash};

/// The members in which versions of OData name the next page.
const ODATA_LINKS: [&str; 3] = ["/@odata.nextLink", "/odata.nextLink", "/d/__next"];

/// How an API divides a list into pages.
///
/// Every item of a list that does not change is on exactly one page. What happens to a list that changes while it is read
/// depends on the style:
///
/// | style | while the list changes |
/// |---|---|
/// | [`Cursor`](Self::Cursor), and links that hold a cursor | no item is missed or repeated, as far as the API keeps its cursors |
/// | [`PageNumber`](Self::PageNumber), [`Offset`](Self::Offset), and links that hold such numbers | an item before the next page that appears shifts others onto that page: they are repeated. One that disappears makes an item be missed |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Paging {
    /// There is only one page.
    #[default]
    Single,
    /// The body of a response has the URL of the next page, at this JSON pointer.
    NextLink(String),
    /// The `Link` header has the URL of the next page (RFC 8288).
    LinkHeader,
    /// The body has the URL of the next page, as in OData: `@odata.nextLink`, `odata.nextLink` or `d.__next`.
    OData,
    /// A request has the number of its page. The first page without items is the end.
    PageNumber {
        /// The number of the first page.
        first: u64,
    },
    /// A request has the number of items before its page. The first page without items is the end.
    Offset,
    /// The body of a response has a text or number for the next request, at this JSON pointer.
    Cursor(String),
}

/// A page to request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PageRequest {
    /// The list's own URL.
    First,
    /// The number of the page, or of its first item.
    Number(u64),
    /// A text that the page before it contains.
    Cursor(String),
    /// A complete URL: nothing is added to it.
    Url(Url),
}

/// A page of a list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListPage {
    /// The URL of the response. Links can be relative to it.
    pub url: Url,
    /// The headers of the response.
    pub headers: HeaderMap,
    /// The items, such as [`take_list`](super::take_list) takes them.
    pub items: Vec<Value>,
    /// The rest of the body.
    pub body: Value,
}

impl ListPage {
    /// Creates a page: its URL and headers, its items, and the rest of the body.
    #[must_use]
    pub fn new(url: Url, headers: HeaderMap, items: Vec<Value>, body: Value) -> Self {
        Self {
            url,
            headers,
            items,
            body,
        }
    }
}

impl Paging {
    /// Returns the first page.
    #[must_use]
    pub fn first(&self) -> PageRequest {
        match self {
            Self::PageNumber { first } => PageRequest::Number(*first),
            Self::Offset => PageRequest::Number(0),
            _ => PageRequest::First,
        }
    }

    /// Returns the page after `page`, whose items are `items` in number; `None` if it is the last.
    ///
    /// # Errors
    /// Returns [`PagingError::InvalidUrl`] if the API names a next page that is not a URL.
    pub fn after(
        &self,
        request: &PageRequest,
        page: &ListPage,
        items: u64,
    ) -> Result<Option<PageRequest>, PagingError> {
        let link = |link: String| page.url.join(&link).map_err(|_| PagingError::InvalidUrl);
        let next_link = match (self, request) {
            (Self::NextLink(pointer), _) => text_at(&page.body, pointer),
            (Self::OData, _) => ODATA_LINKS
                .iter()
                .find_map(|pointer| text_at(&page.body, pointer)),
            (Self::LinkHeader, _) => next_link(&page.headers),
            (Self::Cursor(pointer), _) => {
                return Ok(text_at(&page.body, pointer).map(PageRequest::Cursor));
            }
            (Self::PageNumber { .. }, PageRequest::Number(number)) if items > 0 => {
                return Ok(Some(PageRequest::Number(number.saturating_add(1))));
            }
            (Self::Offset, PageRequest::Number(offset)) if items > 0 => {
                return Ok(Some(PageRequest::Number(offset.saturating_add(items))));
            }
            _ => None,
        };
        Ok(next_link.map(link).transpose()?.map(PageRequest::Url))
    }

    /// Whether the API may not know the number in a request, and return the same page again and again.
    fn is_numbered(&self) -> bool {
        matches!(self, Self::PageNumber { .. } | Self::Offset)
    }
}

/// The text or number at a pointer, if it is not empty.
fn text_at(body: &Value, pointer: &str) -> Option<String> {
    match body.pointer(pointer)? {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Returns the pages of a list as a stream. `fetch` requests one page.
///
/// The stream ends for any responses: pages that were requested before are the end, and [`PageLimits`] limits the others. A
/// numbered page with the same items as one before it is left out, because they were there already; the second one in a row
/// is the end, because the API may not know the number in the request.
///
/// Stop reading at an error: the stream ends after it.
///
/// ```
/// use futures_util::TryStreamExt as _;
/// use sailor::{http::{ListPage, PageLimits, PageRequest, Paging, pages, read_json, take_list}, prelude::*};
/// use serde_json::Value;
///
/// async fn contacts(cx: &Context<Value, Value>) -> anyhow::Result<()> {
///     let fetch = async |request: PageRequest| -> anyhow::Result<ListPage> {
///         let page = match &request {
///             PageRequest::Cursor(cursor) => cx.oauth().get("/contacts").query(&[("after", cursor)]),
///             _ => cx.oauth().get("/contacts"),
///         };
///         let response = page.send().await?;
///         let (url, headers) = (response.url().clone(), response.headers().clone());
///         let mut body: Value = read_json(response, 16 << 20).await?;
///         let items = take_list(&mut body, "/results")?.items;
///         Ok(ListPage::new(url, headers, items, body))
///     };
///     let paging = Paging::Cursor("/paging/next/after".to_owned());
///     let mut pages = std::pin::pin!(pages(paging, PageLimits::default(), fetch));
///     while let Some(page) = pages.try_next().await? {
///         cx.data_all(page.items).await?;
///     }
///     Ok(())
/// }
/// ```
pub fn pages<E, F, R>(
    paging: Paging,
    limits: PageLimits,
    fetch: F,
) -> impl Stream<Item = Result<ListPage, E>>
where
    E: From<PagingError>,
    F: FnMut(PageRequest) -> R,
    R: Future<Output = Result<ListPage, E>>,
{
    let state = Pages {
        next: Some((paging.first(), 0)),
        paging,
        guard: PageGuard::new(limits),
        contents: HashSet::new(),
        after_repeated: false,
        fetch,
    };
    stream::try_unfold(state, async |mut pages| {
        Ok(pages.next().await?.map(|page| (page, pages)))
    })
}

/// A list that is being read.
struct Pages<F> {
    paging: Paging,
    /// The next page, and the number of items on the page before it.
    next: Option<(PageRequest, usize)>,
    guard: PageGuard,
    /// Hashes of the items of numbered pages.
    contents: HashSet<u64>,
    /// The last page had the items of a page before it.
    after_repeated: bool,
    fetch: F,
}

impl<F> Pages<F> {
    async fn next<E, R>(&mut self) -> Result<Option<ListPage>, E>
    where
        E: From<PagingError>,
        F: FnMut(PageRequest) -> R,
        R: Future<Output = Result<ListPage, E>>,
    {
        while let Some((request, items_before)) = self.next.take() {
            if !self.guard.may_request(&request, items_before).await? {
                return Ok(None);
            }
            let page = (self.fetch)(request.clone()).await?;
            let items = page.items.len();
            let next = self.paging.after(&request, &page, items as u64)?;
            let is_repeated = self.paging.is_numbered() && items > 0 && !self.is_new(&page);
            if is_repeated && self.after_repeated {
                return Ok(None);
            }
            self.after_repeated = is_repeated;
            self.next = next.map(|next| (next, items));
            if !is_repeated {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    fn is_new(&mut self, page: &ListPage) -> bool {
        let items: Vec<String> = page.items.iter().map(Value::to_string).collect();
        self.contents.insert(hash(&items))
    }
}

#[cfg(test)]
mod tests;
