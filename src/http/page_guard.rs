//! The end of lists that do not end by themselves.

use std::{
    collections::{HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::Duration,
};
use tokio::time::sleep;

/// The delay before the second of several empty pages. It doubles with each of them.
const EMPTY_PAGE_DELAY: Duration = Duration::from_millis(100);
/// The longest of these delays.
const MAX_EMPTY_PAGE_DELAY: Duration = Duration::from_secs(5);

/// How many pages a list may have.
///
/// ```
/// use sailor::http::PageLimits;
///
/// let limits = PageLimits::default().with_pages(500);
/// assert_eq!((limits.pages, limits.empty_pages), (500, 100));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageLimits {
    /// The most pages. The default is 10 000.
    pub pages: u32,
    /// The most empty pages in a row. The default is 100.
    pub empty_pages: u32,
}

impl Default for PageLimits {
    fn default() -> Self {
        Self {
            pages: 10_000,
            empty_pages: 100,
        }
    }
}

impl PageLimits {
    /// Sets the most pages.
    #[must_use]
    pub fn with_pages(mut self, pages: u32) -> Self {
        self.pages = pages;
        self
    }

    /// Sets the most empty pages in a row.
    #[must_use]
    pub fn with_empty_pages(mut self, pages: u32) -> Self {
        self.empty_pages = pages;
        self
    }
}

/// A list whose pages do not end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PagingError {
    /// The list has more pages than the limit.
    #[error("the list has more than {0} pages: request larger pages, or fewer items")]
    TooManyPages(u32),
    /// The list has more empty pages in a row than the limit.
    #[error("the API returned more than {0} empty pages in a row, and always named a next one")]
    TooManyEmptyPages(u32),
    /// The API named a next page that is not a URL.
    #[error("the next page that the API returned is not a valid URL")]
    InvalidUrl,
}

/// Decides whether the next page of a list is requested.
///
/// A page that was requested before is the end: some APIs name the last page as its own next one. The numbers of pages and
/// of empty pages are limited, and several empty pages in a row are requested more and more slowly.
///
/// ```
/// use sailor::http::{PageGuard, PageLimits};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), sailor::http::PagingError> {
/// let mut guard = PageGuard::new(PageLimits::default());
/// assert!(guard.may_request("/items", 0).await?);
/// assert!(guard.may_request("/items?page=2", 100).await?);
/// assert!(!guard.may_request("/items?page=2", 40).await?, "the last page names itself");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct PageGuard {
    limits: PageLimits,
    /// Hashes of the requested pages.
    requested: HashSet<u64>,
    empty_in_a_row: u32,
}

impl PageGuard {
    /// Returns a guard for one list.
    #[must_use]
    pub fn new(limits: PageLimits) -> Self {
        Self {
            limits,
            requested: HashSet::new(),
            empty_in_a_row: 0,
        }
    }

    /// Returns whether `page` may be requested: it is what distinguishes the page, such as its URL or cursor. `items` is the
    /// number of items on the page before it, and is ignored for the first page. Waits if several pages were empty.
    ///
    /// # Errors
    /// Returns an error if a limit is reached.
    ///
    /// # Cancel safety
    /// The page counts as requested before the wait.
    pub async fn may_request<P: Hash + ?Sized>(
        &mut self,
        page: &P,
        items: usize,
    ) -> Result<bool, PagingError> {
        let is_first = self.requested.is_empty();
        if !self.requested.insert(hash(page)) {
            return Ok(false);
        }
        if self.requested.len() > self.limits.pages as usize {
            return Err(PagingError::TooManyPages(self.limits.pages));
        }
        self.empty_in_a_row = if is_first || items > 0 {
            0
        } else {
            self.empty_in_a_row + 1
        };
        if self.empty_in_a_row > self.limits.empty_pages {
            return Err(PagingError::TooManyEmptyPages(self.limits.empty_pages));
        }
        if let Some(doublings) = self.empty_in_a_row.checked_sub(2) {
            let delay = EMPTY_PAGE_DELAY.saturating_mul(1 << doublings.min(16));
            sleep(delay.min(MAX_EMPTY_PAGE_DELAY)).await;
        }
        Ok(true)
    }
}

pub(super) fn hash<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn empty_pages_slow_down_and_then_end() {
        let mut guard = PageGuard::new(PageLimits::default());
        let mut times = vec![];
        let start = Instant::now();
        let error = loop {
            match guard.may_request(&times.len(), 0).await {
                Ok(is_new) => assert!(is_new),
                Err(error) => break error,
            }
            times.push(start.elapsed().as_millis());
        };
        assert_eq!(times[..6], [0, 0, 100, 300, 700, 1_500]);
        assert_eq!((times.len(), times[100] - times[99]), (101, 5_000));
        assert_eq!(error, PagingError::TooManyEmptyPages(100));
    }

    #[tokio::test(start_paused = true)]
    async fn pages_are_limited_and_items_reset_the_pace() {
        let mut guard = PageGuard::new(PageLimits {
            pages: 500,
            empty_pages: 3,
        });
        let start = Instant::now();
        for page in 0..500 {
            assert!(guard.may_request(&page, page % 2).await.unwrap());
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert!(!guard.may_request(&7_usize, 0).await.unwrap());
        let error = guard.may_request(&500_usize, 1).await.unwrap_err();
        assert_eq!(error, PagingError::TooManyPages(500));
    }
}
