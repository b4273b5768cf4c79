//! A text in each way in which it can be decoded, with the places in the text from which the bytes come.
//!
//! Encodings are not enumerated for what is searched: one character has many spellings (`~`, `%7E` and `%7e`), and a text may
//! be encoded twice. So the text is decoded instead, and a match is replaced at its place.

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
    let mut found = Vec::new();
    for view in views(text) {
        for one in wanted {
            let at = view.find(one.value);
            let at = at.filter(|at| !one.is_short || is_under(&view.bytes, *at, one));
            let place = |at: usize| (view.places[at].0, view.places[at + one.value.len() - 1].1);
            found.extend(at.map(place).map(|(start, end)| (start, end, *one)));
        }
    }
    found
}

/// Whether a value stands under its name, as in `name=value`, `"name": "value"` and `<name a="b"><![CDATA[value]]></name>`.
fn is_under(text: &[u8], at: usize, wanted: &Wanted<'_>) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
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
    !after.first().is_some_and(is_part)
        && (ends.any(|end| is_name(&before[..end])) || element.is_some_and(is_element))
}

/// Returns a text of XML as it is meant.
pub(super) fn without_entities(text: &str) -> String {
    let whole = View::of(text.as_bytes());
    let decoded = whole.decoded(entity).unwrap_or(whole);
    String::from_utf8_lossy(&decoded.bytes).into_owned()
}

fn views(text: &[u8]) -> Vec<View> {
    let mut all = vec![View::of(text)];
    decode_all(&mut all, 0, &TEXT, DEPTH);
    let texts = all.len();
    for at in 0..texts {
        decode_one(&mut all, at, &BASE64);
    }
    decode_all(&mut all, texts, &TEXT, DEPTH - 1);
    all
}

/// Adds what the views from `begin` on become.
fn decode_all(all: &mut Vec<View>, mut begin: usize, decoders: &[Decode], depth: usize) {
    for _ in 0..depth {
        let end = all.len();
        for at in begin..end {
            decode_one(all, at, decoders);
        }
        begin = end;
    }
}

fn decode_one(all: &mut Vec<View>, at: usize, decoders: &[Decode]) {
    for decode in decoders {
        if let Some(view) = all[at].decoded(*decode)
            && !all.iter().any(|known| known.bytes == view.bytes)
        {
            all.push(view);
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
            let (new, length) = found.unwrap_or_else(|| (vec![self.bytes[at]], 1));
            let place = (self.places[at].0, self.places[at + length - 1].1);
            places.extend(new.iter().map(|_| place));
            bytes.extend(new);
            at += length;
        }
        is_other.then_some(Self { bytes, places })
    }

    /// Where a text begins; it is not empty.
    fn find(&self, wanted: &str) -> impl Iterator<Item = usize> {
        let windows = self.bytes.windows(wanted.len().max(1)).enumerate();
        let found = windows.filter(move |(_, window)| *window == wanted.as_bytes());
        found.map(|(at, _)| at)
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
