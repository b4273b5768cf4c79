//! The world around two replicas: the broker, the messages, and the faults, all at times that the seed chooses.

use super::{
    contents::Contents,
    model::SharedModel,
    plan::{Content, Plan},
    replica::Process,
};
use crate::{broker::amqp::simulated::SimulatedBroker, protocol::Headers};
use fastrand::Rng;
use serde_json::json;
use std::time::Duration;
use tokio::{task::JoinHandle, time::sleep};

pub(super) const QUEUE: &str = "queue";
const EXCHANGE: &str = "exchange";
/// Where rebounds wait for their expiration.
const REBOUNDS: &str = "rebounds";
pub(super) const ERRORS: &str = "error";
/// The routing keys and their queues. The one of rebounds has other rules.
const OUTPUTS: [&str; 5] = ["data", "custom", ERRORS, "snapshot", "keys"];
/// How long the step has to finish all messages when nothing fails any more.
const PATIENCE: Duration = Duration::from_secs(600);

/// One of the two replicas.
enum Replica {
    Running(Process),
    /// It ends gracefully.
    Stopping(JoinHandle<()>),
    /// It starts again after this many more turns of the world.
    Down(u32),
}

pub(super) struct World {
    plan: Plan,
    rng: Rng,
    model: SharedModel,
    broker: SimulatedBroker,
    contents: Contents,
    http: reqwest::Client,
    replicas: Vec<Replica>,
    last_process: usize,
}

impl World {
    pub(super) fn new(
        plan: Plan,
        rng: Rng,
        model: SharedModel,
        broker: SimulatedBroker,
        contents: Contents,
        http: reqwest::Client,
    ) -> Self {
        broker.declare_exchange(EXCHANGE);
        broker.declare_queue(QUEUE, None);
        broker.declare_queue(REBOUNDS, Some(QUEUE));
        for key in OUTPUTS {
            broker.declare_queue(key, None);
        }
        let mut world = Self {
            plan,
            rng,
            model,
            broker,
            contents,
            http,
            replicas: Vec::new(),
            last_process: 0,
        };
        world.set_all_bound(true);
        for key in OUTPUTS {
            // Not every platform binds a queue to every key.
            if world.rng.u8(0..6) == 0 {
                world.set_bound(key, false);
            }
        }
        for _ in 0..2 {
            let process = world.start();
            world.replicas.push(Replica::Running(process));
        }
        world
    }

    /// Runs the step through all faults, and then until every message is settled.
    pub(super) async fn run(mut self) {
        let mut arrivals = std::mem::take(&mut self.plan.arrivals).into_iter();
        let mut faults = self.plan.faults;
        let mut next = arrivals.next();
        while next.is_some() || faults > 0 {
            let is_fault = next.is_none() || (faults > 0 && self.rng.u8(0..3) == 0);
            if is_fault {
                faults -= 1;
                self.fail().await;
            } else if let Some((class, pause)) = next {
                sleep(Duration::from_millis(pause)).await;
                self.put(class);
                next = arrivals.next();
            }
            self.tend().await;
        }
        self.heal();
        self.finish().await;
    }

    fn start(&mut self) -> Process {
        self.last_process += 1;
        let (number, plan) = (self.last_process, &self.plan);
        Process::start(number, plan, &self.model, &self.broker, &self.http)
    }

    fn put(&mut self, class: usize) {
        let class = &self.plan.classes[class];
        let body = match (&class.content, class.body()) {
            (Content::Ops(_), Some(body)) => self.contents.message(&body),
            _ => Contents::garbage(class.number),
        };
        let mut headers = Headers::from_iter([("protocolVersion".to_owned(), json!(2))]);
        if let Some(id) = class.id() {
            headers.insert("messageId".into(), id.into());
        }
        self.broker.put(QUEUE, &headers, body);
    }

    /// Waits a while, and lets something fail.
    async fn fail(&mut self) {
        let pause = match self.rng.u8(0..10) {
            0..4 => 0,
            4..8 => self.rng.u64(0..20),
            _ => self.rng.u64(20..2_000),
        };
        sleep(Duration::from_millis(pause)).await;
        match self.rng.u8(0..20) {
            0..7 => self.cut(),
            7 => self.broker.cancel_consumers(QUEUE),
            8..11 => {
                let (key, is_bound) = (self.any_key(), self.rng.bool());
                self.note(&format!("binding of {key}: {is_bound}"));
                self.set_bound(key, is_bound);
            }
            11..13 => {
                let (queue, is_full) = (self.any_key(), self.rng.bool());
                self.note(&format!("queue {queue} is full: {is_full}"));
                self.broker.set_full(queue, is_full);
            }
            13 => {
                let holds = self.rng.bool();
                self.note(&format!("confirms are held: {holds}"));
                self.broker.hold_confirms(holds);
            }
            14 => self.outage(),
            _ => self.end_one().await,
        }
    }

    fn any_key(&mut self) -> &'static str {
        let index = self.rng.usize(0..=OUTPUTS.len());
        OUTPUTS.get(index).copied().unwrap_or("rebound")
    }

    /// Cuts connections: of one process or of all, to consume, to publish, or both.
    fn cut(&mut self) {
        let process = self.rng.bool().then(|| {
            let last = self.last_process;
            format!("process-{}", self.rng.usize(last.saturating_sub(1)..=last))
        });
        let role = self.rng.choice(["read", "write", ""]).unwrap_or("");
        let frames = if self.rng.bool() {
            0
        } else {
            self.rng.u32(1..12)
        };
        let chosen = |user: &str, name: &str| {
            process.as_ref().is_none_or(|process| process == user) && name.ends_with(role)
        };
        self.broker.cut(chosen, frames);
    }

    /// The broker is away for some seconds.
    fn outage(&mut self) {
        self.note("the broker is away");
        self.broker.refuse_connections(true);
        self.broker.cut(|_, _| true, 0);
        let away = Duration::from_millis(self.rng.u64(100..8_000));
        let broker = self.broker.clone();
        tokio::spawn(async move {
            sleep(away).await;
            broker.refuse_connections(false);
        });
    }

    /// Stops or kills a replica.
    async fn end_one(&mut self) {
        let index = self.rng.usize(0..self.replicas.len());
        let pause = self.rng.u32(0..4);
        let how = self.rng.u8(0..4);
        let replica = &mut self.replicas[index];
        let Replica::Running(process) = std::mem::replace(replica, Replica::Down(pause)) else {
            // It ends already, and starts again a little later.
            return;
        };
        match how {
            0 | 1 => *replica = Replica::Stopping(process.stop()),
            2 => process.stop_at_once().await,
            _ => process.kill(),
        }
    }

    /// Starts replicas that have ended.
    async fn tend(&mut self) {
        for index in 0..self.replicas.len() {
            let replica = std::mem::replace(&mut self.replicas[index], Replica::Down(0));
            self.replicas[index] = match replica {
                Replica::Down(0) => Replica::Running(self.start()),
                Replica::Down(turns) => Replica::Down(turns - 1),
                Replica::Stopping(stopping) if stopping.is_finished() => Replica::Down(1),
                Replica::Running(process) if process.has_ended() => {
                    process.remove().await;
                    Replica::Down(1)
                }
                other => other,
            };
        }
    }

    fn set_bound(&self, key: &str, is_bound: bool) {
        let queue = if key == "rebound" { REBOUNDS } else { key };
        self.broker.set_bound(EXCHANGE, key, queue, is_bound);
    }

    fn set_all_bound(&self, is_bound: bool) {
        for key in OUTPUTS.into_iter().chain(["rebound"]) {
            self.set_bound(key, is_bound);
        }
    }

    /// Nothing fails any more.
    fn heal(&mut self) {
        self.note("nothing fails any more");
        self.set_all_bound(true);
        for key in OUTPUTS.into_iter().chain([REBOUNDS]) {
            self.broker.set_full(key, false);
        }
        self.broker.hold_confirms(false);
        self.broker.refuse_connections(false);
    }

    /// Waits until every message is settled, and stops the replicas.
    async fn finish(mut self) {
        while self.settle_all().await {
            self.stop_all().await;
            if !self.has_messages() {
                break;
            }
            // A replica that did not know that its connection was lost has worked on, and published a rebound.
            let next = self.start();
            self.replicas.push(Replica::Running(next));
        }
        self.model.lock().check_end();
    }

    /// Waits until no messages are left. Returns false if that takes too long.
    async fn settle_all(&mut self) -> bool {
        let mut waited = Duration::ZERO;
        let turn = Duration::from_millis(500);
        while self.may_have_messages() {
            if waited > PATIENCE {
                let text = format!("messages are left after {} s", PATIENCE.as_secs());
                self.model.lock().wrong(text);
                self.stop_all().await;
                return false;
            }
            sleep(turn).await;
            waited += turn;
            self.tend().await;
        }
        true
    }

    async fn stop_all(&mut self) {
        for replica in std::mem::take(&mut self.replicas) {
            let stopping = match replica {
                Replica::Running(process) => process.stop(),
                Replica::Stopping(stopping) => stopping,
                Replica::Down(_) => continue,
            };
            // A panic of the simulation itself ends the test.
            stopping.await.expect("the process stops");
        }
    }

    fn has_messages(&self) -> bool {
        self.broker.count(QUEUE) != (0, 0) || self.broker.count(REBOUNDS) != (0, 0)
    }

    /// Whether messages are left, or a replica that stops may still publish a rebound.
    fn may_have_messages(&self) -> bool {
        let mut replicas = self.replicas.iter();
        self.has_messages() || replicas.any(|replica| matches!(replica, Replica::Stopping(_)))
    }

    fn note(&self, text: &str) {
        self.model.lock().note(text);
    }
}
