//! The records of one page: each is emitted or reported once.

use super::{
    chunk::{self, Emitted},
    report::{Name, Names},
};
use crate::{
    position::Position,
    sorted_list::{Content, Entry},
};
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

/// The most records without a time that stand behind the position.
const MAX_DONE: usize = 20_000;

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
    places: Vec<Place>,
    /// What is to be emitted, with its place.
    new: Vec<(usize, Value)>,
    /// What is to be reported, with its place.
    bad: Vec<(usize, anyhow::Error)>,
}

/// One record of the page.
struct Place {
    name: Name,
    position: Option<Position>,
    /// Whether it was emitted or reported.
    is_done: bool,
}

impl<'a, C: Sync> PollPage<'a, C> {
    /// The page behind a position, without the records that were done before.
    pub fn new(cx: &'a Context<C, Value>, entries: Vec<Entry>, behind: &Position) -> Self {
        let mut page = Self {
            cx,
            places: vec![],
            new: vec![],
            bad: vec![],
        };
        let mut names = Names::behind(behind.last_seen_id.as_deref());
        for (at, entry) in entries.into_iter().enumerate() {
            let name = names.next(&entry);
            let is_done = behind.done.contains(name.fingerprint());
            match (entry.content, &entry.position) {
                _ if is_done => {}
                (Content::Record(record), Some(_)) => page.new.push((at, record.into())),
                (Content::Record(_), None) => {
                    let reason = name.passed_over("it has no LastModifiedDate or no Id");
                    page.bad.push((at, anyhow::Error::msg(reason)));
                }
                (Content::Unreadable(error), _) => page.bad.push((at, name.unreadable(error))),
            }
            page.places.push(Place {
                name,
                position: entry.position,
                is_done,
            });
        }
        page
    }

    /// Emits the records of the page, and reports those that it passes over.
    ///
    /// # Errors
    /// Returns an error if a record was not emitted that a later poll can emit.
    pub async fn emit(&mut self, behavior: EmitBehavior) -> anyhow::Result<()> {
        for (at, error) in std::mem::take(&mut self.bad) {
            self.report(at, error).await?;
        }
        let new = std::mem::take(&mut self.new);
        if behavior == EmitBehavior::EmitIndividually || new.is_empty() {
            return self.emit_each(new).await;
        }
        let records: Vec<&Value> = new.iter().map(|(_, record)| record).collect();
        let page = json!({ "results": records });
        let Some(failed) = self.cx.data_each([page]).await.pop() else {
            new.iter()
                .for_each(|(at, _)| self.places[*at].is_done = true);
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
        while let Some(chunk) = chunk::next(&mut new) {
            let (chunk, bodies): (Vec<usize>, Vec<Value>) = chunk.into_iter().unzip();
            let failed = self.cx.data_each(bodies).await;
            let chunk = Emitted::of(chunk, failed);
            for at in chunk.emitted {
                self.places[at].is_done = true;
            }
            for (at, error) in chunk.passed {
                let error = self.places[at].name.not_emitted(error);
                self.report(at, error).await?;
            }
            chunk.error.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    async fn report(&mut self, at: usize, error: anyhow::Error) -> anyhow::Result<()> {
        self.cx.error(error).await?;
        self.places[at].is_done = true;
        Ok(())
    }

    /// The position behind the records that were emitted or reported, up to the first that was not.
    ///
    /// # Errors
    /// Returns an error if too many records have no position.
    pub fn position_after(self, position: &Position) -> anyhow::Result<Position> {
        let mut places = self.places.iter();
        let done = places.position(|place| !place.is_done);
        let done = done.unwrap_or(self.places.len());
        let last = self.places[..done]
            .iter()
            .rposition(|place| place.position.is_some());
        let behind = last.map_or(0, |last| last + 1);
        let last = last.and_then(|last| self.places[last].position.clone());
        let mut next = last.unwrap_or_else(|| position.clone());
        let rest = self.places[behind..].iter();
        let rest = rest.filter(|place| place.is_done);
        next.done = rest.map(|place| place.name.fingerprint()).collect();
        anyhow::ensure!(
            next.done.len() <= MAX_DONE,
            "more than {MAX_DONE} records in a row have no LastModifiedDate"
        );
        Ok(next)
    }
}
