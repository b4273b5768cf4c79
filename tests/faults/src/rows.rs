//! The rows of the table: which faults are ordered against which work, and what is promised.

use crate::{
    queues::{Arguments, OUTPUT, Order, text},
    relay::Traffic,
    stage::{Run, echo_after},
};
use emulator::platform::Platform;
use lapin::types::AMQPValue;
use sailor::protocol::Encoding;
use sailor_bench::sample;
use serde_json::json;
use std::time::Duration;

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name on the command line.
    pub id: &'static str,
    /// What is ordered, for the table.
    pub fault: Fault,
    /// What the messages ask for.
    pub work: Work,
    /// How many messages there are.
    pub messages: u64,
    /// How many replicas the step has.
    pub replicas: usize,
    /// How many messages each replica works on at the same time.
    pub prefetch: u16,
    /// Whether it is part of a quick run.
    pub quick: bool,
    /// How long nothing may move before the remaining messages count as hung.
    pub patience: Duration,
    /// The worst figures that docs/guarantees.md allows.
    pub promise: Promise,
}

/// The worst figures that are allowed. Nothing may be lost, and nothing may hang.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// How often a message may be worked on again.
    pub worked_twice: usize,
    /// How many messages may become error events.
    pub failed: usize,
    /// Whether no process may end by itself.
    pub clean_exits: bool,
}

/// What goes wrong. Times are how often, one second apart; durations are how long.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The broker closes all connections of the step.
    Close(usize),
    /// No byte passes between the step and the broker.
    Stall(Duration),
    /// A connection ends in the middle of a frame.
    Tear(usize),
    /// The broker's application is stopped for so long.
    StopApp(usize, Duration),
    /// The broker's node is killed and started again.
    KillNode(usize),
    /// The queue is deleted for so long. Then it gets new messages.
    DeleteQueue(Duration),
    /// The broker cancels the queue's consumers.
    Cancel(usize),
    /// The queue's process in the broker crashes. It is started again, without the latest acknowledgements.
    Crash(usize),
    /// Nobody reads the queue for data, and it takes no more.
    FullOutput(Duration),
    /// The broker takes no messages, since it has used up its memory.
    Alarm(Duration),
    /// The broker closes the channel of a message that takes longer.
    DeliveryTimeout(Duration),
    /// SIGKILL to a replica.
    Kill(usize),
    /// SIGTERM to a replica.
    Terminate(usize),
    /// SIGSTOP to a replica, and SIGCONT afterwards.
    Freeze(Duration),
    /// The service at the end of this way is away, or responds with rubbish.
    Service(Service, Traffic, Duration),
    /// One of three nodes is killed once a minute.
    KillOneOfThree(usize),
    /// One after the other.
    All(Vec<Fault>),
}

/// A service that a step uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The platform's API.
    Api,
    /// Object storage.
    Storage,
    /// The token endpoint of the provider.
    Tokens,
}

/// What the messages ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// To wait so many milliseconds, and to emit the message.
    Echo(u64),
    /// To fetch the message's body from object storage, and to emit it.
    Objects,
    /// To save keys with the account over the platform's API, and to emit the message.
    Keys,
    /// A request to an API with an access token that often expires.
    Requests,
}

const STRICT: Promise = Promise {
    worked_twice: 0,
    failed: 0,
    clean_exits: true,
};
/// How long the runtime tries a request to the platform again.
const RETRIED: u64 = 30;
/// How many messages the queue for data takes while nobody reads it.
const ROOM: i32 = 100;

/// All rows in the order of the table.
pub fn rows(quick: bool) -> Vec<Row> {
    let pick = |full, short| if quick { short } else { full };
    let seconds = |full, short| Duration::from_secs(pick(full, short));
    let times = |full: usize, short: usize| if quick { short } else { full };
    let base = Row {
        id: "",
        fault: Fault::Close(0),
        work: Work::Echo(pick(10, 20)),
        messages: pick(20_000, 1_500),
        replicas: 1,
        prefetch: 10,
        quick: true,
        patience: seconds(60, 30),
        promise: STRICT,
    };
    let row = |id, fault| Row {
        id,
        fault,
        ..base.clone()
    };
    let outage = seconds(120, 2);
    vec![
        row("connections", Fault::Close(times(15, 3))),
        row("stall", Fault::Stall(seconds(60, 3))),
        row("frame", Fault::Tear(times(15, 4))),
        row("application", Fault::StopApp(times(2, 1), seconds(5, 1))),
        row("node", Fault::KillNode(times(2, 1))),
        row("deleted", Fault::DeleteQueue(seconds(3, 1))),
        row("cancelled", Fault::Cancel(times(3, 1))),
        // Nothing tells the runtime that the broker has forgotten what it had taken.
        Row {
            quick: false,
            promise: Promise {
                worked_twice: usize::MAX,
                ..STRICT
            },
            ..row("crashed", Fault::Crash(1))
        },
        Row {
            work: Work::Echo(0),
            messages: pick(3_000, 500),
            ..row("full", Fault::FullOutput(seconds(20, 2)))
        },
        row("alarm", Fault::Alarm(seconds(20, 2))),
        Row {
            work: Work::Echo(pick(20_000, 6_000)),
            messages: 10,
            ..row("timeout", Fault::DeliveryTimeout(seconds(5, 1)))
        },
        killed(row("sigkill", Fault::Kill(times(15, 3))), times(15, 3)),
        row("sigterm", Fault::Terminate(times(15, 3))),
        row("sigstop", Fault::Freeze(seconds(40, 3))),
        outage_of(
            row(
                "api-away",
                Fault::Service(Service::Api, Traffic::Refused, outage),
            ),
            Work::Keys,
        ),
        outage_of(
            row(
                "api-rubbish",
                Fault::Service(Service::Api, Traffic::Rubbish, outage),
            ),
            Work::Keys,
        ),
        outage_of(
            row(
                "storage-away",
                Fault::Service(Service::Storage, Traffic::Refused, outage),
            ),
            Work::Objects,
        ),
        outage_of(
            row(
                "storage-rubbish",
                Fault::Service(Service::Storage, Traffic::Rubbish, outage),
            ),
            Work::Objects,
        ),
        outage_of(
            row(
                "tokens-away",
                Fault::Service(Service::Tokens, Traffic::Refused, outage),
            ),
            Work::Requests,
        ),
        outage_of(
            row(
                "tokens-rubbish",
                Fault::Service(Service::Tokens, Traffic::Rubbish, outage),
            ),
            Work::Requests,
        ),
        everything(&base),
        Row {
            quick: false,
            messages: 150_000,
            ..row("cluster", Fault::KillOneOfThree(3))
        },
    ]
}

fn killed(row: Row, times: usize) -> Row {
    let worked_twice = times * usize::from(row.prefetch) * row.replicas;
    Row {
        promise: Promise {
            worked_twice,
            ..row.promise
        },
        ..row
    }
}

/// A request is tried again for a while. Then its message becomes an error event, and the next one begins. What makes no
/// sense is not asked for again.
fn outage_of(row: Row, work: Work) -> Row {
    let Fault::Service(service, traffic, duration) = row.fault else {
        return row;
    };
    let rounds = duration.as_secs() / RETRIED;
    let failed = match (service, traffic) {
        // The message is rebounded.
        (Service::Tokens, _) => 0,
        (_, Traffic::Rubbish) => usize::MAX,
        _ if rounds == 0 => 0,
        _ => (rounds as usize + 1) * usize::from(row.prefetch),
    };
    Row {
        work,
        quick: traffic == Traffic::Refused && service != Service::Tokens,
        messages: if service == Service::Tokens {
            row.messages / 10
        } else {
            row.messages / 2
        },
        // The delay of a rebound doubles each time.
        patience: row.patience.max(2 * duration),
        promise: Promise {
            failed,
            ..row.promise
        },
        ..row
    }
}

/// Two replicas under faults of the network, of the broker and of the processes.
fn everything(base: &Row) -> Row {
    let long = Duration::from_secs(10);
    let faults = vec![
        Fault::Close(5),
        Fault::Tear(5),
        Fault::Stall(long),
        Fault::Kill(3),
        Fault::Terminate(3),
        Fault::Freeze(long),
        Fault::StopApp(1, long / 2),
        Fault::KillNode(1),
        Fault::Cancel(1),
        Fault::Alarm(long),
        Fault::Service(Service::Api, Traffic::Refused, long),
        Fault::Service(Service::Storage, Traffic::Refused, long),
    ];
    let row = Row {
        id: "everything",
        fault: Fault::All(faults),
        messages: 80_000,
        quick: false,
        ..base.clone()
    };
    row.with_replicas(2)
}

impl Row {
    /// The row with so many replicas. They do not know what each of them has finished, so each loss of a connection may
    /// repeat what was running.
    #[must_use]
    pub fn with_replicas(self, replicas: usize) -> Self {
        if replicas == 1 {
            return self;
        }
        let times = self.fault.times();
        killed(Self { replicas, ..self }, times)
    }

    /// Whether the fault exists with quorum queues. Their consumers are not cancelled, and they survive a crash.
    pub fn is_for_quorum(&self) -> bool {
        !matches!(self.fault, Fault::Cancel(_) | Fault::Crash(_))
    }

    /// Further arguments of queues.
    pub fn arguments(&self) -> Vec<(&'static str, Arguments)> {
        let Fault::FullOutput(_) = self.fault else {
            return Vec::new();
        };
        let limit = vec![
            ("x-max-length", AMQPValue::LongInt(ROOM)),
            ("x-overflow", text("reject-publish")),
        ];
        vec![(OUTPUT, limit)]
    }

    /// The function of the component.
    pub fn function(&self) -> &'static str {
        if self.work == Work::Requests {
            "makeRequest"
        } else {
            "script"
        }
    }
}

impl Work {
    /// Puts so many messages into the queue.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn send(self, run: &mut Run<'_>, count: u64) -> anyhow::Result<()> {
        let platform = run.platform.clone();
        run.send(count, |number| self.order(&platform, number))
            .await
    }

    fn order(self, platform: &Platform, number: u64) -> Order {
        match self {
            Self::Echo(milliseconds) => Order::script(number, &echo_after(milliseconds)),
            Self::Keys => {
                let script = json!([["sleep", 10], ["updateKeys", { "latest": number }], ["echo"]]);
                Order::script(number, &script)
            }
            Self::Objects => {
                let id = format!("object-{number}");
                let plain = json!({ "number": number, "script": echo_after(10) }).to_string();
                let sealed = sample::cipher().encrypt(plain.into_bytes(), Encoding::of(2));
                platform.set_object(&id, sealed);
                Order {
                    object: Some(id),
                    ..Order::script(number, &json!([]))
                }
            }
            Self::Requests => {
                let contact = json!({ "number": number });
                let body = json!({ "method": "POST", "path": "/echo/contacts", "body": contact });
                Order {
                    number,
                    body,
                    object: None,
                }
            }
        }
    }
}

impl Fault {
    /// How many faults it is.
    pub fn times(&self) -> usize {
        match self {
            Self::Close(times)
            | Self::Tear(times)
            | Self::StopApp(times, _)
            | Self::KillNode(times)
            | Self::Cancel(times)
            | Self::Crash(times)
            | Self::Kill(times)
            | Self::Terminate(times)
            | Self::KillOneOfThree(times) => *times,
            Self::All(faults) => faults.iter().map(Self::times).sum(),
            _ => 1,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = |duration: &Duration| format!("{} s", duration.as_secs());
        let text = match self {
            Self::Close(_) => "connections closed 1/s".into(),
            Self::Stall(duration) => format!("TCP stalled for {}", seconds(duration)),
            Self::Tear(_) => "connection cut in the middle of a frame".into(),
            Self::StopApp(_, duration) => format!("broker stopped for {}", seconds(duration)),
            Self::KillNode(_) => "node killed and restarted".into(),
            Self::DeleteQueue(duration) => {
                format!("queue deleted, back after {}", seconds(duration))
            }
            Self::Cancel(_) => "consumer cancelled 1/s".into(),
            Self::Crash(_) => "queue's process crashes".into(),
            Self::FullOutput(duration) => format!("output queue full for {}", seconds(duration)),
            Self::Alarm(duration) => format!("memory alarm for {}", seconds(duration)),
            Self::DeliveryTimeout(duration) => format!("delivery timeout of {}", seconds(duration)),
            Self::Kill(_) => "SIGKILL 1/s".into(),
            Self::Terminate(_) => "SIGTERM 1/s".into(),
            Self::Freeze(duration) => format!("SIGSTOP for {}", seconds(duration)),
            Self::Service(service, traffic, duration) => {
                let what = if *traffic == Traffic::Rubbish {
                    "responds with rubbish"
                } else {
                    "away"
                };
                format!("{service} {what} for {}", seconds(duration))
            }
            Self::KillOneOfThree(_) => "one of three nodes killed, 1/min".into(),
            Self::All(_) => "two replicas under all of it".into(),
        };
        f.write_str(&text)
    }
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Api => "platform API",
            Self::Storage => "object storage",
            Self::Tokens => "token endpoint",
        })
    }
}
