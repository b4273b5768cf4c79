//! The state of everything, and what can happen next.

use super::{
    findings::{Causes, Finding, Property},
    pairs::Pair,
    process::{Process, Request, Work},
    provider::Provider,
    record::{Serials, Tokens},
    settings::{Call, Chance, Chances, Lock, Settings},
};
use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

/// One thing that happens. Processes are named by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Expire,
    Wait,
    /// A request begins.
    Request(usize),
    /// The API answers this request; it may reject a valid token.
    Answer(usize, usize, bool),
    /// What a process asked for happens outside, perhaps with a failure.
    Arrive(usize, Option<Chance>),
    /// The answer arrives at the process.
    Deliver(usize),
    /// The first alarm goes off.
    Alarm(usize),
    /// A request that nobody waits for arrives.
    ArriveLate(usize),
    Start(usize),
    Kill(usize),
    Stop(usize),
    /// A stopping process that has nothing left to do ends.
    End(usize),
    LoseLock(usize),
    /// A module emits keys.
    Emit(usize, Chance),
    /// The user changes the account, or the platform its secret.
    Account(Chance),
}

/// What the store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stored {
    Record(Tokens),
    /// The user has disconnected.
    NoTokens,
    /// The account does not exist.
    Nothing,
}

/// Who changed the store last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Writer {
    Locked,
    Unlocked,
    Call,
    User,
}

/// What the explorer collects while it takes steps.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) pairs: BTreeSet<Pair>,
    pub(super) findings: Vec<Finding>,
    /// The steps as text, if somebody wants to read them.
    pub(super) trace: Option<Vec<String>>,
}

/// A process, and its hash, so that a step hashes only the process that it changes.
#[derive(Clone)]
struct Member {
    process: Arc<Process>,
    /// 0 if it has changed.
    hash: u64,
}

#[derive(Clone)]
pub(super) struct World {
    members: Vec<Member>,
    pub(super) provider: Provider,
    pub(super) stored: Stored,
    pub(super) writer: Writer,
    /// The record before the stored one.
    pub(super) previous: Option<Tokens>,
    /// Requests under way that nobody waits for.
    pub(super) late: Vec<Work>,
    pub(super) expiries: u8,
    pub(super) waits: u8,
    pub(super) left: Chances,
    pub(super) history: History,
}

/// What the checks need to know of the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct History {
    /// The refresh tokens that the store has had.
    pub(super) saved: Serials,
    /// The refresh tokens that were spent by replicas, and by one-time calls, which have ended.
    pub(super) by_replicas: Serials,
    pub(super) by_calls: Serials,
    pub(super) causes: Causes,
    /// The causes that count when the grace periods end.
    pub(super) pending: Causes,
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl World {
    pub(super) fn new(settings: &Settings) -> Self {
        let (mut provider, first) = Provider::new(settings.rules, settings.is_long);
        if !settings.is_long {
            // The first expiry has happened already.
            provider.expire();
        }
        let processes = settings.replicas + usize::from(settings.call != Call::None);
        let members = (0..processes).map(|at| {
            let is_call = at >= settings.replicas;
            let requests = if is_call { 1 } else { settings.requests };
            let mut process = Process::new(is_call, requests, settings.parallel);
            if !is_call {
                process.start(settings.lock != Lock::None, Some(first));
            }
            Member {
                hash: hash(&process),
                process: Arc::new(process),
            }
        });
        Self {
            members: members.collect(),
            provider,
            stored: Stored::Record(first),
            writer: Writer::User,
            previous: None,
            late: Vec::new(),
            expiries: 0,
            waits: 0,
            left: Chances::of(settings.chances),
            history: History {
                saved: Serials::of(first.refresh),
                ..History::default()
            },
        }
    }

    /// Identifies this state. Processes in the same state are interchangeable.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut members: Vec<u64> = self.members.iter().map(|member| member.hash).collect();
        members.sort_unstable();
        hash(&(
            members,
            &self.provider,
            (self.stored, self.writer, self.previous),
            &self.late,
            (self.expiries, self.waits, self.left),
            self.history,
        ))
    }

    /// Hashes the processes that a step has changed.
    pub(super) fn rehash(&mut self) {
        for member in self.members.iter_mut().filter(|member| member.hash == 0) {
            member.hash = hash(&member.process);
        }
    }

    pub(super) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.members.iter().map(|member| &*member.process)
    }

    pub(super) fn process(&self, at: usize) -> &Process {
        &self.members[at].process
    }

    pub(super) fn process_mut(&mut self, at: usize) -> &mut Process {
        let member = &mut self.members[at];
        member.hash = 0;
        Arc::make_mut(&mut member.process)
    }

    pub(super) fn finding(&self, property: Property) -> Finding {
        let causes = self.history.causes;
        Finding { property, causes }
    }

    /// Returns whether somebody waits for something that has no time limit. The lock has one.
    pub(super) fn is_waited_for(&self) -> bool {
        let waits_for_lock = |process: &Process| {
            let errand = process.errand.as_ref();
            errand.is_some_and(|errand| errand.work == Work::Lock)
        };
        self.processes()
            .any(|process| !process.is_quiet() && !waits_for_lock(process))
    }

    /// The time. An hour lies between two expiries.
    pub(super) fn now(&self) -> Duration {
        Duration::from_secs(u64::from(self.expiries) * 3600 + u64::from(self.waits) * 600)
    }

    // --- What can happen ---------------------------------------------------------------------------------------------

    pub(super) fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.left[Chance::Expiry] > 0 {
            actions.push(Action::Expire);
        }
        if self.left[Chance::Wait] > 0 {
            actions.push(Action::Wait);
        }
        for (at, process) in self.processes().enumerate() {
            if process.machine.is_some() {
                self.actions_outside(at, process, &mut actions);
                self.actions_inside(at, process, &mut actions);
            } else if !process.is_call || process.left > 0 {
                actions.push(Action::Start(at));
            }
        }
        actions.extend((0..self.late.len()).map(Action::ArriveLate));
        let user: &[Chance] = match self.stored {
            Stored::Record(_) => &[Chance::Disconnect, Chance::Delete, Chance::PlatformRefresh],
            Stored::NoTokens | Stored::Nothing => &[Chance::Reconnect],
        };
        let user = user.iter().filter(|chance| self.left[**chance] > 0);
        actions.extend(user.map(|chance| Action::Account(*chance)));
        actions
    }

    /// What can happen to a process and to what it waits for.
    fn actions_outside(&self, at: usize, process: &Process, actions: &mut Vec<Action>) {
        match &process.errand {
            Some(errand) if errand.reply.is_some() => actions.push(Action::Deliver(at)),
            Some(errand) => {
                let is_locked = self.processes().any(|other| other.has_lock);
                if errand.work != Work::Lock || !is_locked {
                    actions.push(Action::Arrive(at, None));
                }
                let failures = self.failures(errand.work).into_iter();
                actions.extend(failures.map(|chance| Action::Arrive(at, Some(chance))));
            }
            None => {}
        }
        if self.left[Chance::Kill] > 0 {
            actions.push(Action::Kill(at));
        }
        if process.has_lock && self.left[Chance::LostLock] > 0 {
            actions.push(Action::LoseLock(at));
        }
        let is_told = if process.is_call {
            // It makes one request.
            process.left == 0 && process.has_no_request()
        } else {
            self.left[Chance::Stop] > 0
        };
        if is_told && !process.is_stopping {
            actions.push(Action::Stop(at));
        }
        if process.is_stopping && process.is_quiet() && process.has_no_request() {
            actions.push(Action::End(at));
        }
    }

    /// What modules and alarms can do in a process.
    fn actions_inside(&self, at: usize, process: &Process, actions: &mut Vec<Action>) {
        if !process.alarms.is_empty() {
            actions.push(Action::Alarm(at));
        }
        if process.left > 0 && process.requests.contains(&Request::None) {
            actions.push(Action::Request(at));
        }
        for (slot, request) in process.requests.iter().enumerate() {
            if let Request::Runs(sent) = request {
                actions.push(Action::Answer(at, slot, false));
                if self.left[Chance::Rejection] > 0 && self.provider.accepts(sent.access) {
                    actions.push(Action::Answer(at, slot, true));
                }
            }
        }
        let emits = [Chance::EmitOld, Chance::EmitOwn, Chance::EmitOther];
        let emits = emits
            .into_iter()
            .filter(|chance| self.left[*chance] > 0 && !process.is_call);
        actions.extend(emits.map(|chance| Action::Emit(at, chance)));
    }

    /// What can go wrong with this work.
    fn failures(&self, work: Work) -> Vec<Chance> {
        let failures: &[Chance] = match work {
            Work::Lock => &[Chance::DeniedLock],
            Work::Look => &[Chance::FailedRead, Chance::StaleRead, Chance::Misconfigured],
            Work::Exchange(_) => &[
                Chance::LostAnswer,
                Chance::LateRequest,
                Chance::BusyProvider,
                Chance::Misconfigured,
            ],
            Work::Save(_) => &[
                Chance::RefusedSave,
                Chance::LostSave,
                Chance::LateRequest,
                Chance::NotFound,
                Chance::QueuedOnly,
            ],
            Work::SaveKeys(_) => &[Chance::RefusedSave, Chance::LostSave, Chance::QueuedOnly],
            Work::ReadSecret(_) => &[Chance::FailedRead],
            Work::Pause | Work::ConfirmGone => &[],
        };
        let is_possible = |chance: &Chance| match (chance, self.previous) {
            (Chance::StaleRead, None) => false,
            (Chance::StaleRead, Some(previous)) => self.stored != Stored::Record(previous),
            _ => true,
        };
        let is_left = |chance: &Chance| self.left[*chance] > 0;
        let failures = failures.iter().copied();
        failures.filter(is_left).filter(is_possible).collect()
    }
}
