//! One run of a query: each record is emitted or reported once, also if the run fails and the next one continues it.

use super::{
    chunk::{self, Emitted},
    report::{Name, Names, hash},
};
use crate::{
    api::Record,
    position::of_keys,
    sorted_list::{Content, Entry},
};
use sailor::{
    prelude::*,
    snapshot::{self, Fingerprint, Fingerprints},
};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// What a message holds.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum OutputMethod {
    /// Each record.
    #[default]
    EmitIndividually,
    /// All records.
    EmitAll,
}

/// What runs have done: the step's snapshot.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Progress {
    /// What a run has emitted before it failed.
    #[serde(
        skip_serializing_if = "Fingerprints::is_empty",
        deserialize_with = "of_keys"
    )]
    emitted: Fingerprints,
    /// The records that are passed over in each run, and were reported.
    #[serde(
        skip_serializing_if = "Fingerprints::is_empty",
        deserialize_with = "of_keys"
    )]
    reported: Fingerprints,
}

impl snapshot::Position for Progress {
    fn fingerprints(&mut self) -> Vec<&mut Fingerprints> {
        vec![&mut self.emitted, &mut self.reported]
    }
}

/// A record as a list.
#[derive(Serialize)]
struct Records<T> {
    records: T,
}

/// A run.
pub struct QueryRun<'a, C> {
    cx: &'a Context<C, Record>,
    method: OutputMethod,
    /// What the runs before have emitted and reported.
    before: &'a Progress,
    /// The records of this run.
    met: HashSet<Fingerprint>,
    /// Whether the list is read again, in another order.
    is_again: bool,
    emitted: Fingerprints,
    reported: Fingerprints,
    /// The records so far, with their names, if one message holds all of them.
    collected: Vec<(Name, Record)>,
    names: Names,
}

impl<'a, C: Sync> QueryRun<'a, C> {
    pub fn new(cx: &'a Context<C, Record>, method: OutputMethod, before: &'a Progress) -> Self {
        Self {
            cx,
            method,
            before,
            met: HashSet::new(),
            is_again: false,
            emitted: Fingerprints::default(),
            reported: Fingerprints::default(),
            collected: vec![],
            names: Names::behind(None),
        }
    }

    /// From now on, records come again that were met before.
    pub fn read_again(&mut self) {
        self.names = Names::behind(None);
        self.is_again = true;
    }

    /// Emits the records that were not met before, and reports those that Salesforce cannot return.
    ///
    /// # Errors
    /// Returns an error if a record was not emitted that a later run can emit.
    pub async fn take(&mut self, entries: impl IntoIterator<Item = Entry>) -> anyhow::Result<()> {
        let (mut new, mut bad) = (vec![], vec![]);
        for entry in entries {
            let mut name = self.names.next(&entry);
            if entry.id.is_none() && matches!(entry.content, Content::Record(_)) {
                // Several rows of a result can be equal.
                name.key = format!("{} {}", self.met.len(), name.key);
            }
            let fingerprint = name.fingerprint();
            let is_met = !self.met.insert(fingerprint) && self.is_again;
            if is_met || self.before.emitted.contains(fingerprint) {
                continue;
            }
            match entry.content {
                Content::Record(record) if self.was_too_large(&name, &record) => {}
                Content::Record(record) => new.push((name, record)),
                Content::Unreadable(error) => bad.push((fingerprint, name.unreadable(error))),
            }
        }
        for (fingerprint, error) in bad {
            self.report(fingerprint, error).await?;
        }
        match self.method {
            OutputMethod::EmitAll => self.collected.extend(new),
            OutputMethod::EmitIndividually => self.emit_each(new).await?,
        }
        Ok(())
    }

    /// Emits what one message holds, or an empty message if nothing was found.
    ///
    /// # Errors
    /// Returns the errors of [`take`](Self::take).
    pub async fn finish(&mut self, emits_empty: bool) -> anyhow::Result<()> {
        if self.met.is_empty() && !emits_empty {
            return Ok(());
        }
        if self.method == OutputMethod::EmitIndividually {
            return if self.met.is_empty() {
                self.cx.data(&Record::new()).await
            } else {
                Ok(())
            };
        }
        let collected = std::mem::take(&mut self.collected);
        let records: Vec<&Record> = collected.iter().map(|(_, record)| record).collect();
        let all = Records { records };
        let Some(failed) = self.cx.emitter().data_each([all]).await.pop() else {
            return Ok(());
        };
        if !failed.is_permanent || collected.is_empty() {
            return Err(failed.into_error());
        }
        // Too large together.
        failed.dismiss();
        self.emit_each(collected).await
    }

    /// What the next run has to know.
    pub fn progress(self, is_complete: bool) -> Progress {
        if is_complete {
            return Progress {
                emitted: Fingerprints::default(),
                reported: self.reported,
            };
        }
        let mut progress = self.before.clone();
        progress.emitted.extend(self.emitted.iter());
        progress.reported.extend(self.reported.iter());
        progress
    }

    async fn emit_each(&mut self, mut new: Vec<(Name, Record)>) -> anyhow::Result<()> {
        while let Some(chunk) = chunk::next(&mut new) {
            let emitter = self.cx.emitter();
            let records: Vec<&Record> = chunk.iter().map(|(_, record)| record).collect();
            let failed = match self.method {
                OutputMethod::EmitIndividually => emitter.data_each(records).await,
                OutputMethod::EmitAll => {
                    let single = records.iter().map(|record| Records { records: [*record] });
                    emitter.data_each(single.collect::<Vec<_>>()).await
                }
            };
            let chunk = Emitted::of(chunk, failed);
            let emitted = chunk.emitted.iter();
            self.emitted
                .extend(emitted.map(|(name, _)| name.fingerprint()));
            for ((name, record), error) in chunk.passed {
                let fingerprint = too_large(&name, &record);
                self.report(fingerprint, name.not_emitted(error)).await?;
            }
            chunk.error.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// Whether a record was reported because it cannot be emitted, and has not changed since.
    fn was_too_large(&mut self, name: &Name, record: &Record) -> bool {
        if self.before.reported.is_empty() {
            return false;
        }
        let fingerprint = too_large(name, record);
        let was_reported = self.before.reported.contains(fingerprint);
        if was_reported {
            self.reported.insert(fingerprint);
        }
        was_reported
    }

    /// Reports a record that is passed over, if no run before has.
    async fn report(&mut self, record: Fingerprint, error: anyhow::Error) -> anyhow::Result<()> {
        if !self.before.reported.contains(record) {
            self.cx.error(error).await?;
        }
        self.reported.insert(record);
        Ok(())
    }
}

/// Identifies a record that cannot be emitted, in its state.
fn too_large(Name { key, .. }: &Name, record: &Record) -> Fingerprint {
    Fingerprint::of(&format!("{key} {}", hash(record)))
}
