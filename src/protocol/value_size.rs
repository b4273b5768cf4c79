//! Estimates what a JSON text takes as [`Value`](serde_json::Value), without parsing it.

use super::json_text::end_of_string;

/// What one value takes in a list, or as a member.
const VALUE: usize = 32;
/// What an allocation takes beside its bytes, with rounding.
const ALLOCATION: usize = 24;
/// A node of the tree that holds an object's members has room for eleven of them.
const NODE: usize = 640;
const NODE_MEMBERS: usize = 11;
/// So many members are in a node of a larger tree, at least on average: nodes are split in the middle.
const LEAST_NODE_MEMBERS: usize = 5;

/// An array or an object that is not closed yet.
struct Open {
    is_object: bool,
    /// Its items or members so far.
    count: usize,
}

impl Open {
    fn size(&self) -> usize {
        match self.count {
            0 => 0,
            // A list has grown by doubling, from four.
            items if !self.is_object => items.next_power_of_two().max(4) * VALUE + ALLOCATION,
            1..=NODE_MEMBERS => NODE + ALLOCATION,
            members => (members / LEAST_NODE_MEMBERS + 1) * (NODE + ALLOCATION),
        }
    }
}

/// Returns about how many bytes a valid JSON text takes as a value, rather too many than too few.
pub(super) fn value_size(text: &[u8]) -> usize {
    let mut size = VALUE;
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b',' => open.last_mut().into_iter().for_each(|open| open.count += 1),
            b']' | b'}' => size += open.pop().map_or(0, |open| open.size()),
            byte if byte.is_ascii_whitespace() => {}
            byte => {
                // The first of its items begins.
                open.last_mut()
                    .into_iter()
                    .for_each(|open| open.count = open.count.max(1));
                match byte {
                    b'[' | b'{' => open.push(Open {
                        is_object: *byte == b'{',
                        count: 0,
                    }),
                    b'"' => {
                        let end = end_of_string(text, at + 1);
                        size += end - at + ALLOCATION;
                        at = end;
                    }
                    _ => {}
                }
            }
        }
        at += 1;
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What a value takes, if nothing is rounded: the least that is allocated for it.
    fn least_size(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len(),
            Value::Array(items) => {
                items.capacity() * size_of::<Value>() + items.iter().map(least_size).sum::<usize>()
            }
            Value::Object(members) => {
                let texts: usize = members
                    .iter()
                    .map(|(name, value)| name.len() + least_size(value))
                    .sum();
                let nodes = members.len().div_ceil(NODE_MEMBERS);
                nodes * NODE_MEMBERS * (size_of::<Value>() + size_of::<String>()) + texts
            }
            _ => 0,
        }
    }

    #[test]
    fn the_estimate_covers_what_is_allocated() {
        assert!(size_of::<Value>() <= VALUE && size_of::<String>() == 24);
        let item = json!({ "id": 1, "name": "Item \"1\"", "price": 1.5, "tags": ["a", "b"], "none": [], "no": {} });
        let wide: serde_json::Map<_, _> = (0..1000).map(|n| (n.to_string(), json!(n))).collect();
        for value in [
            json!(null),
            json!("x".repeat(1000)),
            json!([]),
            json!(vec![1; 1000]),
            json!(vec![item.clone(); 100]),
            json!({ "pad": vec![item; 100], "deep": [[[[{ "a": {} }]]]] }),
            json!(wide),
            json!(vec![json!({ "": 0 }); 100]),
        ] {
            for text in [value.to_string(), format!("{value:#}")] {
                let parsed: Value = serde_json::from_str(&text).unwrap();
                let (least, estimate) = (least_size(&parsed), value_size(text.as_bytes()));
                assert!(estimate >= least, "{estimate} {least} {text}");
                assert!(estimate <= 3 * least + 200, "{estimate} {least} {text}");
            }
        }
    }

    #[test]
    fn a_long_text_counts_once() {
        let text = format!("\"{}\"", "x".repeat(1 << 20));
        assert!(value_size(text.as_bytes()) < text.len() + 100);
    }
}
