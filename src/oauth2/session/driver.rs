//! Carries out what the machine asks for: reads, exchanges, saves, locks and pauses. Each runs in a task of its own, which
//! gives the machine its answer. No caller has to wait for it, and a panic in it is an answer too.

use super::{
    super::Error,
    credential::{Credential, Shared, Store, TokenEffect, TokenEvent},
    keys,
    machine::{self, Effect, Event, Keeper, Need, Why},
    record::Token,
    report, tasks,
};
use futures_util::{FutureExt, future::BoxFuture};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use tokio::sync::oneshot;
use tracing::Instrument;

impl Credential {
    /// Waits for a token. If the caller is dropped, the refresh goes on.
    pub(super) async fn token(
        self: &Arc<Self>,
        store: &Store,
        keeper: Keeper,
        why: Why,
        known: Option<u64>,
    ) -> Result<Arc<Token>, Error> {
        let (sender, receiver) = oneshot::channel();
        let waiter = {
            let mut shared = self.shared();
            let waiter = shared.next_waiter();
            shared.tokens.insert(waiter, sender);
            waiter
        };
        self.handle(Event::Needed(Need {
            waiter: Some(waiter),
            why,
            known,
            keeper,
            store: store.clone(),
        }));
        receiver
            .await
            .unwrap_or_else(|_| Err(Error::unavailable("the session has ended")))
    }

    pub(super) async fn close(self: &Arc<Self>) {
        self.stopping.cancel();
        self.handle(Event::Stop);
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Gives the machine an event, and carries out what it asks for.
    pub(super) fn handle(self: &Arc<Self>, event: TokenEvent) {
        let mut shared = self.shared();
        let mut next = Some(event);
        while let Some(event) = next.take() {
            tracing::trace!(event = event.name(), "The credential's state changes");
            for effect in shared.machine.step(self.now(), event) {
                let panicked = tasks::panicked(&effect);
                let performed =
                    catch_unwind(AssertUnwindSafe(|| self.perform(&mut shared, effect)));
                // At most one effect of a step has an answer.
                next = performed.unwrap_or(panicked).or(next);
            }
        }
    }

    /// Carries out an effect. Returns its answer if that is known at once.
    fn perform(self: &Arc<Self>, shared: &mut Shared, effect: TokenEffect) -> Option<TokenEvent> {
        match effect {
            Effect::Unlock => shared.lock = None,
            Effect::Fence => {
                // A lost lock is dropped, so that it can be acquired again.
                shared.lock.take_if(|lock| !lock.is_held());
                return Some(Event::Fenced(shared.lock.is_some()));
            }
            Effect::Revoke(store, record) => {
                let revoking = tasks::revoke(self.clone(), store, record);
                self.tasks.spawn(revoking.in_current_span());
            }
            Effect::Share(store, record) => {
                if let Ok(keys) = self.keys_to_save(shared, &*store, &record) {
                    store.update_local(&keys);
                }
            }
            Effect::Answer(waiters, result) => {
                for waiter in waiters {
                    if let Some(sender) = shared.tokens.remove(&waiter) {
                        // A caller that was dropped needs no answer.
                        let _ = sender.send(result.clone());
                    }
                }
            }
            Effect::Report(report) => report::report(self, report),
            effect => self.start(shared, effect),
        }
        None
    }

    /// Starts an effect whose answer comes later.
    fn start(self: &Arc<Self>, shared: &mut Shared, effect: TokenEffect) {
        let panicked = tasks::panicked(&effect);
        let this = self.clone();
        let task: BoxFuture<'static, TokenEvent> = match effect {
            Effect::Lock(store, wait) => Box::pin(tasks::lock(this, store, wait)),
            Effect::Look(store) => Box::pin(tasks::stored(this, store, &machine::LOOKS)),
            Effect::LookOnce(store) => Box::pin(tasks::stored(this, store, &[])),
            Effect::Exchange(store, base) => Box::pin(tasks::exchange(this, store, base)),
            Effect::Pause(pause) => Box::pin(tasks::pause(pause)),
            Effect::Alarm(after, number) => Box::pin(tasks::alarm(this, after, number)),
            Effect::Save(store, record) => {
                let queued = shared.queued(&record);
                let keys = self.keys_to_save(shared, &*store, &record);
                Box::pin(tasks::save(store, keys, queued))
            }
            Effect::ConfirmGone(store) => Box::pin(tasks::confirm_gone(this, store)),
            Effect::SaveKeys(_, waiter, record) => {
                Box::pin(keys::hand_over(self, shared, waiter, record))
            }
            Effect::ReadSecret(store, refresh) => {
                Box::pin(tasks::read_secret(this, store, refresh))
            }
            _ => return,
        };
        let this = self.clone();
        let task = AssertUnwindSafe(task).catch_unwind();
        let answer = async move {
            if let Some(event) = task.await.ok().or(panicked) {
                this.handle(event);
            }
        };
        self.tasks.spawn(answer.in_current_span());
    }
}
