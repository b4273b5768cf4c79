//! The list of an API, and how it is read.

use fastrand::Rng;
use serde_json::{Value, json};

/// 2026-01-31T00:00:00Z in seconds since 1970.
const START: i64 = 1_769_817_600;

/// An item of the list.
#[derive(Clone, Debug)]
pub struct Item {
    pub id: u64,
    /// When it changed, in minutes since the start; none cannot be read from it.
    pub minute: Option<i64>,
    /// The API cannot return it.
    pub is_bad: bool,
    updated_at: Value,
}

impl Item {
    pub fn record(&self) -> Value {
        json!({ "id": self.id, "name": "Zoë – €", "updated_at": self.updated_at })
    }

    /// When it changed, in seconds since 1970.
    pub fn seconds(&self) -> Option<i64> {
        self.minute.map(|minute| START + 60 * minute)
    }
}

/// How times are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Notation {
    Iso,
    Rfc2822,
    Ctime,
    Seconds,
    MillisAsText,
}

impl Notation {
    fn write(self, minute: i64) -> Value {
        let (hour, rest) = (minute / 60, minute % 60);
        assert!(hour < 24, "the times of a flow are on one day");
        match self {
            Self::Iso => format!("2026-01-31T{hour:02}:{rest:02}:00Z").into(),
            Self::Rfc2822 => format!("Sat, 31 Jan 2026 {hour:02}:{rest:02}:00 +0000").into(),
            Self::Ctime => format!("Sat Jan 31 {hour:02}:{rest:02}:00 +0000 2026").into(),
            Self::Seconds => (START + 60 * minute).into(),
            Self::MillisAsText => ((START + 60 * minute) * 1000).to_string().into(),
        }
    }
}

/// The order of a list. New items are at its end in the first two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    Sorted,
    Shuffled,
    LatestFirst,
}

/// A list that grows.
#[derive(Debug)]
pub struct List {
    pub items: Vec<Item>,
    pub order: Order,
    pub notation: Notation,
    /// Whether there are items without a time.
    has_timeless: bool,
    /// Whether there are items that the API cannot return.
    has_bad: bool,
    /// Where the times of new items begin.
    minute: i64,
}

impl List {
    pub fn new(order: Order, notation: Notation, has_timeless: bool, has_bad: bool) -> Self {
        Self {
            items: vec![],
            order,
            notation,
            has_timeless,
            has_bad,
            minute: 0,
        }
    }

    /// Adds items that changed at the time of the last item or later. The first item of the list can be read.
    pub fn grow(&mut self, rng: &mut Rng, count: usize) {
        let mut new = vec![];
        let mut latest = self.minute;
        for _ in 0..count {
            let is_first = self.items.is_empty() && new.is_empty();
            let minute = self.minute + rng.i64(0..4);
            latest = latest.max(minute);
            let is_timeless = !is_first && self.has_timeless && rng.u8(..8) == 0;
            let nothing = [
                json!(null),
                json!(""),
                json!("31/01/2026 12 Uhr 30:00"),
                json!([]),
            ];
            new.push(Item {
                id: (self.items.len() + new.len()) as u64,
                minute: (!is_timeless).then_some(minute),
                is_bad: !is_first && self.has_bad && rng.u8(..7) == 0,
                updated_at: if is_timeless {
                    nothing[rng.usize(..nothing.len())].clone()
                } else {
                    self.notation.write(minute)
                },
            });
        }
        self.minute = latest;
        self.add(rng, new);
    }

    fn add(&mut self, rng: &mut Rng, mut new: Vec<Item>) {
        match self.order {
            Order::Shuffled => rng.shuffle(&mut new),
            // An item without a time keeps its place.
            Order::Sorted | Order::LatestFirst => {
                let mut times: Vec<Item> = new.clone();
                times.retain(|item| item.minute.is_some());
                times.sort_by_key(|item| item.minute);
                let mut times = times.into_iter();
                for item in &mut new {
                    if item.minute.is_some() {
                        *item = times.next().expect("as many as before");
                    }
                }
            }
        }
        if self.order == Order::LatestFirst {
            new.reverse();
            self.items.splice(0..0, new);
        } else {
            self.items.extend(new);
        }
    }
}
