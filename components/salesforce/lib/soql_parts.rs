//! The parts of a user's query.

/// A query whose records can also be read in the order of their ids.
#[derive(Debug, PartialEq)]
pub struct Parts<'a> {
    pub select: &'a str,
    /// What stands between FROM and WHERE.
    pub from: &'a str,
    pub condition: Option<&'a str>,
}

/// The words that end a part.
const ENDS: [&str; 4] = ["FROM", "WHERE", "ORDER", ""];
/// The words of queries whose result is another one in parts, or in another order.
const OTHERS: [&str; 7] = [
    "GROUP", "HAVING", "LIMIT", "OFFSET", "FOR", "WITH", "UPDATE",
];
const AGGREGATES: [&str; 6] = ["COUNT", "COUNT_DISTINCT", "SUM", "AVG", "MIN", "MAX"];

impl<'a> Parts<'a> {
    /// The parts of a query; none if it has groups, a limit, or anything else that only Salesforce can apply.
    pub fn of(soql: &'a str) -> Option<Self> {
        let words = words(soql);
        let is = |at: usize, word: &str| words[at].1.eq_ignore_ascii_case(word);
        let is_any =
            |known: &[&str]| (0..words.len()).any(|at| known.iter().any(|word| is(at, word)));
        if words.is_empty() || !is(0, "SELECT") || is_any(&OTHERS) || is_any(&AGGREGATES) {
            return None;
        }
        let place = |word: &str| {
            (1..words.len())
                .find(|at| is(*at, word))
                .map(|at| words[at].0)
        };
        let from = place(ENDS[0])?;
        let condition = place(ENDS[1]);
        let end = place(ENDS[2]).unwrap_or(soql.len());
        let part = |start: usize, word: &str, end: usize| soql.get(start + word.len()..end);
        let parts = Self {
            select: part(words[0].0, "SELECT", from)?.trim(),
            from: part(from, ENDS[0], condition.unwrap_or(end))?.trim(),
            condition: match condition {
                Some(at) => Some(part(at, ENDS[1], end)?.trim()),
                None => None,
            },
        };
        Some(parts).filter(|parts| !parts.select.is_empty() && !parts.from.is_empty())
    }
}

/// The words outside of quotes and parentheses, with their places.
fn words(soql: &str) -> Vec<(usize, &str)> {
    let (mut words, mut start) = (vec![], None);
    let (mut depth, mut is_quoted, mut is_escaped) = (0_usize, false, false);
    for (at, byte) in soql.bytes().chain([b' ']).enumerate() {
        let is_word = !is_quoted
            && depth == 0
            && (byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.');
        match (is_word, start) {
            (true, None) => start = Some(at),
            (false, Some(first)) => {
                words.push((first, &soql[first..at]));
                start = None;
            }
            _ => {}
        }
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'\'' => is_quoted = !is_quoted,
            b'(' if !is_quoted => depth += 1,
            b')' if !is_quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_divided_at_its_own_words() {
        for (soql, select, from, condition) in [
            ("SELECT Id FROM Account", "Id", "Account", None),
            (
                " select Name, (SELECT Id FROM Contacts WHERE Name = 'x' LIMIT 1)\nfrom Account a where a.Name = 'It\\'s FROM (' order by Name",
                "Name, (SELECT Id FROM Contacts WHERE Name = 'x' LIMIT 1)",
                "Account a",
                Some("a.Name = 'It\\'s FROM ('"),
            ),
            (
                "SELECT Limit__c, toLabel(Status) FROM Case USING SCOPE mine WHERE (A__c = 1 OR B__c = 2)",
                "Limit__c, toLabel(Status)",
                "Case USING SCOPE mine",
                Some("(A__c = 1 OR B__c = 2)"),
            ),
        ] {
            let parts = Parts {
                select,
                from,
                condition,
            };
            assert_eq!(Parts::of(soql), Some(parts), "{soql}");
        }
    }

    #[test]
    fn other_queries_are_not_divided() {
        for soql in [
            "",
            "FROM Account",
            "SELECT Id",
            "SELECT FROM Account",
            "SELECT Id FROM Account LIMIT 5",
            "SELECT Id FROM Account ORDER BY Id LIMIT 5 OFFSET 2",
            "SELECT COUNT() FROM Account",
            "SELECT MAX(Name) FROM Account",
            "SELECT Name FROM Account GROUP BY Name",
            "SELECT Id FROM Account WITH SECURITY_ENFORCED",
            "SELECT Id FROM Account FOR VIEW",
        ] {
            assert_eq!(Parts::of(soql), None, "{soql}");
        }
    }

    #[test]
    fn any_text_can_be_divided() {
        proptest::proptest!(|(soql in "(SELECT|FROM|WHERE|ORDER|['\\\\()é a,.]){0,20}")| {
            let _ = Parts::of(&soql);
        });
    }
}
