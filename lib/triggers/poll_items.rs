//! Trigger "Poll for new and changed items": requests a list page by page, and emits its new items. The snapshot is the
//! [`Position`]; it moves after everything before it is confirmed or reported.

use super::{
    changes::{Change, Unusable},
    collected::Collected,
    gaps::{Gap, Gaps},
    order::{Kind, compare},
    page_reader::{PageRead, PageReader},
    poll_config::{Config, Emit},
    position::Position,
};
use anyhow::{anyhow, bail, ensure};
use sailor::{
    http::{PageGuard, PageLimits, PageRequest, Paging, RateLimiter},
    prelude::*,
    snapshot::{Fingerprint, Memory, Snapshot},
};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    mem::take,
    sync::{Arc, atomic::AtomicBool},
};

/// The most items of one poll: each is compared with those before it, and their keys take about 80 MB.
const MAX_MET: usize = 1_000_000;
/// The most unusable items of one poll that are reported one by one.
const MAX_UNUSABLE: usize = 100;

/// Polls within the limits of accounts.
pub struct PollItems {
    limiter: Arc<RateLimiter>,
    /// Whether a response without its list was logged.
    warned: AtomicBool,
    memory: Memory<Position>,
}

impl PollItems {
    pub fn new(limiter: Arc<RateLimiter>) -> Self {
        Self {
            limiter,
            warned: AtomicBool::new(false),
            memory: Memory::default(),
        }
    }
}

impl Trigger for PollItems {
    type Config = Config;
    type Snapshot = Snapshot<Position>;
    type Output = Value;

    async fn poll(
        &self,
        since: Option<Snapshot<Position>>,
        cx: Context<Config, Value>,
    ) -> anyhow::Result<Option<Snapshot<Position>>> {
        let reader = PageReader::new(&cx, &self.limiter, &self.warned);
        let since = since.map(|since| self.memory.recall(since));
        let mut poll = Poll::new(&cx, &self.memory, since)?;
        match poll.read_all(reader).await {
            Ok(()) => Ok(Some(self.memory.save(poll.finished())?)),
            Err(error) => {
                // What cannot be read after the last item comes after the position: the next poll meets it again, and knows
                // what follows it.
                poll.save_progress().await?;
                Err(error)
            }
        }
    }
}

/// One poll: the pages of a list, from the first to the last.
struct Poll<'a> {
    cx: &'a Context<Config, Value>,
    config: &'a Config,
    memory: &'a Memory<Position>,
    /// Where the last poll ended.
    start: Position,
    /// The position past all items so far.
    position: Position,
    /// What the snapshot may say if the poll fails now.
    progress: Position,
    /// The changes on the pages so far.
    met: HashSet<Fingerprint>,
    /// The new items so far, if one message holds all of them.
    collected: Collected,
    /// What the API cannot return.
    gaps: Gaps<'a>,
    /// The items without a time or id that are not reported yet.
    unusable: Vec<Unusable>,
    /// How many of them were reported.
    unusable_reported: usize,
    has_usable: bool,
    /// What the times of the items are: times, numbers or texts.
    kind: Option<Kind>,
    /// The last page had only items of pages before it.
    after_repeated_page: bool,
    /// The page that is requested again for that.
    asked_again: Option<PageRequest>,
}

impl<'a> Poll<'a> {
    fn new(
        cx: &'a Context<Config, Value>,
        memory: &'a Memory<Position>,
        since: Option<Position>,
    ) -> anyhow::Result<Self> {
        let config = &cx.config;
        let start = match since {
            Some(since) => since,
            None => Position::from_start_value(config.start()?),
        };
        Ok(Self {
            cx,
            config,
            memory,
            position: start.clone(),
            progress: start.clone(),
            has_usable: start.has_changes(),
            kind: start.kind(),
            start,
            met: HashSet::new(),
            collected: Collected::default(),
            gaps: Gaps::new(config),
            unusable: Vec::new(),
            unusable_reported: 0,
            after_repeated_page: false,
            asked_again: None,
        })
    }

    async fn read_all(&mut self, mut reader: PageReader<'_>) -> anyhow::Result<()> {
        let paging = self.config.paging()?;
        let mut guard = PageGuard::new(PageLimits::default());
        let mut items_before = 0;
        let mut next = Some(paging.first());
        reader.since = self.start.query_value().cloned();
        while let Some(request) = next {
            let page = (&request, reader.since.as_ref().map(Value::to_string));
            let is_again = self.asked_again.take() == Some(request.clone());
            if !is_again && !guard.may_request(&page, items_before).await? {
                break;
            }
            let Some(page) = reader.read(&request, &paging).await? else {
                break;
            };
            items_before = page.items.len();
            next = self.take_page(page, &request, is_again, &paging).await?;
            next = next.map(|next| self.by_time(next, &paging, &mut reader));
            if next.as_ref() == Some(&paging.first()) {
                self.report_gap_at_end().await?;
            }
            if next.is_some() && self.saves_each_page() {
                self.save(&self.progress).await?;
            }
        }
        self.report_gap_at_end().await?;
        if let Some(first) = self.unusable.first() {
            // No item has a time and an id: then the step's fields are wrong.
            bail!("{}", first.reason);
        }
        self.report_more_unusable().await?;
        self.emit_collected().await
    }

    /// Emits what is new on a page. Returns the page after it.
    async fn take_page(
        &mut self,
        page: PageRead,
        request: &PageRequest,
        is_again: bool,
        paging: &Paging,
    ) -> anyhow::Result<Option<PageRequest>> {
        let neighbours = self.gaps.neighbours(&page.items);
        let (is_empty, met_before) = (page.items.is_empty(), self.met.len());
        let (mut new, known) = self.take_changes(page.items);
        check_count(self.met.len())?;
        let is_repeated = !is_empty && self.met.len() == met_before && *request != paging.first();
        if is_repeated && !is_again && !self.after_repeated_page {
            // The API may have mistaken the page, and its items would be missed.
            self.asked_again = Some(request.clone());
            return Ok(self.asked_again.clone());
        }
        let gaps = self.gaps.pass(neighbours, page.unreadable);
        if self.config.is_sorted {
            self.check_sorted(&new)?;
        }
        new.sort_by(|a, b| compare(&a.changed, &b.changed));
        self.emit(new).await?;
        for change in &known {
            self.position.advance(&change.changed, &change.id);
        }
        for gap in gaps {
            self.report_gap(gap).await?;
        }
        self.report_unusable().await?;
        if self.saves_each_page() {
            self.progress = self.position.clone().with_reports_of(&self.progress);
        }
        // A single repeated page is normal: items that move to the front shift the others to the next page. A page that the
        // API names itself is followed: another one can have new items.
        let is_numbered = matches!(request, PageRequest::Number(_));
        if is_repeated && is_numbered && self.after_repeated_page {
            self.report_repeated().await?;
            return Ok(None);
        }
        self.after_repeated_page = is_repeated;
        Ok(page.next)
    }

    /// The new items of a page, and those that were emitted before.
    fn take_changes(&mut self, items: Vec<Value>) -> (Vec<Change>, Vec<Change>) {
        let (mut new, mut known) = (Vec::new(), Vec::new());
        for item in items {
            let change = Change::of(item, self.config);
            match change.and_then(|change| change.of_kind(&mut self.kind)) {
                Ok(change) => {
                    self.has_usable = true;
                    let is_first = self.met.insert(change.fingerprint);
                    if is_first
                        && self
                            .start
                            .is_new(&change.changed, &change.id, change.fingerprint)
                    {
                        new.push(change);
                    } else {
                        known.push(change);
                    }
                }
                Err(unusable) => {
                    if self.met.insert(unusable.fingerprint)
                        && !self.start.is_reported(unusable.fingerprint)
                    {
                        self.unusable.push(unusable);
                    }
                }
            }
        }
        (new, known)
    }

    /// Returns an error if a list that should be sorted is not: its position is saved after each page, and an earlier
    /// change on a later page would be lost.
    fn check_sorted(&self, new: &[Change]) -> anyhow::Result<()> {
        let is_ordered = new.is_sorted_by(|a, b| compare(&a.changed, &b.changed).is_le());
        let follows = new.iter().all(|change| {
            self.position
                .is_new(&change.changed, &change.id, change.fingerprint)
        });
        ensure!(
            is_ordered && follows,
            "the list does not begin with the earliest change: untick `isSorted`"
        );
        Ok(())
    }

    /// Emits the new items of a page, and moves the position past those that were emitted or reported.
    async fn emit(&mut self, new: Vec<Change>) -> anyhow::Result<()> {
        let (mut ids, mut items) = (Vec::new(), Vec::new());
        for change in new {
            self.position.advance(&change.changed, &change.id);
            ids.push((change.fingerprint, change.id));
            items.push(change.item);
        }
        match self.config.emit {
            Emit::All => self.collected.add(items, ids)?,
            Emit::Page if items.is_empty() => {}
            Emit::Page => self.emit_together(items, ids).await?,
            Emit::Each => self.emit_each(items, ids).await?,
        }
        Ok(())
    }

    /// Emits each item as a message. Items that can never be emitted are reported and passed over.
    ///
    /// # Errors
    /// Returns an error if another item was not emitted. Those that were are remembered.
    async fn emit_each(
        &mut self,
        items: Vec<Value>,
        ids: Vec<(Fingerprint, Value)>,
    ) -> anyhow::Result<()> {
        let failed = self.cx.data_each(items).await;
        let mut first_error = None;
        let mut lost = HashSet::new();
        for failed in failed {
            if failed.is_permanent {
                let id = &ids[failed.position].1;
                let passed = format!("item {id} is passed over: it cannot be emitted");
                self.cx.error(failed.into_error().context(passed)).await?;
            } else {
                lost.insert(failed.position);
                first_error.get_or_insert(failed.into_error());
            }
        }
        let done = ids
            .into_iter()
            .enumerate()
            .filter(|(at, _)| !lost.contains(at));
        self.progress
            .remember_emitted(done.map(|(_, (fingerprint, _))| fingerprint));
        first_error.map_or(Ok(()), Err)
    }

    /// Emits items as one message, or one by one if they are too large together.
    async fn emit_together(
        &mut self,
        items: Vec<Value>,
        ids: Vec<(Fingerprint, Value)>,
    ) -> anyhow::Result<()> {
        let body = json!({ "items": &items });
        let Some(failed) = self.cx.data_each([body]).await.pop() else {
            self.progress
                .remember_emitted(ids.into_iter().map(|(fingerprint, _)| fingerprint));
            return Ok(());
        };
        if !failed.is_permanent {
            return Err(failed.into_error());
        }
        // Too large together.
        failed.dismiss();
        let single = items.into_iter().map(|item| json!({ "items": [item] }));
        self.emit_each(single.collect(), ids).await
    }

    /// Emits what was collected for one message.
    async fn emit_collected(&mut self) -> anyhow::Result<()> {
        let Collected { items, ids, .. } = take(&mut self.collected);
        if items.is_empty() {
            return Ok(());
        }
        self.emit_together(items, ids).await
    }

    /// Reports what the API cannot return between two items, once.
    async fn report_gap(&mut self, gap: Gap) -> anyhow::Result<()> {
        let is_reported = |one| self.progress.is_reported(one);
        let (unreported, all) = gap.unreported(&self.config.path, is_reported);
        for (place, error) in unreported {
            let passed = format!("{place} is passed over: the API cannot return it");
            self.cx.error(error.context(passed)).await?;
        }
        for one in all {
            self.progress.remember_reported(one);
        }
        Ok(())
    }

    /// Reports what the API cannot return after the last item, once.
    async fn report_gap_at_end(&mut self) -> anyhow::Result<()> {
        match self.gaps.end() {
            Some(gap) => self.report_gap(gap).await,
            None => Ok(()),
        }
    }

    /// Reports items without a time or an id, once, if another item has them.
    async fn report_unusable(&mut self) -> anyhow::Result<()> {
        if !self.has_usable {
            return Ok(());
        }
        for unusable in take(&mut self.unusable) {
            if self.unusable_reported < MAX_UNUSABLE {
                let error = anyhow!("{} is passed over: {}", unusable.shown, unusable.reason);
                self.cx.error(error).await?;
            }
            self.unusable_reported += 1;
            self.progress.remember_reported(unusable.fingerprint);
        }
        Ok(())
    }

    /// Reports how many items were not reported one by one.
    async fn report_more_unusable(&mut self) -> anyhow::Result<()> {
        let more = self.unusable_reported.saturating_sub(MAX_UNUSABLE);
        if more == 0 {
            return Ok(());
        }
        let error = anyhow!("{more} more items are passed over for such reasons");
        self.cx.error(error).await
    }

    /// Reports once that the API returns the same items again and again. They are the last page, or the API does not know
    /// the parameter.
    async fn report_repeated(&mut self) -> anyhow::Result<()> {
        let report = Fingerprint::of(&format!("{} repeats its pages", self.config.path));
        if self.progress.is_reported(report) {
            return Ok(());
        }
        let error = anyhow!(
            "two pages contain only items of earlier pages, which counts as the end of the list: if items are missing, \
             check the field `paging`"
        );
        self.cx.error(error).await?;
        self.progress.remember_reported(report);
        Ok(())
    }

    /// The next page. If the API accepts a time, this is the first page since the position: a page number would skip
    /// items if the list gets shorter in the meantime.
    fn by_time(
        &self,
        next: PageRequest,
        paging: &Paging,
        reader: &mut PageReader<'_>,
    ) -> PageRequest {
        if !self.config.pages_by_time() || self.position.query_value() == reader.since.as_ref() {
            return next;
        }
        reader.since = self.position.query_value().cloned();
        paging.first()
    }

    /// Whether the position is saved after each page.
    fn saves_each_page(&self) -> bool {
        self.config.is_sorted && self.config.emit != Emit::All
    }

    /// Saves what was emitted and reported before an error, so that it is not emitted or reported again.
    async fn save_progress(&self) -> anyhow::Result<()> {
        if self.progress == self.start {
            return Ok(());
        }
        self.save(&self.progress).await
    }

    async fn save(&self, position: &Position) -> anyhow::Result<()> {
        let snapshot = self.memory.save(position.clone())?;
        self.cx.snapshot(&snapshot).await
    }

    /// The position after a complete poll.
    fn finished(mut self) -> Position {
        self.position.forget_emitted();
        self.position.with_reports_of(&self.progress)
    }
}

/// Returns an error if a poll has met too many items.
fn check_count(items: usize) -> anyhow::Result<()> {
    ensure!(
        items <= MAX_MET,
        "the list has more than {MAX_MET} items, too many for one poll: let the API filter it (`sinceParameter` or \
         `sinceHeader`), or sort it (`isSorted`), so that the next poll continues where this one ends"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_items_of_a_poll_are_limited() {
        check_count(MAX_MET).unwrap();
        let error = check_count(MAX_MET + 1).unwrap_err().to_string();
        for part in ["1000000 items", "`sinceParameter`", "`isSorted`"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
