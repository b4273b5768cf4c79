//! Replaces secrets with placeholders such as `secret-1`: the same value by the same placeholder wherever it occurs, so that a
//! replayed component sends in a request what it read in the configuration or in a response. A placeholder has only characters
//! that no encoding changes. A secret that is a number somewhere gets a number with as many digits, such as `10000001`.

use super::{
    body::Body,
    exchanges::{Exchange, Headers, content_type},
    multipart::{self, Part},
    names::{is_secret_name, is_secret_number, is_secret_parameter, is_typed},
    secrets::{SHORTEST, Secrets},
    views,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The digits of a placeholder that is a number: there are enough of them for a thousand, and they fit where the secret did.
const DIGITS: std::ops::RangeInclusive<usize> = 4..=19;

/// The placeholders that were given.
#[derive(Default)]
pub(super) struct Placeholders {
    given: BTreeMap<String, String>,
    /// The secrets that are numbers somewhere.
    numbers: BTreeSet<String>,
    /// Everything that is recorded: a number in it is no placeholder.
    recorded: String,
}

impl Placeholders {
    fn of(&mut self, secret: &str) -> String {
        if let Some(given) = self.given.get(secret) {
            return given.clone();
        }
        let count = self.given.len() + 1;
        let placeholder = if self.numbers.contains(secret) {
            let digits = secret.len().clamp(*DIGITS.start(), *DIGITS.end());
            let first = 10_u64.pow(u32::try_from(digits - 1).unwrap_or_default());
            let mut numbers = (first + count as u64..).map(|number| number.to_string());
            let is_free = |number: &String| {
                !self.recorded.contains(number) && !self.given.values().any(|given| given == number)
            };
            numbers.find(is_free).unwrap_or_default()
        } else {
            format!("secret-{count}")
        };
        self.given.insert(secret.to_owned(), placeholder.clone());
        placeholder
    }
}

impl Secrets {
    /// Looks at everything that is recorded, before anything is replaced: what is a number anywhere gets a number.
    pub(super) fn look_at(&mut self, recording: &Value) {
        self.placeholders.recorded = recording.to_string();
        self.find_numbers("", recording);
    }

    fn find_numbers(&mut self, name: &str, value: &Value) {
        match value {
            Value::Number(number) => {
                let text = number.to_string();
                if self.known.contains(&text) || (is_short_secret(name, value)) {
                    self.placeholders.numbers.insert(text);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.find_numbers(name, item)),
            Value::Object(members) => {
                let each = members.iter();
                each.for_each(|(name, value)| self.find_numbers(name, value));
            }
            // A JSON text in a text.
            Value::String(text) => {
                if let Ok(value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text)
                {
                    self.find_numbers("", &value);
                }
            }
            _ => {}
        }
    }

    /// Replaces secrets in the text parts of multipart bodies. Other parts stay as they are.
    pub(super) fn replace_parts(&mut self, exchange: &mut Exchange) {
        let Exchange { request, response } = exchange;
        self.replace_in_body(&request.headers, &mut request.body);
        self.replace_in_body(&response.headers, &mut response.body);
    }

    fn replace_in_body(&mut self, headers: &Headers, body: &mut Body) {
        let content_type = content_type(headers);
        if multipart::is_multipart(content_type)
            && let Some(bytes) = body.bytes()
        {
            *body = Body::of(&self.with_parts_replaced(content_type, &bytes));
        }
    }

    fn with_parts_replaced(&mut self, content_type: &str, body: &[u8]) -> Vec<u8> {
        let boundary = multipart::boundary(content_type);
        let parts = boundary.and_then(|boundary| multipart::parts(body, &boundary));
        let (mut replaced, mut done) = (Vec::new(), 0);
        for part in parts.into_iter().flatten() {
            replaced.extend_from_slice(&body[done..part.content.start]);
            done = part.content.end;
            replaced.extend(self.replaced_part(&part, &body[part.content.clone()]));
        }
        replaced.extend_from_slice(&body[done..]);
        replaced
    }

    fn replaced_part(&mut self, part: &Part, content: &[u8]) -> Vec<u8> {
        if multipart::is_multipart(&part.content_type) {
            return self.with_parts_replaced(&part.content_type, content);
        }
        match std::str::from_utf8(content) {
            Ok(text) if is_short(text) && is_secret_parameter(&part.name) => {
                self.placeholders.of(text).into()
            }
            Ok(text) => self.replaced(text).into(),
            Err(_) => content.to_owned(),
        }
    }

    /// Replaces secrets everywhere in a value.
    pub(super) fn replace(&mut self, value: &mut Value) {
        self.replace_below("", value);
    }

    fn replace_below(&mut self, name: &str, value: &mut Value) {
        let is_short_secret = is_short_secret(name, value);
        match value {
            Value::String(text) if is_short_secret => *text = self.placeholders.of(text),
            Value::String(text) => *text = self.replaced(text),
            Value::Number(number) => {
                let text = number.to_string();
                if (is_short_secret || self.known.contains(&text))
                    && let Ok(placeholder) = self.placeholders.of(&text).parse::<u64>()
                {
                    *value = placeholder.into();
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|i| self.replace_below(name, i)),
            Value::Object(members) => {
                for (name, value) in members {
                    self.replace_below(name, value);
                }
            }
            _ => {}
        }
    }

    /// Returns a text with placeholders in the place of secrets, in every encoding.
    fn replaced(&mut self, text: &str) -> String {
        let known = self.known.clone();
        let mut found = views::places(text.as_bytes(), &known);
        // A longer secret may contain a shorter one.
        found.sort_by_key(|(start, end, secret)| std::cmp::Reverse((end - start, secret.len())));
        let mut taken: Vec<(usize, usize, &str)> = Vec::new();
        for (start, end, secret) in found {
            if taken.iter().all(|other| end <= other.0 || other.1 <= start) {
                taken.push((start, end, secret));
            }
        }
        taken.sort_unstable();
        let (mut replaced, mut done) = (String::new(), 0);
        for (start, end, secret) in taken {
            replaced += &text[done..start];
            replaced += &self.placeholders.of(secret);
            done = end;
        }
        replaced += &text[done..];
        self.short_parameters(replaced)
    }

    /// Replaces short secrets in a query or form by their name.
    fn short_parameters(&mut self, text: String) -> String {
        if !text.contains('=') || text.contains(char::is_whitespace) {
            return text;
        }
        let (start, query) = match text.split_once('?') {
            Some((start, query)) => (format!("{start}?"), query),
            None => (String::new(), &*text),
        };
        let pairs: Vec<String> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, value))
                    if is_secret_parameter(name) && !value.is_empty() && value.len() < SHORTEST =>
                {
                    format!("{name}={}", self.placeholders.of(value))
                }
                _ => pair.to_owned(),
            })
            .collect();
        start + &pairs.join("&")
    }

    /// Whether a secret is in a value, in any encoding: in a text or the name of a member.
    pub(super) fn is_in(&self, value: &Value) -> bool {
        match value {
            Value::Null | Value::Bool(_) => false,
            Value::Number(number) => self.is_in_bytes(number.to_string().as_bytes()),
            Value::String(text) => self.is_in_bytes(text.as_bytes()),
            Value::Array(items) => items.iter().any(|item| self.is_in(item)),
            Value::Object(members) => members
                .iter()
                .any(|(name, value)| self.is_in_bytes(name.as_bytes()) || self.is_in(value)),
        }
    }

    /// Whether a secret is in bytes, in any encoding.
    pub(super) fn is_in_bytes(&self, bytes: &[u8]) -> bool {
        !views::places(bytes, &self.known).is_empty()
    }
}

/// Whether a value is replaced only because of its name, where it stands.
fn is_short_secret(name: &str, value: &Value) -> bool {
    match value {
        Value::String(text) => is_short(text) && is_secret_name(name),
        Value::Number(number) => {
            number.is_u64()
                && is_short(&number.to_string())
                && is_secret_number(name)
                && is_typed(name)
        }
        _ => false,
    }
}

fn is_short(text: &str) -> bool {
    !text.is_empty() && text.len() < SHORTEST
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A request with these parts, each with its headers.
    fn upload(content_type: &str, parts: &[(&str, &[u8])]) -> Exchange {
        let mut body = Vec::new();
        for (headers, content) in parts {
            body.extend(format!("--boundary\r\n{headers}\r\n\r\n").bytes());
            body.extend_from_slice(content);
            body.extend(b"\r\n");
        }
        body.extend(b"--boundary--\r\n");
        let mut exchange: Exchange = serde_json::from_value(json!({
            "request": {"method": "POST", "url": "http://a.test/", "headers": {"content-type": [content_type]}},
            "response": {"status": 200, "body": {"json": {"echo": "only-in-a-field"}}},
        }))
        .unwrap();
        exchange.request.body = Body::of(&body);
        exchange
    }

    const MULTIPART: &str = "multipart/form-data; boundary=boundary";

    /// What is written of a request: the whole, or why nothing is.
    fn written(mut exchange: Exchange) -> Result<Vec<u8>, String> {
        let mut secrets = Secrets::default();
        secrets.collect_exchange(&exchange);
        if let Some(why) = secrets.undecided() {
            return Err(why.to_owned());
        }
        secrets.look_at(&serde_json::to_value(&exchange).unwrap());
        secrets.replace_parts(&mut exchange);
        let mut response = exchange.response.body.value();
        secrets.replace(&mut response);
        assert!(!secrets.is_in(&response));
        Ok(exchange.request.body.bytes().unwrap().to_vec())
    }

    #[test]
    fn a_field_of_a_multipart_body_is_secret_by_its_name() {
        let field = |name: &str| format!("Content-Disposition: form-data; name=\"{name}\"");
        let file = "Content-Disposition: form-data; name=\"file\"; filename=\"token.png\"";
        let nested = "Content-Disposition: form-data; name=\"more\"\r\nContent-Type: multipart/mixed; boundary=inner";
        let parts: [(&str, &[u8]); 6] = [
            (&field("accountKey"), b"only-in-a-field"),
            (&field("pin"), b"1234"),
            (&field("note"), b"1234 only-in-a-field"),
            (&field("json"), b"{\"password\":\"in-json-in-a-field\"}"),
            (file, b"\xff\x00token=abcdefgh"),
            (
                nested,
                b"--inner\r\nContent-Disposition: form-data; name=otp\r\n\r\n987654\r\n--inner--",
            ),
        ];
        let replaced = [
            "secret-1",
            "secret-2",
            "1234 secret-1",
            "{\"password\":\"secret-3\"}",
            "",
            "--inner\r\nContent-Disposition: form-data; name=otp\r\n\r\nsecret-4\r\n--inner--",
        ];
        let mut expected = parts;
        for (part, text) in expected
            .iter_mut()
            .zip(replaced)
            .filter(|(_, text)| !text.is_empty())
        {
            part.1 = text.as_bytes();
        }
        let expected = upload(MULTIPART, &expected).request.body.bytes().unwrap();
        let found = written(upload(MULTIPART, &parts)).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&found),
            String::from_utf8_lossy(&expected)
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn a_field_that_cannot_be_read_is_a_reason_to_write_nothing() {
        let secret = "Content-Disposition: form-data; name=token";
        let encoded = format!("{secret}\r\nContent-Transfer-Encoding: base64");
        let harmless =
            "Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64";
        for (content_type, headers, content, told) in [
            (MULTIPART, secret, &b"\xff"[..], "the field `token`"),
            (MULTIPART, &encoded, b"YWJj", "the field `token`"),
            (
                "multipart/form-data",
                secret,
                b"abcdefgh",
                "cannot be told apart",
            ),
            (
                "multipart/form-data; boundary=other",
                secret,
                b"abcdefgh",
                "cannot be told apart",
            ),
            (MULTIPART, harmless, b"YWJj", ""),
        ] {
            match written(upload(content_type, &[(headers, content)])) {
                Ok(_) => assert_eq!(told, "", "{content_type} {headers}"),
                Err(why) => assert!(why.contains(told) && !told.is_empty(), "{why}"),
            }
        }
    }
}
