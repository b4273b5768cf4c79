//! One process of the model: its machine, the requests that it makes, and what it waits for outside.

use super::{
    super::{
        Life, Machine, State,
        event::{Event, Failure, Look},
    },
    record::{Serials, Tokens},
};
use crate::oauth2::{Error, ErrorClass, ExchangeError, LockError, StoreError, StoreErrorKind};

pub(super) type TokenEvent = Event<Tokens, ()>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    /// A one-time call, not a replica.
    pub(super) is_call: bool,
    /// `None` if it does not run.
    pub(super) machine: Option<Machine<Tokens, ()>>,
    /// What the machine waits for.
    pub(super) errand: Option<Errand>,
    pub(super) alarms: Vec<u32>,
    pub(super) requests: Vec<Request>,
    /// How many requests it may still begin.
    pub(super) left: u8,
    /// The tokens in its configuration, and whether the machine has been told of them.
    pub(super) config: Option<Tokens>,
    pub(super) is_observed: bool,
    /// The tokens that it was started with.
    pub(super) first: Option<Tokens>,
    pub(super) is_stopping: bool,
    pub(super) has_lock: bool,
    /// What the last look at the store returned.
    pub(super) looked: Option<Tokens>,
    pub(super) history: History,
}

/// What a process has done with refresh tokens. The checks need it, and the machine does not see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct History {
    /// It has had them.
    pub(super) had: Serials,
    /// It found them in the store, did not have them before, and has not spent them.
    pub(super) foreign: Serials,
    /// It need not save them, because it found foreign ones.
    pub(super) replaced: Serials,
    /// The provider took them from it.
    pub(super) spent: Serials,
    /// It was cut off during their exchange, or before their successor was saved.
    pub(super) cut_off: Serials,
}

/// A request of a module to the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Request {
    None,
    /// It waits for a token, perhaps after the API rejected this one.
    Waits(Option<Sent>),
    /// It was sent with this token, and the API has not answered yet.
    Runs(Sent),
}

/// A token that a request was sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sent {
    pub(super) generation: u64,
    pub(super) access: u8,
    /// How many refreshes there may still be.
    pub(super) refreshes: u8,
}

/// Work outside of the process, and its answer once the outside has done it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Errand {
    pub(super) work: Work,
    pub(super) reply: Option<Reply>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Work {
    Lock,
    Look,
    /// The refresh token.
    Exchange(u8),
    Pause,
    Save(Tokens),
    ConfirmGone,
    /// `None` if the keys contain no tokens.
    SaveKeys(Option<Tokens>),
    /// Whether the platform refreshes the secret first.
    ReadSecret(bool),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reply {
    Locked,
    NotLocked,
    NoLocks,
    Looked(Look<Tokens>),
    /// The merged record.
    Exchanged(Tokens, Life),
    /// The provider says that the refresh token is invalid.
    Refused,
    /// The provider is busy.
    NotExchanged,
    /// Nothing came back from the provider.
    NoAnswer,
    NotSent,
    Woke,
    /// With whether the queue has taken the record.
    Saved(Result<(), StoreErrorKind>, bool),
    Confirmed(bool),
    KeysSaved(bool),
    Secret(Option<(Tokens, Life)>),
}

impl Process {
    /// Creates a process that does not run yet.
    pub(super) fn new(is_call: bool, requests: u8, parallel: usize) -> Self {
        Self {
            is_call,
            machine: None,
            errand: None,
            alarms: Vec::new(),
            requests: vec![Request::None; parallel],
            left: requests,
            config: None,
            is_observed: false,
            first: None,
            is_stopping: false,
            has_lock: false,
            looked: None,
            history: History::default(),
        }
    }

    pub(super) fn start(&mut self, uses_lock: bool, config: Option<Tokens>) {
        self.machine = Some(Machine::new(uses_lock));
        self.config = config;
        self.first = config;
        self.has(config);
    }

    /// Ends the process. If it starts again, it makes the requests that are left.
    pub(super) fn end(&mut self) {
        *self = Self::new(self.is_call, self.left, self.requests.len());
    }

    /// Notes that the process has these tokens now.
    pub(super) fn has(&mut self, tokens: Option<Tokens>) {
        let serial = tokens.map_or(0, |tokens| tokens.refresh);
        self.history.had.add(Serials::of(serial));
    }

    /// Notes that the process has found these tokens in the store.
    pub(super) fn finds(&mut self, tokens: Option<Tokens>) {
        let Some(Tokens { refresh, .. }) = tokens else {
            return;
        };
        if !self.history.had.has(refresh) {
            self.history.foreign.add(Serials::of(refresh));
        }
        if self.history.foreign.has(refresh) {
            self.history.replaced.add(self.unsaved());
        }
        self.has(tokens);
    }

    pub(super) fn is_waited_for(&self) -> bool {
        let waits = |request: &Request| matches!(request, Request::Waits(_));
        self.requests.iter().any(waits)
    }

    pub(super) fn has_no_request(&self) -> bool {
        self.requests
            .iter()
            .all(|request| *request == Request::None)
    }

    pub(super) fn is_idle(&self) -> bool {
        let machine = self.machine.as_ref();
        machine.is_none_or(|machine| matches!(machine.state, State::Idle))
    }

    /// Returns whether nothing happens in this process any more, unless something new is wanted.
    pub(super) fn is_quiet(&self) -> bool {
        self.errand.is_none() && self.alarms.is_empty() && !self.is_waited_for()
    }

    /// The refresh tokens of the records that the machine has to save.
    pub(super) fn unsaved(&self) -> Serials {
        let mut unsaved = Serials::default();
        let Some(machine) = &self.machine else {
            return unsaved;
        };
        if let Some(later) = &machine.unsaved {
            unsaved.add(Serials::of(later.save.record.refresh));
        }
        if let State::SaveLooking(save)
        | State::Saving(save)
        | State::SavePausing(save)
        | State::Confirming(save) = &machine.state
        {
            unsaved.add(Serials::of(save.record.refresh));
        }
        unsaved
    }
}

impl Reply {
    /// The answer as the machine gets it.
    pub(super) fn event(self) -> TokenEvent {
        match self {
            Self::Locked => Event::Locked(Ok(())),
            Self::NotLocked => Event::Locked(Err(LockError::TimedOut)),
            Self::NoLocks => Event::Locked(Err(LockError::Unsupported(String::new()))),
            Self::Looked(look) => Event::Looked(look),
            Self::Exchanged(tokens, life) => Event::Exchanged(Ok((tokens, life))),
            Self::Refused => Event::Exchanged(Err(refused(ErrorClass::Reauth, false))),
            Self::NotExchanged => Event::Exchanged(Err(refused(ErrorClass::Transient, false))),
            Self::NoAnswer => Event::Exchanged(Err(refused(ErrorClass::Transient, true))),
            Self::NotSent => Event::Exchanged(Err(Failure::NotSent(Error::Config(String::new())))),
            Self::Woke => Event::Woke,
            Self::Saved(result, queued) => Event::Saved(result.map_err(failed), queued),
            Self::Confirmed(is_gone) => Event::Confirmed(is_gone),
            Self::KeysSaved(is_saved) => Event::KeysSaved(is_saved),
            Self::Secret(found) => Event::Secret(found.ok_or_else(|| Error::unavailable(""))),
        }
    }
}

pub(super) fn failed(kind: StoreErrorKind) -> StoreError {
    StoreError::new(kind, "")
}

fn refused(class: ErrorClass, outcome_unknown: bool) -> Failure {
    Failure::Refused(ExchangeError {
        class,
        outcome_unknown,
        ..ExchangeError::unknown("")
    })
}
