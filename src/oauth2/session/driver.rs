//! Carries out what the machine asks for: reads, exchanges, saves, locks and pauses. Each runs in a task of its own, which
//! gives the machine its answer. No caller has to wait for it, and a panic in it is an answer too.

use super::{
    super::{Error, ExchangeError, LockError, StoreError},
    Session,
    credential::{Shared, TokenEffect, TokenEvent},
    machine::{Effect, Event, Failure, Look},
};
use futures_util::FutureExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tracing::{Instrument, Level};

const PANICKED: &str = "a part of the refresh panicked; the log names the location";

impl Session {
    /// Gives the machine an event, and carries out what it asks for.
    pub(super) fn handle(&self, event: TokenEvent) {
        self.handle_in(&mut self.0.shared(), event);
    }

    /// The same, while what changes is locked.
    pub(super) fn handle_in(&self, shared: &mut Shared, event: TokenEvent) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            tracing::trace!(?event, "The credential's state changes");
            for effect in shared.machine.step(self.0.now(), event) {
                // At most one effect of a step has an answer.
                next = self.perform(shared, effect).or(next);
            }
        }
    }

    /// Carries out an effect. Returns its answer if that is known at once.
    fn perform(&self, shared: &mut Shared, effect: TokenEffect) -> Option<TokenEvent> {
        match effect {
            Effect::Unlock => shared.lock = None,
            Effect::Share(store, record) => {
                let share = || {
                    let keys = self.0.keys_to_save(shared, &*store, &record);
                    keys.map(|keys| store.update_local(&keys))
                };
                // A panic of the store does not end the refresh.
                let _ = catch_unwind(AssertUnwindSafe(share));
            }
            Effect::Answer(waiter, result) => {
                // A caller that was dropped needs no answer.
                let caller = shared.tokens.remove(&waiter);
                let _ = caller.map(|caller| caller.send(result));
            }
            Effect::Inform(text) => tracing::info!("{text}"),
            Effect::Warn(Level::ERROR, code, text) => tracing::error!(%code, "{text}"),
            Effect::Warn(_, code, text) => tracing::warn!(%code, "{text}"),
            Effect::Report(report) => self.report(shared, report),
            Effect::Lock(..) if !shared.drop_lost_lock() && shared.lock.is_some() => {
                return Some(Event::Locked(Ok(())));
            }
            Effect::Exchange(..) if shared.drop_lost_lock() => {
                let error = Error::unavailable("the lock was lost before the refresh");
                return Some(Event::Exchanged(Err(Failure::NotSent(error))));
            }
            effect => self.start(effect),
        }
        None
    }

    /// Starts an effect whose answer comes later.
    fn start(&self, effect: TokenEffect) {
        let this = self.clone();
        match effect {
            Effect::Lock(store, wait) => {
                let panicked = LockError::Unavailable(PANICKED.into());
                self.spawn(Event::Locked(Err(panicked)), this.lock(store, wait));
            }
            Effect::Look(store, pauses) => {
                let panicked = Look::Failed(StoreError::transient(PANICKED));
                self.spawn(Event::Looked(panicked), this.look(store, pauses));
            }
            Effect::Exchange(store, base) => {
                let panicked = Failure::Refused(ExchangeError::unknown(PANICKED));
                self.spawn(Event::Exchanged(Err(panicked)), this.exchange(store, base));
            }
            Effect::Save(store, record, queued) => {
                let panicked = Event::Saved(Err(StoreError::transient(PANICKED)), queued);
                self.spawn(panicked, this.save(store, record, queued));
            }
            Effect::ReadSecret(store, refresh) => {
                let panicked = Event::Secret(Err(Error::unavailable(PANICKED)));
                self.spawn(panicked, this.read_secret(store, refresh));
            }
            Effect::Pause(pause) => self.spawn(Event::Woke, this.pause(pause)),
            Effect::Alarm(after, number) => {
                self.spawn(Event::Alarm(number), this.alarm(after, number));
            }
            Effect::ConfirmGone(store) => {
                self.spawn(Event::Confirmed(false), this.confirm_gone(store));
            }
            Effect::SaveKeys(waiter, record) => {
                self.spawn(Event::KeysSaved(false), this.save_keys(waiter, record));
            }
            Effect::Revoke(store, record) => {
                let revoke = this.revoke(store, record).in_current_span();
                self.0.tasks.spawn(revoke);
            }
            _ => {}
        }
    }

    /// Starts a task that ends with the answer to an effect. `panicked` is the answer if it panics.
    fn spawn(&self, panicked: TokenEvent, task: impl Future<Output = TokenEvent> + Send + 'static) {
        let this = self.clone();
        let task = AssertUnwindSafe(task).catch_unwind();
        let answer = async move { this.handle(task.await.unwrap_or(panicked)) };
        self.0.tasks.spawn(answer.in_current_span());
    }
}
