//! Saves the keys of a module: with the lock, and merged into what the store has now.

use super::{
    Machine, Step,
    event::{Effect, Emit, Look},
    record::{Life, Record},
    state::{Job, Keys, State},
};

impl<R: Record, S: Clone> Machine<R, S> {
    pub(super) fn begin_emit(&mut self, cx: &mut Step<R, S>, job: Job<R, S>) {
        match self.emits.pop_front() {
            Some(emit) => {
                cx.ask(Effect::Look(job.store));
                self.state = State::EmitLooking(emit);
            }
            None => self.start_next(cx),
        }
    }

    /// Saves keys beside a secret of the platform, whose tokens this process does not keep.
    pub(super) fn emit_beside_secret(&mut self, cx: &mut Step<R, S>) {
        if let Some(emit) = self.emits.pop_front() {
            let sent = emit.sent.map(|(record, _)| record);
            cx.ask(Effect::SaveKeys(emit.store.clone(), emit.waiter, sent));
            self.state = State::SavingKeys(Keys {
                store: emit.store,
                record: None,
            });
        }
    }

    pub(super) fn looked_for_keys(&mut self, cx: &mut Step<R, S>, emit: Emit<R, S>, look: Look<R>) {
        let is_gone = matches!(look, Look::NoTokens | Look::Removed(_));
        if let Look::Found(record, life) = look
            && !self.tokens.knows(&record)
        {
            self.adopt_found(cx, &emit.store, record, life);
        }
        let record = if is_gone {
            // Only tokens that a module has just obtained connect a credential again.
            emit.sent.filter(|(sent, _)| !self.tokens.knows(sent))
        } else {
            self.with_current(emit.sent)
        };
        cx.ask(Effect::SaveKeys(
            emit.store.clone(),
            emit.waiter,
            record.as_ref().map(|(record, _)| record.clone()),
        ));
        self.state = State::SavingKeys(Keys {
            store: emit.store,
            record,
        });
    }

    /// Merges emitted tokens into the current record. Tokens that this process has had before are outdated: a refresh may
    /// have replaced them since the module read them.
    fn with_current(&self, sent: Option<(R, Life)>) -> Option<(R, Life)> {
        let Some(current) = self.tokens.current() else {
            return sent;
        };
        match sent {
            Some((sent, _)) if sent.id() == current.record.id() => {
                Some((current.record.with_emitted(&sent), current.life))
            }
            Some((sent, life)) if !self.tokens.knows(&sent) => {
                Some((current.record.with_emitted(&sent), life))
            }
            _ => Some((current.record.clone(), current.life)),
        }
    }

    pub(super) fn keys_saved(&mut self, cx: &mut Step<R, S>, keys: Keys<R, S>, saved: bool) {
        if let (true, Some((record, life))) = (saved, keys.record) {
            // It is the unsaved record, or replaces it.
            self.unsaved = None;
            if self.tokens.knows(&record) {
                self.tokens.update(&record);
            } else {
                self.adopt(record, life);
            }
        }
        self.start_next(cx);
    }
}
