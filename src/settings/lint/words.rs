//! Finds the known name that a misspelt one means.

/// Returns the known name that `name` is a misspelling of; `None` if it is known itself, or unlike all of them.
///
/// Names are alike if they differ only in case, hyphens and underscores, or, from five characters on, in one character or two
/// neighbours that have changed places.
pub(crate) fn meant<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    if known.contains(&name) {
        return None;
    }
    let bare = bare(name);
    let same = known.iter().find(|k| self::bare(k) == bare);
    let near = || {
        known
            .iter()
            .find(|k| name.len() >= 5 && k.len() >= 5 && is_one_edit(&bare, &self::bare(k)))
    };
    same.or_else(near).copied()
}

/// Returns the end of a sentence about an unknown name: a question whether the known one is meant. It is empty if `name` is
/// unlike all of them.
pub(crate) fn did_you_mean(name: &str, known: &[&str]) -> String {
    let question = meant(name, known).map(|known| format!(" (did you mean \"{known}\"?)"));
    question.unwrap_or_default()
}

fn bare(name: &str) -> Vec<u8> {
    let bytes = name.bytes().filter(|b| !matches!(b, b'_' | b'-' | b' '));
    bytes.map(|b| b.to_ascii_lowercase()).collect()
}

/// Returns true if one insertion, deletion, replacement or swap of neighbours makes `a` to `b`.
fn is_one_edit(a: &[u8], b: &[u8]) -> bool {
    let start = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[start..], &b[start..]);
    let end = a.iter().rev().zip(b.iter().rev());
    let end = end.take_while(|(x, y)| x == y).count();
    match (&a[..a.len() - end], &b[..b.len() - end]) {
        ([_], [] | [_]) | ([], [_]) => true,
        ([x, y], [u, v]) => x == v && y == u,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_means_the_known_one() {
        let known = ["viewClass", "required", "require", "note", "sailor_version"];
        let table = [
            ("viewclass", Some("viewClass")),
            ("view_class", Some("viewClass")),
            ("sailorVersion", Some("sailor_version")),
            ("Note", Some("note")),
            ("requred", Some("required")),
            ("reqiured", Some("required")),
            ("requires", Some("required")),
            ("veiwClass", Some("viewClass")),
            ("required", None),
            ("require", None),
            ("nose", None),
            ("", None),
            ("anythingElse", None),
        ];
        for (name, expected) in table {
            assert_eq!(meant(name, &known), expected, "{name}");
        }
    }
}
