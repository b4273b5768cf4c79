//! What happens outside of the machines: to the processes, at the lock and at the provider. `store` has the rest.

use super::{
    super::{event::Event, record::Record},
    findings::{Cause, Property},
    process::{Process, Reply, Work},
    record::{Serials, Tokens},
    run::Run,
    settings::{Chance, Lock, Sabotage},
    text,
    world::{Action, Stored, Writer},
};

impl Run<'_> {
    pub(super) fn outside(&mut self, action: Action) {
        match action {
            Action::Expire => self.expire(),
            Action::Wait => {
                self.take(Chance::Wait);
                self.world.waits += 1;
            }
            Action::Request(at) => self.request(at),
            Action::Answer(at, slot, rejects) => {
                if rejects {
                    self.take(Chance::Rejection);
                }
                self.api_answers(at, slot, rejects);
            }
            Action::Arrive(at, chance) => self.arrive(at, chance),
            Action::Deliver(at) => self.deliver(at),
            Action::Alarm(at) => {
                let number = self.world.process_mut(at).alarms.remove(0);
                self.handle(at, Event::Alarm(number));
            }
            Action::ArriveLate(index) => self.arrive_late(index),
            Action::Start(at) => self.start(at),
            Action::Kill(at) => self.kill(at),
            Action::Stop(at) => {
                if !self.world.process(at).is_call {
                    self.take(Chance::Stop);
                }
                self.world.process_mut(at).is_stopping = true;
                self.handle(at, Event::Stop);
            }
            Action::End(at) => {
                if self.has_new_tokens(at) {
                    self.blame_for_loss(Cause::Stopped);
                }
                self.end(at);
            }
            Action::LoseLock(at) => self.lose_lock(at),
            Action::Emit(at, chance) => {
                self.take(chance);
                let sent = match chance {
                    Chance::EmitOld => self.world.process(at).first,
                    Chance::EmitOwn => Some(self.world.provider.authorize()),
                    _ => None,
                };
                self.emit(at, sent);
            }
            Action::Account(chance) => self.change_account(chance),
        }
    }

    pub(super) fn take(&mut self, chance: Chance) {
        self.world.left[chance] -= 1;
    }

    fn expire(&mut self) {
        self.take(Chance::Expiry);
        self.world.expiries += 1;
        self.world.provider.expire();
        let history = &mut self.world.history;
        history.causes.add(std::mem::take(&mut history.pending));
    }

    // --- Processes ---------------------------------------------------------------------------------------------------

    /// Starts a process, with the tokens that the account has now.
    fn start(&mut self, at: usize) {
        let config = match self.world.stored {
            Stored::Record(tokens) => Some(tokens),
            Stored::NoTokens | Stored::Nothing => None,
        };
        let process = self.world.process_mut(at);
        let uses_lock = self.settings.lock != Lock::None && !process.is_call;
        process.start(uses_lock, config);
    }

    /// Returns whether only this process has a refresh token that has to be saved.
    fn has_new_tokens(&self, at: usize) -> bool {
        let unsaved = self.world.process(at).unsaved();
        !unsaved.without(self.world.history.saved).is_empty()
    }

    fn is_exchanging(&self, at: usize) -> Option<u8> {
        match self.world.process(at).errand.as_ref()?.work {
            Work::Exchange(refresh) => Some(refresh),
            _ => None,
        }
    }

    fn kill(&mut self, at: usize) {
        self.take(Chance::Kill);
        if self.has_new_tokens(at) || self.is_exchanging(at).is_some() {
            self.blame_for_loss(Cause::Killed);
        }
        if let Some(errand) = self.world.process_mut(at).errand.take()
            && errand.reply.is_none()
        {
            self.leave(errand.work);
        }
        self.end(at);
    }

    fn end(&mut self, at: usize) {
        let process = self.world.process_mut(at);
        let (is_call, spent) = (process.is_call, process.history.spent);
        process.end();
        let history = &mut self.world.history;
        if is_call {
            history.by_calls.add(spent);
        } else {
            history.by_replicas.add(spent);
        }
    }

    fn lose_lock(&mut self, at: usize) {
        self.take(Chance::LostLock);
        let exchanging = self.is_exchanging(at);
        let process = self.world.process_mut(at);
        process.has_lock = false;
        if exchanging.is_some() || !process.unsaved().is_empty() {
            let history = &mut process.history;
            history.cut_off.add(history.spent);
            history.cut_off.add(Serials::of(exchanging.unwrap_or(0)));
            self.blame(Cause::CutOff);
        }
    }

    /// Leaves a request under way that nobody waits for.
    pub(super) fn leave(&mut self, work: Work) {
        if matches!(
            work,
            Work::Exchange(_) | Work::Save(_) | Work::SaveKeys(Some(_))
        ) {
            self.world.late.push(work);
            self.world.late.sort_unstable();
        }
    }

    fn arrive_late(&mut self, index: usize) {
        match self.world.late.remove(index) {
            Work::Exchange(refresh) => {
                let _ = self.world.provider.exchange(refresh);
                self.blame_for_loss(Cause::Late);
            }
            Work::Save(tokens) | Work::SaveKeys(Some(tokens)) => {
                self.blame(Cause::Late);
                self.write(tokens, Writer::Unlocked);
            }
            _ => {}
        }
    }

    // --- Answers -----------------------------------------------------------------------------------------------------

    /// Does what a process asked for.
    fn arrive(&mut self, at: usize, chance: Option<Chance>) {
        if let Some(chance) = chance {
            self.take(chance);
        }
        let Some(work) = self
            .world
            .process(at)
            .errand
            .as_ref()
            .map(|errand| errand.work)
        else {
            return;
        };
        let reply = match work {
            Work::Lock => {
                self.world.process_mut(at).has_lock = chance.is_none();
                let denied = chance.map(|_| Reply::NotLocked);
                denied.unwrap_or(Reply::Locked)
            }
            Work::Look => Reply::Looked(self.look(at, chance)),
            Work::Exchange(refresh) => self.exchange(at, refresh, chance),
            Work::Pause => Reply::Woke,
            Work::Save(tokens) => {
                let is_there = self.world.stored != Stored::Nothing;
                let queued = chance == Some(Chance::QueuedOnly) && is_there;
                Reply::Saved(self.save(at, tokens, chance), queued)
            }
            Work::ConfirmGone => {
                let is_gone = !matches!(self.world.stored, Stored::Record(_));
                Reply::Confirmed(is_gone && !self.world.process(at).is_stopping)
            }
            Work::SaveKeys(tokens) => Reply::KeysSaved(self.save_keys(at, tokens, chance)),
            Work::ReadSecret(refresh) => Reply::Secret(self.secret(refresh, chance)),
        };
        self.note(|| text::reply(work, &reply));
        if let Some(errand) = &mut self.world.process_mut(at).errand {
            errand.reply = Some(reply);
        }
        if work == Work::Lock {
            // Whatever happens between the grant of a lock and its arrival could as well happen before.
            self.deliver(at);
        }
    }

    fn deliver(&mut self, at: usize) {
        let process = self.world.process_mut(at);
        if let Some(reply) = process.errand.take().and_then(|errand| errand.reply) {
            self.handle(at, reply.event());
        }
    }

    fn exchange(&mut self, at: usize, refresh: u8, chance: Option<Chance>) -> Reply {
        match chance {
            Some(Chance::LateRequest) => {
                self.leave(Work::Exchange(refresh));
                return Reply::NoAnswer;
            }
            Some(Chance::BusyProvider) => return Reply::NotExchanged,
            Some(Chance::Misconfigured) => return Reply::NotSent,
            _ => {}
        }
        self.check_spender(at, refresh);
        let response = self.world.provider.exchange(refresh);
        let history = &mut self.world.process_mut(at).history;
        if response.is_some() {
            history.spent.add(Serials::of(refresh));
        }
        if chance.is_some() {
            history.cut_off.add(Serials::of(refresh));
            if response.is_some() {
                self.blame_for_loss(Cause::AnswerLost);
            }
            return Reply::NoAnswer;
        }
        response.map_or(Reply::Refused, |response| {
            let is_merged = self.settings.sabotage != Some(Sabotage::Merge);
            let kept = if is_merged { refresh } else { 0 };
            let base = Tokens {
                access: 0,
                refresh: kept,
            };
            Reply::Exchanged(base.with_emitted(&response), self.stored_life(response))
        })
    }

    /// Checks that no other process has spent this refresh token.
    fn check_spender(&mut self, at: usize, refresh: u8) {
        if !self.world.provider.rules().rotates {
            return;
        }
        let own = self.world.process(at);
        let (is_call, is_cut_off) = (own.is_call, own.history.cut_off.has(refresh));
        let spender = |(other, process): &(usize, &Process)| {
            *other != at && process.history.spent.has(refresh)
        };
        let other = self.world.processes().enumerate().find(spender);
        let other = other.map(|(_, other)| (other.is_call, other.history.cut_off.has(refresh)));
        let by_replica = self.world.history.by_replicas.has(refresh);
        let by_call = self.world.history.by_calls.has(refresh);
        let has_lock = self.settings.lock == Lock::Shared;
        match other {
            Some((other_is_call, _)) if is_call || other_is_call => self.blame(Cause::OneTimeCall),
            None if by_call || is_call && by_replica => self.blame(Cause::OneTimeCall),
            Some(_) if !has_lock => self.blame(Cause::NoLock),
            None if !has_lock && by_replica => self.blame(Cause::NoLock),
            Some((_, false)) if !is_cut_off => self.found(Property::OneSpender),
            _ => {}
        }
    }
}
