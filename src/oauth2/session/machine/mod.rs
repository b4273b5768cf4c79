//! The life of one credential as a state machine, without I/O, clocks and locks.
//!
//! [`Machine::step`] takes an [`Event`] and returns the [`Effect`]s that the driver carries out. At most one piece of work
//! is under way, so the machine waits for at most one answer at a time: it refreshes the token, saves an unsaved record
//! again, or saves a module's keys. Whatever else is wanted meanwhile waits in a queue. docs/oauth2.md draws the states.
//!
//! `model/` checks this very code: it explores every order of events of several processes, with all failures that the
//! model knows, and checks the promises of docs/oauth2.md in every state.

mod emit;
mod event;
mod limits;
#[cfg(test)]
mod model;
mod record;
mod refresh;
mod save;
mod state;
mod tokens;

pub(crate) use event::{Effect, Emit, Event, Failure, Look, Need, Report, WaiterId, Why};
pub(crate) use record::{Life, Moment, Record, SharedToken, Token};
pub(super) use refresh::{LOOKS, MAX_DELAY, TRIES};
pub(super) use save::ATTEMPTS;

use crate::{
    codes::{self, Code},
    oauth2::{Error, LockError, Mode},
};
use limits::Limits;
use state::{Refresh, Save, State, Unsaved, Work};
use std::{collections::VecDeque, mem, time::Duration};
use tokens::Tokens;
use tracing::Level;

/// The longest time for which another replica may hold the lock during a refresh.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(345);
/// How long a save waits for the lock. It reads the account right before it saves, so the lock is not indispensable.
const SHORT_LOCK_WAIT: Duration = Duration::from_secs(5);

/// The life of one credential in one process. `R` is the token record, `S` the store that a piece of work uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Machine<R: Record, S> {
    /// Whether replicas share a lock.
    uses_lock: bool,
    state: State<R, S>,
    tokens: Tokens<R>,
    limits: Limits<R>,
    /// Those who wait for a token.
    needs: Vec<Need<S>>,
    /// The modules that wait until their keys are saved.
    emits: VecDeque<Emit<R, S>>,
    unsaved: Option<Unsaved<R, S>>,
    /// Whether the last exchange returned a new refresh token.
    rotates: Option<bool>,
    holds_lock: bool,
    stopping: bool,
    /// The time of the step that is being taken, and its effects so far. Zero and empty between two steps.
    now: Moment,
    effects: Vec<Effect<R, S>>,
}

/// How a request gets its token: the current one, if it can be used, and why another one is needed, now or soon, with the
/// generation that does not help.
pub(crate) type Supply<R> = (Option<SharedToken<R>>, Option<(Why, Option<u64>)>);

impl<R: Record, S: Clone> Machine<R, S> {
    pub(crate) fn new(uses_lock: bool) -> Self {
        Self {
            uses_lock,
            state: State::Idle,
            tokens: Tokens::default(),
            limits: Limits::default(),
            needs: Vec::new(),
            emits: VecDeque::new(),
            unsaved: None,
            rotates: None,
            holds_lock: false,
            stopping: false,
            now: Moment::ZERO,
            effects: Vec::new(),
        }
    }

    pub(crate) fn current(&self) -> Option<&SharedToken<R>> {
        self.tokens.current()
    }

    pub(crate) fn knows(&self, record: &R) -> bool {
        self.tokens.knows(record)
    }

    /// Returns true while a rotated refresh token is not saved, so that only this process has it.
    pub(crate) fn has_unsaved_rotation(&self) -> bool {
        let unsaved = self.unsaved.as_ref();
        unsaved.is_some_and(|unsaved| unsaved.save.rotated)
    }

    /// Returns how a request gets its token.
    pub(crate) fn supply(&self, now: Moment, mode: Mode) -> Supply<R> {
        let (is_timed, is_for_all) = (mode == Mode::Expiry, mode != Mode::EveryAccess);
        let current = self.tokens.current();
        let usable = current.filter(|token| {
            let is_over = is_timed && token.is_expired(now);
            is_for_all && !is_over && token.record.access_token().is_some()
        });
        let is_soon = usable.is_some_and(|token| is_timed && token.is_due(now));
        let known = is_for_all.then(|| current.map_or(0, |token| token.generation));
        let why = if is_for_all { Why::Expiry } else { Why::Access };
        let is_needed = usable.is_none() || is_soon;
        (usable.cloned(), is_needed.then_some((why, known)))
    }

    pub(crate) fn accepted(&mut self, generation: u64, after_refresh: bool) {
        self.limits.accepted(generation, after_refresh);
    }

    /// Takes one event. The driver carries the effects out in their order.
    #[must_use]
    pub(crate) fn step(&mut self, now: Moment, event: Event<R, S>) -> Vec<Effect<R, S>> {
        self.now = now;
        match event {
            Event::Needed(need) => self.needed(need),
            Event::Emitted(emit) => self.emits.push_back(emit),
            Event::Configured(record, life) => {
                if !self.tokens.knows(&record) {
                    self.adopt(record, life);
                }
            }
            Event::Alarm(number) => self.alarm(number),
            Event::Stop => self.stopping = true,
            answer => self.answered(answer),
        }
        if matches!(self.state, State::Idle) {
            self.start_next();
        }
        self.now = Moment::ZERO;
        mem::take(&mut self.effects)
    }

    /// Continues the work that waited for this answer. Work that is done leaves the machine idle.
    fn answered(&mut self, answer: Event<R, S>) {
        match (mem::replace(&mut self.state, State::Idle), answer) {
            (State::Locking(work), Event::Locked(result)) => self.locked(work, result),
            (State::Looking(refresh), Event::Looked(look)) => self.looked(refresh, look),
            (State::Exchanging(refresh, base), Event::Exchanged(Ok((record, life)))) => {
                self.exchanged(refresh, &base, record, life);
            }
            (State::Exchanging(refresh, base), Event::Exchanged(Err(Failure::Refused(error)))) => {
                self.refused(refresh, base, error);
            }
            (State::Exchanging(..), Event::Exchanged(Err(Failure::NotSent(error))))
            | (State::ReadingSecret(..), Event::Secret(Err(error))) => self.fail(error),
            (State::Pausing(refresh), Event::Woke) => self.look(refresh),
            (State::SaveLooking(save), Event::Looked(look)) => self.looked_before_save(save, look),
            (State::Saving(save), Event::Saved(Ok(()), _)) => self.stored(save, None),
            (State::Saving(save), Event::Saved(Err(error), queued)) => {
                self.not_saved(save, error, queued);
            }
            (State::SavePausing(save), Event::Woke) => self.look_before_save(save),
            (State::Confirming(save), Event::Confirmed(is_gone)) => self.confirmed(save, is_gone),
            (State::EmitLooking(emit), Event::Looked(look)) => self.looked_for_keys(emit, look),
            (State::SavingKeys(Some((record, life))), Event::KeysSaved(true)) => {
                self.keys_saved(record, life);
            }
            (State::SavingKeys(_), Event::KeysSaved(_)) => {}
            (State::ReadingSecret(store, why, refreshed), Event::Secret(Ok((record, life)))) => {
                self.secret_read(store, why, refreshed, record, life);
            }
            (state, _) => {
                debug_assert!(false, "an answer that the state does not wait for");
                self.state = state;
            }
        }
    }

    fn ask(&mut self, effect: Effect<R, S>) {
        self.effects.push(effect);
    }

    /// Asks for an effect, and waits for its answer.
    fn wait(&mut self, effect: Effect<R, S>, state: State<R, S>) {
        self.ask(effect);
        self.state = state;
    }

    fn report(&mut self, report: Report<R, S>) {
        self.ask(Effect::Report(report));
    }

    fn warn(&mut self, code: Code, text: impl Into<String>) {
        self.ask(Effect::Warn(Level::WARN, code, text.into()));
    }

    // --- What is wanted ----------------------------------------------------------------------------------------------

    fn needed(&mut self, need: Need<S>) {
        let current = self.tokens.current();
        let newer =
            current.filter(|token| need.known.is_some_and(|known| token.generation > known));
        if let Some(token) = newer.cloned() {
            return self.answer(&need, Ok(token));
        }
        let is_running = self.state.is_refresh() || !self.needs.is_empty();
        if is_running && need.waiter.is_none() {
            return;
        }
        if !is_running && let Err(error) = self.may_refresh(need.why) {
            return self.refuse(&need, &error);
        }
        self.needs.push(need);
    }

    /// Returns why no refresh may begin.
    fn may_refresh(&mut self, why: Why) -> Result<(), Error> {
        if let Some(error) = self.limits.paused(self.now) {
            return Err(error.clone());
        }
        if why == Why::Rejected {
            let current = self.tokens.current().map(|token| &**token);
            if let Err((error, begins)) = self.limits.count_rejection(self.now, current) {
                if let Some(time) = begins {
                    let pause = time.as_secs();
                    let text = format!("{error}; no refresh for {pause} s");
                    self.ask(Effect::Warn(Level::ERROR, codes::REFRESH_PAUSED, text));
                }
                return Err(error);
            }
        }
        if self.stopping {
            return Err(Error::unavailable("the process is stopping"));
        }
        Ok(())
    }

    fn answer(&mut self, need: &Need<S>, result: Result<SharedToken<R>, Error>) {
        if let Some(waiter) = need.waiter {
            self.ask(Effect::Answer(waiter, result));
        }
    }

    /// Answers somebody for whom no token was obtained. A token that is only believed to have expired may still be
    /// valid, because clocks differ: it is tried.
    fn refuse(&mut self, need: &Need<S>, error: &Error) {
        let believed = self.tokens.current().filter(|token| {
            need.why == Why::Expiry
                && matches!(error, Error::Unavailable { .. })
                && token.record.access_token().is_some()
        });
        let result = believed.cloned().ok_or_else(|| error.clone());
        self.answer(need, result);
    }

    // --- One piece of work at a time ---------------------------------------------------------------------------------

    /// Starts what is wanted next. The lock is released before, so that other replicas have their turn, unless the store
    /// still has a refresh token that must not be spent.
    fn start_next(&mut self) {
        if self.holds_lock && !self.has_unsaved_rotation() {
            self.holds_lock = false;
            self.ask(Effect::Unlock);
        }
        if let Some(need) = self.needs.first() {
            let (why, store) = (need.why, need.store.clone());
            if need.of_platform {
                return self.read_secret(store, why, false);
            }
            let refresh = Refresh {
                store,
                why,
                before: self.tokens.current().cloned(),
                looked: Moment::ZERO,
                looked_again: false,
                exchanges: 0,
                lost: false,
                doubt: None,
            };
            return self.lock(Work::Refresh(refresh), LOCK_WAIT);
        }
        // The rest is done without the lock rather than late.
        if let Some(emit) = self.emits.pop_front() {
            if emit.of_platform {
                return self.save_keys(emit.waiter, emit.sent);
            }
            return self.lock(Work::Emit(emit), SHORT_LOCK_WAIT);
        }
        match &self.unsaved {
            // At the end, a record that only this process has is saved at once.
            Some(unsaved) if unsaved.retries && self.stopping => {
                self.look_before_save(unsaved.save.clone());
            }
            Some(unsaved) if unsaved.retries && unsaved.is_due => {
                self.lock(Work::Save(unsaved.save.clone()), SHORT_LOCK_WAIT);
            }
            _ => {}
        }
    }

    fn lock(&mut self, work: Work<R, S>, wait: Duration) {
        if !self.uses_lock {
            return self.begin(work);
        }
        let store = match &work {
            Work::Refresh(Refresh { store, .. })
            | Work::Save(Save { store, .. })
            | Work::Emit(Emit { store, .. }) => store.clone(),
        };
        self.wait(Effect::Lock(store, wait), State::Locking(work));
    }

    fn locked(&mut self, work: Work<R, S>, result: Result<(), LockError>) {
        self.holds_lock = result.is_ok();
        match result {
            // The lock itself has said so, once.
            Ok(()) | Err(LockError::Unsupported(_)) => {}
            Err(error) if matches!(work, Work::Refresh(_)) && self.rotates != Some(false) => {
                return self.fail(Error::unavailable(lock_text(&error, LOCK_WAIT)));
            }
            Err(error) => {
                let is_refresh = matches!(work, Work::Refresh(_));
                let wait = if is_refresh {
                    LOCK_WAIT
                } else {
                    SHORT_LOCK_WAIT
                };
                let what =
                    "The credential's lock is not available, and the work goes on without it";
                let text = format!("{what}: {}", lock_text(&error, wait));
                self.warn(codes::LOCK_UNAVAILABLE, text);
            }
        }
        self.begin(work);
    }

    /// Does the work, with the lock if there is one.
    fn begin(&mut self, work: Work<R, S>) {
        match work {
            Work::Refresh(refresh) => self.look(refresh),
            Work::Save(save) => self.look_before_save(save),
            Work::Emit(emit) => {
                let look = Effect::Look(emit.store.clone(), &LOOKS);
                self.wait(look, State::EmitLooking(emit));
            }
        }
    }

    /// Ends a refresh. Those who cannot use its token, because it was rejected meanwhile, cause another one.
    fn succeed(&mut self, token: &SharedToken<R>) {
        self.limits.succeeded();
        let is_newer = |need: &mut Need<S>| need.known.is_none_or(|known| token.generation > known);
        let served: Vec<_> = self.needs.extract_if(.., is_newer).collect();
        for need in served {
            self.answer(&need, Ok(token.clone()));
        }
    }

    /// Ends a refresh without a token. Everyone who waits gets the error.
    fn fail(&mut self, error: Error) {
        self.limits.failed(self.now, &error);
        for need in mem::take(&mut self.needs) {
            self.refuse(&need, &error);
        }
        self.report(Report::Failed(error));
    }

    // --- Tokens of others --------------------------------------------------------------------------------------------

    /// Makes another process's token the current one. It can be refreshed at any time.
    fn adopt(&mut self, record: R, life: Life) -> SharedToken<R> {
        self.limits.trust();
        self.limits.succeeded();
        self.tokens.put(record, life, true)
    }

    /// Adopts a record that was found in the store, also for later messages. If its tokens are the current ones, there is
    /// no new generation.
    fn adopt_found(&mut self, store: &S, record: R, life: Life) -> SharedToken<R> {
        let current = self.tokens.current();
        if let Some(current) = current.filter(|current| current.record.id() == record.id()) {
            return current.clone();
        }
        self.report(Report::Adopted);
        self.ask(Effect::Share(store.clone(), record.clone()));
        self.adopt(record, life)
    }

    /// Adopts what the store returned, if it is new to this process.
    ///
    /// # Errors
    /// Returns an error if the credential is gone, or if a refresh token that may rotate cannot be compared with the
    /// stored one.
    fn news(&mut self, store: &S, look: Look<R>) -> Result<Option<SharedToken<R>>, Error> {
        match look {
            Look::Found(record, _) if self.tokens.knows(&record) => {
                self.tokens.returned(&record);
                self.tokens.update(&record);
                Ok(None)
            }
            Look::Found(record, life) => Ok(Some(self.adopt_found(store, record, life))),
            Look::NotConfigured(error) => Err(error),
            // A user who has disconnected does not want new tokens.
            Look::NoTokens => {
                let reason = "its tokens were removed from the account";
                Err(Error::ReauthRequired(reason.into()))
            }
            Look::Failed(error) if error.is_not_found() => {
                Err(Error::ReauthRequired(format!("it was removed ({error})")))
            }
            Look::NotAsked => Ok(None),
            // If the store cannot be read, a save would fail too: do not spend what may be the last refresh token.
            Look::Failed(error) if self.rotates != Some(false) => {
                let what = "the stored credential cannot be read, so another process may have refreshed it";
                Err(Error::unavailable(format!("{what}: {error}")))
            }
            Look::Failed(error) => {
                let what = "The stored credential cannot be read before the refresh";
                self.warn(codes::CREDENTIAL_NOT_READ, format!("{what}: {error}"));
                Ok(None)
            }
        }
    }
}

/// Adds the time of a wait that was too long.
fn lock_text(error: &LockError, wait: Duration) -> String {
    match error {
        LockError::TimedOut => format!("{error} (waited for {} s)", wait.as_secs()),
        error => error.to_string(),
    }
}
