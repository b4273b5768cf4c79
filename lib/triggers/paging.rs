//! How a list goes on: page after page, in the ways that APIs have for it.

use super::{Config, moment::text_of};
use anyhow::Context as _;
use reqwest::{
    Url,
    header::{HeaderMap, LINK},
};
use serde::Deserialize;
use serde_json::Value;

/// Where the next page is.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Paging {
    /// There is only one.
    #[default]
    None,
    /// The answer's body has its address.
    NextLink,
    /// The `Link` header has its address (RFC 8288).
    LinkHeader,
    /// Pages have numbers.
    Page,
    /// Items have numbers.
    Offset,
    /// The answer's body has a text to send with the next request.
    Cursor,
}

/// A page to ask for.
#[derive(PartialEq)]
pub enum Page {
    First,
    /// Of pages or items.
    Number(u64),
    Cursor(String),
    At(Url),
}

/// An answer with one page of the list.
pub struct Answered {
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

    /// Its address and query. The address that an API gives is complete: nothing is added to it, `since` neither.
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
        let own = match self {
            Self::At(url) => return (url.to_string(), vec![]),
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
            since.into_iter().chain(size).chain(own).collect(),
        )
    }

    /// The page after this one, which was answered with `items` items; none when it is the last.
    pub fn after(
        &self,
        config: &Config,
        answered: &Answered,
        items: u64,
    ) -> anyhow::Result<Option<Self>> {
        let is_last = items == 0;
        let next = match (config.paging, self) {
            (Paging::NextLink, _) => config
                .next(answered)?
                .map(|link| answered.page_at(&link))
                .transpose()?,
            (Paging::LinkHeader, _) => next_of(&answered.headers)
                .map(|link| answered.page_at(&link))
                .transpose()?,
            (Paging::Cursor, _) => config.next(answered)?.map(Self::Cursor),
            (Paging::Page, Self::Number(page)) if !is_last => Some(Self::Number(page + 1)),
            (Paging::Offset, Self::Number(offset)) if !is_last => {
                Some(Self::Number(offset + items))
            }
            _ => None,
        };
        anyhow::ensure!(
            next.as_ref() != Some(self),
            "the API names the page that it has answered as the next one"
        );
        Ok(next)
    }
}

impl Answered {
    /// The page at an address, which may be relative.
    fn page_at(&self, link: &str) -> anyhow::Result<Page> {
        self.url
            .join(link)
            .map(Page::At)
            .context("what the API names as the next page is no address")
    }
}

impl Config {
    /// What the answer names as the next page.
    fn next(&self, answered: &Answered) -> anyhow::Result<Option<String>> {
        let pointer = self.next_pointer.as_ref();
        let pointer = pointer
            .context("with this `paging`, `nextPointer` has to say where the next page is named")?;
        let next = pointer
            .find(&answered.body)
            .filter(|next| next.is_string() || next.is_number());
        Ok(next.map(text_of).filter(|text| !text.is_empty()))
    }
}

/// The address with the relation `next`.
fn next_of(headers: &HeaderMap) -> Option<String> {
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

/// The addresses of one `Link` header, with their relations.
fn links(header: &str) -> Vec<(String, String)> {
    let mut links = Vec::new();
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<')
        && let Some((address, after)) = after.split_once('>')
    {
        // Up to the comma before the next address: commas between quotes belong to a parameter.
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
