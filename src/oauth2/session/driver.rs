//! Carries out what the machine asks for: reads, exchanges, saves, locks and pauses. Each runs in a task of its own, which
//! gives the machine its answer. No caller has to wait for it, and a panic in it is an answer too.

use super::{
    super::Error,
    credential::{Credential, Shared, Store, TokenEffect, TokenEvent},
    keys,
    machine::{self, Effect, Event, Keeper, Need, SaveResult, Why},
    record::Token,
    report, tasks,
};
use futures_util::FutureExt;
use std::{panic::AssertUnwindSafe, sync::Arc};
use tokio::{sync::oneshot, time::sleep};
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
                // At most one effect of a step has an answer.
                next = self.perform(&mut shared, effect).or(next);
            }
        }
    }

    /// Carries out an effect. Returns its answer if that is known at once.
    fn perform(self: &Arc<Self>, shared: &mut Shared, effect: TokenEffect) -> Option<TokenEvent> {
        match effect {
            Effect::Lock(store, wait) => {
                self.spawn(tasks::lock(self.clone(), store, wait), tasks::lock_failed);
            }
            Effect::Unlock => shared.lock = None,
            Effect::Fence => {
                // A lost lock is dropped, so that it can be acquired again.
                shared.lock.take_if(|lock| !lock.is_held());
                return Some(Event::Fenced(shared.lock.is_some()));
            }
            Effect::Look(store) => {
                self.spawn(
                    tasks::stored(self.clone(), store, &machine::LOOKS),
                    tasks::look_failed,
                );
            }
            Effect::LookOnce(store) => {
                self.spawn(tasks::stored(self.clone(), store, &[]), tasks::look_failed)
            }
            Effect::Exchange(store, base) => {
                self.spawn(
                    tasks::exchange(self.clone(), store, base),
                    tasks::exchange_failed,
                );
            }
            Effect::Pause(pause) => {
                let pause = pause.mul_f64(0.75 + 0.5 * fastrand::f64());
                self.spawn(
                    async move {
                        sleep(pause).await;
                        Event::Woke
                    },
                    || Event::Woke,
                );
            }
            Effect::Alarm(after, number) => self
                .spawn(tasks::alarm(self.clone(), after, number), move || {
                    Event::Alarm(number)
                }),
            Effect::Save(store, record) => {
                let queued = shared.queued(&record);
                match self.keys_to_save(shared, &*store, &record) {
                    Ok(keys) => self.spawn(tasks::save(store, keys, queued), tasks::save_failed),
                    Err(error) => return Some(Event::Saved(SaveResult::Failed(error.to_string()))),
                }
            }
            Effect::ConfirmGone(store) => self
                .spawn(tasks::confirm_gone(self.clone(), store), || {
                    Event::Confirmed(false)
                }),
            Effect::Revoke(store, record) => {
                self.tasks
                    .spawn(tasks::revoke(self.clone(), store, record).in_current_span());
            }
            Effect::Share(store, record) => {
                if let Ok(keys) = self.keys_to_save(shared, &*store, &record) {
                    store.update_local(&keys);
                }
            }
            Effect::SaveKeys(_, waiter, record) => {
                return keys::hand_over(self, shared, waiter, record);
            }
            Effect::ReadSecret(store, refresh) => self.spawn(
                tasks::read_secret(self.clone(), store, refresh),
                tasks::secret_failed,
            ),
            Effect::Answer(waiters, result) => {
                for waiter in waiters {
                    if let Some(sender) = shared.tokens.remove(&waiter) {
                        // A caller that was dropped needs no answer.
                        let _ = sender.send(result.clone());
                    }
                }
            }
            Effect::Report(report) => report::report(self, report),
        }
        None
    }

    /// Runs a task whose result is the machine's next event, also after a panic.
    fn spawn(
        self: &Arc<Self>,
        task: impl Future<Output = TokenEvent> + Send + 'static,
        panicked: impl FnOnce() -> TokenEvent + Send + 'static,
    ) {
        let driver = self.clone();
        let task = AssertUnwindSafe(task).catch_unwind();
        self.tasks.spawn(
            async move {
                let event = task.await.unwrap_or_else(|_| panicked());
                driver.handle(event);
            }
            .in_current_span(),
        );
    }
}
