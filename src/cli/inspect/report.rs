//! What is known about one message: what it is, its headers, attachments and structure, or why it cannot be read.

use super::{
    capture::Capture,
    kind,
    open::{self, Opened},
    shape::Shape,
};
use crate::protocol::{
    Cipher, Encoding, Headers, IncomingHeaders, Json, Object, headers::OBJECT_ID_HEADER,
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

/// Why something cannot be read, and what the reader can do. It contains nothing of the message.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Problem {
    pub(super) problem: String,
    pub(super) remedy: String,
}

impl Problem {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// A file that a message refers to. Its URL is left out: whoever knows it can read the file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attachment {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(super) size: Value,
}

/// What an earlier step has emitted.
#[derive(Debug, Serialize)]
pub(super) struct Passed {
    pub(super) step: String,
    pub(super) bytes: usize,
}

/// One message.
#[derive(Default)]
pub(super) struct Report {
    pub(super) capture: Option<Capture>,
    pub(super) kind: &'static str,
    pub(super) id: Option<String>,
    /// The protocol version of the body, if it is encrypted.
    pub(super) protocol: Option<i64>,
    /// The id of the body in object storage.
    pub(super) object_id: Option<String>,
    pub(super) attachments: Vec<Attachment>,
    pub(super) passthrough: Vec<Passed>,
    pub(super) shape: Shape,
    /// The decrypted body.
    pub(super) content: Option<Json>,
    /// What is unusual, but does not keep the message from being read.
    pub(super) notes: Vec<String>,
    pub(super) problem: Option<Problem>,
}

impl Report {
    /// Reads a message with the cipher, or with the reason why there is none.
    pub(super) fn of(capture: Capture, cipher: &Result<Cipher, Problem>) -> Self {
        let mut report = Self::default();
        let headers = capture.headers.as_ref();
        if let Some(headers) = headers {
            let incoming = IncomingHeaders::read(headers);
            report.id = incoming.message_id;
            report.kind = kind::of_headers(headers);
        }
        if let Some(body) = &capture.body {
            let read = report.read(body, &capture, cipher);
            report.problem = read.err();
        }
        report.capture = Some(capture);
        report
    }

    fn read(
        &mut self,
        body: &Bytes,
        capture: &Capture,
        cipher: &Result<Cipher, Problem>,
    ) -> Result<(), Problem> {
        self.kind = "unreadable";
        let headers = capture.headers.as_ref();
        if capture.protocol.is_none()
            && let Some(plain) = plain_json(body, headers)
        {
            self.kind = kind::of_plain(&plain, headers);
            if kind::is_error_event(&plain) {
                return self.read_error_event(&plain, cipher.as_ref().map_err(Clone::clone)?);
            }
            self.take_content(plain);
            return Ok(());
        }
        let cipher = cipher.as_ref().map_err(Clone::clone)?;
        let opened = open::open(body, self.encoding(body, capture), cipher)?;
        let Opened { json, encoding } = opened;
        self.protocol = Some(open::version(encoding));
        self.kind = kind::of_encrypted(&json, headers);
        self.take_message(&json);
        self.take_content(json);
        Ok(())
    }

    /// A message of a queue has the encoding that its header says, because a step reads it so. A file can be written in other
    /// ways.
    fn encoding(&mut self, body: &[u8], capture: &Capture) -> Encoding {
        let looks = open::encoding_of(body);
        let header = capture.headers.as_ref();
        let header = header.map(|headers| IncomingHeaders::read(headers).protocol_version);
        match (capture.protocol, header) {
            (Some(version), _) => Encoding::of(version),
            (None, Some(version)) if capture.delivery.is_some() => Encoding::of(version),
            (None, Some(version)) if Encoding::of(version) != looks => {
                self.notes.push(format!(
                    "the headers say protocol version {version}, but the body is written as in version {}",
                    open::version(looks)
                ));
                looks
            }
            _ => looks,
        }
    }

    /// Decrypts the members of an error event. The input can be any body, so an unreadable one is a note.
    fn read_error_event(&mut self, event: &Json, cipher: &Cipher) -> Result<(), Problem> {
        let mut content = event.members().unwrap_or_default();
        for name in ["error", "errorInput"] {
            let Some(sealed) = content
                .get(name)
                .and_then(|json| json.parse::<String>().ok())
            else {
                continue;
            };
            let opened = open::open(sealed.as_bytes(), Encoding::Base64, cipher);
            match opened {
                Ok(opened) => {
                    if name == "errorInput" {
                        self.take_message(&opened.json);
                    }
                    content.set(name, opened.json);
                }
                Err(problem) if name == "error" => {
                    return Err(Problem::new(
                        format!("`error` of the error event: {}", problem.problem),
                        problem.remedy,
                    ));
                }
                Err(Problem { problem, .. }) => {
                    self.notes
                        .push(format!("`errorInput` of the error event: {problem}"));
                }
            }
        }
        self.take_content(content.to_json());
        Ok(())
    }

    /// Takes the ids, attachments and passthrough of a message.
    fn take_message(&mut self, json: &Json) {
        let Some(message) = json.members() else {
            return;
        };
        let text = |object: &Object, name: &str| object.get(name)?.parse::<String>().ok();
        if self.id.is_none() {
            self.id = text(&message, "id");
        }
        let headers = message.get("headers").and_then(Json::members);
        self.object_id = headers.and_then(|headers| text(&headers, OBJECT_ID_HEADER));
        let members = |name: &str| {
            message
                .get(name)
                .and_then(Json::members)
                .unwrap_or_default()
        };
        let file = |(name, json): (&str, &Json)| Attachment {
            name: name.to_owned(),
            content_type: json.members().and_then(|file| text(&file, "content-type")),
            size: json
                .members()
                .and_then(|file| file.get("size")?.parse().ok())
                .unwrap_or_default(),
        };
        self.attachments = members("attachments").iter().map(file).collect();
        let passed = |(step, json): (&str, &Json)| Passed {
            step: step.to_owned(),
            bytes: json.as_bytes().len(),
        };
        self.passthrough = members("passthrough").iter().map(passed).collect();
    }

    fn take_content(&mut self, json: Json) {
        // What the messages of earlier steps are like is told by their own captures.
        let mut shown = json.clone();
        if let Some(mut members) = json.members() {
            members.remove("passthrough");
            shown = members.to_json();
        }
        match shown.parse::<Value>() {
            Ok(value) => self.shape.add("", &value),
            Err(error) => self
                .notes
                .push(format!("the structure cannot be read at {}", error.path())),
        }
        self.content = Some(json);
    }

    /// The headers of the message: their values if they are ids, times and numbers, or else only their types.
    pub(super) fn headers(&self, with_values: bool) -> Map<String, Value> {
        let headers = self
            .capture
            .as_ref()
            .and_then(|capture| capture.headers.as_ref());
        let shown = |(name, value): (&String, &Value)| {
            let value = if with_values || kind::is_shown(name, value) {
                value.clone()
            } else {
                let (kind, size) = super::shape::kind_of(value);
                let mut left_out = Map::new();
                left_out.insert("type".to_owned(), kind.into());
                left_out.extend(size.map(|size| ("size".to_owned(), size.into())));
                left_out.into()
            };
            (name.clone(), value)
        };
        headers.into_iter().flatten().map(shown).collect()
    }
}

/// Returns a body that is not encrypted. A ciphertext in base64 can look like a number, but not like these values.
fn plain_json(body: &Bytes, headers: Option<&Headers>) -> Option<Json> {
    let is_snapshot = headers.is_some_and(|headers| headers.contains_key("snapshotEvent"));
    let first = body.trim_ascii_start().first();
    if is_snapshot || matches!(first, Some(b'{' | b'[' | b'"')) {
        Json::from_text(body.clone()).ok()
    } else {
        None
    }
}
