//! Saves the keys of a module: with the lock, and merged into what the store has now.

use super::{
    Machine,
    event::{Effect, Emit, Look, WaiterId},
    record::{Life, Record},
    state::State,
};

impl<R: Record, S: Clone> Machine<R, S> {
    pub(super) fn looked_for_keys(&mut self, emit: Emit<R, S>, look: Look<R>) {
        let is_gone = match &look {
            Look::Failed(error) => error.is_not_found(),
            look => matches!(look, Look::NoTokens),
        };
        if let Look::Found(record, life) = look
            && !self.tokens.knows(&record)
        {
            self.adopt_found(&emit.store, record, life);
        }
        let sent = if is_gone {
            // Only tokens that a module has just obtained connect a credential again.
            emit.sent.filter(|(sent, _)| !self.tokens.knows(sent))
        } else {
            self.with_current(emit.sent)
        };
        self.save_keys(emit.waiter, sent);
    }

    pub(super) fn save_keys(&mut self, waiter: WaiterId, sent: Option<(R, Life)>) {
        let record = sent.as_ref().map(|(record, _)| record.clone());
        self.wait(Effect::SaveKeys(waiter, record), State::SavingKeys(sent));
    }

    /// Merges emitted tokens into the current record. Tokens that this process has had before are outdated: a refresh may
    /// have replaced them since the module read them.
    fn with_current(&self, sent: Option<(R, Life)>) -> Option<(R, Life)> {
        let Some(current) = self.tokens.current() else {
            return sent;
        };
        let is_current = |sent: &R| sent.id() == current.record.id();
        match sent {
            Some((sent, life)) if is_current(&sent) || !self.tokens.knows(&sent) => {
                let life = if is_current(&sent) {
                    current.life
                } else {
                    life
                };
                Some((current.record.with_emitted(&sent), life))
            }
            _ => Some((current.record.clone(), current.life)),
        }
    }

    pub(super) fn keys_saved(&mut self, record: R, life: Life) {
        // It is the unsaved record, or replaces it.
        self.unsaved = None;
        if self.tokens.knows(&record) {
            self.tokens.update(&record);
        } else {
            self.adopt(record, life);
        }
    }
}
