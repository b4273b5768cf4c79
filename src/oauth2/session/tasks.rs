//! What the driver does for the machine. Each task ends with the event that is its answer.

use super::{
    super::{Error, LockError, StoreError, TokenRecord, spans, token_endpoint::TIME_LIMIT},
    Session,
    credential::{Store, TokenEvent},
    keys, look,
    machine::{self, Event, Failure, SharedToken},
    record::life,
    secret,
};
use crate::codes;
use serde_json::Value;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};
use tokio::time::{sleep, timeout};

/// The time limit of one save.
const SAVE: Duration = Duration::from_secs(20);
// The wait for the lock is longer than its holder needs for all attempts and saves (token-failures: T4, T6).
const _: () = {
    let exchanges = machine::TRIES as u64
        * (look::READ.as_secs() + TIME_LIMIT.as_secs() + 2 * machine::MAX_DELAY.as_secs())
        // The last attempt may authenticate the client in another way.
        + TIME_LIMIT.as_secs();
    let looks = machine::LOOKS.len() as u64 * (look::READ.as_secs() + 2);
    // After the last attempt the account may seem to be gone: then it is confirmed, and tried once more.
    let saves = (machine::ATTEMPTS as u64 + 1) * (look::READ.as_secs() + SAVE.as_secs() + 2)
        + look::CONFIRMATION.as_secs();
    assert!(machine::LOCK_WAIT.as_secs() > look::READ.as_secs() + keys::TURN.as_secs());
    assert!(machine::LOCK_WAIT.as_secs() > exchanges + saves);
    assert!(machine::LOCK_WAIT.as_secs() > exchanges + looks);
};

impl Session {
    pub(super) async fn lock(self, store: Store, wait: Duration) -> TokenEvent {
        let (Some(lock), Ok(resolved)) = (&self.0.config.lock, self.0.resolved(&*store)) else {
            // The look at the store tells what is wrong with the configuration.
            let reason = "the credential is not configured".to_owned();
            return Event::Locked(Err(LockError::Unsupported(reason)));
        };
        let config = store.config();
        let account = config.get("_account").and_then(Value::as_str);
        let account = account.unwrap_or(&self.0.config.lock_scope);
        let name = format!("{account}:{}", resolved.field.join("."));
        let acquired = tokio::select! {
            biased;
            acquired = lock.acquire(&name, wait) => acquired,
            // A stopping process has no time to wait for others.
            () = self.0.stopping.cancelled() => {
                Err(LockError::Unavailable("the process is stopping".into()))
            }
        };
        Event::Locked(acquired.map(|guard| self.0.shared().lock = Some(guard)))
    }

    pub(super) async fn exchange(self, store: Store, base: SharedToken<TokenRecord>) -> TokenEvent {
        let failed = |failure| Event::Exchanged(Err(failure));
        // Another process may have saved other fields with its tokens.
        let resolved = match self.0.resolved(&*store) {
            Ok(resolved) => resolved,
            Err(error) => return failed(Failure::NotSent(error)),
        };
        let (base, profile) = (&base.record, &resolved.profile);
        let (Some(endpoint), Some(refresh_token)) =
            (self.0.endpoint(&resolved), base.refresh_token())
        else {
            let reason = "the platform refreshes the tokens".to_owned();
            return failed(Failure::NotSent(Error::Config(reason)));
        };
        let (asked, asked_at) = (self.0.now(), SystemTime::now());
        match spans::in_span(endpoint.refresh(refresh_token, base.scope())).await {
            Ok(response) => {
                self.report_response(base, &response, profile);
                let margin = Duration::from_secs(profile.margin);
                let life = life(asked, response.lifetime, margin);
                Event::Exchanged(Ok((base.merged(&response, asked_at), life)))
            }
            Err(failure) => failed(Failure::Refused(failure)),
        }
    }

    pub(super) async fn pause(self, pause: Duration) -> TokenEvent {
        // Longer, because the provider may have asked for this pause.
        sleep(pause.mul_f64(1.0 + 0.25 * fastrand::f64())).await;
        Event::Woke
    }

    pub(super) async fn alarm(self, after: Duration, number: u32) -> TokenEvent {
        // A stop ends the wait: the machine saves at once.
        let _ = timeout(after, self.0.stopping.cancelled()).await;
        Event::Alarm(number)
    }

    pub(super) async fn save(self, store: Store, record: TokenRecord, queued: bool) -> TokenEvent {
        let keys = self.0.keys_to_save(&mut self.0.shared(), &*store, &record);
        let keys = match keys {
            Ok(keys) => keys,
            Err(error) => {
                let error = StoreError::transient(error.to_string());
                return Event::Saved(Err(error), queued);
            }
        };
        let queued = AtomicBool::new(queued);
        let saved = timeout(SAVE, store.save(keys, &queued)).await;
        let saved = saved.unwrap_or_else(|_| {
            let limit = SAVE.as_secs();
            let reason = format!("the platform did not confirm the save within {limit} s");
            Err(StoreError::transient(reason))
        });
        Event::Saved(saved, queued.load(Ordering::SeqCst))
    }

    pub(super) async fn revoke(self, store: Store, record: TokenRecord) {
        tracing::warn!(code = %codes::CREDENTIAL_REMOVED, "The credential was removed during the refresh; the new tokens are revoked");
        if let Ok(resolved) = self.0.resolved(&*store)
            && let Some(endpoint) = self.0.endpoint(&resolved)
            && let Some(token) = record.refresh_token()
            && let Err(error) = endpoint.revoke(token, "refresh_token").await
        {
            tracing::warn!(code = %codes::TOKENS_NOT_REVOKED, "The new tokens could not be revoked: {error}");
        }
    }

    pub(super) async fn read_secret(self, store: Store, refresh: bool) -> TokenEvent {
        if refresh {
            self.0.shared().metrics.refreshes += 1;
        }
        let found = secret::read(&*store, refresh).await;
        let life = life(self.0.now(), None, Duration::ZERO);
        Event::Secret(found.map(|record| (record, life)))
    }
}
