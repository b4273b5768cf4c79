//! The items of a page.

use serde_json::Value;

/// The list of a response, and whether it was there.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub struct List {
    /// The items.
    pub items: Vec<Value>,
    /// The response has no such member, and the list counts as empty.
    pub is_missing: bool,
}

/// A response without the expected list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the response has no list at {0:?}")]
pub struct NoList(String);

/// Takes the list at a JSON pointer (RFC 6901) out of a response. APIs have many ways to say that there are no items: an
/// empty body, `null`, an empty object, or an object without the last member of the pointer. All of them are an empty list.
///
/// ```
/// use sailor::http::take_list;
/// use serde_json::json;
///
/// let mut response = json!({ "total": 2, "items": [1, 2] });
/// assert_eq!(take_list(&mut response, "/items")?.items, [1, 2]);
///
/// let mut empty = json!({ "total": 0 });
/// let list = take_list(&mut empty, "/items")?;
/// assert!(list.items.is_empty() && list.is_missing);
/// # Ok::<(), sailor::http::NoList>(())
/// ```
///
/// # Errors
/// Returns an error if there is something else at the pointer. It does so too if the list is missing and another member beside
/// it is a list of objects, because the pointer may be wrong, or if the response has an `error` or `errors`.
pub fn take_list(response: &mut Value, pointer: &str) -> Result<List, NoList> {
    let found = |items| {
        Ok(List {
            items,
            is_missing: false,
        })
    };
    if !response.pointer(pointer).is_some_and(Value::is_array) && names_an_error(response) {
        return Err(NoList(pointer.to_owned()));
    }
    match response.pointer_mut(pointer).map(Value::take) {
        Some(Value::Array(items)) => return found(items),
        Some(Value::Null) => return found(vec![]),
        Some(Value::Object(members)) if members.is_empty() => return found(vec![]),
        Some(_) => return Err(NoList(pointer.to_owned())),
        None => {}
    }
    if says_nothing(response, pointer) {
        Ok(List {
            items: vec![],
            is_missing: true,
        })
    } else {
        Err(NoList(pointer.to_owned()))
    }
}

/// Whether a response says that the request has failed, as in GraphQL and JSON-RPC.
fn names_an_error(response: &Value) -> bool {
    let says_something = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(errors) => !errors.is_empty(),
        Value::Object(error) => !error.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    };
    let members = ["error", "errors"].iter();
    members
        .filter_map(|name| response.get(name))
        .any(says_something)
}

/// Whether a response without a list at the pointer has no items.
fn says_nothing(response: &Value, pointer: &str) -> bool {
    let is_list = |value: &Value| {
        let items = value.as_array();
        items.is_some_and(|items| items.iter().any(Value::is_object))
    };
    let mut parents = pointer.match_indices('/').map(|(at, _)| &pointer[..at]);
    let last = parents.clone().next_back();
    parents.any(|parent| match response.pointer(parent) {
        Some(Value::Null) => true,
        Some(Value::Object(members)) => {
            members.is_empty() || (Some(parent) == last && !members.values().any(is_list))
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_list_is_taken_or_is_empty() {
        for (mut response, pointer, items, is_missing) in [
            (json!([1]), "", vec![json!(1)], false),
            (json!({ "a": { "b": [1] } }), "/a/b", vec![json!(1)], false),
            (json!(null), "", vec![], false),
            (json!({}), "", vec![], false),
            (json!({ "a": null }), "/a", vec![], false),
            (json!({ "a": {} }), "/a", vec![], false),
            (json!(null), "/a/b", vec![], true),
            (json!({}), "/a", vec![], true),
            (json!({}), "/a/b/c", vec![], true),
            (json!({ "a": {} }), "/a/b", vec![], true),
            (json!({ "a": null, "x": 1 }), "/a/b", vec![], true),
            (
                json!({ "a": null, "error": null, "errors": {} }),
                "/a",
                vec![],
                false,
            ),
            (
                json!({ "resultSizeEstimate": 0 }),
                "/messages",
                vec![],
                true,
            ),
            (
                json!({ "tags": ["a"], "errors": [] }),
                "/items",
                vec![],
                true,
            ),
        ] {
            let shown = response.to_string();
            let list = take_list(&mut response, pointer).expect(&shown);
            assert_eq!(list, List { items, is_missing }, "{shown} {pointer}");
        }
    }

    #[test]
    fn something_else_is_not_a_list() {
        for (mut response, pointer) in [
            (json!({ "a": 1 }), ""),
            (json!("text"), "/a"),
            (json!({ "a": "text" }), "/a"),
            (json!({ "a": { "x": 1 } }), "/a"),
            (json!({ "records": [{ "id": 1 }] }), "/items"),
            (json!({ "x": 1 }), "/a/b"),
            (json!([{ "id": 1 }]), "/a"),
            (
                json!({ "data": null, "errors": [{ "message": "no" }] }),
                "/data/items",
            ),
            (json!({ "result": null, "error": { "code": 1 } }), "/result"),
            (json!({ "ok": false, "error": "ratelimited" }), "/messages"),
        ] {
            let error = take_list(&mut response, pointer).expect_err(pointer);
            assert_eq!(
                error.to_string(),
                format!("the response has no list at {pointer:?}")
            );
        }
    }
}
