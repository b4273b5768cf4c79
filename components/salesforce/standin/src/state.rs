//! The organisation: records, query cursors, jobs, and the clock.

use super::{clock::Clock, job::Job, schema::Schema};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub(super) type Record = Map<String, Value>;

pub(super) struct State {
    pub(super) schema: Schema,
    pub(super) clock: Clock,
    pub(super) page_size: usize,
    pub(super) job_pace: usize,
    pub(super) job_failure: Option<String>,
    records: BTreeMap<String, Vec<Record>>,
    /// The results of queries, for their pages.
    pub(super) cursors: Vec<Vec<Value>>,
    pub(super) jobs: BTreeMap<String, Job>,
    issued: usize,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            schema: Schema::new(),
            clock: Clock::default(),
            page_size: 2000,
            job_pace: 0,
            job_failure: None,
            records: BTreeMap::new(),
            cursors: Vec::new(),
            jobs: BTreeMap::new(),
            issued: 0,
        }
    }

    /// An id of 18 characters that sorts in the order of creation.
    pub(super) fn new_id(&mut self, key_prefix: &str) -> String {
        self.issued += 1;
        format!("{key_prefix}5g{:010}AAA", self.issued)
    }

    /// Adds text fields to an existing object, and to its records.
    pub(super) fn widen(&mut self, object: &str, fields: usize) {
        let names = self.schema.widen(object, fields);
        let records = self.records.get_mut(&names.object).into_iter().flatten();
        for record in records {
            let empty = names.fields.iter().map(|name| (name.clone(), Value::Null));
            record.extend(empty);
        }
    }

    /// Creates a record of an existing object. `fields` override what the system sets.
    pub(super) fn insert(&mut self, object: &str, fields: Record) -> String {
        let object = self
            .schema
            .object(object)
            .unwrap_or_else(|_| panic!("the stand-in has no object {object}"))
            .clone();
        let id = self.new_id(&object.key_prefix);
        let mut record: Record = object
            .fields
            .iter()
            .map(|field| (field.name.clone(), Value::Null))
            .collect();
        record.insert("Id".into(), id.into());
        for field in &object.fields {
            if field.kind == "boolean" {
                record.insert(field.name.clone(), false.into());
            }
            if ["CreatedDate", "LastModifiedDate", "SystemModstamp"].contains(&field.name.as_str())
            {
                record.insert(field.name.clone(), self.clock.stamp().into());
            }
        }
        for (name, value) in fields {
            let field = object
                .field(&name)
                .unwrap_or_else(|| panic!("{} has no field {name}", object.name));
            record.insert(field.name.clone(), value);
        }
        let id = record["Id"].as_str().unwrap_or_default().to_owned();
        self.records.entry(object.name).or_default().push(record);
        id
    }

    /// False when there is no such record.
    pub(super) fn update(&mut self, object: &str, id: &str, fields: Record) -> bool {
        let stamp = self.clock.stamp();
        let Ok(described) = self.schema.object(object).cloned() else {
            return false;
        };
        let Some(record) = self.find_mut(object, id) else {
            return false;
        };
        for (name, value) in fields {
            let name = described
                .field(&name)
                .map_or(name, |field| field.name.clone());
            record.insert(name, value);
        }
        for name in ["LastModifiedDate", "SystemModstamp"] {
            if let Some(time) = record.get_mut(name) {
                *time = stamp.clone().into();
            }
        }
        true
    }

    pub(super) fn delete(&mut self, object: &str, id: &str) {
        self.update(
            object,
            id,
            Record::from_iter([("IsDeleted".to_owned(), true.into())]),
        );
    }

    /// All records, deleted ones too.
    pub(super) fn all(&self, object: &str) -> impl Iterator<Item = &Record> {
        let records = self
            .records
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(object));
        records.into_iter().flat_map(|(_, records)| records)
    }

    pub(super) fn find(&self, object: &str, id: &str) -> Option<&Record> {
        self.all(object).find(|record| has_id(record, id))
    }

    fn find_mut(&mut self, object: &str, id: &str) -> Option<&mut Record> {
        let records = self
            .records
            .iter_mut()
            .find(|(name, _)| name.eq_ignore_ascii_case(object));
        records.and_then(|(_, records)| records.iter_mut().find(|record| has_id(record, id)))
    }

    /// The ids of records with this value in a field, without deleted ones. The case does not matter.
    pub(super) fn having(&self, object: &str, field: &str, value: &str) -> Vec<String> {
        let is_it = |record: &&Record| {
            !is_deleted(record)
                && record
                    .get(field)
                    .and_then(Value::as_str)
                    .is_some_and(|v| v.eq_ignore_ascii_case(value))
        };
        let ids = self
            .all(object)
            .filter(is_it)
            .filter_map(|record| record["Id"].as_str());
        ids.map(str::to_owned).collect()
    }
}

pub(super) fn is_deleted(record: &Record) -> bool {
    record.get("IsDeleted") == Some(&Value::Bool(true))
}

/// An id may have 15 characters too.
fn has_id(record: &Record, id: &str) -> bool {
    record["Id"]
        .as_str()
        .is_some_and(|own| own == id || (id.len() == 15 && own.starts_with(id)))
}
