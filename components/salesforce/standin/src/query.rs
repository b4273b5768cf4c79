//! Queries and their pages.

use super::{
    error::ErrorResponse,
    evaluate,
    response::{Request, SalesforceResult, json_response},
    soql::{self, Item},
    state::State,
};
use serde_json::{Value, json};

pub(super) fn query(state: &mut State, request: &Request, deleted: bool) -> SalesforceResult {
    let text = request
        .query
        .get("q")
        .ok_or_else(|| ErrorResponse::malformed("A query string has to be specified"))?;
    let select = soql::parse(text)?;
    let records = evaluate::run(state, &select, deleted, &request.version)?;
    if select.items == [Item::Count] {
        return json_response(json!({ "totalSize": records.len(), "done": true, "records": [] }));
    }
    state.cursors.push(records);
    page(state, state.cursors.len() - 1, 0, request)
}

/// A locator is `01g<cursor>-<first record>`.
pub(super) fn more(state: &State, locator: &str, request: &Request) -> SalesforceResult {
    let place = locator
        .strip_prefix("01g")
        .and_then(|place| place.split_once('-'));
    let numbers =
        place.and_then(|(cursor, first)| Some((cursor.parse().ok()?, first.parse().ok()?)));
    match numbers.filter(|(cursor, _)| *cursor < state.cursors.len()) {
        Some((cursor, first)) => page(state, cursor, first, request),
        None => Err(ErrorResponse::new(
            400,
            "INVALID_QUERY_LOCATOR",
            "invalid query locator",
        )),
    }
}

fn page(state: &State, cursor: usize, first: usize, request: &Request) -> SalesforceResult {
    let asked = request
        .headers
        .get("sforce-query-options")
        .and_then(|value| value.to_str().ok());
    let asked = asked
        .and_then(|value| value.split_once("batchSize="))
        .and_then(|(_, size)| size.trim().parse().ok());
    // Salesforce takes sizes from 200 to 2000.
    let size = asked.map_or(state.page_size, |asked: usize| {
        asked.clamp(200, 2000).min(state.page_size)
    });
    let records: &[Value] = &state.cursors[cursor];
    let end = (first + size).min(records.len());
    let mut page = json!({ "totalSize": records.len(), "done": end == records.len(), "records": records[first.min(end)..end] });
    if end < records.len() {
        page["nextRecordsUrl"] = format!(
            "/services/data/v{}/query/01g{cursor}-{end}",
            request.version
        )
        .into();
    }
    json_response(page)
}
