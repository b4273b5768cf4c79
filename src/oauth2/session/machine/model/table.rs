//! What is explored, and what is found.

use super::{
    findings::{
        Cause::{
            AnswerLost, CutOff, Killed, Late, NoLock, OneTimeCall, StaleRead as Stale, Stopped,
            User,
        },
        Counterexample,
        Property::{NoOlder, OneSpender, Spendable},
    },
    provider::Rules,
    settings::{
        Call,
        Chance::{self, *},
        Lock, Sabotage, Settings,
    },
};
use crate::oauth2::Mode;

const CALM: &[(Chance, u8)] = &[(Expiry, 1)];
const CRASHES: &[(Chance, u8)] = &[(Expiry, 1), (Kill, 1), (LostAnswer, 1)];
const LOSSES: &[(Chance, u8)] = &[(Expiry, 1), (LostAnswer, 1)];
const STORE: &[(Chance, u8)] = &[
    (Expiry, 1),
    (RefusedSave, 1),
    (LostSave, 1),
    (FailedRead, 1),
];
const LAG: &[(Chance, u8)] = &[(Expiry, 1), (StaleRead, 1)];
const LATENESS: &[(Chance, u8)] = &[(Expiry, 1), (LateRequest, 1)];
const LOCKS: &[(Chance, u8)] = &[(Expiry, 1), (LostLock, 1), (DeniedLock, 1)];
const STOPS: &[(Chance, u8)] = &[(Expiry, 1), (Stop, 1), (RefusedSave, 4)];
const USERS: &[(Chance, u8)] = &[(Expiry, 1), (Disconnect, 1), (Delete, 1), (Reconnect, 1)];

/// Two replicas with the lock, and the strictest provider.
const LOCKED: Settings = Settings {
    name: "",
    replicas: 2,
    call: Call::None,
    lock: Lock::Shared,
    rules: Rules::KILLING,
    mode: Mode::Expiry,
    is_long: false,
    has_account: true,
    requests: 2,
    parallel: 1,
    chances: CALM,
    sabotage: None,
    expected: &[],
};
const UNLOCKED: Settings = Settings {
    lock: Lock::None,
    ..LOCKED
};
/// One replica with the lock, and a one-time call.
const WITH_CALL: Settings = Settings {
    replicas: 1,
    call: Call::Asks,
    ..LOCKED
};

const LOST: &[Counterexample] = &[(Spendable, Killed), (Spendable, AnswerLost)];

/// What holds with the lock, and what does not.
pub(super) const WITH_LOCK: &[Settings] = &[
    Settings {
        name: "requests side by side, of which the API rejects one",
        parallel: 2,
        chances: &[(Expiry, 1), (Rejection, 1)],
        ..LOCKED
    },
    Settings {
        name: "crashes, no rotation",
        rules: Rules::STATIC,
        chances: CRASHES,
        expected: &[(NoOlder, Late)],
        ..LOCKED
    },
    Settings {
        name: "crashes, rotation",
        rules: Rules::ROTATING,
        chances: CRASHES,
        expected: LOST,
        ..LOCKED
    },
    Settings {
        name: "crashes, grace period",
        rules: Rules::GRACE,
        chances: CRASHES,
        expected: &[
            (Spendable, Killed),
            (Spendable, AnswerLost),
            (NoOlder, Late),
        ],
        ..LOCKED
    },
    Settings {
        name: "crashes, family kill",
        chances: CRASHES,
        expected: LOST,
        ..LOCKED
    },
    Settings {
        name: "crashes, family kill, refresh after a 401",
        mode: Mode::On401,
        chances: CRASHES,
        expected: LOST,
        ..LOCKED
    },
    Settings {
        name: "a store that fails",
        chances: STORE,
        ..LOCKED
    },
    Settings {
        name: "a store that fails, grace period, requests side by side",
        rules: Rules::GRACE,
        parallel: 2,
        chances: STORE,
        ..LOCKED
    },
    Settings {
        name: "a store that lags, no rotation",
        rules: Rules::STATIC,
        chances: LAG,
        ..LOCKED
    },
    Settings {
        name: "a store that lags, rotation",
        rules: Rules::ROTATING,
        chances: LAG,
        expected: &[(OneSpender, Stale)],
        ..LOCKED
    },
    Settings {
        name: "a store that lags, family kill",
        chances: LAG,
        expected: &[(OneSpender, Stale), (Spendable, Stale)],
        ..LOCKED
    },
    Settings {
        name: "requests that arrive late",
        chances: LATENESS,
        expected: &[(NoOlder, Late), (OneSpender, Late), (Spendable, Late)],
        ..LOCKED
    },
    Settings {
        name: "a lock that is lost or denied, no rotation",
        rules: Rules::STATIC,
        chances: LOCKS,
        expected: &[(NoOlder, NoLock), (NoOlder, CutOff)],
        ..LOCKED
    },
    Settings {
        name: "a lock that is lost or denied, grace period",
        rules: Rules::GRACE,
        chances: LOCKS,
        expected: &[(NoOlder, CutOff), (Spendable, CutOff)],
        ..LOCKED
    },
    Settings {
        name: "a lock that is lost or denied, family kill",
        chances: LOCKS,
        expected: &[(Spendable, CutOff)],
        ..LOCKED
    },
    Settings {
        name: "a stop while the store refuses",
        chances: STOPS,
        expected: &[(Spendable, Stopped)],
        ..LOCKED
    },
    Settings {
        name: "a user who disconnects and connects",
        chances: USERS,
        expected: &[(NoOlder, User)],
        ..LOCKED
    },
    Settings {
        name: "modules that save tokens",
        chances: &[(Expiry, 1), (EmitOld, 1), (EmitOwn, 1)],
        ..LOCKED
    },
    Settings {
        name: "modules that save other keys",
        chances: &[(Expiry, 1), (EmitOther, 1), (RefusedSave, 1)],
        ..LOCKED
    },
];

/// What holds without the lock, and what does not.
pub(super) const WITHOUT_LOCK: &[Settings] = &[
    Settings {
        name: "no lock, no rotation",
        rules: Rules::STATIC,
        expected: &[(NoOlder, NoLock)],
        ..UNLOCKED
    },
    Settings {
        name: "no lock, rotation",
        rules: Rules::ROTATING,
        ..UNLOCKED
    },
    Settings {
        name: "no lock, rotation, lost answers",
        rules: Rules::ROTATING,
        chances: LOSSES,
        expected: &[(Spendable, AnswerLost)],
        ..UNLOCKED
    },
    Settings {
        name: "no lock, rotation, a store that lags",
        rules: Rules::ROTATING,
        chances: LAG,
        ..UNLOCKED
    },
    Settings {
        name: "no lock, grace period",
        rules: Rules::GRACE,
        expected: &[(NoOlder, NoLock), (Spendable, NoLock)],
        ..UNLOCKED
    },
    Settings {
        name: "no lock, family kill",
        expected: &[(Spendable, NoLock)],
        ..UNLOCKED
    },
    Settings {
        name: "a broker without locks, family kill",
        lock: Lock::Unsupported,
        expected: &[(Spendable, NoLock)],
        ..LOCKED
    },
];

/// One-time calls beside a replica that has the lock.
pub(super) const WITH_CALLS: &[Settings] = &[
    Settings {
        name: "a one-time call, no rotation",
        rules: Rules::STATIC,
        expected: &[(NoOlder, OneTimeCall)],
        ..WITH_CALL
    },
    Settings {
        name: "a one-time call, rotation",
        rules: Rules::ROTATING,
        ..WITH_CALL
    },
    Settings {
        name: "a one-time call that may not read, rotation",
        rules: Rules::ROTATING,
        call: Call::NotAllowed,
        ..WITH_CALL
    },
    Settings {
        name: "a one-time call, grace period",
        rules: Rules::GRACE,
        expected: &[(NoOlder, OneTimeCall), (Spendable, OneTimeCall)],
        ..WITH_CALL
    },
    Settings {
        name: "a one-time call, family kill",
        expected: &[(Spendable, OneTimeCall)],
        ..WITH_CALL
    },
    Settings {
        name: "a one-time call that may not read, family kill",
        call: Call::NotAllowed,
        expected: &[(Spendable, OneTimeCall)],
        ..WITH_CALL
    },
];

/// Everything else that a process can meet, mostly alone.
pub(super) const OTHERS: &[Settings] = &[
    Settings {
        name: "tokens that are refreshed ahead",
        is_long: true,
        chances: &[(Expiry, 2)],
        ..LOCKED
    },
    Settings {
        name: "a refresh for every request",
        mode: Mode::EveryAccess,
        ..LOCKED
    },
    Settings {
        name: "a busy provider",
        chances: &[(Expiry, 1), (Wait, 1), (BusyProvider, 4)],
        ..LOCKED
    },
    Settings {
        name: "a wrong configuration",
        chances: &[(Expiry, 1), (Wait, 1), (Misconfigured, 2)],
        ..LOCKED
    },
    Settings {
        name: "an account that seems to be gone",
        chances: &[(Expiry, 1), (Wait, 1), (NotFound, 2), (QueuedOnly, 3)],
        ..LOCKED
    },
    Settings {
        name: "nowhere to save",
        has_account: false,
        ..LOCKED
    },
    Settings {
        name: "a secret of the platform",
        mode: Mode::PlatformSecret,
        rules: Rules::STATIC,
        replicas: 1,
        parallel: 2,
        chances: &[
            (Expiry, 1),
            (PlatformRefresh, 1),
            (FailedRead, 1),
            (EmitOther, 1),
            (Stop, 1),
        ],
        ..LOCKED
    },
    Settings {
        name: "tokens that only the queue takes",
        replicas: 1,
        parallel: 2,
        chances: &[
            (EmitOwn, 1),
            (EmitOther, 1),
            (QueuedOnly, 1),
            (RefusedSave, 1),
            (NotFound, 1),
            (LostAnswer, 1),
            (LostLock, 1),
        ],
        expected: &[(Spendable, AnswerLost), (NoOlder, Late), (Spendable, Late)],
        ..LOCKED
    },
    Settings {
        name: "tokens that arrive during a refresh and are rejected",
        replicas: 1,
        parallel: 2,
        chances: &[(EmitOwn, 1), (QueuedOnly, 1), (Rejection, 1)],
        expected: &[(NoOlder, Late), (Spendable, Late)],
        ..LOCKED
    },
    Settings {
        name: "a process alone, in trouble",
        replicas: 1,
        chances: &[
            (Expiry, 1),
            (RefusedSave, 4),
            (NotFound, 1),
            (LostAnswer, 1),
            (EmitOther, 1),
            (Stop, 1),
        ],
        expected: &[(Spendable, AnswerLost), (Spendable, Stopped)],
        ..LOCKED
    },
];

/// What takes too long for every change: more failures, and more orders.
pub(super) const LONG: &[Settings] = &[
    Settings {
        name: "requests side by side, of which the API rejects two",
        parallel: 2,
        chances: &[(Expiry, 1), (Rejection, 2)],
        ..LOCKED
    },
    Settings {
        name: "two kills and a store that fails, family kill",
        chances: &[(Expiry, 1), (Kill, 2), (RefusedSave, 1), (FailedRead, 1)],
        expected: &[(Spendable, Killed)],
        ..LOCKED
    },
    Settings {
        name: "crashes, family kill, three expiries",
        requests: 3,
        chances: &[(Expiry, 2), (Kill, 1), (LostAnswer, 1)],
        expected: LOST,
        ..LOCKED
    },
    Settings {
        name: "crashes, family kill, requests side by side",
        parallel: 2,
        chances: &[(Expiry, 1), (Kill, 1), (LostAnswer, 1), (Rejection, 1)],
        expected: LOST,
        ..LOCKED
    },
    Settings {
        name: "no lock, no rotation, crashes",
        rules: Rules::STATIC,
        chances: CRASHES,
        expected: &[(NoOlder, NoLock), (NoOlder, Late)],
        ..UNLOCKED
    },
    Settings {
        name: "no lock, rotation, crashes",
        rules: Rules::ROTATING,
        chances: CRASHES,
        expected: LOST,
        ..UNLOCKED
    },
    Settings {
        name: "no lock, rotation, a store that fails",
        rules: Rules::ROTATING,
        chances: STORE,
        expected: &[(NoOlder, NoLock), (Spendable, NoLock)],
        ..UNLOCKED
    },
    Settings {
        name: "no lock, rotation, requests that arrive late",
        rules: Rules::ROTATING,
        chances: LATENESS,
        expected: &[(NoOlder, Late), (Spendable, Late)],
        ..UNLOCKED
    },
    Settings {
        name: "no lock, rotation, a stop while the store refuses",
        rules: Rules::ROTATING,
        chances: STOPS,
        expected: &[(Spendable, Stopped)],
        ..UNLOCKED
    },
    Settings {
        name: "no lock, rotation, a user who disconnects and connects",
        rules: Rules::ROTATING,
        chances: USERS,
        expected: &[(NoOlder, User), (NoOlder, NoLock)],
        ..UNLOCKED
    },
    Settings {
        name: "a one-time call, crashes, rotation",
        rules: Rules::ROTATING,
        chances: CRASHES,
        expected: LOST,
        ..WITH_CALL
    },
    Settings {
        name: "a one-time call, crashes, family kill",
        chances: CRASHES,
        expected: &[
            (Spendable, Killed),
            (Spendable, AnswerLost),
            (Spendable, OneTimeCall),
        ],
        ..WITH_CALL
    },
];

/// Looks at the store are swallowed.
pub(super) const WITHOUT_REREAD: Settings = Settings {
    name: "without the second look",
    sabotage: Some(Sabotage::Reread),
    ..LOCKED
};
/// The merge is swallowed.
pub(super) const WITHOUT_MERGE: Settings = Settings {
    name: "without the merge",
    rules: Rules::STATIC,
    sabotage: Some(Sabotage::Merge),
    ..LOCKED
};
/// The fence is swallowed.
pub(super) const WITHOUT_FENCE: Settings = Settings {
    name: "without the fence",
    requests: 1,
    chances: &[(Expiry, 1), (LostLock, 1)],
    sabotage: Some(Sabotage::Fence),
    ..LOCKED
};
