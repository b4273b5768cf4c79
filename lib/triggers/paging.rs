//! How a list goes on: page after page, in the ways that APIs have for it.

use super::{
    Config,
    moment::text_of,
};
use anyhow::{Context as _, bail};
use reqwest::{Url, header::{HeaderMap, LINK}};
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

/// No list has more pages: the API is leading us round in a circle.
const MOST: u64 = 100_000;

/// The way through the pages of one list.
pub struct Pages {
    style: Paging,
    /// The page to ask for.
    page: Page,
    turned: u64,
}

enum Page {
    /// The list itself, with this value in the paging parameter.
    Of(Option<String>),
    /// An address of its own.
    At(Url),
}

impl Pages {
    pub fn new(config: &Config) -> Self {
        let first = match config.paging {
            Paging::Page => Some(config.first_page.to_string()),
            Paging::Offset => Some("0".to_owned()),
            _ => None,
        };
        Self { style: config.paging, page: Page::Of(first), turned: 0 }
    }

    /// Address and parameters of the page to ask for; `since` is what restricts the list.
    pub fn address(&self, config: &Config, since: Option<(&str, String)>) -> (String, Vec<(String, String)>) {
        let parameter = match &self.page {
            Page::At(url) => return (url.to_string(), vec![]),
            Page::Of(parameter) => parameter,
        };
        let mut query: Vec<_> = since.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if let Some(size) = config.page_size {
            query.push((config.page_size_parameter.clone().unwrap_or_else(|| "limit".to_owned()), size.to_string()));
        }
        if let Some(value) = parameter {
            query.push((self.parameter(config).to_owned(), value.clone()));
        }
        (config.path.clone(), query)
    }

    fn parameter<'a>(&self, config: &'a Config) -> &'a str {
        let usual = match self.style {
            Paging::Page => "page",
            Paging::Offset => "offset",
            _ => "cursor",
        };
        config.page_parameter.as_deref().unwrap_or(usual)
    }

    /// Goes on to the page after the one that was answered with `items` items; false when there is none.
    pub fn turn(&mut self, config: &Config, answered: &Answered, items: u64) -> anyhow::Result<bool> {
        self.turned += 1;
        if self.turned == MOST {
            bail!("the list has more than {MOST} pages: does its paging lead in a circle?");
        }
        let is_short = items == 0 || config.page_size.is_some_and(|size| items < size);
        let page = match (self.style, &self.page) {
            (Paging::None, _) => None,
            (Paging::NextLink, _) => {
                let link = config.next_pointer(answered)?.and_then(Value::as_str).filter(|link| !link.is_empty());
                link.map(|link| answered.follow(link)).transpose()?
            }
            (Paging::LinkHeader, _) => next_of(&answered.headers).map(|link| answered.follow(&link)).transpose()?,
            (Paging::Cursor, _) => {
                let cursor = config.next_pointer(answered)?.filter(|next| !matches!(next, Value::Null | Value::Bool(_)));
                cursor.map(text_of).filter(|text| !text.is_empty()).map(|text| Page::Of(Some(text)))
            }
            (Paging::Page | Paging::Offset, _) if is_short => None,
            (Paging::Page, _) => Some(Page::Of(Some((config.first_page + self.turned).to_string()))),
            (Paging::Offset, Page::Of(Some(offset))) => {
                let offset: u64 = offset.parse().context("counting items")?;
                Some(Page::Of(Some((offset + items).to_string())))
            }
            (Paging::Offset, _) => None,
        };
        let Some(page) = page else { return Ok(false) };
        let is_same = match (&page, &self.page) {
            (Page::At(next), Page::At(now)) => next == now,
            (Page::Of(next), Page::Of(now)) => next == now,
            _ => false,
        };
        if is_same {
            bail!("the next page that the API names is the same page again: see the step's fields for paging");
        }
        self.page = page;
        Ok(true)
    }
}

/// An answer with one page of the list.
pub struct Answered {
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answered {
    /// The page at a link, which may be relative.
    fn follow(&self, link: &str) -> anyhow::Result<Page> {
        self.url.join(link).map(Page::At).context("the link to the next page is no address")
    }
}

impl Config {
    fn next_pointer<'a>(&self, answered: &'a Answered) -> anyhow::Result<Option<&'a Value>> {
        let pointer = self.next_pointer.as_ref();
        let pointer = pointer.context("with this paging `nextPointer` has to say where the next page is named")?;
        Ok(pointer.find(&answered.body))
    }
}

/// The address with the relation `next`.
fn next_of(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(links).find(|(_, relations)| relations.split_whitespace().any(|r| r.eq_ignore_ascii_case("next"))).map(|(address, _)| address)
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
            name.trim().eq_ignore_ascii_case("rel").then(|| value.trim().trim_matches('"').to_owned())
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
    fn given_a_link_header_then_each_address_has_its_relations() {
        for (header, wanted) in [
            ("<https://a/?p=2>; rel=\"next\"", &[("https://a/?p=2", "next")][..]),
            ("</?p=1>; rel=prev, </?p=3>; rel=\"next last\"", &[("/?p=1", "prev"), ("/?p=3", "next last")]),
            ("</a,b>; title=\"x, y\"; REL=\"next\"", &[("/a,b", "next")]),
            ("</a>", &[("/a", "")]),
            ("rel=next", &[]),
        ] {
            let found = links(header);
            let found: Vec<_> = found.iter().map(|(address, relation)| (&**address, &**relation)).collect();
            assert_eq!(found, wanted, "{header}");
        }
    }
}
