//! What a configuration type reads. Its `Deserialize` does not tell, so it is asked: for the names of its members, and
//! whether it reads sample values.

use crate::protocol::read_value;
use serde::{
    de::{DeserializeOwned, Error, Visitor},
    forward_to_deserialize_any,
};
use serde_json::Value;
use std::fmt;

/// The type of a configuration, without the type.
#[derive(Clone, Copy)]
pub(crate) struct ConfigType {
    members: fn() -> Option<&'static [&'static str]>,
    read: fn(&Value) -> Reading,
}

/// What comes of reading a configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The type reads it.
    Read,
    /// This member is required and missing.
    Missing(String),
    /// The value of this member is not read.
    Refused(String),
    /// It is not read for a reason that is about no single member, or that is not known.
    Unknown,
}

impl ConfigType {
    pub(crate) fn of<C: DeserializeOwned>() -> Self {
        Self {
            members: members::<C>,
            read: read::<C>,
        }
    }

    /// Returns the names of the members that the type reads, other names for them included; `None` if it does not tell, such
    /// as a map, or a struct with a flattened member.
    pub(crate) fn members(self) -> Option<&'static [&'static str]> {
        (self.members)()
    }

    pub(crate) fn read(self, config: &Value) -> Reading {
        (self.read)(config)
    }
}

fn read<C: DeserializeOwned>(config: &Value) -> Reading {
    let Err(error) = read_value::<C>(config) else {
        return Reading::Read;
    };
    let path = error.path().to_string();
    let member = path.split(['.', '[']).next().unwrap_or_default();
    if !member.is_empty() {
        return Reading::Refused(member.to_owned());
    }
    // serde has no other way to tell that a member is missing than this text.
    let text = error.into_inner().to_string();
    let missing = text.strip_prefix("missing field `");
    match missing.and_then(|rest| rest.split_once('`')) {
        Some((name, _)) => Reading::Missing(name.to_owned()),
        None => Reading::Unknown,
    }
}

fn members<C: DeserializeOwned>() -> Option<&'static [&'static str]> {
    match C::deserialize(Question) {
        Err(Answer::Members(names)) => Some(names),
        // A type that reads no member at all.
        Ok(_) => Some(&[]),
        Err(Answer::Nothing) => None,
    }
}

/// A deserializer that has no value, and asks which members the type wants.
struct Question;

/// The answer, in the place of an error.
#[derive(Debug)]
enum Answer {
    Members(&'static [&'static str]),
    Nothing,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the type was only asked for its members")
    }
}

impl std::error::Error for Answer {}

impl Error for Answer {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Nothing
    }
}

impl<'de> serde::Deserializer<'de> for Question {
    type Error = Answer;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Answer> {
        Err(Answer::Nothing)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Answer> {
        Err(Answer::Members(names))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Answer> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Answer> {
        visitor.visit_some(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Answer> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map enum identifier
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, de::IgnoredAny};
    use serde_json::json;
    use std::collections::BTreeMap;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "only its members are wanted")]
    struct Config {
        base_url: String,
        #[serde(default, alias = "size")]
        page_size: u32,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its members are wanted")]
    struct Wrapped(Config);

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its members are wanted")]
    struct Flat {
        name: String,
        #[serde(flatten)]
        config: Config,
    }

    #[test]
    fn a_struct_tells_its_members_and_a_map_does_not() {
        let names = Some(&["baseUrl", "pageSize", "size"][..]);
        assert_eq!(ConfigType::of::<Config>().members(), names);
        assert_eq!(ConfigType::of::<Wrapped>().members(), names);
        assert_eq!(ConfigType::of::<Option<Config>>().members(), names);
        assert_eq!(ConfigType::of::<IgnoredAny>().members(), Some(&[][..]));
        for other in [
            ConfigType::of::<Flat>(),
            ConfigType::of::<Value>(),
            ConfigType::of::<BTreeMap<String, Value>>(),
        ] {
            assert_eq!(other.members(), None);
        }
    }

    #[test]
    fn a_configuration_that_is_not_read_names_its_member() {
        let of = ConfigType::of::<Config>();
        for (config, reading) in [
            (json!({ "baseUrl": "u" }), Reading::Read),
            (json!({}), Reading::Missing("baseUrl".into())),
            (json!({ "baseUrl": 1 }), Reading::Refused("baseUrl".into())),
            (
                json!({ "baseUrl": "u", "size": "1" }),
                Reading::Refused("size".into()),
            ),
            (
                json!({ "baseUrl": "u", "size": 1, "pageSize": 1 }),
                Reading::Unknown,
            ),
        ] {
            assert_eq!(of.read(&config), reading, "{config}");
        }
        let flat = ConfigType::of::<Flat>();
        let reading = flat.read(&json!({ "name": "n" }));
        assert_eq!(reading, Reading::Missing("baseUrl".into()));
    }
}
