//! Takes one step: in the place of the driver, it gives a machine its event and carries out what the machine asks for.

use super::{
    super::event::{Effect, Event, Look},
    findings::{Cause, Property},
    pairs,
    process::{Errand, Process, Reply, TokenEvent, Work},
    record::{Serials, Tokens},
    settings::{Lock, Sabotage, Settings},
    text,
    world::{Action, Seen, Stored, World},
};

/// A step that is being taken.
pub(super) struct Run<'a> {
    pub(super) world: World,
    pub(super) settings: &'a Settings,
    pub(super) seen: &'a mut Seen,
}

/// Takes a step from this world, and returns the next one.
pub(super) fn after(world: &World, settings: &Settings, action: Action, seen: &mut Seen) -> World {
    let world = world.clone();
    let mut run = Run {
        world,
        settings,
        seen,
    };
    run.act(action);
    run.world.rehash();
    run.world
}

impl Run<'_> {
    fn act(&mut self, action: Action) {
        self.note(|| text::action(action));
        self.outside(action);
        self.check_waiters();
        self.check_end();
    }

    /// Adds a line to the text of a counterexample.
    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.seen.trace {
            trace.push(text());
        }
    }

    // --- The driver --------------------------------------------------------------------------------------------------

    /// Gives a machine an event, and carries out what it asks for, as `Session::handle` does.
    pub(super) fn handle(&mut self, at: usize, event: TokenEvent) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            next = self.step(at, event);
        }
    }

    /// Returns the next event if it is known at once.
    fn step(&mut self, at: usize, event: TokenEvent) -> Option<TokenEvent> {
        let now = self.world.now();
        let process = self.world.process_mut(at);
        let mut owed = process.unsaved();
        match &event {
            Event::Looked(Look::Found(tokens, _)) => process.finds(Some(*tokens)),
            Event::Exchanged(Ok((tokens, _))) => {
                process.has(Some(*tokens));
                owed.add(Serials::of(tokens.refresh));
            }
            // What the module saved replaces the unsaved record.
            Event::KeysSaved(true) => owed = Serials::default(),
            _ => {}
        }
        let machine = process.machine.as_mut()?;
        let (before, name) = (pairs::state_name(&machine.state), pairs::event_name(&event));
        let effects = machine.step(now, event);
        let after = pairs::state_name(&machine.state);
        self.seen.pairs.insert((before, name));
        self.note(|| format!("    {before} takes {name}, then {after}"));
        let mut next = None;
        for effect in effects {
            if let Effect::Revoke((), tokens) = &effect {
                owed = owed.without(Serials::of(tokens.refresh));
            }
            // At most one effect of a step has an answer.
            next = self.perform(at, effect).or(next);
        }
        self.check_kept(at, owed);
        next
    }

    fn begin(&mut self, at: usize, work: Work, reply: Option<Reply>) {
        let errand = Errand { work, reply };
        if self.world.process_mut(at).errand.replace(errand).is_some() {
            self.found(Property::OneExchange);
        }
    }

    /// Returns whether the machine believes that it has a lock that is lost.
    fn has_lost_lock(&self, at: usize) -> bool {
        let process = self.world.process(at);
        let holds_lock = process
            .machine
            .as_ref()
            .is_some_and(|machine| machine.holds_lock);
        holds_lock && !process.has_lock
    }

    /// Carries out an effect, as `Session::perform` does. Returns its answer if that is known at once.
    fn perform(&mut self, at: usize, effect: Effect<Tokens, ()>) -> Option<TokenEvent> {
        self.note(|| format!("      {}", text::effect(&effect)));
        let sabotage = self.settings.sabotage;
        match effect {
            Effect::Lock((), _) if self.world.process(at).has_lock => {
                return Some(Event::Locked(Ok(())));
            }
            Effect::Lock((), _) => {
                let has_none = self.settings.lock == Lock::Unsupported;
                self.begin(at, Work::Lock, has_none.then_some(Reply::NoLocks));
            }
            Effect::Unlock => self.world.process_mut(at).has_lock = false,
            Effect::Look((), _) if sabotage == Some(Sabotage::Reread) => {
                let known = self.world.process(at).machine.as_ref()?.current()?;
                return Some(Event::Looked(Look::Found(known.record, known.life)));
            }
            Effect::Look((), _) => self.begin(at, Work::Look, None),
            Effect::Exchange(..) if self.has_lost_lock(at) && sabotage != Some(Sabotage::Fence) => {
                return Some(Reply::NotSent.event());
            }
            Effect::Exchange((), base) => {
                let history = &mut self.world.process_mut(at).history;
                history.foreign = history.foreign.without(Serials::of(base.record.refresh));
                self.begin(at, Work::Exchange(base.record.refresh), None);
            }
            Effect::Pause(_) => self.begin(at, Work::Pause, Some(Reply::Woke)),
            Effect::Alarm(_, number) => self.world.process_mut(at).alarms.push(number),
            Effect::Save((), record, _) => {
                self.begin(at, Work::Save(record), None);
            }
            Effect::ConfirmGone(()) => self.begin(at, Work::ConfirmGone, None),
            Effect::Revoke((), record) => self.world.provider.revoke(record.refresh),
            Effect::Share((), record) => self.configure(at, record),
            Effect::SaveKeys(_, record) => self.begin(at, Work::SaveKeys(record), None),
            Effect::ReadSecret((), refresh) => self.begin(at, Work::ReadSecret(refresh), None),
            Effect::Answer(waiter, result) => self.answer(at, waiter as usize, &result),
            Effect::Inform(_) | Effect::Warn(..) | Effect::Report(_) => {}
        }
        None
    }

    // --- Checks ------------------------------------------------------------------------------------------------------

    pub(super) fn found(&mut self, property: Property) {
        let finding = self.world.finding(property);
        self.seen.findings.push(finding);
    }

    /// Checks that these refresh tokens are saved or still held, unless they are of no use any more.
    fn check_kept(&mut self, at: usize, owed: Serials) {
        let process = self.world.process(at);
        let missing = owed
            .without(process.unsaved())
            .without(process.history.replaced)
            .without(self.world.history.saved);
        if missing.any(|serial| self.world.provider.is_unspent(serial)) {
            self.found(Property::Kept);
        }
    }

    /// Checks that whoever waits will get an answer: the machine has work, the work has an answer, and nobody keeps the
    /// lock for nothing.
    fn check_waiters(&mut self) {
        let is_stuck = |process: &Process| {
            let has_work = process.errand.is_some();
            let keeps_lock = process.has_lock && !has_work && process.unsaved().is_empty();
            process.is_idle() == has_work || process.is_waited_for() && !has_work || keeps_lock
        };
        if self.world.processes().any(is_stuck) {
            self.found(Property::Answered);
        }
    }

    /// Checks what holds whenever nothing is under way.
    fn check_end(&mut self) {
        let Stored::Record(stored) = self.world.stored else {
            return;
        };
        let is_held = |process: &Process| !process.unsaved().is_empty();
        if self.world.processes().all(Process::is_quiet)
            && !self.world.provider.takes(stored.refresh)
            && !self.world.processes().any(is_held)
        {
            self.found(Property::Spendable);
        }
    }

    /// Notes what explains a property that does not hold.
    pub(super) fn blame(&mut self, cause: Cause) {
        self.world.history.causes.add(cause.into());
    }

    /// Notes why a rotated refresh token is lost. Within a grace period the old one still works.
    pub(super) fn blame_for_loss(&mut self, cause: Cause) {
        let rules = self.world.provider.rules();
        let is_repairable = match self.world.stored {
            Stored::Record(stored) => self.world.provider.takes(stored.refresh),
            Stored::NoTokens | Stored::Nothing => true,
        };
        if rules.has_grace && is_repairable {
            self.world.history.pending.add(cause.into());
        } else if rules.rotates {
            self.blame(cause);
        }
    }
}
