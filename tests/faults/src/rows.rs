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
    let pick = |full, short| if quick { short } else { full };
    let seconds = |full, short| Duration::from_secs(pick(full, short));
    let times = |full: usize, short: usize| if quick { short } else { full };
    let base = Row {
        id: "",
        fault: Fault::Close(0),
        work: Work::Echo(pick(10, 20)),
        messages: pick(20_000, 2_000),
        replicas: 1,
        prefetch: 10,
        limited: false,
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
        row("connections", Fault::Close(times(15, 2))),
        row("stall", Fault::Stall(seconds(60, 2))),
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
            work: Work::Echo(pick(20_000, 4_000)),
            messages: 10,
            ..row("timeout", Fault::DeliveryTimeout(seconds(5, 1)))
        },
        killed(row("sigkill", Fault::Kill(times(15, 3))), times(15, 3)),
        row("sigterm", Fault::Terminate(times(15, 3))),
        row("sigstop", Fault::Freeze(seconds(40, 2))),
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
        limited(row("limit", Fault::Close(25)), 30_000, 0),
        // A message that ends its process again and again is dropped by the broker: that is what the limit is for.
        limited(row("limit-killed", Fault::Kill(25)), 5_000, 10),
        Row {
            work: Work::Large,
            messages: 100,
            quick: false,
            promise: Promise {
                failed: 10,
                ..STRICT
            },
            ..row("large", Fault::TooLarge)
        },
        everything(&base),
        Row {
            quick: false,
            messages: 150_000,
            ..row("cluster", Fault::KillOneOfThree(3))
        },
    ]
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
        let limit = (2 * TOO_LARGE).to_string();
        let large = self.work == Work::Large;
        large
            .then(|| ("ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT", limit))
            .into_iter()
            .collect()
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
