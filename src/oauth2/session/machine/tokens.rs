//! The tokens that a process knows: the current one, earlier ones, and the one that is being saved.

use super::record::{Life, Record, SharedToken, Token};
use std::{collections::VecDeque, sync::Arc};

/// How many earlier tokens are remembered, to recognize an outdated response of the store. The latest are kept, and
/// those that the store still returns.
const PAST: usize = 64;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Tokens<R: Record> {
    current: Option<SharedToken<R>>,
    generation: u64,
    /// The tokens that are being saved. The store may return them before they become the current ones.
    coming: Option<R::Id>,
    past: VecDeque<R::Id>,
}

impl<R: Record> Tokens<R> {
    pub(super) fn current(&self) -> Option<&SharedToken<R>> {
        self.current.as_ref()
    }

    pub(super) fn is_current(&self, id: R::Id) -> bool {
        self.current().is_some_and(|token| token.record.id() == id)
    }

    /// Returns whether these tokens are current, were current once, or are being saved.
    pub(super) fn knows(&self, record: &R) -> bool {
        let id = record.id();
        self.coming == Some(id) || self.is_current(id) || self.past.contains(&id)
    }

    /// Notes that the store returned these tokens. Those that it still returns are remembered, even if many refreshes
    /// cannot be saved.
    pub(super) fn returned(&mut self, record: &R) {
        let id = record.id();
        if let Some(at) = self.past.iter().position(|past| *past == id) {
            self.past.remove(at);
            self.past.push_front(id);
        }
    }

    /// Returns whether the store may lose these tokens to a record that was refreshed from `base`: they are older.
    pub(super) fn is_older_than_refresh_of(&self, base: R::Id, stored: &R) -> bool {
        let id = stored.id();
        id == base || self.coming == Some(id) || (self.knows(stored) && !self.is_current(id))
    }

    /// Notes that these tokens are about to be saved.
    pub(super) fn expect(&mut self, record: &R) {
        self.coming = Some(record.id());
    }

    /// Takes over the other members of a record with the current tokens.
    pub(super) fn update(&mut self, record: &R) {
        if let Some(current) = &mut self.current
            && current.record.id() == record.id()
        {
            Arc::make_mut(current).record = record.clone();
        }
    }

    /// Makes a record the current one, as the next generation.
    pub(super) fn put(&mut self, record: R, life: Life, adopted: bool) -> SharedToken<R> {
        if let Some(old) = &self.current
            && old.record.id() != record.id()
        {
            self.past.push_front(old.record.id());
            self.past.truncate(PAST);
        }
        self.coming = None;
        self.generation += 1;
        let token = Arc::new(Token {
            generation: self.generation,
            record,
            life,
            adopted,
        });
        self.current = Some(token.clone());
        token
    }
}
