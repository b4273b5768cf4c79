//! What the driver does for the machine. Each task ends with the event that is its answer, and so does its panic.

use super::{
    super::{
        Error, ExchangeError, LockError, StoreErrorKind, TokenRecord, token_request::TIME_LIMIT,
    },
    credential::{Credential, Store, TokenEffect, TokenEvent},
    keys, life, look,
    machine::{self, Effect, Event, Failure, Look, SaveResult},
    record::{Response, Token},
    report, secret,
};
use serde_json::{Map, Value};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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

const PANICKED: &str = "a part of the refresh panicked; the log names the location";

pub(super) async fn lock(credential: Arc<Credential>, store: Store, wait: Duration) -> TokenEvent {
    let (Some(lock), Ok(setup)) = (&credential.config.lock, credential.setup(&*store)) else {
        // The look at the store tells what is wrong with the configuration.
        let reason = "the credential is not configured".to_owned();
        return Event::Locked(Err(LockError::Unsupported(reason)));
    };
    let config = store.config();
    let account = config
        .get("_account")
        .and_then(Value::as_str)
        .unwrap_or(&credential.config.lock_scope);
    let name = format!("{account}:{}", setup.resolved.field.join("."));
    let acquired = tokio::select! {
        biased;
        acquired = lock.acquire(&name, wait) => acquired,
        // A stopping process has no time to wait for others.
        () = credential.stopping.cancelled() => {
            Err(LockError::Unavailable("the process is stopping".into()))
        }
    };
    Event::Locked(acquired.map(|guard| credential.shared().lock = Some(guard)))
}

pub(super) async fn stored(
    credential: Arc<Credential>,
    store: Store,
    pauses: &[Duration],
) -> TokenEvent {
    credential.shared().read = None;
    let setup = match credential.setup(&*store) {
        Ok(setup) => setup,
        Err(error) => return Event::Looked(Look::NotConfigured(error)),
    };
    let field = &setup.resolved.field;
    let found = look::stored(&*store, field, pauses).await;
    let result = match &found {
        Ok(None) => Look::NotAsked,
        Ok(Some(config)) => match TokenRecord::find(config, field) {
            Some(record) => {
                let life = life::stored(credential.now(), &record, &setup.resolved.profile);
                Look::Found(record, life)
            }
            None => Look::NoTokens,
        },
        Err(error) if error.is_not_found() => Look::Removed(error.to_string()),
        Err(error) => Look::Failed(error.to_string()),
    };
    credential.shared().read = found.ok().flatten();
    Event::Looked(result)
}

pub(super) async fn exchange(
    credential: Arc<Credential>,
    store: Store,
    base: Arc<Token>,
) -> TokenEvent {
    let failed = |error| Event::Exchanged(Err(error));
    // Another process may have saved other fields with its tokens.
    let setup = match credential.setup(&*store) {
        Ok(setup) => setup,
        Err(error) => return failed(Failure::NotSent(error)),
    };
    let (Some(endpoint), Some(refresh_token)) = (&setup.endpoint, base.record.refresh_token())
    else {
        let reason = "the platform refreshes the tokens".to_owned();
        return failed(Failure::NotSent(Error::Config(reason)));
    };
    let (asked, asked_at) = (credential.now(), SystemTime::now());
    match endpoint.refresh(refresh_token, base.record.scope()).await {
        Ok(response) => {
            report::response(
                &credential,
                &base.record,
                &response,
                &setup.resolved.profile,
            );
            let life = life::requested(asked, response.lifetime, setup.resolved.profile.margin);
            Event::Exchanged(Ok((Response { response, asked_at }, life)))
        }
        Err(failure) => failed(Failure::Refused(failure)),
    }
}

pub(super) async fn pause(pause: Duration) -> TokenEvent {
    // Longer, because the provider may have asked for this pause.
    sleep(pause.mul_f64(1.0 + 0.25 * fastrand::f64())).await;
    Event::Woke
}

pub(super) async fn alarm(credential: Arc<Credential>, after: Duration, number: u32) -> TokenEvent {
    // A stop ends the wait: the machine saves at once.
    let _ = timeout(after, credential.stopping.cancelled()).await;
    Event::Alarm(number)
}

pub(super) async fn save(
    store: Store,
    keys: Result<Map<String, Value>, Error>,
    queued: Arc<AtomicBool>,
) -> TokenEvent {
    let keys = match keys {
        Ok(keys) => keys,
        Err(error) => return Event::Saved(SaveResult::Failed(error.to_string())),
    };
    Event::Saved(match timeout(SAVE, store.save(keys, &queued)).await {
        Ok(Ok(())) => SaveResult::Saved,
        Ok(Err(error)) => match error.kind {
            StoreErrorKind::NotFound => SaveResult::NotFound {
                reason: error.message,
                queued: queued.load(Ordering::SeqCst),
            },
            StoreErrorKind::NoAccount => SaveResult::NoAccount(error.message),
            StoreErrorKind::Refused | StoreErrorKind::Transient => {
                SaveResult::Failed(error.message)
            }
        },
        Err(_) => SaveResult::Failed(format!(
            "the platform did not confirm the save within {} s",
            SAVE.as_secs()
        )),
    })
}

pub(super) async fn confirm_gone(credential: Arc<Credential>, store: Store) -> TokenEvent {
    Event::Confirmed(match credential.setup(&*store) {
        Ok(setup) => look::stays_gone(&*store, &setup.resolved.field, &credential.stopping).await,
        Err(_) => false,
    })
}

pub(super) async fn revoke(credential: Arc<Credential>, store: Store, record: TokenRecord) {
    tracing::warn!("The credential was removed during the refresh; the new tokens are revoked");
    if let Ok(setup) = credential.setup(&*store)
        && let Some(endpoint) = &setup.endpoint
        && let Some(token) = record.refresh_token()
        && let Err(error) = endpoint.revoke(token, "refresh_token").await
    {
        tracing::warn!("The new tokens could not be revoked: {error}");
    }
}

pub(super) async fn read_secret(
    credential: Arc<Credential>,
    store: Store,
    refresh: bool,
) -> TokenEvent {
    if refresh {
        credential.metrics.update(|metrics| metrics.refreshes += 1);
    }
    let found = secret::read(&*store, refresh).await;
    Event::Secret(found.map(|record| (record, life::unknown(credential.now()))))
}

/// The answer to an effect that panicked.
pub(super) fn panicked(effect: &TokenEffect) -> Option<TokenEvent> {
    Some(match effect {
        Effect::Lock(..) => Event::Locked(Err(LockError::Unavailable(PANICKED.into()))),
        Effect::Fence => Event::Fenced(false),
        Effect::Look(_) | Effect::LookOnce(_) => Event::Looked(Look::Failed(PANICKED.into())),
        Effect::Exchange(..) => {
            Event::Exchanged(Err(Failure::Refused(ExchangeError::unknown(PANICKED))))
        }
        Effect::Pause(_) => Event::Woke,
        Effect::Alarm(_, number) => Event::Alarm(*number),
        Effect::Save(..) => Event::Saved(SaveResult::Failed(PANICKED.into())),
        Effect::ConfirmGone(_) => Event::Confirmed(false),
        Effect::SaveKeys(..) => Event::KeysSaved(false),
        Effect::ReadSecret(..) => Event::Secret(Err(Error::unavailable(PANICKED))),
        Effect::Unlock
        | Effect::Revoke(..)
        | Effect::Share(..)
        | Effect::Answer(..)
        | Effect::Report(_) => return None,
    })
}
