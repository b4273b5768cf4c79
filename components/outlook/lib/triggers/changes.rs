//! Lists in the order of the last change, read from where the last poll ended.
//!
//! Graph's times are whole seconds, and several items can have the same one. So a position is a time and the items of
//! that time that were emitted: the next poll asks from that time on, and skips those items.
//!
//! An item that changes while pages are read moves to the end of the list, and all others move up. So the next page is
//! requested by time as well. Graph's link is used only if items of the same time fill more than one page. An item that
//! moves up past these pages is found by reading that time again, until it has nothing new.
//!
//! Every item is emitted, or reported as a [`Fault`], before the position moves past it.

use super::{
    change::{Change, Fault},
    list::{List, Page, Place},
    position::Position,
};
use jiff::Timestamp;
use sailor::{
    http::{PageGuard, PageLimits},
    oauth2::AuthorizedClient,
    snapshot::Fingerprint,
};
use std::collections::HashSet;

/// The most pages of one poll. The next poll continues.
const MAX_PAGES: u32 = 10_000;

/// The changes of one list since a position.
pub struct Changes<'a> {
    list: List<'a>,
    position: Position,
    pass: Option<Pass>,
    pages: u32,
}

/// The pages that were read since a time, one after the other.
struct Pass {
    from: Timestamp,
    guard: PageGuard,
    next: Option<Place>,
    /// How many items the last page had.
    items: usize,
    /// Whether a page after the first one had new items of that time.
    later_page_had_new: bool,
}

/// New items of a page, oldest first, and what is passed over.
pub struct Batch {
    pub changes: Vec<Change>,
    pub faults: Vec<Fault>,
}

impl<'a> Changes<'a> {
    /// The changes of the list at `path`.
    pub fn new(
        client: &'a AuthorizedClient,
        path: String,
        page_size: u32,
        position: Position,
    ) -> Self {
        Self {
            list: List::new(client, path, page_size.into()),
            position,
            pass: None,
            pages: 0,
        }
    }

    /// Only items that match this filter as well, such as `isRead eq false`.
    pub fn filtered(mut self, condition: &'static str) -> Self {
        self.list.condition = condition;
        self
    }

    /// The position behind what was emitted and reported.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Moves the position past a change that was emitted, or reported as one that never can be.
    pub fn mark_done(&mut self, change: &Change) {
        self.position.advance(change);
    }

    /// Remembers a fault that was reported.
    pub fn mark_reported(&mut self, fault: Vec<Fingerprint>) {
        self.position.pass(fault);
    }

    /// The next changes and faults; none at the end. All before them must be marked.
    ///
    /// # Errors
    /// Returns an error if Graph does not return a page, or if the list does not end.
    pub async fn next(&mut self) -> anyhow::Result<Option<Batch>> {
        loop {
            let from = self.position.time();
            let Some(place) = self.next_place(from).await? else {
                return Ok(None);
            };
            let page = self.list.read(from, place.clone()).await?;
            let batch = self.take(page, from, !matches!(place, Place::Offset(0)));
            if !batch.changes.is_empty() || !batch.faults.is_empty() {
                return Ok(Some(batch));
            }
        }
    }

    /// The page behind the last one: the next of its pass if the time is still the same, otherwise the first since the
    /// new time.
    async fn next_place(&mut self, from: Timestamp) -> anyhow::Result<Option<Place>> {
        if self.pages == MAX_PAGES {
            return Ok(None);
        }
        self.pages += 1;
        if let Some(pass) = &mut self.pass {
            let next = pass.next.take();
            let mut is_end = next.is_none();
            if let Some(place) = next.filter(|_| pass.from == from) {
                if pass.guard.may_request(&place, pass.items).await? {
                    return Ok(Some(place));
                }
                is_end = true;
            }
            if is_end && !pass.later_page_had_new {
                return Ok(None);
            }
        }
        let first = Place::Offset(0);
        let mut guard = PageGuard::new(PageLimits::default());
        guard.may_request(&first, 0).await?;
        self.pass = Some(Pass {
            from,
            guard,
            next: None,
            items: 0,
            later_page_had_new: false,
        });
        Ok(Some(first))
    }

    /// What is new on a page and may be emitted now.
    fn take(&mut self, page: Page, from: Timestamp, is_later_page: bool) -> Batch {
        let items = page.items.len() + page.unreadable.len();
        let (mut changes, mut faults) = (Vec::new(), page.unreadable);
        let mut met = HashSet::new();
        for item in page.items {
            match Change::of(item) {
                Ok(change) if self.position.is_new(&change) && met.insert(change.fingerprint()) => {
                    changes.push(change);
                }
                Ok(_) => {}
                Err(fault) => faults.push(fault),
            }
        }
        faults.retain(|fault| {
            self.is_new(fault) && fault.fingerprints.iter().all(|one| met.insert(*one))
        });
        changes.sort_by_key(|change| change.at);
        let mut next = page.next;
        let is_of_this_time = |change: &Change| change.at <= from;
        if let Some(pass) = &mut self.pass {
            pass.items = items;
            pass.later_page_had_new |= is_later_page && changes.iter().any(is_of_this_time);
            if pass.later_page_had_new && !changes.iter().all(is_of_this_time) {
                // Before a later time begins, this one is read again from its start.
                changes.retain(is_of_this_time);
                next = None;
            }
            pass.next = next;
        }
        Batch { changes, faults }
    }

    /// Whether a fault was not reported. Remembers all fingerprints of one that was.
    fn is_new(&mut self, fault: &Fault) -> bool {
        let mut fingerprints = fault.fingerprints.iter();
        let is_new = !fingerprints.any(|one| self.position.is_passed(*one));
        if !is_new {
            self.position.pass(fault.fingerprints.iter().copied());
        }
        is_new
    }
}
