//! The platform refreshes the token, and this process only reads it (token-failures: Secrets of the platform). Nothing
//! is exchanged or saved here.

use super::{
    Machine, Step,
    event::{Effect, Why},
    record::{Life, Record},
    state::{Job, State, Work},
};
use crate::oauth2::Error;

impl<R: Record, S: Clone> Machine<R, S> {
    /// Reads the secret. With `refresh`, the platform refreshes it first.
    pub(super) fn read_secret(&mut self, cx: &mut Step<R, S>, job: Job<R, S>, refresh: bool) {
        cx.ask(Effect::ReadSecret(job.store.clone(), refresh));
        self.state = State::ReadingSecret(job, refresh);
    }

    /// If the secret still contains the rejected token, asks the platform once to refresh it.
    pub(super) fn secret_read(
        &mut self,
        cx: &mut Step<R, S>,
        job: Job<R, S>,
        refreshed: bool,
        result: Result<(R, Life), Error>,
    ) {
        let (record, life) = match result {
            Ok(found) => found,
            Err(error) => return self.fail(cx, error),
        };
        let current = self.tokens.current().cloned();
        let token = match current.filter(|token| token.record.same_access_token(&record)) {
            Some(_) if job.work == Work::Secret(Why::Rejected) && !refreshed => {
                return self.read_secret(cx, job, true);
            }
            Some(same) => same,
            None => self.tokens.put(record, life, false),
        };
        // Another look would not help those whose token was rejected meanwhile.
        let is_rejected =
            |need: &mut super::Need<S>| need.known.is_some_and(|known| token.generation <= known);
        let no_newer_token =
            Error::TokenRejected("no newer token is available than the one it rejected".into());
        let rejected: Vec<_> = self.needs.extract_if(.., is_rejected).collect();
        super::answer_all(cx, &rejected, Err(no_newer_token));
        self.succeed(cx, &token);
    }
}
