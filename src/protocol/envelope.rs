//! The message envelope: a JSON object that is parsed one level deep.
//!
//! A sailor passes bodies and passthrough entries on without parsing them. So a message is parsed into the names and
//! the texts of its members, and the texts are slices of the decrypted buffer. This is written by hand, because
//! `serde_json` has no owned text that shares a buffer: its `RawValue` borrows or copies.

use super::{
    json_text::{self, MAX_DEPTH},
    value_size::value_size,
};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use std::{borrow::Cow, fmt, marker::PhantomData};

/// A valid JSON text, without white space around it. Clones share one buffer.
///
/// It is nested at most 1 000 levels deep. It may contain lone surrogates, as JavaScript writes them: the text keeps them,
/// and [`Json::parse`] returns U+FFFD for each.
///
/// ```
/// use sailor::protocol::Json;
///
/// let json = Json::from_text(r#" {"name": "Rex"} "#.into())?;
/// assert_eq!(json.as_bytes(), br#"{"name": "Rex"}"#);
/// let name: String = json.members().unwrap().get("name").unwrap().parse()?;
/// assert_eq!(name, "Rex");
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Bytes);

impl Json {
    /// Writes `value` as JSON.
    ///
    /// # Errors
    /// Returns an error if `value` cannot be written as JSON, for example a map with keys that are not text, or if it is
    /// nested more than 1 000 levels deep.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Self> {
        json_text::write(value).map(|text| Self(text.into()))
    }

    /// Returns the text `{}`.
    #[must_use]
    pub fn empty_object() -> Self {
        Self(Bytes::from_static(b"{}"))
    }

    /// Checks that `text` is one JSON value, without building it. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// Returns an error if `text` is not JSON, or is nested more than 1 000 levels deep.
    pub fn from_text(text: Bytes) -> Result<Self, EnvelopeError> {
        check_depth(&text)?;
        Self::value(&text)
            .or_else(|error| match json_text::with_valid_utf8(&text) {
                Some(text) => Self::value(&text.into()),
                None => Err(error),
            })
            .map_err(|error| EnvelopeError::of(&error))
    }

    /// Removes the white space around the value.
    fn value(text: &Bytes) -> serde_json::Result<Self> {
        let value: &RawValue = serde_json::from_slice(text)?;
        Ok(Self(text.slice_ref(value.get().as_bytes())))
    }

    /// Parses the text as a `T`.
    ///
    /// # Errors
    /// Returns an error with the path of the member that does not fit, such as `items[3].price`.
    ///
    /// ```
    /// use sailor::protocol::Json;
    ///
    /// let json = Json::of(&serde_json::json!([1, 2, "three"]))?;
    /// let error = json.parse::<Vec<u32>>().unwrap_err();
    /// assert_eq!(error.path().to_string(), "[2]");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn parse<T: DeserializeOwned>(
        &self,
    ) -> Result<T, serde_path_to_error::Error<serde_json::Error>> {
        json_text::read(&self.0)
    }

    /// Returns true for an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        self.0.first() == Some(&b'{')
    }

    /// Returns the members if this is an object.
    #[must_use]
    pub fn members(&self) -> Option<Object> {
        Object::of(&self.0).ok()
    }

    /// Returns about how many bytes the text takes when it is parsed as a [`Value`].
    pub(crate) fn value_size(&self) -> usize {
        value_size(&self.0)
    }

    /// Returns the text, which is UTF-8.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the text as a shared buffer.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// Returns true for every value without members: `{}`, `[]`, `""`, `null`, numbers and booleans. The other sailors
    /// call these values empty (wire-contract: Startup hook, wire-contract: Lightweight output).
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
    /// Omits the text, which may be part of a message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into())
    }
}

/// The text is not a message.
///
/// ```
/// use sailor::protocol::{EnvelopeError, Object};
///
/// let error = Object::read("{\n1}".into()).unwrap_err();
/// assert!(matches!(error, EnvelopeError::NotJson { line: 2, column: 1 }));
/// assert!(matches!(Object::read("[]".into()), Err(EnvelopeError::NotAnObject)));
/// ```
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The text is not JSON. The error contains none of it.
    #[error("the payload is not JSON: line {line}, column {column}")]
    NotJson {
        /// The line of the first invalid byte, from 1.
        line: usize,
        /// The column of the first invalid byte, from 1.
        column: usize,
    },
    /// The text is JSON, but not an object.
    #[error("the payload is JSON, but not an object")]
    NotAnObject,
    /// The text is nested too deeply.
    #[error(
        "the payload is nested {depth} levels deep, which is more than the limit of {MAX_DEPTH}; the step that sends it \
         must send it flatter, or as text"
    )]
    TooDeep {
        /// The number of levels of arrays and objects.
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

/// Rejects a text that is too deep before anything else reads it, because reading and dropping it could overflow the
/// stack.
fn check_depth(text: &[u8]) -> Result<(), EnvelopeError> {
    json_text::excessive_depth(text).map_or(Ok(()), |depth| Err(EnvelopeError::TooDeep { depth }))
}

/// A JSON object that is parsed one level deep: the names and texts of its members, in their order.
///
/// If a name occurs twice, the last one counts, as in JavaScript. A lone surrogate in a name is read as U+FFFD, and written
/// as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object(Vec<(Name, Json)>);

/// The name of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    text: String,
    /// The name as JSON, if `text` has U+FFFD in place of a lone surrogate.
    written: Option<Box<str>>,
}

impl Name {
    fn write_to(&self, text: &mut Vec<u8>) {
        match &self.written {
            Some(written) => text.extend_from_slice(written.as_bytes()),
            None => {
                serde_json::to_writer(text, &self.text).expect("a text can be written as JSON");
            }
        }
    }

    /// The length of what [`Self::write_to`] writes.
    fn written_len(&self) -> usize {
        match &self.written {
            Some(written) => written.len(),
            None => serde_json::to_string(&self.text).map_or(self.text.len() + 2, |t| t.len()),
        }
    }
}

impl From<Cow<'_, str>> for Name {
    fn from(text: Cow<'_, str>) -> Self {
        Self {
            text: text.into_owned(),
            written: None,
        }
    }
}

impl Object {
    /// Creates an object without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses `text`. The members are slices of it. Bytes that are not UTF-8 become U+FFFD, as in JavaScript.
    ///
    /// # Errors
    /// Returns an error if `text` is not a JSON object, or is nested more than 1 000 levels deep.
    ///
    /// ```
    /// use sailor::protocol::Object;
    /// let message = Object::read(r#"{"id": "1", "body": {"a": [1, 2]}}"#.into())?;
    /// assert_eq!(message.get("body").unwrap().as_bytes(), br#"{"a": [1, 2]}"#);
    /// assert_eq!(message.to_vec(), br#"{"id":"1","body":{"a": [1, 2]}}"#);
    /// # Ok::<(), sailor::protocol::EnvelopeError>(())
    /// ```
    pub fn read(text: Bytes) -> Result<Self, EnvelopeError> {
        check_depth(&text)?;
        Self::of(&text)
    }

    /// Parses a text whose depth has been checked.
    fn of(text: &Bytes) -> Result<Self, EnvelopeError> {
        Self::slices(text, |BorrowedName(name)| Some(name.into()))
            .or_else(|_| {
                // The names may have lone surrogates, and the text bytes that are not UTF-8.
                let valid = json_text::with_valid_utf8(text).map(Bytes::from);
                Self::slices(valid.as_ref().unwrap_or(text), any_name)
            })
            .map_err(|error| EnvelopeError::of(&error))
    }

    /// Reads the members' names as `N`, and takes their texts as slices of `text`. `None` for a name is an error.
    fn slices<'a, N: Deserialize<'a>>(
        text: &'a Bytes,
        name: impl Fn(N) -> Option<Name>,
    ) -> serde_json::Result<Self> {
        let Members::<N>(members) = serde_json::from_slice(text)?;
        let slice = |raw: &RawValue| Json(text.slice_ref(raw.get().as_bytes()));
        members
            .into_iter()
            .map(|(written, raw)| Some((name(written)?, slice(raw))))
            .collect::<Option<_>>()
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a name that is not a text"))
    }

    /// Returns the member called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0
            .iter()
            .rev()
            .find(|(n, _)| n.text == name)
            .map(|(_, json)| json)
    }

    /// Replaces the member called `name`, or appends it.
    ///
    /// ```
    /// use sailor::protocol::{Json, Object};
    ///
    /// let mut message = Object::read(r#"{"id":"1","body":{}}"#.into())?;
    /// message.set("id", Json::of("2")?);
    /// message.set("url", Json::of("/items")?);
    /// assert_eq!(message.to_vec(), br#"{"id":"2","body":{},"url":"/items"}"#);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn set(&mut self, name: &str, json: Json) {
        match self.0.iter_mut().rev().find(|(n, _)| n.text == name) {
            Some(member) => member.1 = json,
            None => self.0.push((Cow::Borrowed(name).into(), json)),
        }
    }

    /// Removes the member called `name`.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| n.text != name);
    }

    /// Returns the members in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, json)| (&*name.text, json))
    }

    /// Returns true if there are no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes the object without white space between its members. The buffer has room for the padding of a cipher.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.size_hint() + 32);
        text.push(b'{');
        self.write_members(&mut text);
        text.push(b'}');
        text
    }

    /// Returns about what the members need as text: enough, unless a name has many escapes.
    pub(super) fn size_hint(&self) -> usize {
        self.0
            .iter()
            .map(|(name, json)| name.text.len() + json.0.len() + 8)
            .sum()
    }

    /// Writes the members with commas between them.
    pub(super) fn write_members(&self, text: &mut Vec<u8>) {
        for (i, (name, json)) in self.0.iter().enumerate() {
            if i > 0 {
                text.push(b',');
            }
            name.write_to(text);
            text.push(b':');
            text.extend_from_slice(&json.0);
        }
    }

    /// Returns the length of all texts, without names: the least that [`Self::to_vec`] writes.
    pub(crate) fn least_len(&self) -> usize {
        self.0.iter().map(|(_, json)| json.0.len()).sum()
    }

    /// Returns the length of [`Self::to_vec`] without writing it.
    pub(crate) fn text_len(&self) -> usize {
        let members: usize = self
            .0
            .iter()
            .map(|(name, json)| name.written_len() + json.0.len() + 2)
            .sum();
        // One comma less than members, and two braces.
        members.max(1) + 1
    }

    /// Writes the object as a [`Json`] text, to be a member of another object.
    #[must_use]
    pub fn to_json(&self) -> Json {
        Json(self.to_vec().into())
    }
}

/// Reads the name of a member as it is written in JSON.
fn any_name(written: &RawValue) -> Option<Name> {
    let written = written.get();
    match serde_json::from_str::<BorrowedName<'_>>(written) {
        Ok(BorrowedName(name)) => Some(name.into()),
        Err(_) => Some(Name {
            text: json_text::read(written.as_bytes()).ok()?,
            written: Some(written.into()),
        }),
    }
}

/// The members of an object, borrowed from its text.
struct Members<'a, N>(Vec<(N, &'a RawValue)>);

impl<'de, N: Deserialize<'de>> Deserialize<'de> for Members<'de, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReadMembers<N>(PhantomData<N>);
        impl<'de, N: Deserialize<'de>> Visitor<'de> for ReadMembers<N> {
            type Value = Members<'de, N>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(ReadMembers(PhantomData))
    }
}

/// The name of a member, borrowed from the text unless it contains escapes.
struct BorrowedName<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for BorrowedName<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReadName;
        impl<'de> Visitor<'de> for ReadName {
            type Value = BorrowedName<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(BorrowedName(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(BorrowedName(Cow::Owned(name.to_owned())))
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
