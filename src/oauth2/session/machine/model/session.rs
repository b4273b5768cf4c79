//! Takes the place of the session: requests that need tokens, and modules that emit keys.

use super::{
    super::{
        Need, Why,
        event::{Emit, Event},
        record::{Life, SharedToken},
    },
    findings::Property,
    process::{Request, Sent},
    record::Tokens,
    run::Run,
    settings::Chance,
};
use crate::oauth2::{Error, Mode};
use std::time::Duration;

/// The waiter of a module's keys. Smaller numbers are requests.
const MODULE: u64 = 100;
/// How many refreshes a request may cause: a second one if the first returned another process's token.
const REFRESHES: u8 = 2;

impl Run<'_> {
    /// The process's configuration contains this record now.
    pub(super) fn configure(&mut self, at: usize, record: Tokens) {
        let process = self.world.process_mut(at);
        process.config = Some(record);
        let machine = process.machine.as_ref();
        process.is_observed = machine.is_some_and(|machine| machine.knows(&record));
    }

    /// Tells the machine about tokens in the configuration that are not from it, as `Credential::observe` does.
    fn observe(&mut self, at: usize) {
        let process = self.world.process_mut(at);
        let is_observed = std::mem::replace(&mut process.is_observed, true);
        if is_observed || self.settings.mode == Mode::PlatformSecret {
            return;
        }
        let (Some(config), Some(machine)) = (process.config, &process.machine) else {
            return;
        };
        if !machine.knows(&config) {
            process.finds(Some(config));
            let life = self.stored_life(config);
            self.handle(at, Event::Configured(config, life));
        }
    }

    /// Begins a request, as `Session::access` does.
    pub(super) fn request(&mut self, at: usize) {
        self.observe(at);
        let (now, mode) = (self.world.now(), self.settings.mode);
        let process = self.world.process_mut(at);
        process.left -= 1;
        let free = process
            .requests
            .iter()
            .position(|request| *request == Request::None);
        let (Some(slot), Some(machine)) = (free, &process.machine) else {
            return;
        };
        if machine.current().is_none() && mode != Mode::PlatformSecret {
            // The user has to connect first.
            return;
        }
        let (token, refresh) = machine.supply(now, mode);
        if token.is_none() {
            process.requests[slot] = Request::Waits(None);
        }
        if let Some((why, known)) = refresh {
            let waiter = token.is_none().then_some(slot as u64);
            self.need(at, waiter, why, known);
        }
        if let Some(token) = token {
            self.send(at, slot, &token, self.refreshes());
        }
    }

    fn refreshes(&self) -> u8 {
        // If every request has a token of its own, another one does not help.
        let helps = self.settings.mode != Mode::EveryAccess;
        if helps { REFRESHES } else { 0 }
    }

    fn need(&mut self, at: usize, waiter: Option<u64>, why: Why, known: Option<u64>) {
        let need = Need {
            waiter,
            why,
            known,
            of_platform: self.is_of_platform(),
            store: (),
        };
        self.handle(at, Event::Needed(need));
    }

    /// Sends a request with this token. If the API accepts it for certain, its answer comes at once: it changes nothing.
    fn send(&mut self, at: usize, slot: usize, token: &SharedToken<Tokens>, refreshes: u8) {
        let access = token.record.access;
        let sent = Sent {
            generation: token.generation,
            access,
            refreshes,
        };
        self.world.process_mut(at).requests[slot] = Request::Runs(sent);
        if self.world.provider.accepts(access) && self.world.left[Chance::Rejection] == 0 {
            self.api_answers(at, slot, false);
        }
    }

    /// The API answers a request; `rejects` even if the token is valid.
    pub(super) fn api_answers(&mut self, at: usize, slot: usize, rejects: bool) {
        let Request::Runs(sent) = self.world.process(at).requests[slot] else {
            return;
        };
        let is_accepted = self.world.provider.accepts(sent.access) && !rejects;
        let process = self.world.process_mut(at);
        process.requests[slot] = Request::None;
        if is_accepted {
            let after_refresh = sent.refreshes < REFRESHES;
            if let Some(machine) = &mut process.machine {
                machine.accepted(sent.generation, after_refresh);
            }
        } else if sent.refreshes > 0 {
            process.requests[slot] = Request::Waits(Some(sent));
            self.observe(at);
            self.need(at, Some(slot as u64), Why::Rejected, Some(sent.generation));
        }
    }

    /// Gives a request its token, or its error.
    pub(super) fn answer(
        &mut self,
        at: usize,
        slot: usize,
        result: &Result<SharedToken<Tokens>, Error>,
    ) {
        let request = &mut self.world.process_mut(at).requests[slot];
        let Request::Waits(rejected) = std::mem::replace(request, Request::None) else {
            return self.found(Property::Answered);
        };
        let Ok(token) = result else {
            return;
        };
        let is_same =
            |sent: Sent| token.generation <= sent.generation || token.record.access == sent.access;
        if rejected.is_some_and(is_same) {
            self.found(Property::Later);
        }
        let refresh = token.record.refresh;
        let is_unsaved = self.world.process(at).unsaved().has(refresh);
        let is_saved = self.world.history.saved.has(refresh) || refresh == 0;
        if !token.adopted && !is_saved && !is_unsaved {
            self.found(Property::SavedFirst);
        }
        let refreshes = match rejected {
            None => self.refreshes(),
            Some(sent) if sent.refreshes == REFRESHES && token.adopted => 1,
            Some(_) => 0,
        };
        self.send(at, slot, token, refreshes);
    }

    fn is_of_platform(&self) -> bool {
        self.settings.mode == Mode::PlatformSecret
    }

    /// A module emits keys with these tokens.
    pub(super) fn emit(&mut self, at: usize, sent: Option<Tokens>) {
        self.observe(at);
        let sent = sent.map(|tokens| (tokens, self.stored_life(tokens)));
        let emit = Emit {
            waiter: MODULE,
            sent,
            of_platform: self.is_of_platform(),
            store: (),
        };
        self.handle(at, Event::Emitted(emit));
    }

    /// The life of tokens as their record tells it, if the mode looks at it.
    pub(super) fn stored_life(&self, tokens: Tokens) -> Life {
        let now = self.world.now();
        let expiry = |ahead: u8| Duration::from_secs(3600) * u32::from(self.world.expiries + ahead);
        let provider = &self.world.provider;
        let (refresh, expires) = if provider.is_young(tokens.access) {
            (Some(expiry(1)), expiry(2))
        } else if provider.accepts(tokens.access) {
            (self.settings.is_long.then_some(now), expiry(1))
        } else {
            (None, now)
        };
        let is_known = self.settings.mode == Mode::Expiry;
        Life {
            received: now,
            expires: is_known.then_some(expires),
            refresh: refresh.filter(|_| is_known),
        }
    }
}
