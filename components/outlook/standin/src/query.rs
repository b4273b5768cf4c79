//! The query parameters of lists: `$filter`, `$orderby`, `$select`, `$top`, `$skip`; and the pages of a list.

use super::{
    error::ErrorResponse,
    state::{Broken, Item, instant},
};
use http_double::percent_encoded;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The page size of Graph without `$top`.
const USUAL_PAGE: usize = 10;
/// The largest page size.
const MOST: usize = 1000;

/// What members of files are named with in `$select`.
pub(super) const FILE_TYPE: &str = "microsoft.graph.fileAttachment/";

/// The parameters that lists have here.
const KNOWN: [&str; 7] = [
    "$filter",
    "$orderby",
    "$select",
    "$top",
    "$skip",
    "startDateTime",
    "endDateTime",
];

/// The query of a request, by name.
pub(super) type Query = BTreeMap<String, String>;

/// One condition of a filter.
enum Condition {
    From {
        property: String,
        also_equal: bool,
        time: String,
    },
    Is {
        property: String,
        value: bool,
    },
}

/// One page of a list: the items that match, in order. `url` is that of the list, for the link to the next page;
/// `largest` is the page size that this mailbox does not exceed; a page with an item of `broken` fails.
pub(super) fn list(
    items: Vec<&Item>,
    query: &Query,
    url: &str,
    largest: usize,
    broken: &BTreeMap<String, Broken>,
) -> Result<Value, ErrorResponse> {
    if let Some(name) = query.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(ErrorResponse::not_here(format!("query parameter {name}")));
    }
    let items = matching(items, query)?;
    let (top, skip) = (
        number(query, "$top", USUAL_PAGE, 1)?,
        number(query, "$skip", 0, 0)?,
    );
    if top > MOST {
        return Err(ErrorResponse::bad_request(format!(
            "The limit of '{MOST}' for Top query has been exceeded."
        )));
    }
    let page = top.min(largest);
    let on_page = items.iter().skip(skip).take(page);
    let is_whole = !query.contains_key("$select");
    for broken in on_page.clone().filter_map(|item| broken.get(&item.id)) {
        if is_whole || broken.is_unlisted {
            return Err(ErrorResponse::broken(broken.status));
        }
    }
    let shown: Vec<Value> = on_page.map(|item| selected(item, query)).collect();
    let mut response = json!({ "@odata.context": format!("{url}/$metadata"), "value": shown });
    if skip + page < items.len() {
        response["@odata.nextLink"] = next_link(url, query, skip + page).into();
    }
    Ok(response)
}

/// The items that match the filter, in the order that the query asks for.
fn matching<'a>(items: Vec<&'a Item>, query: &Query) -> Result<Vec<&'a Item>, ErrorResponse> {
    let conditions = query
        .get("$filter")
        .map_or_else(|| Ok(vec![]), |filter| conditions(filter))?;
    let mut items: Vec<&Item> = items
        .into_iter()
        .filter(|item| conditions.iter().all(|c| c.fits(item)))
        .collect();
    let Some(order) = query.get("$orderby") else {
        return Ok(items);
    };
    let property = order.strip_suffix(" asc").unwrap_or(order);
    if !["lastModifiedDateTime", "start/dateTime"].contains(&property) {
        return Err(ErrorResponse::not_here(format!("$orderby={order}")));
    }
    // What a list is ordered by must come first in its filter.
    let first = conditions.first();
    if first.is_some_and(|first| first.property() != property) {
        let message = "The restriction or sort order is too complex for this operation.";
        return Err(ErrorResponse::new(400, "InefficientFilter", message));
    }
    items.sort_by_key(|item| item.time(property));
    Ok(items)
}

fn number(query: &Query, name: &str, default: usize, least: usize) -> Result<usize, ErrorResponse> {
    let Some(text) = query.get(name) else {
        return Ok(default);
    };
    let number = text.parse().ok().filter(|number| *number >= least);
    number.ok_or_else(|| {
        let message = format!("Invalid value '{text}' for {name} query option found.");
        ErrorResponse::bad_request(message)
    })
}

fn next_link(url: &str, query: &Query, skip: usize) -> String {
    let mut next = query.clone();
    next.insert("$skip".to_owned(), skip.to_string());
    let pairs: Vec<String> = next
        .iter()
        .map(|(name, value)| format!("{}={}", percent_encoded(name), percent_encoded(value)))
        .collect();
    format!("{url}?{}", pairs.join("&"))
}

/// An item with the properties of `$select`. The id and annotations are always included.
fn selected(item: &Item, query: &Query) -> Value {
    let mut shown = item.shown();
    if let (Some(select), Value::Object(members)) = (query.get("$select"), &mut shown) {
        // A member of a derived type is named with that type.
        let wanted = select.split(',').map(str::trim);
        let wanted: Vec<&str> = wanted
            .map(|name| name.strip_prefix(FILE_TYPE).unwrap_or(name))
            .collect();
        members.retain(|name, _| {
            name == "id" || name.starts_with("@odata.") || wanted.contains(&name.as_str())
        });
    }
    shown
}

fn conditions(filter: &str) -> Result<Vec<Condition>, ErrorResponse> {
    let condition = |text: &str| {
        let [property, operator, value] = text.split_whitespace().collect::<Vec<_>>()[..] else {
            return None;
        };
        let property = property.to_owned();
        match (property.as_str(), operator, value) {
            ("isRead", "eq", "true" | "false") => Some(Condition::Is {
                property,
                value: value == "true",
            }),
            ("lastModifiedDateTime", "gt" | "ge", time) => Some(Condition::From {
                property,
                also_equal: operator == "ge",
                time: instant(time)?,
            }),
            _ => None,
        }
    };
    let unknown = |text: &str| ErrorResponse::bad_request(format!("Invalid filter clause: {text}"));
    filter
        .split(" and ")
        .map(|text| condition(text).ok_or_else(|| unknown(text)))
        .collect()
}

impl Condition {
    fn property(&self) -> &str {
        match self {
            Self::From { property, .. } | Self::Is { property, .. } => property,
        }
    }

    fn fits(&self, item: &Item) -> bool {
        match self {
            Self::From {
                property,
                also_equal,
                time,
            } => match item.time(property) {
                Some(at) if *also_equal => at >= *time,
                Some(at) => at > *time,
                None => false,
            },
            Self::Is { property, value } => item.fields.get(property) == Some(&Value::Bool(*value)),
        }
    }
}
