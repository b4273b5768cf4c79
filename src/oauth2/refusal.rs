//! What an error response of a token endpoint says beside its code: that the token is dead, and details for people.

use crate::clients::http::ErrorBody;
use serde_json::Value;

/// What a refresh token is once it is of no use any more.
const DEAD: [&str; 5] = ["expired", "inactive", "incorrect", "invalid", "revoked"];
/// Words that may stand between such a word and the token.
const FILLERS: &[&str] = &[
    "a", "already", "an", "and", "been", "given", "had", "has", "is", "longer", "no", "not", "or",
    "passed", "provided", "supplied", "the", "this", "was", "your",
];
/// A text with one of these is about the request, whatever it says of tokens.
const ABOUT_REQUEST: [&str; 4] = ["endpoint", "missing", "parameter", "type"];

/// Returns whether a text says that the refresh token is invalid, revoked or expired.
pub(super) fn says_token_is_dead(body: &ErrorBody) -> bool {
    body.texts().into_iter().any(is_about_dead_token)
}

/// Returns the detail of a code for people: `suberror` and Microsoft's numbers. No decision depends on it, because the
/// numbers change.
pub(super) fn diagnostic(body: &ErrorBody) -> Option<String> {
    let number = microsoft_number(&body.json).map(|number| format!("AADSTS{number}"));
    match (body.word("suberror"), number) {
        (Some(suberror), Some(number)) => Some(format!("{suberror}, {number}")),
        (suberror, number) => suberror.map(str::to_owned).or(number),
    }
}

/// The number of a Microsoft error, from `error_codes` or from `AADSTS…` in its description.
fn microsoft_number(json: &Value) -> Option<u64> {
    if let Some(number) = json.pointer("/error_codes/0").and_then(Value::as_u64) {
        return Some(number);
    }
    let description = json.get("error_description")?.as_str()?;
    let (_, after) = description.split_once("AADSTS")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Whether a text says that the refresh token, and no other one, is dead: "Token has been revoked", "Invalid or expired
/// refresh_token".
fn is_about_dead_token(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let text = text.replace("refreshtoken", "refresh token");
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let mut tokens = (0..words.len()).filter(|at| words[*at] == "token");
    !words.iter().any(|word| ABOUT_REQUEST.contains(word))
        && tokens.any(|at| is_dead(&words[..at], &words[at + 1..]))
}

/// Whether the words around "token" say that it is dead.
fn is_dead(before: &[&str], after: &[&str]) -> bool {
    let (before, is_named) = match before {
        [before @ .., "refresh"] => (before, true),
        before => (before, false),
    };
    // An access token, a token request.
    let is_kind = |word: &&str| !is_named && !FILLERS.contains(word) && !DEAD.contains(word);
    let is_other = before.last().is_some_and(is_kind) || after.first() == Some(&"request");
    !is_other && (leads_to_dead(before.iter().rev()) || leads_to_dead(after.iter()))
}

/// Whether the first word that is not a filler says so; "not valid" does, "not expired" does not.
fn leads_to_dead<'a>(words: impl Iterator<Item = &'a &'a str>) -> bool {
    let mut is_negated = false;
    for word in words {
        match *word {
            "no" | "not" => is_negated = true,
            "active" | "valid" => return is_negated,
            filler if FILLERS.contains(&filler) => {}
            word => return !is_negated && DEAD.contains(&word),
        }
    }
    false
}
