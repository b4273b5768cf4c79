//! JSON with the place of every value. serde_json reads it; the places come from slices of the text that it borrows.

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// As deep as serde_json reads values of component.json for the runtime.
const MAX_DEPTH: usize = 127;

/// A value and its place.
pub(super) struct Node {
    /// The offset of its first byte in the text.
    pub(super) start: usize,
    /// Its place in the document (RFC 6901).
    pub(super) pointer: String,
    pub(super) value: Value,
}

pub(super) enum Value {
    Null,
    Flag(bool),
    Number,
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

/// A member of an object. A name can appear twice.
pub(super) struct Member {
    pub(super) name: String,
    /// The offset of the name in the text.
    pub(super) start: usize,
    pub(super) node: Node,
}

/// Text that is not JSON.
pub(super) struct Invalid {
    /// The offset of the mistake in the text.
    pub(super) at: usize,
    pub(super) reason: String,
}

impl Node {
    /// Returns the members of an object; none for any other value.
    pub(super) fn members(&self) -> &[Member] {
        match &self.value {
            Value::Object(members) => members,
            _ => &[],
        }
    }

    /// Returns the items of a list; none for any other value.
    pub(super) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Returns a member of an object. The last one of that name counts, as for JavaScript.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        let mut members = self.members().iter().rev();
        members.find(|member| member.name == name).map(|m| &m.node)
    }

    /// Returns the value at a pointer in this one.
    pub(super) fn at(&self, pointer: &str) -> Option<&Node> {
        if self.pointer == pointer {
            return Some(self);
        }
        let mut nodes = self.members().iter().rev().map(|member| &member.node);
        nodes.find_map(|node| node.at(pointer))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the text of a member, if it is one.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_text()
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self.value, Value::Object(_))
    }

    /// Returns what the value is, for error messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Flag(_) => "a boolean",
            Value::Number => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        }
    }
}

/// Reads a JSON document.
pub(super) fn parse(text: &str) -> Result<Node, Invalid> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| invalid(text, &error))?;
    Tree { text }.node(raw, String::new(), 0)
}

fn invalid(text: &str, error: &serde_json::Error) -> Invalid {
    let lines = text.split_inclusive('\n').take(error.line() - 1);
    let line_start: usize = lines.map(str::len).sum();
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or_default();
    Invalid {
        at: line_start + error.column().saturating_sub(1),
        reason: reason.to_owned(),
    }
}

struct Tree<'a> {
    text: &'a str,
}

impl Tree<'_> {
    fn node(&self, raw: &RawValue, pointer: String, depth: usize) -> Result<Node, Invalid> {
        let start = self.offset(raw);
        let json = raw.get();
        let value = match json.as_bytes().first() {
            Some(b'{' | b'[') if depth == MAX_DEPTH => {
                let reason = format!("nested deeper than {MAX_DEPTH} levels");
                return Err(Invalid { at: start, reason });
            }
            Some(b'{') => Value::Object(self.members(json, start, &pointer, depth)?),
            Some(b'[') => Value::List(self.items(json, start, &pointer, depth)?),
            Some(b'"') => Value::Text(read(json, start)?),
            Some(b't' | b'f') => Value::Flag(json == "true"),
            Some(b'n') => Value::Null,
            _ => Value::Number,
        };
        Ok(Node {
            start,
            pointer,
            value,
        })
    }

    fn members(
        &self,
        json: &str,
        start: usize,
        pointer: &str,
        depth: usize,
    ) -> Result<Vec<Member>, Invalid> {
        let Pairs(pairs) = read(json, start)?;
        let members = pairs.into_iter().map(|(name, value)| {
            let start = self.offset(name);
            let name: String = read(name.get(), start)?;
            let node = self.node(value, child(pointer, &name), depth + 1)?;
            Ok(Member { name, start, node })
        });
        members.collect()
    }

    fn items(
        &self,
        json: &str,
        start: usize,
        pointer: &str,
        depth: usize,
    ) -> Result<Vec<Node>, Invalid> {
        let items: Vec<&RawValue> = read(json, start)?;
        let nodes = items.into_iter().enumerate();
        nodes
            .map(|(n, item)| self.node(item, child(pointer, &n.to_string()), depth + 1))
            .collect()
    }

    /// Returns where a slice of the text begins.
    fn offset(&self, raw: &RawValue) -> usize {
        let slice = raw.get().as_ptr().addr();
        slice.saturating_sub(self.text.as_ptr().addr())
    }
}

/// Reads a part of the text whose syntax is known to be valid. Half a surrogate pair in a text still is an error.
fn read<'a, T: Deserialize<'a>>(json: &'a str, at: usize) -> Result<T, Invalid> {
    serde_json::from_str(json).map_err(|error| Invalid {
        at,
        reason: invalid(json, &error).reason,
    })
}

/// Returns the pointer of a member or an item.
pub(crate) fn child(pointer: &str, name: &str) -> String {
    let name = name.replace('~', "~0").replace('/', "~1");
    format!("{pointer}/{name}")
}

/// All members of an object, in their order.
struct Pairs<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}
