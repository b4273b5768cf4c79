//! Chaos: three replicas with twenty messages each. Their token expires three hundred times, while replicas are killed at
//! random points and started again. The provider rotates, and revokes the grant if a spent refresh token is used after its
//! grace period.
//!
//! A failed test shows its random seed; `SAILOR_TEST_SEED` repeats it, except for the timing of threads and sockets.

use super::{
    broker::Broker,
    process::Process,
    rig::{Rig, text},
};
use emulator::provider::{Knobs, ProviderEvent, ProviderEventKind};
use fastrand::Rng;
use futures_util::future::join_all;
use sailor::oauth2::internals::SessionConfig;
use std::{ops::Range, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

const REPLICAS: usize = 3;
const MESSAGES: usize = 20;
const EXPIRIES: usize = 300;
/// One in this many rounds has a kill.
const A_KILL_IN: usize = 3;
/// Without it, no client survives a kill between a rotation and its save (docs/oauth2.md).
const GRACE: Duration = Duration::from_secs(10);
/// The longest time of a read or save of the account.
const LATENCY: Duration = Duration::from_millis(4);
/// The delay of a rebound message.
const REBOUND: Duration = Duration::from_millis(20);

/// A container: it starts another process when its process is killed.
struct Container {
    process: watch::Sender<Arc<Process>>,
}

impl Container {
    /// Processes a message until it succeeds. A message that is lost with a process is redelivered, and so is one
    /// with a transient error. Any other error fails the test.
    async fn message(&self) {
        let mut process = self.process.subscribe();
        loop {
            let current = process.borrow_and_update().clone();
            match current.get().await {
                Some(Ok(_)) => return,
                Some(Err(error)) => {
                    assert!(error.is_transient(), "a message has failed: {error}");
                    sleep(REBOUND).await;
                }
                None => process.changed().await.unwrap(),
            }
        }
    }

    fn restart(&self, start: impl FnOnce() -> Arc<Process>) {
        self.process.borrow().kill();
        self.process.send_replace(start());
    }
}

/// Kills one replica, or all of them.
struct Kill {
    victims: Range<usize>,
    /// When this many saves have started. The last of them is the first save of this round: the most harmful moment.
    at_saving: Option<usize>,
    after: Duration,
}

impl Kill {
    /// At a random time of the next round, which takes this long.
    fn random(random: &mut Rng, rig: &Rig, round: Duration) -> Self {
        let first = random.usize(..=REPLICAS);
        let victims = if first == REPLICAS {
            0..REPLICAS
        } else {
            first..first + 1
        };
        let at_saving = random
            .bool()
            .then(|| *rig.account.begun.lock().unwrap() + 1);
        let span = if at_saving.is_some() { LATENCY } else { round };
        Self {
            victims,
            at_saving,
            after: span.mul_f64(random.f64()),
        }
    }

    async fn moment(&self, rig: &Rig) {
        if let Some(count) = self.at_saving {
            rig.account.saving_begun(count).await;
        }
        sleep(self.after).await;
    }
}

/// The result of a run.
struct Shown {
    rig: Rig,
    log: Vec<ProviderEvent>,
    /// Without a kill.
    quiet: Vec<Range<Instant>>,
    kills: usize,
}

impl Shown {
    fn count(&self, of: impl Fn(&ProviderEventKind) -> bool) -> usize {
        self.log.iter().filter(|entry| of(&entry.kind)).count()
    }

    fn refreshes(&self) -> usize {
        self.count(|kind| matches!(kind, ProviderEventKind::TokenCall(_)))
    }

    /// Reuses of refresh tokens within their grace period.
    fn second_uses(&self) -> usize {
        self.count(|kind| matches!(kind, ProviderEventKind::GraceUsed { .. }))
    }
}

/// Runs all rounds, with this configuration for each process.
async fn chaos(config: impl Fn(&Rig) -> SessionConfig) -> Shown {
    let seed = std::env::var("SAILOR_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("SAILOR_TEST_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let rig = Rig::in_real_time(Knobs {
        grace: GRACE,
        ..Knobs::rotating()
    })
    .await;
    *rig.account.latency.lock().unwrap() = LATENCY;
    let start = || Process::start(&rig, &rig.account, config(&rig));
    let containers = [(); REPLICAS].map(|()| Container {
        process: watch::Sender::new(start()),
    });

    let (mut kills, mut quiet, mut took) = (0, Vec::new(), Duration::from_millis(100));
    for _ in 0..EXPIRIES {
        rig.provider.expire_access_tokens();
        let kill = (random.usize(..A_KILL_IN) == 0).then(|| Kill::random(&mut random, &rig, took));
        let begin = Instant::now();
        let messages = containers
            .iter()
            .flat_map(|container| (0..MESSAGES).map(|_| container.message()));
        tokio::join!(join_all(messages), async {
            if let Some(kill) = &kill {
                kill.moment(&rig).await;
                containers[kill.victims.clone()]
                    .iter()
                    .for_each(|container| container.restart(start));
            }
        });
        if kill.is_some() {
            kills += 1;
        } else {
            took = begin.elapsed();
            quiet.push(begin..Instant::now());
        }
    }
    drop(containers);
    let log = rig.provider.log();
    let shown = Shown {
        rig,
        log,
        quiet,
        kills,
    };
    println!(
        "{kills} kills, {} refreshes, {} of them with a token that was spent",
        shown.refreshes(),
        shown.second_uses()
    );
    shown
}

/// What must be true with the lock and without it.
async fn stays_connected(shown: &Shown) {
    assert_eq!(
        shown.count(|kind| matches!(
            kind,
            ProviderEventKind::Reused { .. } | ProviderEventKind::GrantRevoked { .. }
        )),
        0
    );
    let Shown { rig, .. } = shown;
    rig.provider.knobs(|knobs| knobs.grace = Duration::ZERO);
    assert!(
        rig.provider
            .is_spendable(&text(&rig.account.oauth(), "refresh_token"))
    );
    rig.provider.expire_access_tokens();
    rig.replica().get().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_lock_each_expiry_costs_one_refresh() {
    let broker = Broker::start().await;
    let shown = chaos(|rig| broker.config(rig)).await;
    assert!(
        shown.refreshes() <= EXPIRIES + shown.kills,
        "{} refreshes, {} kills",
        shown.refreshes(),
        shown.kills
    );
    for entry in shown
        .log
        .iter()
        .filter(|entry| matches!(entry.kind, ProviderEventKind::GraceUsed { .. }))
    {
        let nobody_was_killed = shown.quiet.iter().any(|round| round.contains(&entry.at));
        assert!(!nobody_was_killed, "{entry:?}, though nobody was killed");
    }
    let second_uses = shown.second_uses();
    assert!(
        (1..=shown.kills).contains(&second_uses),
        "{second_uses}: kills have hit nothing, or more than there were"
    );
    stays_connected(&shown).await;
}

/// Without a lock, replicas can spend a token at the same time, which the grace period covers: an expiry costs at most one
/// refresh per replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_lock_and_with_a_grace_period_no_message_fails() {
    let shown = chaos(Rig::config).await;
    assert!(
        shown.refreshes() <= REPLICAS * EXPIRIES + shown.kills,
        "{} refreshes",
        shown.refreshes()
    );
    stays_connected(&shown).await;
}
