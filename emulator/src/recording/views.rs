//! A text in each way in which it can be decoded, with the places in the text from which the bytes come.
//!
//! Encodings are not enumerated for what is searched: one character has many spellings (`~`, `%7E` and `%7e`), and a text may
//! be encoded twice. So the text is decoded instead, and a match is replaced at its place.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

/// How often a text is decoded, such as a JSON text in a JSON text in a form.
const DEPTH: usize = 3;

/// Decodes what begins at a place: the bytes, and how many bytes it takes.
type Decode = fn(&[u8], usize) -> Option<(Vec<u8>, usize)>;

const TEXT: [Decode; 4] = [percent, form, escape, entity];
/// Where the groups of four characters begin is unknown.
const BASE64: [Decode; 4] = [base64::<0>, base64::<1>, base64::<2>, base64::<3>];

/// Between a name and its value there are at most this many characters, such as `": "`.
const GAP: usize = 8;
const IN_GAP: &[u8] = b" \t\r\n\"'\\:=>[({";

/// A text to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted<'a> {
    /// The name that it was found under.
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    /// Whether it counts only under its name.
    pub(super) is_short: bool,
}

/// A decoded text.
struct View {
    bytes: Vec<u8>,
    /// For each byte, from where to where it is in the text.
    places: Vec<(usize, usize)>,
}

/// Returns the places of `wanted` in a text, however it is encoded there: with percent signs, as a form, in JSON or XML, as
/// base64, and in combinations of these.
pub(super) fn places<'a>(text: &[u8], wanted: &[Wanted<'a>]) -> Vec<(usize, usize, Wanted<'a>)> {
    // A view is read once, however many are wanted.
    let mut by_first = vec![Vec::new(); 256];
    for one in wanted {
        if let Some(first) = one.value.bytes().next() {
            by_first[usize::from(first)].push(*one);
        }
    }
    let mut found = Vec::new();
    each_view(text, &mut |view| {
        for (at, byte) in view.bytes.iter().enumerate() {
            for one in &by_first[usize::from(*byte)] {
                if view.bytes[at..].starts_with(one.value.as_bytes())
                    && (!one.is_short || is_under(&view.bytes, at, one))
                {
                    let last = at + one.value.len() - 1;
                    found.push((view.places[at].0, view.places[last].1, *one));
                }
            }
        }
    });
    found
}

/// Whether a value stands under its name, as in `name=value`, `"name": "value"` and `<name a="b"><![CDATA[value]]></name>`.
fn is_under(text: &[u8], at: usize, wanted: &Wanted<'_>) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
    // `secret` does not stand in `secret-1`, its placeholder.
    let is_after = |byte: &u8| is_part(byte) || *byte == b'-';
    let (before, after) = (&text[..at], &text[at + wanted.value.len()..]);
    let before = before.strip_suffix(b"<![CDATA[").unwrap_or(before);
    let gap = before.iter().rev().take(GAP);
    let gap = gap.take_while(|byte| IN_GAP.contains(byte)).count();
    // The attributes of an element.
    let tag = before.trim_ascii_end().strip_suffix(b">");
    let begin = tag.and_then(|tag| tag.iter().rposition(|byte| b"<>".contains(byte)));
    let element = begin.map(|begin| &before[begin + 1..]);
    let is_name = |text: &[u8]| {
        let before = text.strip_suffix(wanted.name.as_bytes());
        before.is_some_and(|before| {
            let last = before.last();
            !last.is_some_and(|byte| is_part(byte) || b"_-./".contains(byte))
        })
    };
    let mut ends = before.len() - gap..before.len();
    let is_element = |tag: &[u8]| {
        let mut words = tag.split(|byte| byte.is_ascii_whitespace() || *byte == b'>');
        words.next().is_some_and(is_name)
    };
    !after.first().is_some_and(is_after)
        && (ends.any(|end| is_name(&before[..end])) || element.is_some_and(is_element))
}

/// Returns a text of XML as it is meant.
pub(super) fn without_entities(text: &str) -> String {
    let whole = View::of(text.as_bytes());
    let decoded = whole.decoded(entity).unwrap_or(whole);
    String::from_utf8_lossy(&decoded.bytes).into_owned()
}

/// Shows each view once. Only those are kept that the view at hand comes from: a view takes many times the memory of its text.
fn each_view(text: &[u8], see: &mut dyn FnMut(&View)) {
    let mut walk = Walk {
        seen: HashMap::new(),
        see,
    };
    walk.add(&View::of(text), DEPTH, true);
}

/// A walk through the views of a text.
struct Walk<'a> {
    /// The hash of each view that was seen, with what it was decoded to: how often, and whether also as base64.
    seen: HashMap<u64, Vec<(usize, bool)>>,
    see: &'a mut dyn FnMut(&View),
}

impl Walk<'_> {
    /// Adds a view and what it becomes, decoded up to `depth` times, and once as base64 if `has_base64`.
    fn add(&mut self, view: &View, depth: usize, has_base64: bool) {
        let mut hasher = DefaultHasher::new();
        view.bytes.hash(&mut hasher);
        let done = self.seen.entry(hasher.finish()).or_default();
        let is_new = done.is_empty();
        if done
            .iter()
            .any(|done| depth <= done.0 && has_base64 <= done.1)
        {
            return;
        }
        done.push((depth, has_base64));
        if is_new {
            (self.see)(view);
        }
        let texts: &[Decode] = if depth > 0 { &TEXT } else { &[] };
        for decode in texts {
            if let Some(view) = view.decoded(*decode) {
                self.add(&view, depth - 1, has_base64);
            }
        }
        let binary: &[Decode] = if has_base64 { &BASE64 } else { &[] };
        for decode in binary {
            if let Some(view) = view.decoded(*decode) {
                self.add(&view, DEPTH - 1, false);
            }
        }
    }
}

impl View {
    fn of(text: &[u8]) -> Self {
        Self {
            bytes: text.to_vec(),
            places: (0..text.len()).map(|at| (at, at + 1)).collect(),
        }
    }

    /// Returns nothing if there is nothing to decode.
    fn decoded(&self, decode: Decode) -> Option<Self> {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        let (mut at, mut is_other) = (0, false);
        while at < self.bytes.len() {
            let found = decode(&self.bytes, at);
            is_other |= found.is_some();
            let Some((new, length)) = found else {
                places.push(self.places[at]);
                bytes.push(self.bytes[at]);
                at += 1;
                continue;
            };
            let place = (self.places[at].0, self.places[at + length - 1].1);
            places.extend(new.iter().map(|_| place));
            bytes.extend(new);
            at += length;
        }
        is_other.then_some(Self { bytes, places })
    }
}

fn hex(bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u32::from_str_radix(text, 16).ok())?
}

fn percent(text: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let digits = text[at..].strip_prefix(b"%")?.get(..2)?;
    Some((vec![u8::try_from(hex(digits)?).ok()?], 3))
}

/// A form writes a space as `+`.
fn form(text: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    match text[at] {
        b'+' => Some((b" ".to_vec(), 1)),
        _ => percent(text, at),
    }
}

/// An escape of JSON.
fn escape(text: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let rest = text[at..].strip_prefix(b"\\")?;
    let one = match *rest.first()? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'f' => 12,
        b'u' => return unicode(rest),
        same @ (b'"' | b'\\' | b'/') => same,
        _ => return None,
    };
    Some((vec![one], 2))
}

/// `u00e9`, or two of these for a character beyond 65535.
fn unicode(rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    let first = hex(rest.get(1..5)?)?;
    if let Some(c) = char::from_u32(first) {
        return Some((c.to_string().into_bytes(), 6));
    }
    let second = hex(rest.get(5..)?.strip_prefix(b"\\u")?.get(..4)?)?;
    let low = second.checked_sub(0xDC00)?;
    let c = char::from_u32(0x1_0000 + (first.checked_sub(0xD800)? << 10) + low)?;
    Some((c.to_string().into_bytes(), 12))
}

/// An entity of XML.
fn entity(text: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let rest = text[at..].strip_prefix(b"&")?;
    let end = rest.iter().take(10).position(|byte| *byte == b';')?;
    let name = std::str::from_utf8(&rest[..end]).ok()?;
    let c = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix(['x', 'X']) {
                Some(digits) => hex(digits.as_bytes())?,
                None => number.parse().ok()?,
            };
            char::from_u32(number)?
        }
    };
    Some((c.to_string().into_bytes(), end + 2))
}

/// A group of four characters of base64, in either alphabet, or the shorter last one.
fn base64<const START: usize>(text: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    if at % 4 != START {
        return None;
    }
    let group = text[at..].iter().take(4).map_while(|byte| sextet(*byte));
    let group: Vec<u32> = group.collect();
    if group.len() < 2 {
        return None;
    }
    let bits = (0..4).fold(0, |bits, n| bits << 6 | group.get(n).copied().unwrap_or(0));
    let bytes = bits.to_be_bytes();
    Some((bytes[1..group.len()].to_vec(), group.len()))
}

fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(value: &str) -> [Wanted<'_>; 1] {
        [Wanted {
            name: "pin",
            value,
            is_short: value.len() < 8,
        }]
    }

    const SECRET: &str = "a~b*c!d/é\"\\ <&\n🔑";

    #[test]
    fn a_text_is_found_in_every_encoding() {
        let json = serde_json::to_string(SECRET).unwrap();
        let twice = serde_json::to_string(&json).unwrap();
        let percent: String = SECRET.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let text = format!("xy{SECRET}");
        let base64 = [1, 2, 3].map(|from| {
            let text = &format!("123{text}")[from..];
            base64_simd::URL_SAFE_NO_PAD.encode_to_string(text)
        });
        let standard = base64_simd::STANDARD.encode_to_string(&json);
        for text in [
            SECRET,
            &json,
            &twice,
            &percent,
            &percent.to_uppercase(),
            &percent.replace('%', "%25"),
            "a%7Eb*c%21d%2F%C3%A9%22%5C+%3C%26%0A%F0%9F%94%91",
            "a~b%2Ac!d%2f%c3%a9%22%5c%20%3c%26%0a%f0%9f%94%91",
            "<p>a~b*c!d/&#233;&quot;\\ &lt;&amp;&#xA;&#x1F511;</p>",
            r#""a~b*c!d\/\u00e9\"\\ \u003C\u0026\n\ud83d\udd11""#,
            &http_double::percent_encoded(&json),
            &base64[0],
            &base64[1],
            &base64[2],
            &format!("/path/{}", base64[1]),
            &http_double::percent_encoded(&standard),
        ] {
            assert!(
                !places(text.as_bytes(), &wanted(SECRET)).is_empty(),
                "{text}"
            );
        }
        assert!(places(b"%a~b*c!d/ \\u12 & &#; \\", &wanted(SECRET)).is_empty());
    }

    /// A view can come from another one by a longer way first.
    #[test]
    fn each_view_is_shown_once_however_it_is_reached() {
        let json = |text: &str| serde_json::to_string(text).unwrap();
        let base64 = base64_simd::STANDARD.encode_to_string(json(&json(SECRET)));
        let percent = |text: &str| http_double::percent_encoded(text).replace('%', "%25");
        let text = format!("%41&amp;\\u0026+{}", percent(&percent(&percent(&base64))));
        let mut seen = std::collections::BTreeSet::new();
        each_view(text.as_bytes(), &mut |view| {
            assert_eq!(view.bytes.len(), view.places.len());
            assert!(seen.insert(view.bytes.clone()));
        });
        assert!(seen.contains(text.as_bytes()));
        let percent = |text: &str| http_double::percent_encoded(text);
        for text in [
            percent(&percent(&percent(&base64))),
            // Percent signs are decoded alone first.
            percent(&json(&json(SECRET))).replace("%20", "+"),
        ] {
            let found = places(text.as_bytes(), &wanted(SECRET));
            assert!(!found.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_place_is_that_in_the_text() {
        let text = br#"x=1&y=a+b%22c&pin=2"#;
        let mut all = wanted("a b\"c");
        all[0].is_short = false;
        let found = places(text, &all);
        assert!(found.iter().all(|place| *place == (6, 13, all[0])));
        assert!(!found.is_empty());
        let found = places(text, &wanted("2"));
        assert!(found.iter().all(|place| (place.0, place.1) == (18, 19)));
        assert!(!found.is_empty());
    }

    #[test]
    fn a_short_text_is_found_under_its_name() {
        for text in [
            "pin=12a4&x=1",
            "x=1&pin=%31%32a%34",
            "{\"pin\": \"12a4\"}",
            "{\"x\":\"{\\\"pin\\\":[\\\"12a4\\\"]}\"}",
            "<pin>12a4</pin>",
            "<s:pin a=\"b\">\n  12a4\n</s:pin>",
            "<pin><![CDATA[12a4]]></pin>",
            "Server=a;Pin=b;pin = '12a4'",
        ] {
            assert!(
                !places(text.as_bytes(), &wanted("12a4")).is_empty(),
                "{text}"
            );
        }
        for text in [
            "spin=12a4",
            "my-pin=12a4",
            "pin=12a45",
            "pin=x12a4",
            "pin=12a4-5",
            "pin=0&year=12a4",
            "<pin>0</pin><year>12a4</year>",
            "<pin>0</pin>12a4",
            "pin=&12a4=",
            "<year pin=\"0\">12a4</year>",
            "12a4",
        ] {
            assert!(
                places(text.as_bytes(), &wanted("12a4")).is_empty(),
                "{text}"
            );
        }
    }
}
