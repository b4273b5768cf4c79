//! Parses the texts of variables: numbers and booleans as in JavaScript (wire-contract: How values are read), and
//! lodash's camel case for header names (wire-contract: Variables copied into headers).
//!
//! The rules are written by hand because no library has them: Rust's number parsers are stricter than `parseInt`, and
//! crates for letter case split words differently from lodash. A variable must mean the same to every sailor.

/// The result of `parseInt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Integer {
    /// The number, saturated to 64 bits.
    pub(super) value: i64,
    /// Something other than white space follows the digits.
    pub(super) has_trailing_text: bool,
}

/// JavaScript's `parseInt` without a radix: white space, a sign, `0x` for hexadecimal, then the longest run of
/// digits. Returns `None` where JavaScript returns `NaN`.
pub(super) fn parse_int(text: &str) -> Option<Integer> {
    let text = text.trim_matches(js_space);
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(rest) => (16, rest),
        None => (10, text),
    };
    let end = digits
        .find(|c: char| !c.is_digit(radix))
        .unwrap_or(digits.len());
    let (run, rest) = digits.split_at(end);
    if run.is_empty() {
        return None;
    }
    let size = run
        .chars()
        .filter_map(|c| c.to_digit(radix))
        .fold(0_i64, |sum, digit| {
            sum.saturating_mul(radix.into())
                .saturating_add(digit.into())
        });
    Some(Integer {
        value: if negative { -size } else { size },
        has_trailing_text: !rest.is_empty(),
    })
}

/// White space as JavaScript defines it: Unicode's without U+0085, and the byte order mark.
fn js_space(c: char) -> bool {
    (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}'
}

/// Reads a boolean: the empty text and exactly `false` are false, every other text is true.
pub(super) fn parse_flag(text: &str) -> bool {
    !matches!(text, "" | "false")
}

/// Returns true if a person and [`parse_flag`] read the same boolean. `parse_flag` reads `0`, `no` and `FALSE` as true,
/// which nobody expects.
pub(super) fn is_canonical_flag(text: &str) -> bool {
    matches!(text, "" | "false" | "true" | "1")
}

/// lodash's `camelCase`: `SECOND_ELASTICIO_ENV` is `secondElasticioEnv`, `X2Y` is `x2Y`.
///
/// Unlike in lodash, characters outside of ASCII separate words. Names of environment variables have none.
pub(super) fn camel_case(name: &str) -> String {
    let name = name.replace('\'', "");
    let mut camel = String::with_capacity(name.len());
    let mut rest = name.as_str();
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        rest = &rest[start..];
        let (word, after) = rest.split_at(word_length(rest.as_bytes()));
        let (first, tail) = word.split_at(1);
        if camel.is_empty() {
            camel.push_str(&first.to_ascii_lowercase());
        } else {
            camel.push_str(&first.to_ascii_uppercase());
        }
        camel.push_str(&tail.to_ascii_lowercase());
        rest = after;
    }
    camel
}

/// The length of the first word of `text`, which begins with a letter or a digit.
///
/// A word is `Capitalised`, `lower`, `UPPER`, digits, or an ordinal such as `1ST`. The last letter of `UPPER` belongs to
/// the next word if that continues in lower case.
fn word_length(text: &[u8]) -> usize {
    let run = |from: usize, is: fn(&u8) -> bool| text[from..].iter().take_while(|b| is(b)).count();
    let digits = run(0, u8::is_ascii_digit);
    if digits > 0 {
        return if ends_as_ordinal(text, digits) {
            digits + 2
        } else {
            digits
        };
    }
    let upper = run(0, u8::is_ascii_uppercase);
    let lower = run(upper, u8::is_ascii_lowercase);
    match (upper, lower) {
        (0 | 1, _) => upper + lower,
        (_, 0) => upper,
        _ => upper - 1,
    }
}

/// True if the two letters after the digits make an ordinal (`1ST`, `22nd`, `4TH`): in one letter case, and at the end
/// of the word.
fn ends_as_ordinal(text: &[u8], digits: usize) -> bool {
    let Some(suffix) = text.get(digits..digits + 2) else {
        return false;
    };
    let fits = match text[digits - 1] {
        b'1' => suffix.eq_ignore_ascii_case(b"st"),
        b'2' => suffix.eq_ignore_ascii_case(b"nd"),
        b'3' => suffix.eq_ignore_ascii_case(b"rd"),
        _ => suffix.eq_ignore_ascii_case(b"th"),
    };
    let upper = suffix.iter().all(u8::is_ascii_uppercase);
    let one_case = upper || suffix.iter().all(u8::is_ascii_lowercase);
    let ends = text.get(digits + 2).is_none_or(|next| {
        !next.is_ascii_alphanumeric()
            || (upper && next.is_ascii_lowercase())
            || (!upper && next.is_ascii_uppercase())
    });
    fits && one_case && ends
}
