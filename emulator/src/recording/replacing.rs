//! Replaces secrets with placeholders such as `secret-1`: the same value by the same placeholder wherever it occurs, so that a
//! replayed component sends in a request what it read in the configuration or in a response. A placeholder has only characters
//! that no encoding changes but base64: where a secret is in base64, its placeholder is not, so a replay finds a difference there.
//! A secret that is a number somewhere gets a number with as many digits, such as `10000001`.

use super::{
    body::{Body, characters},
    exchanges::{Exchange, Headers, content_type},
    multipart::{self, Part},
    names::is_secret_parameter,
    secrets::{Secrets, json_in, without_zeros},
    views::{self, Wanted},
};
use serde_json::Value;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// The digits of a placeholder that is a number: there are enough of them for a thousand, and they fit where the secret did.
const DIGITS: std::ops::RangeInclusive<usize> = 4..=19;

/// The placeholders that were given.
#[derive(Default)]
pub(super) struct Placeholders {
    given: BTreeMap<String, String>,
    /// The secrets that are numbers somewhere.
    numbers: BTreeSet<String>,
    /// Everything that is recorded: what is in it is no placeholder.
    recorded: String,
}

impl Secrets {
    fn placeholder(&self, secret: &str) -> String {
        let Placeholders {
            given,
            numbers,
            recorded,
        } = &mut *self.placeholders.borrow_mut();
        if let Some(given) = given.get(secret) {
            return given.clone();
        }
        let (begin, first) = if numbers.contains(secret) {
            let digits = secret.len().clamp(*DIGITS.start(), *DIGITS.end());
            (
                "",
                10_u64.pow(u32::try_from(digits - 1).unwrap_or_default()),
            )
        } else {
            ("secret-", 0)
        };
        let numbers = first + 1 + given.len() as u64..;
        let mut all = numbers.map(|number| format!("{begin}{number}"));
        let is_free = |placeholder: &String| {
            !recorded.contains(placeholder)
                && !given.values().any(|given| given == placeholder)
                && !self.known.keys().any(|secret| placeholder.contains(secret))
        };
        let placeholder = all.find(is_free).unwrap_or_default();
        given.insert(secret.to_owned(), placeholder.clone());
        placeholder
    }

    /// Whether a value is replaced only because of its name, where it stands.
    fn is_short(&self, name: &str, value: &Value) -> bool {
        let of = |text: &str| (name.to_owned(), text.to_owned());
        match value {
            Value::String(text) => self.short.contains(&of(text)),
            Value::Number(number) => self.short_numbers.contains(&of(&number.to_string())),
            _ => false,
        }
    }

    /// Looks at everything that is recorded, before anything is replaced: what is a number anywhere gets a number.
    pub(super) fn look_at(&mut self, recording: &Value) {
        self.placeholders.get_mut().recorded = recording.to_string();
        self.find_numbers("", recording);
    }

    fn find_numbers(&mut self, name: &str, value: &Value) {
        match value {
            Value::Number(number) => {
                let text = number.to_string();
                if self.known.contains_key(&text) || self.is_short(name, value) {
                    self.placeholders.get_mut().numbers.insert(text);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.find_numbers(name, item)),
            Value::Object(members) => {
                let each = members.iter();
                each.for_each(|(name, value)| self.find_numbers(name, value));
            }
            // A JSON text in a text.
            Value::String(text) => {
                json_in(text).for_each(|value| self.find_numbers("", &value));
            }
            _ => {}
        }
    }

    /// Replaces secrets in the text parts of multipart bodies. Other parts stay as they are.
    pub(super) fn replace_parts(&self, exchange: &mut Exchange) {
        let Exchange { request, response } = exchange;
        self.replace_in_body(&request.headers, &mut request.body);
        self.replace_in_body(&response.headers, &mut response.body);
    }

    fn replace_in_body(&self, headers: &Headers, body: &mut Body) {
        let content_type = content_type(headers);
        if multipart::is_multipart(content_type)
            && let Some(bytes) = body.bytes()
        {
            *body = Body::of(&self.with_parts_replaced(content_type, &bytes, &self.wanted()));
        }
    }

    fn with_parts_replaced(
        &self,
        content_type: &str,
        body: &[u8],
        wanted: &[Wanted<'_>],
    ) -> Vec<u8> {
        let boundary = multipart::boundary(content_type);
        let parts = boundary.and_then(|boundary| multipart::parts(body, &boundary));
        let (mut replaced, mut done) = (Vec::new(), 0);
        for part in parts.into_iter().flatten() {
            replaced.extend_from_slice(&body[done..part.content.start]);
            done = part.content.end;
            replaced.extend(self.replaced_part(&part, &body[part.content.clone()], wanted));
        }
        replaced.extend_from_slice(&body[done..]);
        replaced
    }

    fn replaced_part(&self, part: &Part, content: &[u8], wanted: &[Wanted<'_>]) -> Vec<u8> {
        if multipart::is_multipart(&part.content_type) {
            return self.with_parts_replaced(&part.content_type, content, wanted);
        }
        match std::str::from_utf8(content) {
            Ok(text) if self.is_short(&part.name, &text.trim().into()) => {
                let placeholder = self.placeholder(text.trim());
                text.replace(text.trim(), &placeholder).into()
            }
            Ok(text) => self.replaced(text, wanted).into(),
            Err(_) => content.to_owned(),
        }
    }

    /// Replaces secrets everywhere in a value.
    pub(super) fn replace(&self, value: &mut Value) {
        self.replace_below("", value, &self.wanted());
    }

    fn replace_below(&self, name: &str, value: &mut Value, wanted: &[Wanted<'_>]) {
        let is_short = self.is_short(name, value);
        match value {
            Value::String(text) if is_short => *text = self.placeholder(text),
            Value::String(text) => *text = self.replaced(text, wanted),
            Value::Number(number) => {
                let text = number.to_string();
                if (is_short || self.known.contains_key(&text))
                    && let Ok(placeholder) = self.placeholder(&text).parse::<u64>()
                {
                    *value = placeholder.into();
                }
            }
            Value::Array(items) => {
                let each = items.iter_mut();
                each.for_each(|item| self.replace_below(name, item, wanted));
            }
            Value::Object(members) => {
                for (name, value) in members {
                    self.replace_below(name, value, wanted);
                }
            }
            _ => {}
        }
    }

    /// Returns a text with placeholders in the place of secrets, in every encoding.
    fn replaced(&self, text: &str, wanted: &[Wanted<'_>]) -> String {
        let found = views::places(text.as_bytes(), wanted).into_iter();
        // A longer secret may contain a shorter one.
        let found = found.map(|(start, end, Wanted { value, .. })| {
            (Reverse((end - start, value.len())), start, value)
        });
        let found: BTreeSet<_> = found.collect();
        // What is replaced: by its start, the end and the secret. Nothing overlaps.
        let mut taken: BTreeMap<usize, (usize, &str)> = BTreeMap::new();
        for (Reverse((length, _)), start, value) in found {
            let end = start + length;
            let before = taken.range(..end).next_back();
            if before.is_none_or(|(_, (end, _))| *end <= start) {
                taken.insert(start, (end, value));
            }
        }
        let (mut replaced, mut done) = (String::new(), 0);
        for (start, (end, secret)) in taken {
            replaced += &text[done..start];
            replaced += &self.placeholder(secret);
            done = end;
        }
        replaced + &text[done..]
    }

    /// Tells which secret is still in a value, in any encoding, and where: in a text or the name of a member.
    pub(super) fn left_in(&self, value: &Value) -> Option<String> {
        self.left_below("", "", value, &self.wanted())
    }

    fn left_below(
        &self,
        place: &str,
        name: &str,
        value: &Value,
        wanted: &[Wanted<'_>],
    ) -> Option<String> {
        let told = |secret: &str, part| format!("the value of `{secret}` is {part}{place}");
        match value {
            Value::Null | Value::Bool(_) => None,
            Value::Number(_) | Value::String(_) if self.is_short(name, value) => {
                Some(told(name, "at "))
            }
            Value::Number(number) => {
                let secret = name_in(number.to_string().as_bytes(), wanted)?;
                Some(told(secret, "at "))
            }
            Value::String(text) => {
                let secret = name_in(text.as_bytes(), wanted);
                // A short one may be anywhere below its name.
                let within =
                    || json_in(text).find_map(|json| self.left_below(place, name, &json, wanted));
                secret.map(|secret| told(secret, "at ")).or_else(within)
            }
            Value::Array(items) => (0_usize..).zip(items).find_map(|(at, item)| {
                self.left_below(&format!("{place}/{at}"), name, item, wanted)
            }),
            Value::Object(members) => members.iter().find_map(|(name, value)| {
                let secret = name_in(name.as_bytes(), wanted);
                // A password may be the word `password`.
                let secret = secret
                    .filter(|_| !(is_secret_parameter(name) && self.known.contains_key(name)));
                let secret = secret.map(|secret| told(secret, "in the name of a member of "));
                secret.or_else(|| self.left_below(&format!("{place}/{name}"), name, value, wanted))
            }),
        }
    }

    /// The name of a secret that is in bytes, in any encoding.
    pub(super) fn name_in(&self, bytes: &[u8]) -> Option<&str> {
        name_in(bytes, &self.wanted())
    }
}

/// The name of what is in bytes, also if each is a character, or has a zero beside it.
fn name_in<'a>(bytes: &[u8], wanted: &[Wanted<'a>]) -> Option<&'a str> {
    let search = |bytes: &[u8]| {
        let found = views::places(bytes, wanted);
        found.first().map(|found| found.2.name)
    };
    search(bytes).or_else(|| match str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => None,
        Ok(text) => search(without_zeros(text).as_bytes()),
        Err(_) => search(without_zeros(&characters(bytes)).as_bytes()),
    })
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
        assert_eq!(secrets.left_in(&response), None);
        Ok(exchange.request.body.bytes().unwrap().to_vec())
    }

    #[test]
    fn a_field_of_a_multipart_body_is_secret_by_its_name() {
        let field = |name: &str| format!("Content-Disposition: form-data; name=\"{name}\"");
        let file = "Content-Disposition: form-data; name=\"file\"; filename=\"token.png\"";
        let nested = "Content-Disposition: form-data; name=\"more\"\r\nContent-Type: multipart/mixed; boundary=inner";
        let parts: [(&str, &[u8]); 6] = [
            (&field("accountKey"), b"only-in-a-field"),
            (&field("pin"), b"1234 \n"),
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
            "secret-2 \n",
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

    /// Parts are replaced by themselves, and then as a part of everything.
    #[test]
    fn a_field_whose_value_is_in_its_placeholder_is_replaced_once() {
        let field = |name: &str| format!("Content-Disposition: form-data; name=\"{name}\"");
        let (password, pin) = (field("password"), field("pin"));
        let mut exchange = upload(MULTIPART, &[(&password, b"secret"), (&pin, b"1")]);
        let expected = upload(MULTIPART, &[(&password, b"secret-1"), (&pin, b"secret-2")]);
        let mut secrets = Secrets::default();
        secrets.collect_exchange(&exchange);
        secrets.look_at(&serde_json::to_value(&exchange).unwrap());
        secrets.replace_parts(&mut exchange);
        let mut value = serde_json::to_value(&exchange).unwrap();
        secrets.replace(&mut value);
        assert_eq!(secrets.left_in(&value), None);
        assert_eq!(value, serde_json::to_value(expected).unwrap());
    }

    #[test]
    fn bytes_are_searched_without_zeros_if_they_have_some() {
        let mut secrets = Secrets::default();
        secrets.add("door", "open sesame");
        let wide: Vec<u8> = "open sesame".bytes().flat_map(|byte| [byte, 0]).collect();
        for bytes in [&wide[..], b"\xff open sesame", b"open sesame"] {
            assert_eq!(secrets.name_in(bytes), Some("door"), "{bytes:?}");
        }
        assert_eq!(secrets.name_in(b"open\0 \xff sesame"), None);
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
