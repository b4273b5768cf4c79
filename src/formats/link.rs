//! The `Link` header (RFC 8288).

use reqwest::header::{HeaderMap, LINK};

/// Returns the URL with the relation `next`, as the header has it: it may be relative.
///
/// ```
/// use reqwest::header::{HeaderMap, HeaderValue, LINK};
///
/// let mut headers = HeaderMap::new();
/// headers.append(LINK, HeaderValue::from_static("</items?page=1>; rel=prev"));
/// headers.append(LINK, HeaderValue::from_static("</items?page=3>; rel=\"next last\""));
/// assert_eq!(sailor::http::next_link(&headers).as_deref(), Some("/items?page=3"));
/// ```
#[must_use]
pub fn next_link(headers: &HeaderMap) -> Option<String> {
    let headers = headers.get_all(LINK).iter();
    let mut links = headers.flat_map(|value| links(&String::from_utf8_lossy(value.as_bytes())));
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
        links.push((address.trim().to_owned(), relation.unwrap_or_default()));
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
