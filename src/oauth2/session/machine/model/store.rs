//! What happens at the store: looks, saves, and what the user and the platform do there.

use super::{
    super::{
        event::Look,
        record::{Life, Record},
    },
    findings::{Cause, Property},
    process::{Work, failed},
    record::{Serials, Tokens},
    run::Run,
    settings::{Call, Chance},
    world::{Stored, Writer},
};
use crate::oauth2::{Error, StoreErrorKind};

impl Run<'_> {
    pub(super) fn look(&mut self, at: usize, chance: Option<Chance>) -> Look<Tokens> {
        let process = self.world.process_mut(at);
        process.looked = None;
        if process.is_call && self.settings.call == Call::NotAllowed {
            return Look::NotAsked;
        }
        let found = match (chance, self.world.previous) {
            (Some(Chance::StaleRead), Some(previous)) => {
                self.blame(Cause::StaleRead);
                Stored::Record(previous)
            }
            (Some(Chance::Misconfigured), _) => {
                return Look::NotConfigured(Error::Config(String::new()));
            }
            (Some(_), _) => return Look::Failed(failed(StoreErrorKind::Transient)),
            (None, _) => self.world.stored,
        };
        match found {
            Stored::Record(tokens) => {
                self.world.process_mut(at).looked = Some(tokens);
                Look::Found(tokens, self.stored_life(tokens))
            }
            Stored::NoTokens => Look::NoTokens,
            Stored::Nothing => Look::Failed(failed(StoreErrorKind::NotFound)),
        }
    }

    pub(super) fn save(
        &mut self,
        at: usize,
        tokens: Tokens,
        chance: Option<Chance>,
    ) -> Result<(), StoreErrorKind> {
        if !self.settings.has_account {
            return Err(StoreErrorKind::NoAccount);
        }
        match chance {
            Some(Chance::RefusedSave) => return Err(StoreErrorKind::Refused),
            Some(Chance::LateRequest) => {
                self.leave(Work::Save(tokens));
                return Err(StoreErrorKind::Transient);
            }
            Some(Chance::NotFound) => return Err(StoreErrorKind::NotFound),
            _ if self.world.stored == Stored::Nothing => return Err(StoreErrorKind::NotFound),
            _ => self.write_as(at, tokens),
        }
        if chance == Some(Chance::LostSave) {
            return Err(StoreErrorKind::Transient);
        }
        self.configure(at, tokens);
        if chance == Some(Chance::QueuedOnly) {
            return Err(StoreErrorKind::NotFound);
        }
        Ok(())
    }

    /// Saves a module's keys, and returns whether that is known. If only the queue takes them, the configuration has them,
    /// and the store gets them later.
    pub(super) fn save_keys(
        &mut self,
        at: usize,
        tokens: Option<Tokens>,
        chance: Option<Chance>,
    ) -> bool {
        let is_gone = self.world.stored == Stored::Nothing;
        match (tokens, chance) {
            (_, Some(Chance::RefusedSave)) => return false,
            (Some(tokens), Some(Chance::QueuedOnly)) => {
                self.leave(Work::SaveKeys(Some(tokens)));
                self.configure(at, tokens);
            }
            _ if is_gone => return false,
            (Some(tokens), _) => {
                self.write_as(at, tokens);
                if chance.is_none() {
                    self.configure(at, tokens);
                }
            }
            (None, _) => {}
        }
        chance.is_none()
    }

    fn is_older(&self, tokens: Tokens) -> bool {
        let age = |tokens: Tokens| self.world.provider.age(tokens.access);
        matches!(self.world.stored, Stored::Record(stored) if age(tokens) < age(stored))
    }

    /// Writes for a process. The store has no versions, so whatever was written since the process looked is lost.
    fn write_as(&mut self, at: usize, tokens: Tokens) {
        let process = self.world.process(at);
        let (is_call, has_lock) = (process.is_call, process.has_lock);
        let is_changed = process.looked.map(Stored::Record) != Some(self.world.stored);
        let does_harm = self.is_older(tokens) || self.world.stored == Stored::NoTokens;
        let is_cut_off = self.world.history.causes.has(Cause::CutOff);
        if does_harm && is_changed {
            match self.world.writer {
                Writer::User => self.blame(Cause::User),
                Writer::Call => self.blame(Cause::OneTimeCall),
                _ if is_call => self.blame(Cause::OneTimeCall),
                _ if is_cut_off => {}
                Writer::Unlocked => self.blame(Cause::NoLock),
                Writer::Locked if !has_lock => self.blame(Cause::NoLock),
                Writer::Locked => {}
            }
        }
        let writer = match (is_call, has_lock) {
            (true, _) => Writer::Call,
            (false, true) => Writer::Locked,
            (false, false) => Writer::Unlocked,
        };
        self.write(tokens, writer);
    }

    pub(super) fn write(&mut self, tokens: Tokens, writer: Writer) {
        if self.is_older(tokens) {
            self.found(Property::NoOlder);
        }
        if let Stored::Record(stored) = self.world.stored
            && stored != tokens
            && self.world.left[Chance::StaleRead] > 0
        {
            self.world.previous = Some(stored);
        }
        self.world.stored = Stored::Record(tokens);
        self.world.writer = writer;
        self.world.history.saved.add(Serials::of(tokens.refresh));
    }

    /// What the user does with the account, and the platform with its secret.
    pub(super) fn change_account(&mut self, chance: Chance) {
        self.take(chance);
        match chance {
            Chance::Disconnect => {
                self.world.stored = Stored::NoTokens;
                self.world.writer = Writer::User;
            }
            Chance::Delete => self.world.stored = Stored::Nothing,
            Chance::Reconnect => {
                let tokens = self.world.provider.authorize();
                self.write(tokens, Writer::User);
            }
            _ => {
                let _ = self.secret(true, None);
            }
        }
    }

    /// Reads the platform's secret, for which the stored record stands. A process never sees its refresh token.
    pub(super) fn secret(
        &mut self,
        refresh: bool,
        chance: Option<Chance>,
    ) -> Option<(Tokens, Life)> {
        let Stored::Record(mut tokens) = self.world.stored else {
            return None;
        };
        if chance.is_some() {
            return None;
        }
        if refresh && let Some(response) = self.world.provider.exchange(tokens.refresh) {
            tokens = tokens.with_emitted(&response);
            self.write(tokens, Writer::User);
        }
        let life = Life {
            received: self.world.now(),
            expires: None,
            refresh: None,
        };
        Some((
            Tokens {
                refresh: 0,
                ..tokens
            },
            life,
        ))
    }
}
