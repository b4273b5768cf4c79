//! Exchanges: which of their bindings match a routing key.

use amq_protocol::types::FieldTable;
use std::sync::Arc;

/// How an exchange compares routing keys with its bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeKind {
    /// Matches a binding whose key equals the routing key.
    Direct,
    /// The binding's key is a pattern of words: `*` stands for one word, `#` for any number of them.
    Topic,
    /// Every binding matches.
    Fanout,
}

impl ExchangeKind {
    /// The kind with this name in a declaration.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "direct" => Some(Self::Direct),
            "topic" => Some(Self::Topic),
            "fanout" => Some(Self::Fanout),
            _ => None,
        }
    }

    /// Its name in a declaration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Topic => "topic",
            Self::Fanout => "fanout",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    Queue(Arc<str>),
    Exchange(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Binding {
    pub(super) key: String,
    pub(super) destination: Destination,
    pub(super) arguments: FieldTable,
}

#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) kind: ExchangeKind,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    pub(super) internal: bool,
    /// The exchange for messages that match no binding.
    pub(super) alternate: Option<String>,
    bindings: Vec<Binding>,
}

impl Exchange {
    pub(super) fn new(kind: ExchangeKind) -> Self {
        Self {
            kind,
            durable: true,
            auto_delete: false,
            internal: false,
            alternate: None,
            bindings: Vec::new(),
        }
    }

    pub(super) fn matching<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Destination> {
        self.bindings
            .iter()
            .filter(move |binding| self.matches(&binding.key, key))
            .map(|binding| &binding.destination)
    }

    /// Adds a binding, once.
    pub(super) fn bind(&mut self, binding: Binding) {
        if !self.bindings.contains(&binding) {
            self.bindings.push(binding);
        }
    }

    pub(super) fn unbind(&mut self, binding: &Binding) {
        self.bindings.retain(|known| known != binding);
    }

    /// Removes every binding to a deleted destination. Returns whether there was one.
    pub(super) fn forget(&mut self, destination: &Destination) -> bool {
        let before = self.bindings.len();
        self.bindings
            .retain(|known| known.destination != *destination);
        self.bindings.len() < before
    }

    pub(super) fn is_unused(&self) -> bool {
        self.bindings.is_empty()
    }

    fn matches(&self, pattern: &str, key: &str) -> bool {
        match self.kind {
            ExchangeKind::Fanout => true,
            ExchangeKind::Direct => pattern == key,
            ExchangeKind::Topic => {
                let pattern: Vec<_> = pattern.split('.').collect();
                // An empty key has no words, not one empty word.
                let key: Vec<_> = if key.is_empty() {
                    Vec::new()
                } else {
                    key.split('.').collect()
                };
                words_match(&pattern, &key)
            }
        }
    }
}

fn words_match(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern, key) {
        ([], []) | ([""], []) => true,
        (["#", rest @ ..], _) => (0..=key.len()).any(|skipped| words_match(rest, &key[skipped..])),
        (["*", pattern @ ..], [_, key @ ..]) => words_match(pattern, key),
        ([word, pattern @ ..], [first, key @ ..]) => word == first && words_match(pattern, key),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exchange_type_decides_on_routing() {
        use ExchangeKind::*;
        let cases = [
            (Direct, "a.b", "a.b", true),
            (Direct, "a.*", "a.b", false),
            (Direct, "", "", true),
            (Fanout, "a", "b", true),
            (Topic, "a.b", "a.b", true),
            (Topic, "a.*", "a.b", true),
            (Topic, "a.*", "a", false),
            (Topic, "a.*", "a.b.c", false),
            (Topic, "*", "", false),
            (Topic, "*.*", "a.", true),
            (Topic, "#", "", true),
            (Topic, "", "", true),
            (Topic, "", "a", false),
            (Topic, "#", "a.b.c", true),
            (Topic, "a.#", "a", true),
            (Topic, "a.#", "ab", false),
            (Topic, "a.#.z", "a.z", true),
            (Topic, "a.#.z", "a.b.c.z", true),
            (Topic, "a.#.z", "a.b.c", false),
            (Topic, "#.b.#", "a.b.c", true),
            (Topic, "#.*", "", false),
            (Topic, "#.#", "", true),
        ];
        for (kind, pattern, key, expected) in cases {
            let mut exchange = Exchange::new(kind);
            exchange.bind(Binding {
                key: pattern.into(),
                destination: Destination::Queue("q".into()),
                arguments: FieldTable::default(),
            });
            assert_eq!(
                exchange.matching(key).count() == 1,
                expected,
                "{kind:?} {pattern:?} {key:?}"
            );
        }
    }
}
