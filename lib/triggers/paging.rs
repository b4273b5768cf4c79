//! The pages of a list, in the styles that APIs have.

use super::{
    poll_config::{Config, Paging},
    timestamp::text_of,
};
use anyhow::Context as _;
use reqwest::{
    Url,
    header::{HeaderMap, LINK},
};
use serde_json::Value;

/// A page to request.
#[derive(PartialEq)]
pub enum Page {
    First,
    /// The number of the page, or of its first item.
    Number(u64),
    Cursor(String),
    Url(Url),
}

/// A response with one page of the list.
pub struct PageResponse {
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Page {
    pub fn first(config: &Config) -> Self {
        match config.paging {
            Paging::Page => Self::Number(config.first_page.unwrap_or(1)),
            Paging::Offset => Self::Number(0),
            _ => Self::First,
        }
    }

    /// Its path and query. A URL that the API returned is complete: nothing is added to it, not even `since`.
    pub fn address<'a>(
        &self,
        config: &'a Config,
        since: Option<&Value>,
    ) -> (String, Vec<(&'a str, String)>) {
        let usual = match config.paging {
            Paging::Page => "page",
            Paging::Offset => "offset",
            _ => "cursor",
        };
        let parameter = config.page_parameter.as_deref().unwrap_or(usual);
        let number = match self {
            Self::Url(url) => return (url.to_string(), vec![]),
            Self::First => None,
            Self::Number(number) => Some((parameter, number.to_string())),
            Self::Cursor(cursor) => Some((parameter, cursor.clone())),
        };
        let size = config.page_size.map(|size| {
            (
                config.page_size_parameter.as_deref().unwrap_or("limit"),
                size.to_string(),
            )
        });
        let since = config.since_parameter.as_deref().zip(since.map(text_of));
        (
            config.path.clone(),
            since.into_iter().chain(size).chain(number).collect(),
        )
    }

    /// The next page; `None` if this one is the last. `items` is the number of items on this page.
    pub fn after(
        &self,
        config: &Config,
        response: &PageResponse,
        items: u64,
    ) -> anyhow::Result<Option<Self>> {
        let is_last = items == 0;
        let next = match (config.paging, self) {
            (Paging::NextLink, _) => config
                .next(response)?
                .map(|link| response.page_at(&link))
                .transpose()?,
            (Paging::LinkHeader, _) => next_link(&response.headers)
                .map(|link| response.page_at(&link))
                .transpose()?,
            (Paging::Cursor, _) => config.next(response)?.map(Self::Cursor),
            (Paging::Page, Self::Number(page)) if !is_last => Some(Self::Number(page + 1)),
            (Paging::Offset, Self::Number(offset)) if !is_last => {
                Some(Self::Number(offset + items))
            }
            _ => None,
        };
        anyhow::ensure!(
            next.as_ref() != Some(self),
            "the API returned the current page as the next page"
        );
        Ok(next)
    }
}

impl PageResponse {
    /// The page at a URL, which may be relative.
    fn page_at(&self, link: &str) -> anyhow::Result<Page> {
        self.url
            .join(link)
            .map(Page::Url)
            .context("the next page that the API returned is not a valid address")
    }
}

impl Config {
    /// The next page that a response names.
    fn next(&self, response: &PageResponse) -> anyhow::Result<Option<String>> {
        let pointer = self.next_pointer.as_ref();
        let pointer = pointer.context(
            "with this `paging`, set `nextPointer` to the JSON pointer of the next page",
        )?;
        let next = pointer
            .find(&response.body)
            .filter(|next| next.is_string() || next.is_number());
        Ok(next.map(text_of).filter(|text| !text.is_empty()))
    }
}

/// The URL with the relation `next`.
fn next_link(headers: &HeaderMap) -> Option<String> {
    let mut links = headers
        .get_all(LINK)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(links);
    let is_next = |relations: &str| {
        relations
            .split_whitespace()
            .any(|relation| relation.eq_ignore_ascii_case("next"))
    };
    links
        .find(|(_, relations)| is_next(relations))
        .map(|(address, _)| address)
}

/// The URLs of one `Link` header, with their relations.
fn links(header: &str) -> Vec<(String, String)> {
    let mut links = Vec::new();
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<')
        && let Some((address, after)) = after.split_once('>')
    {
        // The parameters end at the comma before the next URL. Commas between quotes belong to a parameter.
        let mut quoted = false;
        let end = after.find(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        let (parameters, after) = after.split_at(end.unwrap_or(after.len()));
        let relation = parameters.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("rel")
                .then(|| value.trim().trim_matches('"').to_owned())
        });
        links.push((address.to_owned(), relation.unwrap_or_default()));
        rest = after;
    }
    links
}

#[cfg(test)]
mod tests {
    use super::links;

    #[test]
    fn a_link_header_is_parsed_with_its_relations() {
        for (header, wanted) in [
            (
                "<https://a/?p=2>; rel=\"next\"",
                &[("https://a/?p=2", "next")][..],
            ),
            (
                "</?p=1>; rel=prev, </?p=3>; rel=\"next last\"",
                &[("/?p=1", "prev"), ("/?p=3", "next last")],
            ),
            ("</a,b>; title=\"x, y\"; REL=\"next\"", &[("/a,b", "next")]),
            ("</a>", &[("/a", "")]),
            ("rel=next", &[]),
        ] {
            let found = links(header);
            let found: Vec<_> = found
                .iter()
                .map(|(address, relation)| (&**address, &**relation))
                .collect();
            assert_eq!(found, wanted, "{header}");
        }
    }
}
