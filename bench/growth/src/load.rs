//! The loads: what each curve varies, and who works on it.

use sailor::protocol::Encoding;
use sailor_bench::{
    bare_loop::Acknowledge,
    contestant::{Contestant, PROTOCOL},
    platform::{PASSTHROUGH_STEP, PLAIN_STEP},
    sample,
};
use serde_json::{Map, json};

/// About as many bytes are put into the queue for one run, unless the messages are small.
const BYTES: usize = 150_000_000;
/// The most messages of one run.
const MESSAGES: usize = 12_000;
/// The fewest.
const FEWEST: usize = 20;
/// The most events of a run, unless one message has more.
const EVENTS: usize = 12_000;
/// The size of a small message, of an entry of the passthrough, and of the text in one event.
const KB: usize = 1024;

/// What is in the queue for one run, and how it is worked on.
#[derive(Clone, Debug)]
pub struct Load {
    /// The number that the curve depends on.
    pub x: usize,
    /// An encrypted message.
    pub payload: Vec<u8>,
    /// How many of them there are.
    pub messages: usize,
    /// How many events each of them leads to.
    pub events: usize,
    /// How many are processed at the same time.
    pub prefetch: u16,
    /// How many processes work on the queue.
    pub replicas: usize,
    /// The step's id.
    pub step: &'static str,
}

/// A number that is varied.
#[derive(Clone, Copy, Debug)]
pub struct Variation {
    /// The name of the curve and of its plot.
    pub name: &'static str,
    numbers: &'static [usize],
    load: fn(usize) -> Load,
    contestants: fn(&str) -> anyhow::Result<Vec<Contestant>>,
}

/// All curves.
pub const VARIATIONS: [Variation; 5] = [
    Variation {
        name: "size",
        numbers: &[100, 1_000, 10_000, 100_000, 1_000_000, 8_000_000],
        load: |bytes| load(bytes, text(bytes), 10),
        contestants: ours_and_loop,
    },
    Variation {
        name: "prefetch",
        numbers: &[1, 3, 10, 30, 100, 300, 1_000],
        load: |prefetch| load(prefetch, text(KB), prefetch as u16),
        contestants: ours_and_loops,
    },
    Variation {
        name: "replicas",
        numbers: &[1, 2, 4],
        load: |replicas| Load {
            replicas,
            ..load(replicas, text(KB), 10)
        },
        contestants: ours_and_loop,
    },
    Variation {
        name: "events",
        numbers: &[1, 10, 100, 1_000, 10_000],
        load: |events| Load {
            events,
            messages: (EVENTS / events).max(2),
            ..load(events, json!({ "events": events }), 1)
        },
        contestants: ways_to_emit,
    },
    Variation {
        name: "passthrough",
        numbers: &[1, 2, 5, 10, 20],
        load: |depth| Load {
            step: PASSTHROUGH_STEP,
            ..with_passthrough(depth)
        },
        contestants: ours_and_loop,
    },
];

impl Variation {
    /// The loads, in the order of the number.
    #[must_use]
    pub fn loads(&self) -> Vec<Load> {
        self.numbers
            .iter()
            .map(|number| (self.load)(*number))
            .collect()
    }

    /// Who works on them. `ours` is the path of the component.
    ///
    /// # Errors
    /// When the component is missing.
    pub fn contestants(&self, ours: &str) -> anyhow::Result<Vec<Contestant>> {
        (self.contestants)(ours)
    }
}

fn ours_and_loop(ours: &str) -> anyhow::Result<Vec<Contestant>> {
    Ok(vec![
        Contestant::component("ours", ours)?,
        Contestant::bare_loop(Acknowledge::Each),
    ])
}

fn ours_and_loops(ours: &str) -> anyhow::Result<Vec<Contestant>> {
    let mut contestants = ours_and_loop(ours)?;
    contestants.push(Contestant::bare_loop(Acknowledge::Batches));
    Ok(contestants)
}

/// The functions of the component that emit several events.
fn ways_to_emit(ours: &str) -> anyhow::Result<Vec<Contestant>> {
    [
        ("each awaited", "each"),
        ("data_all", "all"),
        ("none awaited", "together"),
    ]
    .into_iter()
    .map(|(name, function)| Contestant::component(name, &format!("{ours}:{function}")))
    .collect()
}

fn text(bytes: usize) -> serde_json::Value {
    json!({ "text": "x".repeat(bytes) })
}

/// Messages with this body, as many as are worth a few seconds.
fn load(x: usize, body: serde_json::Value, prefetch: u16) -> Load {
    message(x, &json!({ "body": body }), prefetch)
}

/// Each earlier step has emitted a kilobyte, and so has the last one.
fn with_passthrough(depth: usize) -> Load {
    let entry = |step| {
        (
            format!("step_{step}"),
            json!({ "headers": {}, "body": text(KB) }),
        )
    };
    let passthrough: Map<_, _> = (1..=depth).map(entry).collect();
    let members = json!({ "body": text(KB), "passthrough": passthrough });
    message(depth, &members, 10)
}

fn message(x: usize, members: &serde_json::Value, prefetch: u16) -> Load {
    let mut message = json!({ "id": "message", "headers": {}, "attachments": {} });
    if let (Some(message), Some(members)) = (message.as_object_mut(), members.as_object()) {
        message.extend(members.clone());
    }
    let plain = message.to_string().into_bytes();
    let payload = sample::cipher().encrypt(plain, Encoding::of(PROTOCOL));
    Load {
        x,
        messages: (BYTES / payload.len()).clamp(FEWEST, MESSAGES),
        payload,
        events: 1,
        prefetch,
        replicas: 1,
        step: PLAIN_STEP,
    }
}
