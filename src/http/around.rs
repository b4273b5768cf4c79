//! Reading a list around an item that the API cannot return.

use crate::oauth2;
use reqwest::StatusCode;

/// How many requests in a row may fail before the API has to show that it works.
const MAX_FAILURES: u32 = 20;
/// How many times the distance doubles at which an item is looked for that can be read.
const MAX_DOUBLINGS: u32 = 16;

/// What was read around the items that cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub struct Around<T, E> {
    /// The items, in the order of the list.
    pub items: Vec<T>,
    /// The offsets of items that cannot be read, with the error for each.
    pub unreadable: Vec<(u64, E)>,
}

/// Reads a page in smaller and smaller parts, after the API has failed to return it with `error`: one item may be too large
/// or broken, and must not stop those after it. `fetch` requests `count` items from an offset.
///
/// The sizes of the parts divide `count`, so `fetch` can express an offset as the number of a page.
///
/// An item counts as unreadable only if a request after it succeeds, so a failure of the whole API is not taken for a series of
/// unreadable items. Any number of them can follow each other: after 20 requests in a row that failed, and at the end if the
/// last item failed, the API has to show that it works. For that, something is requested that could be read before, or else
/// items after the page, at distances that double: 0, 1, 3, 7 and so on. They are not returned. At the end, each unreadable item
/// is requested once more. All this takes at most about four requests for each item of the page, and 25 more.
///
/// ```
/// use sailor::http::read_around;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), &'static str> {
/// let api = |offset: u64, count: u64| async move {
///     let items: Vec<u64> = (offset..(offset + count).min(100)).collect();
///     if items.contains(&42) { Err("500 Internal Server Error") } else { Ok(items) }
/// };
/// let page = read_around(40, 10, "500 Internal Server Error", api, |_| true).await?;
/// assert_eq!(page.items, [40, 41, 43, 44, 45, 46, 47, 48, 49]);
/// assert_eq!(page.unreadable, [(42, "500 Internal Server Error")]);
/// # Ok(()) }
/// ```
///
/// # Errors
/// Returns the first error for which `is_about_content` is false, and the last error if the API does not work. Nothing is read
/// then.
pub async fn read_around<T, E, F, R>(
    offset: u64,
    count: u64,
    error: E,
    mut fetch: F,
    is_about_content: impl Fn(&E) -> bool,
) -> Result<Around<T, E>, E>
where
    F: FnMut(u64, u64) -> R,
    R: Future<Output = Result<Vec<T>, E>>,
{
    // What was read, in the order of the list.
    let mut read: Vec<(u64, Result<Vec<T>, E>)> = vec![];
    // The parts that are left, the next one last.
    let mut parts = split(offset, count);
    let mut health = Health {
        end: offset.saturating_add(count),
        good: None,
        failures: 0,
    };
    if parts.is_empty() {
        health.failures = 1;
        read.push((offset, Err(error)));
    }
    while let Some((offset, count)) = parts.pop() {
        match fetch(offset, count).await {
            Ok(items) => {
                (health.failures, health.good) = (0, Some((offset, count)));
                read.push((offset, Ok(items)));
            }
            Err(error) if !is_about_content(&error) => return Err(error),
            Err(error) => {
                let smaller = split(offset, count);
                if smaller.is_empty() {
                    read.push((offset, Err(error)));
                }
                parts.extend(smaller);
                health.failures += 1;
                if health.failures == MAX_FAILURES {
                    health.check(&mut fetch, &is_about_content).await?;
                }
            }
        }
    }
    if health.failures > 0 {
        health.check(&mut fetch, &is_about_content).await?;
    }
    // The failure may have been a passing one.
    for (offset, result) in read.iter_mut().filter(|(_, result)| result.is_err()) {
        match fetch(*offset, 1).await {
            Err(error) if !is_about_content(&error) => return Err(error),
            again => *result = again,
        }
    }
    Ok(Around::of(read))
}

/// Whether the API works, although requests fail.
struct Health {
    /// The offset after the page.
    end: u64,
    /// The last range that could be read.
    good: Option<(u64, u64)>,
    /// How many requests in a row have failed.
    failures: u32,
}

impl Health {
    /// Requests what could be read before, or else looks for an item after the page that can be read. A list that ends before
    /// it has no items there, which is an answer too.
    ///
    /// # Errors
    /// Returns the last error if nothing can be read.
    async fn check<T, E, F, R>(
        &mut self,
        fetch: &mut F,
        is_about_content: &impl Fn(&E) -> bool,
    ) -> Result<(), E>
    where
        F: FnMut(u64, u64) -> R,
        R: Future<Output = Result<Vec<T>, E>>,
    {
        let mut doublings = 0;
        loop {
            let distance = (1_u64 << doublings) - 1;
            let range = self.good.unwrap_or((self.end.saturating_add(distance), 1));
            match fetch(range.0, range.1).await {
                Ok(_) => {
                    (self.failures, self.good) = (0, Some(range));
                    return Ok(());
                }
                Err(error) if doublings == MAX_DOUBLINGS || !is_about_content(&error) => {
                    return Err(error);
                }
                // What could be read before may have changed.
                Err(_) if self.good.take().is_some() => {}
                Err(_) => doublings += 1,
            }
        }
    }
}

impl<T, E> Around<T, E> {
    fn of(read: Vec<(u64, Result<Vec<T>, E>)>) -> Self {
        let mut around = Self {
            items: vec![],
            unreadable: vec![],
        };
        for (offset, result) in read {
            match result {
                Ok(items) => around.items.extend(items),
                Err(error) => around.unreadable.push((offset, error)),
            }
        }
        around
    }
}

/// Returns whether a request may have failed because of what it asks for: the API has a fault (a status from 500, except 503),
/// and does not say that it is busy.
///
/// ```
/// use sailor::{http::may_be_about_content, oauth2::Error};
///
/// assert!(!may_be_about_content(&Error::Config("no client id".to_owned())));
/// ```
#[must_use]
pub fn may_be_about_content(error: &oauth2::Error) -> bool {
    match error {
        oauth2::Error::Status {
            status,
            busy: false,
            ..
        } => status.is_server_error() && *status != StatusCode::SERVICE_UNAVAILABLE,
        _ => false,
    }
}

/// The parts of a range, the first one last. Their number is the smallest prime factor of `count`.
fn split(offset: u64, count: u64) -> Vec<(u64, u64)> {
    let Some(parts) = (2..=count).find(|parts| count.is_multiple_of(*parts)) else {
        return vec![];
    };
    let size = count / parts;
    (0..parts)
        .rev()
        .map(|part| (offset + part * size, size))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeSet, future};

    /// The errors of an API.
    #[derive(Debug, PartialEq)]
    enum Failure {
        Item,
        Everything,
    }

    /// A list of `length` items. A request that includes a bad one fails, and every one from `outage` on does.
    struct Api {
        length: u64,
        bad: BTreeSet<u64>,
        outage: Option<usize>,
        requests: usize,
    }

    impl Api {
        fn fetch(&mut self, offset: u64, count: u64) -> Result<Vec<u64>, Failure> {
            self.requests += 1;
            let end = (offset + count).min(self.length);
            let is_down = self.outage.is_some_and(|outage| self.requests > outage);
            if is_down || self.bad.range(offset..end.max(offset)).next().is_some() {
                return Err(if is_down {
                    Failure::Everything
                } else {
                    Failure::Item
                });
            }
            Ok((offset..end).collect())
        }

        async fn read_around(
            &mut self,
            page: u64,
            count: u64,
        ) -> Result<Around<u64, Failure>, Failure> {
            let offset = page * count;
            let fetch = |offset, count: u64| {
                assert_eq!(offset % count, 0, "not the start of a page of {count}");
                future::ready(self.fetch(offset, count))
            };
            read_around(offset, count, Failure::Item, fetch, |error| {
                *error == Failure::Item
            })
            .await
        }
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        futures_util::FutureExt::now_or_never(future).expect("nothing is waited for")
    }

    #[test]
    fn any_number_of_unreadable_items_is_passed_over() {
        // A page of them, several pages of them, all but one, and a list of nothing else.
        for (length, bad, count) in [
            (200, 0..100, 100),
            (5000, 0..4000, 100),
            (1000, 1..1000, 1000),
            (64, 0..64, 16),
        ] {
            let bad: BTreeSet<u64> = bad.collect();
            let mut api = Api {
                length,
                bad: bad.clone(),
                outage: None,
                requests: 0,
            };
            let around = now(api.read_around(0, count)).unwrap();
            let unreadable = around.unreadable.len() as u64;
            assert_eq!(unreadable, bad.range(..count).count() as u64);
            assert_eq!(around.items.len() as u64 + unreadable, count);
            assert!(api.requests as u64 <= 4 * count + 25, "{}", api.requests);
        }
    }

    #[test]
    fn an_api_that_fails_for_everything_is_not_read_around() {
        let bad: BTreeSet<u64> = (0..50_000).collect();
        let mut api = Api {
            length: u64::MAX,
            bad,
            outage: None,
            requests: 0,
        };
        // Items far behind the page can be read: then it is not the API that fails.
        assert_eq!(now(api.read_around(0, 8)).unwrap().unreadable.len(), 8);
        let fetch = |_, _| future::ready(Err::<Vec<u64>, _>(Failure::Item));
        let around = now(read_around(0, 8, Failure::Item, fetch, |_| true));
        assert_eq!(around.unwrap_err(), Failure::Item);
    }

    proptest! {
        #[test]
        fn each_item_is_read_or_unreadable(
            length in 0..60_u64, bad: Vec<u8>, page in 0..3_u64, count in 1..24_u64,
        ) {
            let bad: BTreeSet<u64> = bad.into_iter().map(|bad| u64::from(bad) % 60).collect();
            let range = page * count..((page + 1) * count).min(length);
            prop_assume!(range.clone().any(|item| bad.contains(&item)));
            let mut api = Api { length, bad: bad.clone(), outage: None, requests: 0 };
            let expected: Vec<u64> = range.clone().filter(|item| !bad.contains(item)).collect();
            let unreadable: Vec<u64> = range.clone().filter(|item| bad.contains(item)).collect();
            let around = now(api.read_around(page, count)).unwrap();
            prop_assert_eq!(around.items, expected);
            let offsets: Vec<u64> = around.unreadable.iter().map(|(offset, _)| *offset).collect();
            prop_assert_eq!(offsets, unreadable);
            prop_assert!(api.requests as u64 <= 4 * count + 25, "{}", api.requests);
        }

        #[test]
        fn an_outage_is_not_a_series_of_unreadable_items(outage in 0..20_usize, count in 1..24_u64) {
            let bad = BTreeSet::from([0]);
            let mut api = Api { length: 60, bad, outage: Some(outage), requests: 0 };
            match now(api.read_around(0, count)) {
                Ok(around) => {
                    prop_assert_eq!(around.unreadable, [(0, Failure::Item)]);
                    prop_assert!(api.requests <= outage);
                }
                Err(error) => prop_assert_eq!(error, Failure::Everything),
            }
        }
    }
}
