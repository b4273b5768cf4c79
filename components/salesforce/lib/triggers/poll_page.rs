//! The records of one page: each is emitted or reported once.

use super::report::Names;
use crate::{
    position::Position,
    sorted_list::{Content, Entry},
};
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashSet;

/// The records that are emitted before the next ones are: after a failure, so many keys are in the snapshot at most.
const CHUNK: usize = 100;
/// The most records without a time that stand behind the position.
const MAX_DONE: usize = 2_000;

/// What a message holds.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum EmitBehavior {
    /// Each record.
    #[default]
    EmitIndividually,
    /// Each page, as `{"results": […]}`.
    #[serde(alias = "emitPage", alias = "emitAll")]
    FetchPage,
}

/// A page that is being emitted.
pub struct PollPage<'a, C> {
    cx: &'a Context<C, Value>,
    /// The keys of the records, their positions, and whether they were emitted or reported.
    places: Vec<(String, Option<Position>, bool)>,
    /// What is to be emitted, with its place.
    new: Vec<(usize, Value)>,
    /// What is to be reported, with its place.
    bad: Vec<(usize, anyhow::Error)>,
}

impl<'a, C: Sync> PollPage<'a, C> {
    /// The page behind a position, without the records that were done before.
    pub fn new(cx: &'a Context<C, Value>, entries: Vec<Entry>, behind: &Position) -> Self {
        let done: HashSet<&str> = behind.done.iter().map(String::as_str).collect();
        let mut page = Self {
            cx,
            places: vec![],
            new: vec![],
            bad: vec![],
        };
        let mut names = Names::behind(behind.last_seen_id.as_deref());
        for (at, entry) in entries.into_iter().enumerate() {
            let name = names.next(&entry);
            let (key, shown) = (name.key, name.shown);
            let is_done = done.contains(key.as_str());
            match (entry.content, &entry.position) {
                _ if is_done => {}
                (Content::Record(record), Some(_)) => page.new.push((at, record.into())),
                (Content::Record(_), None) => {
                    let reason = anyhow::anyhow!(
                        "{shown} is passed over: it has no LastModifiedDate or no Id"
                    );
                    page.bad.push((at, reason));
                }
                (Content::Unreadable(error), _) => {
                    let passed = format!("{shown} is passed over: Salesforce cannot return it");
                    page.bad.push((at, error.context(passed)));
                }
            }
            page.places.push((key, entry.position, is_done));
        }
        page
    }

    /// Emits the records of the page, and reports those that it passes over.
    ///
    /// # Errors
    /// Returns an error if a record was not emitted that a later poll can emit.
    pub async fn emit(&mut self, behavior: EmitBehavior) -> anyhow::Result<()> {
        for (at, error) in std::mem::take(&mut self.bad) {
            self.cx.error(error).await?;
            self.places[at].2 = true;
        }
        let new = std::mem::take(&mut self.new);
        if behavior == EmitBehavior::EmitIndividually || new.is_empty() {
            return self.emit_each(new).await;
        }
        let records: Vec<&Value> = new.iter().map(|(_, record)| record).collect();
        let Some(failed) = self
            .cx
            .data_each([json!({ "results": records })])
            .await
            .pop()
        else {
            new.iter().for_each(|(at, _)| self.places[*at].2 = true);
            return Ok(());
        };
        if !failed.is_permanent {
            return Err(failed.into_error());
        }
        // Too large together.
        failed.dismiss();
        let single = new
            .into_iter()
            .map(|(at, record)| (at, json!({ "results": [record] })));
        self.emit_each(single.collect()).await
    }

    async fn emit_each(&mut self, mut new: Vec<(usize, Value)>) -> anyhow::Result<()> {
        while !new.is_empty() {
            let rest = new.split_off(CHUNK.min(new.len()));
            let (chunk, bodies): (Vec<usize>, Vec<Value>) = new.into_iter().unzip();
            new = rest;
            let failed = self.cx.data_each(bodies).await;
            chunk.iter().for_each(|at| self.places[*at].2 = true);
            let mut first_error = None;
            for failed in failed {
                let (key, _, is_done) = &mut self.places[chunk[failed.position]];
                if failed.is_permanent {
                    let passed = format!("record {key} is passed over: it cannot be emitted");
                    self.cx.error(failed.into_error().context(passed)).await?;
                } else {
                    *is_done = false;
                    first_error.get_or_insert(failed.into_error());
                }
            }
            if let Some(error) = first_error {
                return Err(error);
            }
        }
        Ok(())
    }

    /// The position behind the records that were emitted or reported, up to the first that was not.
    ///
    /// # Errors
    /// Returns an error if too many records have no position.
    pub fn position_after(self, position: &Position) -> anyhow::Result<Position> {
        let done = self
            .places
            .iter()
            .take_while(|(_, _, is_done)| *is_done)
            .count();
        let last = self.places[..done]
            .iter()
            .rposition(|(_, position, _)| position.is_some());
        let behind = last.map_or(0, |last| last + 1);
        let mut next = position.clone();
        if let Some((_, Some(last), _)) = last.map(|last| &self.places[last]) {
            next = last.clone();
        }
        let rest = self.places.into_iter().skip(behind);
        next.done = rest
            .filter(|(_, _, is_done)| *is_done)
            .map(|(key, ..)| key)
            .collect();
        anyhow::ensure!(
            next.done.len() <= MAX_DONE,
            "more than {MAX_DONE} records in a row have no LastModifiedDate"
        );
        Ok(next)
    }
}
