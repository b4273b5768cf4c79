//! Gaps in a list: items that the API cannot return. Nothing is known of such an item except its place, and that changes
//! when others are added, so it is recognised by the items next to it.

use super::{
    changes::{id_of, shown_id},
    page_reader::Unreadable,
    poll_config::Config,
};
use sailor::snapshot::Fingerprint;
use serde_json::Value;
use std::mem::take;

/// The gaps of a list that is read from its beginning.
pub struct Gaps<'a> {
    config: &'a Config,
    /// The item that was read last.
    last: Option<Neighbour>,
    /// What cannot be read after it.
    open: Vec<Unreadable>,
}

/// An item next to a gap.
#[derive(Clone)]
pub struct Neighbour {
    shown: String,
    fingerprint: Fingerprint,
}

/// What cannot be read between two items, or at an end of what was read.
pub struct Gap {
    before: Option<Neighbour>,
    after: Option<Neighbour>,
    unreadable: Vec<Unreadable>,
}

impl<'a> Gaps<'a> {
    pub fn new(config: &'a Config) -> Self {
        Self {
            config,
            last: None,
            open: Vec::new(),
        }
    }

    /// The items of a page, as neighbours of gaps.
    pub fn neighbours(&self, items: &[Value]) -> Vec<Neighbour> {
        let neighbour = |item| Neighbour::of(item, self.config);
        items.iter().map(neighbour).collect()
    }

    /// Takes the items of the next page. Returns the gaps that end on it.
    pub fn pass(&mut self, items: Vec<Neighbour>, unreadable: Vec<Unreadable>) -> Vec<Gap> {
        let mut unreadable = unreadable.into_iter().peekable();
        let mut gaps = Vec::new();
        for (at, neighbour) in items.into_iter().enumerate() {
            while let Some(next) = unreadable.next_if(|next| next.items_before == at) {
                self.open.push(next);
            }
            if !self.open.is_empty() {
                gaps.extend(self.take(Some(neighbour.clone())));
            }
            self.last = Some(neighbour);
        }
        self.open.extend(unreadable);
        gaps
    }

    /// Ends the list here: the next page does not follow the last one. Returns the gap at the end.
    pub fn end(&mut self) -> Option<Gap> {
        let gap = self.take(None);
        self.last = None;
        gap
    }

    fn take(&mut self, after: Option<Neighbour>) -> Option<Gap> {
        let unreadable = take(&mut self.open);
        (!unreadable.is_empty()).then(|| Gap {
            before: self.last.clone(),
            after,
            unreadable,
        })
    }
}

impl Neighbour {
    fn of(item: &Value, config: &Config) -> Self {
        let id = id_of(item, config);
        Self {
            shown: shown_id(id),
            fingerprint: Fingerprint::of(&id.unwrap_or(item).to_string()),
        }
    }
}

impl Gap {
    /// What was not reported before: the place of each, with its error. Several items in one gap are told apart by their
    /// number alone. `list` distinguishes the list from others.
    pub fn unreported(
        self,
        list: &str,
        is_reported: impl Fn(Fingerprint) -> bool,
    ) -> (Vec<(String, anyhow::Error)>, Vec<Fingerprint>) {
        let count = self.unreadable.len();
        let from = |neighbour: &Option<Neighbour>, side: &str| -> Vec<Fingerprint> {
            let beside = neighbour.as_ref().map(|neighbour| neighbour.fingerprint);
            let text = |at| beside.map(|beside| format!("{list} {side} {beside} {at}"));
            (0..count)
                .filter_map(text)
                .map(|text| Fingerprint::of(&text))
                .collect()
        };
        let mut sides = vec![from(&self.before, "after"), from(&self.after, "before")];
        if self.before.is_none() && self.after.is_none() {
            let places = self.unreadable.iter();
            let places = places.map(|unreadable| format!("{list} {}", unreadable.place));
            sides.push(places.map(|place| Fingerprint::of(&place)).collect());
        }
        let known = |side: &Vec<Fingerprint>| side.iter().filter(|one| is_reported(**one)).count();
        let known = sides.iter().map(known).max().unwrap_or_default();
        let place = self.shown();
        let unreported = self.unreadable.into_iter().skip(known);
        let unreported = unreported.map(|one| (format!("{}{place}", one.place), one.error));
        (unreported.collect(), sides.concat())
    }

    fn shown(&self) -> String {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => {
                format!(", between {} and {},", before.shown, after.shown)
            }
            (Some(before), None) => format!(", after {},", before.shown),
            (None, Some(after)) => format!(", before {},", after.shown),
            (None, None) => String::new(),
        }
    }
}
