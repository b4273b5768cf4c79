use super::*;
use futures_util::{StreamExt, TryStreamExt};
use proptest::prelude::*;
use reqwest::header::{HeaderValue, LINK};
use serde_json::json;
use std::{future::ready, pin::pin};

/// All ways of paging.
fn ways() -> [Paging; 6] {
    [
        Paging::NextLink("/next".to_owned()),
        Paging::LinkHeader,
        Paging::OData,
        Paging::PageNumber { first: 1 },
        Paging::Offset,
        Paging::Cursor("/next".to_owned()),
    ]
}

fn url(path: &str) -> Url {
    Url::parse("https://api.example.com/items")
        .unwrap()
        .join(path)
        .unwrap()
}

/// A page that names `next` in every style.
fn page(items: Vec<Value>, next: Option<&str>) -> ListPage {
    let mut headers = HeaderMap::new();
    if let Some(next) = next {
        let link = HeaderValue::from_str(&format!("<{next}>; rel=\"next\"")).unwrap();
        headers.insert(LINK, link);
    }
    ListPage {
        url: url(""),
        headers,
        items,
        body: json!({ "next": next, "@odata.nextLink": next }),
    }
}

/// An API whose list can change between two requests.
struct Api {
    list: Vec<u32>,
    page_size: usize,
    requests: u32,
}

impl Api {
    /// The page of a request. Links and cursors hold the item before the page, so a change before it does not matter.
    fn page(&mut self, request: &PageRequest, first: u64) -> ListPage {
        self.requests += 1;
        let at = |number: u64| usize::try_from(number).unwrap().min(self.list.len());
        let after = |text: &str| {
            let last: u32 = text.parse().unwrap();
            self.list
                .iter()
                .position(|item| *item > last)
                .unwrap_or(self.list.len())
        };
        let start = match request {
            PageRequest::First => 0,
            PageRequest::Number(page) if first == 1 => at((page - 1) * self.page_size as u64),
            PageRequest::Number(offset) => at(*offset),
            PageRequest::Cursor(cursor) => after(cursor),
            PageRequest::Url(url) => after(&url.path()[1..]),
        };
        let items = &self.list[start..(start + self.page_size).min(self.list.len())];
        let next = items.last().filter(|_| items.len() == self.page_size);
        let next = next.map(|item| format!("{item}"));
        page(
            items.iter().map(|item| json!(item)).collect(),
            next.as_deref(),
        )
    }

    /// Reads the whole list. `change` is called before each request.
    async fn read(&mut self, paging: &Paging, mut change: impl FnMut(&mut Self)) -> Vec<u32> {
        let first = u64::from(matches!(paging, Paging::PageNumber { .. }));
        let fetch = |request: PageRequest| {
            change(self);
            ready(Ok::<_, PagingError>(self.page(&request, first)))
        };
        let pages: Vec<ListPage> = pages(paging.clone(), PageLimits::default(), fetch)
            .try_collect()
            .await
            .unwrap();
        let items = pages.into_iter().flat_map(|page| page.items);
        items
            .map(|item| u32::try_from(item.as_u64().unwrap()).unwrap())
            .collect()
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(future)
}

proptest! {
    #[test]
    fn a_list_that_does_not_change_is_read_once(length in 0..40_u32, page_size in 1..9_usize) {
        for paging in ways() {
            let list: Vec<u32> = (1..=length).collect();
            let mut api = Api { list: list.clone(), page_size, requests: 0 };
            prop_assert_eq!(now(api.read(&paging, |_| ())), list, "{:?}", paging);
        }
    }

    #[test]
    fn cursors_miss_and_repeat_nothing(
        length in 0..40_u32, page_size in 1..9_usize, changes: Vec<(bool, u32)>,
    ) {
        for paging in ways().into_iter().filter(|paging| !paging.is_numbered()) {
            // Even items stay. Odd ones come and go.
            let kept: Vec<u32> = (1..=length).map(|item| item * 2).collect();
            let mut api = Api { list: kept.clone(), page_size, requests: 0 };
            let mut changes = changes.iter();
            let mut read = now(api.read(&paging, |api| {
                if let Some((appears, item)) = changes.next() {
                    let item = (item % 80) | 1;
                    api.list.retain(|other| *other != item);
                    if *appears {
                        api.list.push(item);
                        api.list.sort_unstable();
                    }
                }
            }));
            read.retain(|item| item % 2 == 0);
            prop_assert_eq!(read, kept, "{:?}", paging);
        }
    }

    #[test]
    fn any_sequence_of_pages_ends(
        pages_of_api: Vec<(u8, u8, bool)>, style in 0..6_usize,
    ) {
        let paging = ways()[style].clone();
        let limits = PageLimits { pages: 50, empty_pages: 5 };
        let mut sequence = pages_of_api.iter().cycle();
        let mut requests = 0;
        let fetch = |_: PageRequest| {
            requests += 1;
            let (items, next, is_named) = *sequence.next().unwrap_or(&(0, 0, true));
            let items = (0..items % 4).map(|item| json!(item)).collect();
            let page = page(items, is_named.then(|| format!("{next}")).as_deref());
            ready(Ok::<_, PagingError>(page))
        };
        now(async {
            let mut pages = pin!(pages(paging, limits, fetch));
            while let Some(Ok(_)) = pages.next().await {}
        });
        prop_assert!(requests <= 50);
    }
}

#[test]
fn numbers_repeat_what_is_shifted_and_miss_what_moves_up() {
    for paging in [Paging::PageNumber { first: 1 }, Paging::Offset] {
        let api = || Api {
            list: vec![10, 20, 30, 40],
            page_size: 2,
            requests: 0,
        };
        let (mut grows, mut shrinks) = (api(), api());
        let read = now(grows.read(&paging, |api| {
            if api.requests == 1 {
                api.list.insert(0, 5);
            }
        }));
        assert_eq!(read, [10, 20, 20, 30, 40], "{paging:?}");
        let read = now(shrinks.read(&paging, |api| {
            if api.requests == 1 {
                api.list.remove(0);
            }
        }));
        assert_eq!(read, [10, 20, 40], "{paging:?}");
    }
}

#[tokio::test]
async fn the_last_page_may_name_itself_as_the_next() {
    for paging in ways().into_iter().filter(|paging| !paging.is_numbered()) {
        let fetch = async |request: PageRequest| {
            let items = vec![json!(matches!(request, PageRequest::First))];
            Ok::<_, PagingError>(page(items, Some("2")))
        };
        let pages: Vec<ListPage> = pages(paging.clone(), PageLimits::default(), fetch)
            .try_collect()
            .await
            .unwrap();
        let items: Vec<_> = pages.into_iter().flat_map(|page| page.items).collect();
        assert_eq!(items, [json!(true), json!(false)], "{paging:?}");
    }
}

#[tokio::test]
async fn a_numbered_page_that_returns_again_is_left_out_and_then_the_end() {
    for paging in [Paging::PageNumber { first: 0 }, Paging::Offset] {
        // The page shifts once by its whole length, and the last page is returned for every later number.
        for (answers, wanted) in [
            (vec![1, 1, 2, 3, 3, 3, 3], vec![1, 2, 3]),
            (vec![1, 1, 1], vec![1]),
        ] {
            let mut answers = answers.into_iter();
            let fetch = |_: PageRequest| {
                let page = page(vec![json!(answers.next().unwrap())], None);
                ready(Ok::<_, PagingError>(page))
            };
            let pages: Vec<ListPage> = pages(paging.clone(), PageLimits::default(), fetch)
                .try_collect()
                .await
                .unwrap();
            let items: Vec<_> = pages.into_iter().flat_map(|page| page.items).collect();
            assert_eq!(items, wanted, "{paging:?}");
        }
    }
}

#[tokio::test]
async fn links_are_resolved_and_must_be_urls() {
    for (next, wanted) in [
        (
            "/v2/items?page=2",
            Some("https://api.example.com/v2/items?page=2"),
        ),
        ("?page=2", Some("https://api.example.com/items?page=2")),
        (
            "https://other.example.com/",
            Some("https://other.example.com/"),
        ),
        ("https://", None),
    ] {
        let request = Paging::OData.after(&PageRequest::First, &page(vec![], Some(next)), 0);
        match wanted {
            Some(wanted) => assert_eq!(request, Ok(Some(PageRequest::Url(url(wanted))))),
            None => assert_eq!(request, Err(PagingError::InvalidUrl)),
        }
    }
    for next in [json!(null), json!(""), json!(false), json!({})] {
        let mut last = page(vec![], None);
        last.body = json!({ "next": next });
        for paging in [
            Paging::NextLink("/next".into()),
            Paging::Cursor("/next".into()),
        ] {
            assert_eq!(
                paging.after(&PageRequest::First, &last, 1),
                Ok(None),
                "{next}"
            );
        }
    }
}
