//! The items of the sample API: the same after every start.

use serde::Serialize;

const SEEDED: usize = 25;

/// An item of the sample API.
#[derive(Clone, Serialize)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) updated_at: String,
}

impl Item {
    /// The item number `n`, from 1. Each is one hour later than the one before.
    pub(super) fn new(n: usize, name: String) -> Self {
        let (day, hour) = (n / 24, n % 24);
        let updated_at = format!(
            "2026-{:02}-{:02}T{hour:02}:00:00.000Z",
            1 + day / 28,
            1 + day % 28
        );
        Self {
            id: format!("item-{n}"),
            name,
            updated_at,
        }
    }
}

pub(super) fn seed() -> Vec<Item> {
    (1..=SEEDED)
        .map(|n| Item::new(n, format!("Item {n}")))
        .collect()
}
