//! The rows of the table: which faults are ordered against which work, and what is promised.

use crate::{
    fault::{Fault, Service},
    queues::{Arguments, INPUT, OUTPUT, text},
    relay::Traffic,
    work::{TOO_LARGE, Work},
};
use lapin::types::AMQPValue;
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
    /// Whether the input queue is a quorum queue that drops a message after 20 deliveries, as in RabbitMQ 4.
    pub limited: bool,
    /// Whether it is part of a quick run.
    pub quick: bool,
    /// How long nothing may move before the remaining messages count as hung.
    pub patience: Duration,
    /// The worst figures that docs/guarantees.md allows.
    pub promise: Promise,
}

/// The worst figures that are allowed. Nothing may hang.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// How many messages may be lost.
    pub lost: usize,
    /// How often a message may be worked on again.
    pub worked_twice: usize,
    /// How many messages may become error events.
    pub failed: usize,
    /// Whether no process may end by itself.
    pub clean_exits: bool,
}

const STRICT: Promise = Promise {
    lost: 0,
    worked_twice: 0,
    failed: 0,
    clean_exits: true,
};
/// How long the runtime tries a request to the platform again.
const RETRIED: u64 = 30;
/// After how many deliveries RabbitMQ 4 drops a message of a quorum queue.
const DELIVERIES: i32 = 20;
/// How many messages the queue for data takes while nobody reads it.
const ROOM: i32 = 100;

/// All rows in the order of the table.
pub fn rows(quick: bool) -> Vec<Row> {
    let pace = Pace { quick };
    [
        pace.broker(),
        pace.processes(),
        pace.services(),
        pace.limits(),
        pace.many(),
    ]
    .concat()
}

/// How long everything takes.
#[derive(Clone, Copy)]
struct Pace {
    quick: bool,
}

impl Pace {
    fn pick<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    fn seconds(self, full: u64, quick: u64) -> Duration {
        Duration::from_secs(self.pick(full, quick))
    }

    fn row(self, id: &'static str, fault: Fault) -> Row {
        Row {
            id,
            fault,
            work: Work::Echo(self.pick(10, 20)),
            messages: self.pick(20_000, 2_000),
            replicas: 1,
            prefetch: 10,
            limited: false,
            quick: true,
            patience: self.seconds(60, 30),
            promise: STRICT,
        }
    }

    fn broker(self) -> Vec<Row> {
        let times = |full: usize, quick: usize| self.pick(full, quick);
        let seconds = |full, quick| self.seconds(full, quick);
        vec![
            self.row("connections", Fault::Close(times(15, 2))),
            self.row("stall", Fault::Stall(seconds(60, 2))),
            self.row("frame", Fault::Tear(times(15, 4))),
            self.row("application", Fault::StopApp(times(2, 1), seconds(5, 1))),
            self.row("node", Fault::KillNode(times(2, 1))),
            self.row("deleted", Fault::DeleteQueue(seconds(3, 1))),
            self.row("cancelled", Fault::Cancel(times(3, 1))),
            // Nothing tells the runtime that the broker has forgotten what it had taken.
            Row {
                quick: false,
                promise: Promise {
                    worked_twice: usize::MAX,
                    ..STRICT
                },
                ..self.row("crashed", Fault::Crash(1))
            },
            Row {
                work: Work::Echo(0),
                messages: self.pick(3_000, 500),
                ..self.row("full", Fault::FullOutput(seconds(20, 2)))
            },
            self.row("alarm", Fault::Alarm(seconds(20, 2))),
            Row {
                work: Work::Echo(self.pick(20_000, 4_000)),
                messages: 10,
                ..self.row("timeout", Fault::DeliveryTimeout(seconds(5, 1)))
            },
        ]
    }

    fn processes(self) -> Vec<Row> {
        let times = self.pick(15, 3);
        vec![
            killed(self.row("sigkill", Fault::Kill(times)), times),
            self.row("sigterm", Fault::Terminate(times)),
            self.row("sigstop", Fault::Freeze(self.seconds(40, 2))),
        ]
    }

    fn services(self) -> Vec<Row> {
        let (away, rubbish) = (Traffic::Refused, Traffic::Rubbish);
        let services = [
            ("api-away", Service::Api, away, Work::Keys),
            ("api-rubbish", Service::Api, rubbish, Work::Keys),
            ("storage-away", Service::Storage, away, Work::Objects),
            ("storage-rubbish", Service::Storage, rubbish, Work::Objects),
            ("tokens-away", Service::Tokens, away, Work::Requests),
            ("tokens-rubbish", Service::Tokens, rubbish, Work::Requests),
        ];
        let rows = services.map(|(id, service, traffic, work)| {
            let fault = Fault::Service(service, traffic, self.seconds(120, 2));
            outage_of(self.row(id, fault), work)
        });
        rows.to_vec()
    }

    fn limits(self) -> Vec<Row> {
        let large = Row {
            work: Work::Large,
            messages: 100,
            quick: false,
            promise: Promise {
                failed: 10,
                ..STRICT
            },
            ..self.row("large", Fault::TooLarge)
        };
        vec![
            limited(self.row("limit", Fault::Close(25)), 30_000, 0),
            // A message that ends its process again and again is dropped by the broker: that is what the limit is for.
            limited(self.row("limit-killed", Fault::KillWorking(25)), 10_000, 10),
            large,
        ]
    }

    /// With several replicas, or several nodes.
    fn many(self) -> Vec<Row> {
        let cluster = Row {
            quick: false,
            messages: 150_000,
            ..self.row("cluster", Fault::KillOneOfThree(3))
        };
        vec![
            everything(&self.row("everything", Fault::Close(0))),
            cluster,
        ]
    }
}

/// Messages that are delivered more often than the limit while they are worked on.
fn limited(row: Row, milliseconds: u64, lost: usize) -> Row {
    let row = Row {
        work: Work::Echo(milliseconds),
        messages: 10,
        limited: true,
        quick: false,
        ..row
    };
    let promise = Promise {
        lost,
        ..row.promise
    };
    Row { promise, ..row }
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

    /// Its name in the table.
    pub fn name(&self) -> String {
        let limit = if self.limited {
            ", delivery limit 20"
        } else {
            ""
        };
        format!("{}{limit}", self.fault)
    }

    /// Further arguments of queues.
    pub fn arguments(&self) -> Vec<(&'static str, Arguments)> {
        let mut arguments = Vec::new();
        if let Fault::FullOutput(_) = self.fault {
            let limit = ("x-max-length", AMQPValue::LongInt(ROOM));
            let overflow = ("x-overflow", text("reject-publish"));
            arguments.push((OUTPUT, vec![limit, overflow]));
        }
        if self.limited {
            let limit = ("x-delivery-limit", AMQPValue::LongInt(DELIVERIES));
            arguments.push((INPUT, vec![("x-queue-type", text("quorum")), limit]));
        }
        arguments
    }

    /// Further variables of the replicas.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        if self.work != Work::Large {
            return Vec::new();
        }
        let limit = (2 * TOO_LARGE).to_string();
        vec![("ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT", limit)]
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
