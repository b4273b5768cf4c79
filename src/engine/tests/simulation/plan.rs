//! What a seed chooses before the simulation starts: the settings, and the messages with what the module does on each.

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The step and its messages.
pub(super) struct Plan {
    pub(super) prefetch: u32,
    /// In seconds.
    pub(super) shutdown_timeout: u64,
    /// In seconds.
    pub(super) binding_timeout: u64,
    pub(super) unbound_is_error: bool,
    /// The step has an account, so keys go to the platform's API too.
    pub(super) has_account: bool,
    pub(super) classes: Vec<Class>,
    /// Messages in the order in which they come: their class, and how many milliseconds after the one before.
    pub(super) arrivals: Vec<(usize, u64)>,
    /// How many faults happen.
    pub(super) faults: u32,
}

/// Equal messages.
pub(super) struct Class {
    pub(super) number: u32,
    pub(super) has_id: bool,
    pub(super) content: Content,
}

pub(super) enum Content {
    Ops(Vec<Op>),
    /// Nobody can decrypt it.
    Garbage,
}

/// What the module does, one after the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Op {
    Emit,
    /// Emits and does not wait.
    Fire,
    /// Emits with a routing key of its own.
    Custom,
    /// Emits an event that is too large for the broker, and goes on.
    Big,
    Snapshot,
    Keys,
    /// Reports an error and goes on.
    Warn,
    /// Waits for milliseconds.
    Sleep(u64),
    /// Emits milliseconds later, in a task of its own.
    Late(u64),
    Fail,
    Panic,
    Rebound,
}

impl Plan {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let classes: Vec<Class> = (0..rng.u32(4..20)).map(|n| Class::new(n, rng)).collect();
        let mut arrivals = Vec::new();
        for class in 0..classes.len() {
            let equal = if rng.u8(0..4) == 0 { rng.u8(2..4) } else { 1 };
            arrivals.extend((0..equal).map(|_| class));
        }
        rng.shuffle(&mut arrivals);
        let arrivals = arrivals.into_iter().map(|class| {
            let pause = if rng.bool() { 0 } else { rng.u64(0..400) };
            (class, pause)
        });
        Self {
            arrivals: arrivals.collect(),
            prefetch: rng.choice([1, 2, 3, 10]).unwrap_or(1),
            shutdown_timeout: rng.u64(1..15),
            binding_timeout: rng.u64(1..8),
            unbound_is_error: rng.u8(0..5) == 0,
            has_account: rng.u8(0..4) == 0,
            faults: rng.u32(0..32),
            classes,
        }
    }
}

impl Class {
    fn new(number: u32, rng: &mut Rng) -> Self {
        let content = if rng.u8(0..20) == 0 {
            Content::Garbage
        } else {
            let mut ops: Vec<Op> = (0..rng.u8(0..4)).map(|_| Op::new(rng)).collect();
            match rng.u8(0..12) {
                0 => ops.push(Op::Fail),
                1 => ops.push(Op::Panic),
                2 => ops.push(Op::Rebound),
                _ => {}
            }
            Content::Ops(ops)
        };
        Self {
            number,
            has_id: rng.u8(0..4) > 0,
            content,
        }
    }

    /// The message's id.
    pub(super) fn id(&self) -> Option<String> {
        self.has_id.then(|| format!("m{}", self.number))
    }

    /// The body that the module reads; none if it cannot be decrypted.
    pub(super) fn body(&self) -> Option<Value> {
        match &self.content {
            Content::Ops(ops) => Some(json!({ "class": self.number, "ops": ops })),
            Content::Garbage => None,
        }
    }
}

impl Op {
    fn new(rng: &mut Rng) -> Self {
        match rng.u8(0..20) {
            0..6 => Self::Emit,
            6..9 => Self::Fire,
            9..11 => Self::Custom,
            11 => Self::Big,
            12 => Self::Snapshot,
            13 => Self::Keys,
            14 => Self::Warn,
            15 => Self::Late(rng.u64(0..2000)),
            16 => Self::Sleep(rng.u64(2_000..30_000)),
            _ => Self::Sleep(rng.u64(0..300)),
        }
    }
}
