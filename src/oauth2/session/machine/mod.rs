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
mod secret;
mod state;
mod tokens;

pub(crate) use event::{
    Effect, Emit, Event, Failure, Keeper, Look, Need, Report, SaveResult, WaiterId, Why,
};
pub(crate) use record::{Life, Moment, Record, SharedToken, Token};
pub(super) use refresh::{LOOKS, MAX_DELAY, TRIES};
pub(super) use save::ATTEMPTS;

use crate::oauth2::{Error, LockError, Mode};
use limits::{Limits, TooOften};
use state::{Job, State, Unsaved, Work};
use std::{collections::VecDeque, time::Duration};
use tokens::Tokens;

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
}

/// What one step sees and produces.
pub(super) struct Step<R: Record, S> {
    now: Moment,
    effects: Vec<Effect<R, S>>,
}

impl<R: Record, S> Step<R, S> {
    fn ask(&mut self, effect: Effect<R, S>) {
        self.effects.push(effect);
    }

    fn report(&mut self, report: Report<R, S>) {
        self.effects.push(Effect::Report(report));
    }
}

/// How a request gets its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Supply<R> {
    /// The current token.
    Use(SharedToken<R>),
    /// The current token, which expires soon: a refresh begins beside the request.
    UseAndRefresh(SharedToken<R>),
    /// The token of a refresh.
    Wait { why: Why, known: Option<u64> },
}

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
        self.unsaved.as_ref().is_some_and(|unsaved| unsaved.rotated)
    }

    /// Returns how a request gets its token.
    pub(crate) fn supply(&self, now: Moment, mode: Mode) -> Supply<R> {
        let Some(current) = self.tokens.current() else {
            return Supply::Wait {
                why: Why::First,
                known: Some(0),
            };
        };
        if mode == Mode::EveryAccess {
            return Supply::Wait {
                why: Why::Access,
                known: None,
            };
        }
        let by_time = mode == Mode::Expiry;
        if !current.record.has_access_token() || (by_time && current.is_expired(now)) {
            return Supply::Wait {
                why: Why::Expiry,
                known: Some(current.generation),
            };
        }
        if by_time && current.is_due(now) {
            Supply::UseAndRefresh(current.clone())
        } else {
            Supply::Use(current.clone())
        }
    }

    /// Notes that the API accepted a token. `after_refresh` says that it had rejected the request's first token.
    pub(crate) fn accepted(&mut self, generation: u64, after_refresh: bool) {
        self.limits.accepted(generation);
        if after_refresh {
            self.limits.trust();
        }
    }

    /// Takes one event. The driver carries the effects out in their order.
    #[must_use]
    pub(crate) fn step(&mut self, now: Moment, event: Event<R, S>) -> Vec<Effect<R, S>> {
        let mut step = Step {
            now,
            effects: Vec::new(),
        };
        let cx = &mut step;
        match event {
            Event::Needed(need) => self.needed(cx, need),
            Event::Emitted(emit) => {
                self.emits.push_back(emit);
                self.start_if_idle(cx);
            }
            Event::Configured(record, life) => {
                if !self.tokens.knows(&record) {
                    self.adopt(record, life);
                }
            }
            Event::Alarm(number) => self.alarm(cx, number),
            Event::Stop => {
                self.stopping = true;
                self.start_if_idle(cx);
            }
            answer => self.answered(cx, answer),
        }
        step.effects
    }

    /// Continues the work that waited for this answer.
    fn answered(&mut self, cx: &mut Step<R, S>, answer: Event<R, S>) {
        match (std::mem::replace(&mut self.state, State::Idle), answer) {
            (State::Locking(job), Event::Locked(result)) => self.locked(cx, job, result),
            (State::Locking(job), Event::Fenced(held)) => self.still_locked(cx, job, held),
            (State::Looking(job, tries), Event::Looked(look)) => self.looked(cx, job, tries, look),
            (State::Fencing(job, tries, base), Event::Fenced(held)) => {
                self.fenced(cx, job, tries, base, held);
            }
            (State::Exchanging(job, tries, base), Event::Exchanged(result)) => {
                self.exchanged(cx, job, tries, &base, result);
            }
            (State::Retrying(job, tries), Event::Woke) => self.look(cx, job, tries),
            (State::Doubting(job, doubt), Event::Woke) => self.look_after_refusal(cx, job, doubt),
            (State::DoubtLooking(job, doubt), Event::Looked(look)) => {
                self.looked_after_refusal(cx, job, doubt, look);
            }
            (State::SaveLooking(job, save), Event::Looked(look)) => {
                self.looked_before_save(cx, job, save, look);
            }
            (State::Saving(job, save), Event::Saved(result)) => self.saved(cx, job, save, result),
            (State::SavePausing(job, save), Event::Woke) => self.look_before_save(cx, job, save),
            (State::Confirming(job, save), Event::Confirmed(gone)) => {
                self.confirmed(cx, job, save, gone);
            }
            (State::EmitLooking(emit), Event::Looked(look)) => self.looked_for_keys(cx, emit, look),
            (State::SavingKeys(keys), Event::KeysSaved(saved)) => self.keys_saved(cx, keys, saved),
            (State::ReadingSecret(job, refreshed), Event::Secret(result)) => {
                self.secret_read(cx, job, refreshed, result);
            }
            (state, answer) => {
                debug_assert!(
                    false,
                    "{} does not wait for {}",
                    state.name(),
                    answer.name()
                );
                self.state = state;
            }
        }
    }

    // --- What is wanted ----------------------------------------------------------------------------------------------

    fn needed(&mut self, cx: &mut Step<R, S>, need: Need<S>) {
        if let Some(token) = self.newer_than(need.known) {
            return answer(cx, need.waiter, Ok(token));
        }
        let is_running = self.state.is_refresh() || !self.needs.is_empty();
        if is_running && need.waiter.is_none() {
            return;
        }
        if !is_running && let Err(error) = self.may_refresh(cx, &need) {
            return self.refuse(cx, &need, &error);
        }
        self.needs.push(need);
        self.start_if_idle(cx);
    }

    fn newer_than(&self, known: Option<u64>) -> Option<SharedToken<R>> {
        let known = known?;
        let current = self.tokens.current()?;
        (current.generation > known).then(|| current.clone())
    }

    /// Returns why no refresh may begin.
    fn may_refresh(&mut self, cx: &mut Step<R, S>, need: &Need<S>) -> Result<(), Error> {
        if let Some(error) = self.limits.paused(cx.now) {
            return Err(error.clone());
        }
        let current = self.tokens.current().map(|token| &**token);
        if let Err(TooOften { error, begins }) =
            self.limits.count_rejection(cx.now, need.why, current)
        {
            if let Some(time) = begins {
                cx.report(Report::RejectedOften(time, error.clone()));
            }
            return Err(error);
        }
        if self.stopping {
            return Err(Error::unavailable("the process is stopping"));
        }
        Ok(())
    }

    /// Answers somebody for whom no token was obtained. A token that is only believed to have expired may still be
    /// valid, because clocks differ: it is tried.
    fn refuse(&self, cx: &mut Step<R, S>, need: &Need<S>, error: &Error) {
        let believed = self.tokens.current().filter(|token| {
            need.why == Why::Expiry
                && matches!(error, Error::Unavailable { .. })
                && token.record.has_access_token()
        });
        let result = believed.cloned().ok_or_else(|| error.clone());
        answer(cx, need.waiter, result);
    }

    // --- One piece of work at a time ---------------------------------------------------------------------------------

    fn start_if_idle(&mut self, cx: &mut Step<R, S>) {
        if matches!(self.state, State::Idle) {
            self.start_next(cx);
        }
    }

    /// Starts what is wanted next. The lock is released before, so that other replicas have their turn, unless the store
    /// still has a refresh token that must not be spent.
    fn start_next(&mut self, cx: &mut Step<R, S>) {
        self.state = State::Idle;
        if self.holds_lock && !self.has_unsaved_rotation() {
            self.holds_lock = false;
            cx.ask(Effect::Unlock);
        }
        if let Some(need) = self.needs.first() {
            let work = match need.keeper {
                Keeper::Process => Work::Refresh(need.why),
                Keeper::Platform => Work::Secret(need.why),
            };
            let job = Job {
                work,
                store: need.store.clone(),
                before: self.tokens.current().cloned(),
            };
            return self.start(cx, job);
        }
        if let Some(emit) = self.emits.front() {
            let job = Job::new(Work::Emit(emit.keeper), emit.store.clone());
            return self.start(cx, job);
        }
        let unsaved = self.unsaved.as_ref();
        if let Some(store) = unsaved.and_then(|unsaved| unsaved.wanted(self.stopping)) {
            let job = Job::new(Work::SaveAgain, store.clone());
            self.start(cx, job);
        }
    }

    fn start(&mut self, cx: &mut Step<R, S>, job: Job<R, S>) {
        match job.work {
            Work::Secret(_) => return self.read_secret(cx, job, false),
            Work::Emit(Keeper::Platform) => return self.emit_beside_secret(cx),
            Work::Refresh(_) | Work::SaveAgain | Work::Emit(Keeper::Process) => {}
        }
        if self.holds_lock {
            // It is held for an unsaved record, perhaps for long.
            cx.ask(Effect::Fence);
            self.state = State::Locking(job);
        } else {
            self.lock(cx, job);
        }
    }

    fn lock(&mut self, cx: &mut Step<R, S>, job: Job<R, S>) {
        // At the end, a record that only this process has is saved at once.
        let is_last_save = self.stopping && job.work == Work::SaveAgain;
        if self.uses_lock && !is_last_save {
            let wait = match job.work {
                Work::Refresh(_) | Work::Secret(_) => LOCK_WAIT,
                // It is done without the lock rather than late.
                Work::SaveAgain | Work::Emit(_) => SHORT_LOCK_WAIT,
            };
            cx.ask(Effect::Lock(job.store.clone(), wait));
            self.state = State::Locking(job);
        } else {
            self.begin(cx, job);
        }
    }

    fn still_locked(&mut self, cx: &mut Step<R, S>, job: Job<R, S>, held: bool) {
        self.holds_lock = held;
        if held {
            self.begin(cx, job);
        } else {
            self.lock(cx, job);
        }
    }

    fn locked(&mut self, cx: &mut Step<R, S>, job: Job<R, S>, result: Result<(), LockError>) {
        match result {
            Ok(()) => self.holds_lock = true,
            // The lock itself has said so, once.
            Err(LockError::Unsupported(_)) => {}
            Err(error) => {
                let spends_rotating =
                    matches!(job.work, Work::Refresh(_)) && self.rotates != Some(false);
                if spends_rotating {
                    return self.fail(cx, Error::unavailable(error.to_string()));
                }
                cx.report(Report::NoLock(error));
            }
        }
        self.begin(cx, job);
    }

    /// Does the job, with the lock if there is one.
    fn begin(&mut self, cx: &mut Step<R, S>, job: Job<R, S>) {
        match job.work {
            Work::Refresh(_) | Work::Secret(_) => self.begin_refresh(cx, job),
            Work::SaveAgain => self.begin_save_again(cx, job),
            Work::Emit(_) => self.begin_emit(cx, job),
        }
    }

    /// Ends a refresh. Those who cannot use its token, because it was rejected meanwhile, cause another one.
    fn succeed(&mut self, cx: &mut Step<R, S>, token: &SharedToken<R>) {
        self.limits.succeeded();
        let is_served =
            |need: &mut Need<S>| need.known.is_none_or(|known| token.generation > known);
        let served: Vec<_> = self.needs.extract_if(.., is_served).collect();
        answer_all(cx, &served, Ok(token.clone()));
        self.start_next(cx);
    }

    /// Ends a refresh without a token. Everyone who waits gets the error.
    fn fail(&mut self, cx: &mut Step<R, S>, error: Error) {
        self.limits.failed(cx.now, &error);
        for need in std::mem::take(&mut self.needs) {
            self.refuse(cx, &need, &error);
        }
        cx.report(Report::Failed(error));
        self.start_next(cx);
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
    fn adopt_found(
        &mut self,
        cx: &mut Step<R, S>,
        store: &S,
        record: R,
        life: Life,
    ) -> SharedToken<R> {
        if let Some(current) = self.tokens.current()
            && current.record.id() == record.id()
        {
            return current.clone();
        }
        cx.report(Report::Adopted);
        cx.ask(Effect::Share(store.clone(), record.clone()));
        self.adopt(record, life)
    }

    /// Adopts what the store returned, if it is new to this process.
    ///
    /// # Errors
    /// Returns an error if the credential is gone, or if a refresh token that may rotate cannot be compared with the
    /// stored one.
    fn news(
        &mut self,
        cx: &mut Step<R, S>,
        store: &S,
        look: Look<R>,
    ) -> Result<Option<SharedToken<R>>, Error> {
        match look {
            Look::Found(record, _) if self.tokens.knows(&record) => {
                self.tokens.returned(&record);
                self.tokens.update(&record);
                Ok(None)
            }
            Look::Found(record, life) => Ok(Some(self.adopt_found(cx, store, record, life))),
            Look::NotConfigured(error) => Err(error),
            // A user who has disconnected does not want new tokens.
            Look::NoTokens => Err(Error::ReauthRequired(
                "its tokens were removed from the account".into(),
            )),
            Look::Removed(reason) => {
                Err(Error::ReauthRequired(format!("it was removed ({reason})")))
            }
            Look::NotAsked => Ok(None),
            // If the store cannot be read, a save would fail too: do not spend what may be the last refresh token.
            Look::Failed(reason) if self.rotates != Some(false) => {
                Err(Error::unavailable(format!(
                    "the stored credential cannot be read, so another process may have refreshed it: {reason}"
                )))
            }
            Look::Failed(reason) => {
                cx.report(Report::NotRead(reason));
                Ok(None)
            }
        }
    }
}

fn answer<R: Record, S>(
    cx: &mut Step<R, S>,
    waiter: Option<WaiterId>,
    result: Result<SharedToken<R>, Error>,
) {
    if let Some(waiter) = waiter {
        cx.ask(Effect::Answer(vec![waiter], result));
    }
}

fn answer_all<R: Record, S>(
    cx: &mut Step<R, S>,
    needs: &[Need<S>],
    result: Result<SharedToken<R>, Error>,
) {
    let waiters: Vec<_> = needs.iter().filter_map(|need| need.waiter).collect();
    if !waiters.is_empty() {
        cx.ask(Effect::Answer(waiters, result));
    }
}
