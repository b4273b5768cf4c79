//! Replaces secrets with placeholders such as `secret-1`: the same value by the same placeholder wherever it occurs, so that a
//! replayed component sends in a request what it read in the configuration or in a response. A placeholder has only characters
//! that no encoding changes but base64: where a secret is in base64, its placeholder is not, so a replay finds a difference there.
//! A secret that is a number somewhere gets a number with as many digits, such as `10000001`.

use super::{
    body::{Body, characters},
    exchanges::{Exchange, Headers, content_type},
    multipart::{self, Part},
    names::is_secret_parameter,
    secrets::{Secrets, without_zeros},
    views::{self, Wanted},
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
    /// Everything that is recorded: what is in it is no placeholder.
    recorded: String,
}

impl Secrets {
    fn placeholder(&mut self, secret: &str) -> String {
        let Placeholders {
            given,
            numbers,
            recorded,
        } = &mut self.placeholders;
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
        self.placeholders.recorded = recording.to_string();
        self.find_numbers("", recording);
    }

    fn find_numbers(&mut self, name: &str, value: &Value) {
        match value {
            Value::Number(number) => {
                let text = number.to_string();
                if self.known.contains_key(&text) || self.is_short(name, value) {
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
            Ok(text) if self.is_short(&part.name, &text.trim().into()) => {
                let placeholder = self.placeholder(text.trim());
                text.replace(text.trim(), &placeholder).into()
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
        let is_short = self.is_short(name, value);
        match value {
            Value::String(text) if is_short => *text = self.placeholder(text),
            Value::String(text) => *text = self.replaced(text),
            Value::Number(number) => {
                let text = number.to_string();
                if (is_short || self.known.contains_key(&text))
                    && let Ok(placeholder) = self.placeholder(&text).parse::<u64>()
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
        let mut found = views::places(text.as_bytes(), &self.wanted());
        // A longer secret may contain a shorter one.
        found.sort_by_key(|(start, end, one)| std::cmp::Reverse((end - start, one.value.len())));
        let mut taken: Vec<(usize, usize, String)> = Vec::new();
        for (start, end, Wanted { value, .. }) in found {
            if taken.iter().all(|other| end <= other.0 || other.1 <= start) {
                taken.push((start, end, value.to_owned()));
            }
        }
        taken.sort_unstable();
        let (mut replaced, mut done) = (String::new(), 0);
        for (start, end, secret) in taken {
            replaced += &text[done..start];
            replaced += &self.placeholder(&secret);
            done = end;
        }
        replaced + &text[done..]
    }

    /// Tells which secret is still in a value, in any encoding, and where: in a text or the name of a member.
    pub(super) fn left_in(&self, value: &Value) -> Option<String> {
        self.left_below("", "", value)
    }

    fn left_below(&self, place: &str, name: &str, value: &Value) -> Option<String> {
        let told = |secret: &str, part| format!("the value of `{secret}` is {part}{place}");
        match value {
            Value::Null | Value::Bool(_) => None,
            Value::Number(_) | Value::String(_) if self.is_short(name, value) => {
                Some(told(name, "at "))
            }
            Value::Number(number) => {
                let secret = self.name_in(number.to_string().as_bytes())?;
                Some(told(secret, "at "))
            }
            Value::String(text) => {
                let secret = self.name_in(text.as_bytes());
                // A short one may be anywhere below its name.
                let within = || match serde_json::from_str(text).ok()? {
                    json @ (Value::Object(_) | Value::Array(_)) => {
                        self.left_below(place, name, &json)
                    }
                    _ => None,
                };
                secret.map(|secret| told(secret, "at ")).or_else(within)
            }
            Value::Array(items) => (0_usize..)
                .zip(items)
                .find_map(|(at, item)| self.left_below(&format!("{place}/{at}"), name, item)),
            Value::Object(members) => members.iter().find_map(|(name, value)| {
                let secret = self.name_in(name.as_bytes());
                // A password may be the word `password`.
                let secret = secret
                    .filter(|_| !(is_secret_parameter(name) && self.known.contains_key(name)));
                let secret = secret.map(|secret| told(secret, "in the name of a member of "));
                secret.or_else(|| self.left_below(&format!("{place}/{name}"), name, value))
            }),
        }
    }

    /// The name of a secret that is in bytes, in any encoding.
    pub(super) fn name_in(&self, bytes: &[u8]) -> Option<&str> {
        let wanted = self.wanted();
        let name_in = |bytes: &[u8]| {
            views::places(bytes, &wanted)
                .first()
                .map(|found| found.2.name)
        };
        let text = str::from_utf8(bytes).map_or_else(|_| characters(bytes), str::to_owned);
        name_in(bytes).or_else(|| name_in(without_zeros(&text).as_bytes()))
    }
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
