//! The attachments of a message. They are parsed when they are read, and sent on unchanged.

use crate::{
    clients::object_storage::StoredFile,
    protocol::{Json, Object},
};
use anyhow::Context as _;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A file that belongs to a message: its address, not its bytes (wire-contract: Message object).
///
/// ```
/// use emulator::platform::{Platform, PlatformConfig};
/// use sailor::{prelude::*, testing::{Event, Harness}};
/// use serde_json::{Value, json};
///
/// async fn report(_: Message<NoBody>, cx: Context<Value, String>) -> anyhow::Result<()> {
///     let file = cx.attachments()?.upload("a;b\n1;2\n", "text/csv").await?;
///     cx.message(Message::new("report".to_owned()).with_attachment("report.csv", file.into())).await
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// # let component = Component::new(r#"{"actions": {"report": {}}}"#)?.action("report", report);
/// let storage = Platform::start(PlatformConfig::default()).await?;
/// let harness = Harness::new(&component, "report").object_storage(&storage.url(), "emulator-storage-token");
/// let emitted = harness.run(json!({})).await?;
/// let [Event::Data(message)] = &emitted.events[..] else { panic!("{emitted:?}") };
/// assert_eq!(message["attachments"]["report.csv"]["size"], 8);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attachment {
    /// The address of the bytes.
    #[serde(default)]
    pub url: String,
    /// The media type, such as `application/pdf`. Anything but text counts as unknown.
    #[serde(
        rename = "content-type",
        default,
        deserialize_with = "lenient_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub content_type: Option<String>,
    /// The size in bytes. It is read from a number or from text; anything else counts as unknown.
    #[serde(
        default,
        deserialize_with = "lenient_size",
        skip_serializing_if = "Option::is_none"
    )]
    pub size: Option<u64>,
    /// All other members.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A file that was uploaded to object storage, as an attachment of the message that is emitted.
impl From<StoredFile> for Attachment {
    fn from(file: StoredFile) -> Self {
        Self {
            url: file.url,
            content_type: Some(file.content_type),
            size: file.size,
            more: Map::new(),
        }
    }
}

fn lenient_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(non_empty_text(&value).map(str::to_owned))
}

fn non_empty_text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.trim().is_empty())
}

fn lenient_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let whole = |size: f64| {
        (size >= 0.0 && size.fract() == 0.0 && size < u64::MAX as f64).then_some(size as u64)
    };
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(size) => size.as_u64().or_else(|| size.as_f64().and_then(whole)),
        Value::String(size) => {
            let size = size.trim();
            size.parse()
                .ok()
                .or_else(|| size.parse().ok().and_then(whole))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    })
}

/// A message's attachments, by name. Incoming attachments are parsed only when they are read, and are sent on
/// unchanged. An invalid attachment causes an error only when it is read.
///
/// ```
/// use sailor::prelude::*;
///
/// let message = serde_json::json!({"attachments": {"a.csv": {"url": "http://files/a", "size": "9"}, "b": 7}});
/// let message = Message::try_from(message)?;
/// assert_eq!(message.attachments.get("a.csv")?.unwrap().size, Some(9));
/// assert!(message.attachments.get("b").is_err());
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Attachments {
    incoming: Option<Json>,
    /// These replace incoming ones of the same name.
    added: BTreeMap<String, Attachment>,
}

impl Attachments {
    pub(super) fn from_incoming(incoming: Option<Json>) -> Self {
        Self {
            incoming,
            added: BTreeMap::new(),
        }
    }

    /// Returns the attachment called `name`, or `None` if it is missing or null.
    ///
    /// # Errors
    /// Returns an error if the value is not an attachment, or if the message's `attachments` is not an object.
    pub fn get(&self, name: &str) -> anyhow::Result<Option<Attachment>> {
        let members = self.members()?;
        members
            .get(name)
            .filter(|json| !is_null(json))
            .map(|json| read(name, json))
            .transpose()
    }

    /// Returns all attachments with their names, ordered by name. Values that are not attachments are errors. If the message's
    /// `attachments` is not an object, the only item is an error.
    ///
    /// ```
    /// # let message = serde_json::json!({"attachments": {"b": {"url": "http://files/b"}, "a": {"url": "http://files/a"}}});
    /// # let message = sailor::Message::try_from(message)?;
    /// let mut names = Vec::new();
    /// for attachment in message.attachments.iter() {
    ///     let (name, _) = attachment?;
    ///     names.push(name);
    /// }
    /// assert_eq!(names, ["a", "b"]);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = anyhow::Result<(String, Attachment)>> + use<> {
        let (members, wrong) = match self.members() {
            Ok(members) => (members, None),
            Err(error) => (Object::new(), Some(Err(error))),
        };
        // If a name occurs twice, the last one counts.
        let by_name: BTreeMap<_, _> = members
            .iter()
            .map(|(name, json)| (name.to_owned(), json.clone()))
            .collect();
        let by_name = by_name.into_iter().filter(|(_, json)| !is_null(json));
        wrong.into_iter().chain(
            by_name.map(|(name, json)| read(&name, &json).map(|attachment| (name, attachment))),
        )
    }

    /// Adds an attachment. It replaces one of the same name.
    ///
    /// ```
    /// use sailor::{Attachment, Message};
    /// use serde_json::json;
    ///
    /// let mut message = Message::try_from(json!({ "attachments": { "a.csv": { "url": "http://files/old" } } }))?;
    /// let new = Attachment { url: "http://files/new".to_owned(), ..Attachment::default() };
    /// message.attachments.insert("a.csv", new.clone());
    /// assert_eq!(message.attachments.get("a.csv")?, Some(new));
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn insert(&mut self, name: impl Into<String>, attachment: Attachment) {
        self.added.insert(name.into(), attachment);
    }

    /// Returns the incoming member, unchanged if nothing was added; `None` if there are no attachments.
    pub(super) fn write(self) -> anyhow::Result<Option<Json>> {
        if self.added.is_empty() {
            Ok(self.incoming)
        } else {
            Ok(Some(self.members()?.to_json()))
        }
    }

    /// The incoming attachments and the added ones. Any empty JSON (an empty list, null) counts as no attachments.
    fn members(&self) -> anyhow::Result<Object> {
        let mut members = match self.incoming.as_ref().filter(|json| !json.is_empty()) {
            Some(json) => {
                Object::read(json.bytes()).context("the message's attachments are not an object")?
            }
            None => Object::new(),
        };
        for (name, attachment) in &self.added {
            members.set(name, Json::of(attachment)?);
        }
        Ok(members)
    }
}

fn is_null(json: &Json) -> bool {
    json.as_bytes() == b"null"
}

/// Reads an attachment. If it has no `content-type`, a member such as `contentType` is one. It also stays in `more`.
fn read(name: &str, json: &Json) -> anyhow::Result<Attachment> {
    let mut attachment: Attachment = json
        .parse()
        .with_context(|| format!("reading attachment {name:?}"))?;
    if attachment.content_type.is_none() {
        let mut others = attachment.more.iter();
        let found = others.find_map(|(name, value)| {
            let name = name.replace(['-', '_'], "");
            let is_content_type = name.eq_ignore_ascii_case("contenttype");
            non_empty_text(value).filter(|_| is_content_type)
        });
        attachment.content_type = found.map(str::to_owned);
    }
    Ok(attachment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;
    use serde_json::json;

    fn attachments(text: &str) -> Attachments {
        Attachments::from_incoming(Some(Json::from_text(text.to_owned().into()).unwrap()))
    }

    #[test]
    fn sizes_are_read_as_components_write_them() {
        for (size, expected) in [
            ("9", Some(9)),
            (r#""9""#, Some(9)),
            ("9.0", Some(9)),
            (r#"" 9.0 ""#, Some(9)),
            ("18446744073709551615", Some(u64::MAX)),
            (r#""""#, None),
            ("null", None),
            (r#""9 KB""#, None),
            ("-1", None),
            ("9.5", None),
            ("1e300", None),
            ("[9]", None),
        ] {
            let attachment = attachments(&format!(r#"{{"a": {{"url": "u", "size": {size}}}}}"#))
                .get("a")
                .unwrap();
            assert_eq!(attachment.unwrap().size, expected, "{size}");
        }
    }

    #[test]
    fn content_types_are_read_as_components_write_them() {
        for (members, expected) in [
            (r#""content-type": "text/csv""#, Some("text/csv")),
            (r#""contentType": "text/csv""#, Some("text/csv")),
            (
                r#""Content-Type": "text/csv", "size": "9""#,
                Some("text/csv"),
            ),
            (
                r#""content_type": "text/csv", "content-type": null"#,
                Some("text/csv"),
            ),
            (
                r#""contentType": "a/b", "content-type": "text/csv""#,
                Some("text/csv"),
            ),
            (r#""content-type": null"#, None),
            (r#""content-type": """#, None),
            (r#""content-type": 7"#, None),
            (r#""contentType": ["text/csv"]"#, None),
            (r#""type": "text/csv""#, None),
        ] {
            let attachments = attachments(&format!(r#"{{"a": {{"url": "u", {members}}}}}"#));
            let read = attachments.get("a").unwrap().unwrap();
            assert_eq!(read.content_type.as_deref(), expected, "{members}");
            let all: Vec<_> = attachments.iter().map(Result::unwrap).collect();
            assert_eq!(all, [("a".to_owned(), read)]);
        }
        let odd = attachments(r#"{"a": {"contentType": "text/csv"}}"#);
        let read = odd.get("a").unwrap().unwrap();
        assert_eq!(read.more["contentType"], "text/csv", "nothing is lost");
    }

    #[test]
    fn whatever_is_empty_is_no_attachments() {
        for text in [
            "{}",
            "[]",
            "[ ]",
            "null",
            r#""""#,
            "0",
            "false",
            r#"{"a": null}"#,
        ] {
            let attachments = attachments(text);
            assert!(
                attachments.get("a").unwrap().is_none() && attachments.iter().next().is_none(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_wrong_attachment_fails_only_where_it_is_asked_for() {
        for wrong in ["7", r#"{"url": 7}"#, r#""http://files/b""#, "[]"] {
            let attachments = attachments(&format!(
                r#"{{"a": {{"url": "u"}}, "b": {wrong}, "c": {{}}}}"#
            ));
            assert_eq!(attachments.get("a").unwrap().unwrap().url, "u", "{wrong}");
            let error = format!("{:#}", attachments.get("b").unwrap_err());
            assert!(error.starts_with("reading attachment \"b\": "), "{error}");
            assert_eq!(
                attachments.iter().filter(Result::is_ok).count(),
                2,
                "{wrong}"
            );
        }
        for wrong in [r#""x""#, r#"[{"url": "u"}]"#] {
            let attachments = attachments(wrong);
            assert!(attachments.get("a").is_err(), "{wrong}");
            let mut all = attachments.iter();
            assert!(
                all.next().unwrap().is_err() && all.next().is_none(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn attachments_that_are_left_alone_go_out_unchanged() {
        for text in [
            r#"{"a": {"size":"9" ,"url":"u"}}"#,
            "[]",
            "null",
            r#""x""#,
            r#"{"a":1,"a":2}"#,
            "{}",
        ] {
            let object =
                Object::read(format!(r#"{{"body":{{}},"attachments":{text}}}"#).into()).unwrap();
            let message = Message::<Value>::read(object).unwrap();
            let written = message.write().unwrap();
            assert_eq!(
                written.get("attachments").unwrap().as_bytes(),
                text.as_bytes()
            );
        }
        assert!(
            Message::new(json!({}))
                .write()
                .unwrap()
                .get("attachments")
                .is_none()
        );
    }

    #[test]
    fn added_attachments_join_and_replace_incoming_ones() {
        let file = |url: &str| Attachment {
            url: url.to_owned(),
            ..Attachment::default()
        };
        let mut attachments =
            attachments(r#"{"b": {"url": "old", "size": "9"}, "c": {"url": "old"}}"#);
        attachments.insert("c", file("new"));
        attachments.insert("a", file("new"));
        let all: Vec<_> = attachments
            .iter()
            .map(|item| item.unwrap())
            .map(|(name, file)| (name, file.url))
            .collect();
        assert_eq!(
            all,
            [("a", "new"), ("b", "old"), ("c", "new")].map(|(name, url)| (name.into(), url.into()))
        );
        assert_eq!(attachments.get("c").unwrap().unwrap().url, "new");
        let written: Value = attachments.write().unwrap().unwrap().parse().unwrap();
        let old = json!({ "url": "old", "size": "9" });
        assert_eq!(
            written,
            json!({ "b": old, "c": { "url": "new" }, "a": { "url": "new" } })
        );
    }

    #[test]
    fn attachments_can_be_given_to_another_message_or_taken_away() {
        let object = Object::read(r#"{"body":{},"attachments":{"a":{"url":"u"}}}"#.into()).unwrap();
        let mut received = Message::<Value>::read(object).unwrap();
        let mut out = Message::new(json!({}));
        out.attachments = std::mem::take(&mut received.attachments);
        assert_eq!(
            out.write().unwrap().get("attachments").unwrap().as_bytes(),
            br#"{"a":{"url":"u"}}"#
        );
        assert_eq!(
            received
                .write()
                .unwrap()
                .get("attachments")
                .unwrap()
                .as_bytes(),
            b"{}"
        );
    }
}
