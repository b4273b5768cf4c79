//! What goes wrong.

use crate::{relay::Traffic, report::Figures};
use std::time::Duration;

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
    /// SIGKILL to the replica, each time when it works.
    KillWorking(usize),
    /// SIGTERM to a replica.
    Terminate(usize),
    /// SIGSTOP to a replica, and SIGCONT afterwards.
    Freeze(Duration),
    /// The service at the end of this way is away, or responds with rubbish.
    Service(Service, Traffic, Duration),
    /// One of three nodes is killed once a minute.
    KillOneOfThree(usize),
    /// Every tenth message emits more than the broker takes.
    TooLarge,
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
            | Self::KillWorking(times)
            | Self::Terminate(times)
            | Self::KillOneOfThree(times) => *times,
            Self::All(faults) => faults.iter().map(Self::times).sum(),
            _ => 1,
        }
    }
}

impl Fault {
    /// Whether the step has felt it. A row would say nothing if it had not.
    pub fn was_felt(&self, figures: &Figures) -> bool {
        match self {
            // A step has two connections.
            Self::Close(times)
            | Self::Tear(times)
            | Self::StopApp(times, _)
            | Self::KillNode(times) => figures.connections >= 2 + times,
            Self::Stall(duration) | Self::Freeze(duration) | Self::Alarm(duration) => {
                // The last message before it can be counted a moment later.
                figures.stall >= duration.mul_f32(0.95)
            }
            // After a while, messages fail, and the next ones begin.
            Self::Service(_, Traffic::Refused, duration) => {
                figures.stall >= (*duration).min(Duration::from_secs(20))
            }
            Self::TooLarge => figures.counts.failed > 0,
            _ => true,
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
            Self::KillWorking(_) => "SIGKILL again and again".into(),
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
            Self::TooLarge => "events of 17 MiB, 16 MiB allowed".into(),
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
