//! Messages as JSON objects read one level deep.
//!
//! A sailor rarely needs to know what is inside a body or a passthrough entry: it hands them on. So a message is read
//! as its members' names and texts, and the texts stay slices of the one buffer that was decrypted.

use super::text::{self, MAX_DEPTH};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use std::{borrow::Cow, fmt};

/// A piece of valid JSON text, without white space around it. Clones and slices share one buffer.
///
/// What came in is nested up to 1 000 levels. It can hold halves of surrogate pairs, as JavaScript writes them: they stay
/// as they are until somebody reads the text, who gets U+FFFD for each.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Bytes);

impl Json {
    /// The JSON text of `value`.
    ///
    /// # Errors
    /// When `value` refuses to be written as JSON, for example a map with keys that are not text, or is nested more than
    /// 1 000 levels deep.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Self> {
        text::write(value).map(|text| Self(text.into()))
    }

    /// The text `{}`.
    #[must_use]
    pub fn empty_object() -> Self {
        Self(Bytes::from_static(b"{}"))
    }

    /// Checks that `text` is one JSON value, without building it. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`EnvelopeError`], when it is not, or is nested too deeply.
    pub fn checked(text: Bytes) -> Result<Self, EnvelopeError> {
        within_depth(&text)?;
        Self::value(&text)
            .or_else(|error| match text::with_valid_utf8(&text) {
                Some(text) => Self::value(&text.into()),
                None => Err(error),
            })
            .map_err(|error| EnvelopeError::of(&error))
    }

    /// The one value that `text` is, without the white space around it.
    fn value(text: &Bytes) -> serde_json::Result<Self> {
        let value: &RawValue = serde_json::from_slice(text)?;
        Ok(Self(text.slice_ref(value.get().as_bytes())))
    }

    /// Reads the text as a `T`.
    ///
    /// # Errors
    /// Names the path of the member that does not fit, such as `items[3].price`.
    pub fn parse<T: DeserializeOwned>(
        &self,
    ) -> Result<T, serde_path_to_error::Error<serde_json::Error>> {
        text::read(&self.0)
    }

    /// True for `{…}`.
    #[must_use]
    pub fn is_object(&self) -> bool {
        self.0.first() == Some(&b'{')
    }

    /// The members, when this is an object.
    #[must_use]
    pub fn members(&self) -> Option<Object> {
        Object::of(&self.0).ok()
    }

    /// The text itself, UTF-8.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text as a shared buffer.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// True for everything that holds no members: `{}`, `[]`, `""`, `null`, numbers and booleans. (What the existing
    /// sailors call empty, wire-contract: Startup hook, wire-contract: Lightweight output.)
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self.0.first() {
            Some(b'{' | b'[' | b'"') => {
                self.0[1..self.0.len() - 1]
                    .iter()
                    .all(u8::is_ascii_whitespace)
                    && (self.0[0] != b'"' || self.0.len() == 2)
            }
            _ => true,
        }
    }
}

impl fmt::Debug for Json {
    /// Message contents are never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into())
    }
}

/// Why a text is no message.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The text is not JSON. The error tells where, and nothing of the content.
    #[error("the payload is not JSON: line {line}, column {column}")]
    NotJson {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
    },
    /// The text is JSON, but a string, number, list or null.
    #[error("the payload is JSON, but not an object")]
    NotAnObject,
    /// The text is nested too deeply to be read.
    #[error(
        "the payload is nested {depth} levels deep, and at most {MAX_DEPTH} are read: have the step that it comes from \
         send it flatter, or as text"
    )]
    TooDeep {
        /// Levels of arrays and objects.
        depth: usize,
    },
}

impl EnvelopeError {
    fn of(error: &serde_json::Error) -> Self {
        match error.classify() {
            serde_json::error::Category::Data => Self::NotAnObject,
            _ => Self::NotJson {
                line: error.line(),
                column: error.column(),
            },
        }
    }
}

/// Nothing else looks at a text that is too deep: what reads or drops it could take more stack than there is.
fn within_depth(text: &[u8]) -> Result<(), EnvelopeError> {
    text::excessive_depth(text).map_or(Ok(()), |depth| Err(EnvelopeError::TooDeep { depth }))
}

/// A JSON object read one level deep: names, and the text of each member, in their order.
///
/// Where a name stands twice, the last one counts, as in JavaScript.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object(Vec<(String, Json)>);

impl Object {
    /// An object without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads `text`; the members are slices of it. Bytes that are not UTF-8 become U+FFFD, as in JavaScript.
    ///
    /// # Errors
    /// [`EnvelopeError`], when it is not a JSON object, or is nested more than 1 000 levels deep, its own included.
    ///
    /// ```
    /// use sailor::protocol::Object;
    /// let message = Object::read(r#"{"id": "1", "body": {"a": [1, 2]}}"#.into())?;
    /// assert_eq!(message.get("body").unwrap().as_bytes(), br#"{"a": [1, 2]}"#);
    /// assert_eq!(message.to_vec(), br#"{"id":"1","body":{"a": [1, 2]}}"#);
    /// # Ok::<(), sailor::protocol::EnvelopeError>(())
    /// ```
    pub fn read(text: Bytes) -> Result<Self, EnvelopeError> {
        within_depth(&text)?;
        Self::of(&text)
    }

    /// The same for a text whose depth is known.
    fn of(text: &Bytes) -> Result<Self, EnvelopeError> {
        Self::slices(text, text)
            .or_else(|error| {
                let valid = text::with_valid_utf8(text).map(Bytes::from);
                let text = valid.as_ref().unwrap_or(text);
                match text::without_lone_surrogates(text) {
                    Some(names) => Self::slices(&names, text),
                    None if valid.is_some() => Self::slices(text, text),
                    None => Err(error),
                }
            })
            .map_err(|error| EnvelopeError::of(&error))
    }

    /// The members of `text` under the names that `read` has, which is the same but for escapes of equal length.
    fn slices(read: &[u8], text: &Bytes) -> serde_json::Result<Self> {
        let Members(members) = serde_json::from_slice(read)?;
        let slice = |raw: &RawValue| {
            let start = raw.get().as_ptr().addr() - read.as_ptr().addr();
            Json(text.slice(start..start + raw.get().len()))
        };
        Ok(Self(
            members
                .into_iter()
                .map(|(name, raw)| (name.into_owned(), slice(raw)))
                .collect(),
        ))
    }

    /// The member called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, json)| json)
    }

    /// Gives the member called `name` a new text, in its old place if it had one.
    pub fn set(&mut self, name: &str, json: Json) {
        match self.0.iter_mut().rev().find(|(n, _)| n == name) {
            Some(member) => member.1 = json,
            None => self.0.push((name.to_owned(), json)),
        }
    }

    /// Takes the member called `name` out.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| n != name);
    }

    /// The members in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, json)| (name.as_str(), json))
    }

    /// True when there are no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The object's JSON text, without white space between its members, in a buffer with room for a cipher's padding.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let size = self
            .0
            .iter()
            .map(|(name, json)| name.len() + json.0.len() + 8)
            .sum::<usize>();
        let mut text = Vec::with_capacity(size + 32);
        text.push(b'{');
        for (i, (name, json)) in self.0.iter().enumerate() {
            if i > 0 {
                text.push(b',');
            }
            serde_json::to_writer(&mut text, name).expect("a string can be written to memory");
            text.push(b':');
            text.extend_from_slice(&json.0);
        }
        text.push(b'}');
        text
    }

    /// How many bytes [`Self::to_vec`] has.
    pub(crate) fn text_len(&self) -> usize {
        let quoted =
            |name: &str| serde_json::to_string(name).map_or(name.len() + 2, |text| text.len());
        let members: usize = self
            .0
            .iter()
            .map(|(name, json)| quoted(name) + json.0.len() + 2)
            .sum();
        // Between members there is a comma, after the last one none.
        members.max(1) + 1
    }

    /// The object as one member of another.
    #[must_use]
    pub fn to_json(&self) -> Json {
        Json(self.to_vec().into())
    }
}

/// The borrowed first level of an object.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReadMembers;
        impl<'de> Visitor<'de> for ReadMembers {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(ReadMembers)
    }
}

/// A member's name, borrowed where it holds no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReadName;
        impl<'de> Visitor<'de> for ReadName {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(ReadName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_length_of_an_object_is_known_before_it_is_written(
            members in prop::collection::hash_map(".*", any::<Option<i64>>(), 0..8),
        ) {
            let object = Object::read(serde_json::to_vec(&members).unwrap().into()).unwrap();
            prop_assert_eq!(object.text_len(), object.to_vec().len());
        }
    }
}
