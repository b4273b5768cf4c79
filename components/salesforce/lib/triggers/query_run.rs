//! One run of a query: each record is emitted or reported once, also if the run fails and the next one continues it.

use super::report::{Name, Names, hash};
use crate::{
    api::Record,
    sorted_list::{Content, Entry},
};
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashSet;

/// The records that are emitted before the next ones are.
const CHUNK: usize = 100;
/// The most records of a failed run that are remembered.
const MAX_EMITTED: usize = 20_000;

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

/// The step's snapshot.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Progress {
    /// The keys of what a run has emitted before it failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    emitted: Vec<String>,
    /// The keys of records that are passed over in each run, and were reported.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reported: Vec<String>,
}

/// A run.
pub struct QueryRun<'a, C> {
    cx: &'a Context<C, Record>,
    method: OutputMethod,
    /// What the runs before have emitted and reported.
    emitted_before: HashSet<String>,
    reported_before: HashSet<String>,
    /// The records of this run.
    met: HashSet<String>,
    /// Whether the list is read again, in another order.
    is_again: bool,
    emitted: Vec<String>,
    reported: Vec<String>,
    /// The records so far, with their keys, if one message holds all of them.
    collected: Vec<(String, Record)>,
    names: Names,
}

impl<'a, C: Sync> QueryRun<'a, C> {
    pub fn new(cx: &'a Context<C, Record>, method: OutputMethod, before: &Progress) -> Self {
        Self {
            cx,
            method,
            emitted_before: before.emitted.iter().cloned().collect(),
            reported_before: before.reported.iter().cloned().collect(),
            met: HashSet::new(),
            is_again: false,
            emitted: vec![],
            reported: vec![],
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
            let Name { mut key, shown } = self.names.next(&entry);
            if entry.id.is_none() && matches!(entry.content, Content::Record(_)) {
                // Several rows of a result can be equal.
                key = format!("{} {key}", self.met.len());
            }
            let is_met = !self.met.insert(key.clone()) && self.is_again;
            if is_met || self.emitted_before.contains(&key) {
                continue;
            }
            match entry.content {
                Content::Record(record) if self.was_too_large(&key, &record) => {}
                Content::Record(record) => new.push((key, record)),
                Content::Unreadable(error) => {
                    let passed = format!("{shown} is passed over: Salesforce cannot return it");
                    bad.push((key, error.context(passed)));
                }
            }
        }
        for (key, error) in bad {
            self.report(key, error).await?;
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
        let all = list(collected.iter().map(|(_, record)| record.clone()));
        let Some(failed) = self.cx.data_each([all]).await.pop() else {
            return Ok(());
        };
        if !failed.is_permanent || collected.is_empty() {
            return Err(failed.into_error());
        }
        // Too large together.
        failed.dismiss();
        self.emit_each(collected).await
    }

    /// The snapshot after the run.
    pub fn progress(self, is_complete: bool) -> Progress {
        let mut progress = Progress {
            emitted: vec![],
            reported: self.reported,
        };
        if !is_complete {
            progress.reported.extend(self.reported_before);
            progress.emitted.extend(self.emitted_before);
            progress.emitted.extend(self.emitted);
            progress.emitted.truncate(MAX_EMITTED);
        }
        progress.reported.sort_unstable();
        progress.reported.dedup();
        progress
    }

    async fn emit_each(&mut self, mut new: Vec<(String, Record)>) -> anyhow::Result<()> {
        while !new.is_empty() {
            let rest = new.split_off(CHUNK.min(new.len()));
            let (keys, records): (Vec<String>, Vec<Record>) = new.into_iter().unzip();
            new = rest;
            let emitter = self.cx.emitter();
            let failed = match self.method {
                OutputMethod::EmitIndividually => emitter.data_each(&records).await,
                OutputMethod::EmitAll => {
                    let single: Vec<Record> = records
                        .iter()
                        .map(|record| list([record.clone()]))
                        .collect();
                    emitter.data_each(&single).await
                }
            };
            let lost: HashSet<usize> = failed.iter().map(|failed| failed.position).collect();
            let mut first_error = None;
            for failed in failed {
                if failed.is_permanent {
                    let key = &keys[failed.position];
                    let passed = format!("record {key} is passed over: it cannot be emitted");
                    let key = too_large(key, &records[failed.position]);
                    let error = failed.into_error().context(passed);
                    self.report(key, error).await?;
                } else {
                    first_error.get_or_insert(failed.into_error());
                }
            }
            let emitted = keys.into_iter().enumerate();
            let emitted = emitted.filter(|(at, _)| !lost.contains(at));
            self.emitted.extend(emitted.map(|(_, key)| key));
            if let Some(error) = first_error {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether a record was reported because it cannot be emitted, and has not changed since.
    fn was_too_large(&mut self, key: &str, record: &Record) -> bool {
        if self.reported_before.is_empty() {
            return false;
        }
        let key = too_large(key, record);
        let was_reported = self.reported_before.contains(&key);
        if was_reported {
            self.reported.push(key);
        }
        was_reported
    }

    /// Reports a record that is passed over, if no run before has.
    async fn report(&mut self, key: String, error: anyhow::Error) -> anyhow::Result<()> {
        if !self.reported_before.contains(&key) {
            self.cx.error(error).await?;
        }
        self.reported.push(key);
        Ok(())
    }
}

/// The key of a record that cannot be emitted.
fn too_large(key: &str, record: &Record) -> String {
    format!("{key} {}", hash(record))
}

fn list(records: impl IntoIterator<Item = Record>) -> Record {
    let records: Value = records.into_iter().map(Value::Object).collect();
    Record::from_iter([("records".to_owned(), records)])
}
