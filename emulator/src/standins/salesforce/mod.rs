//! Salesforce's REST API and Bulk API 2.0, as far as a component needs them: describe, SOQL, records, blobs, jobs.
//!
//! It demands tokens of a [`Provider`] and says 401 as Salesforce does. SOQL is parsed and type-checked, so that a query
//! that Salesforce would refuse is refused here. What it does not have is answered 501, by name: aggregates but
//! `COUNT()`, `GROUP BY`, `TYPEOF`, date literals such as `TODAY`, formulas, triggers, sharing. Its clock stands still
//! until a test moves it.

mod answer;
mod bulk;
mod clock;
mod csv;
mod evaluate;
mod job;
mod query;
mod records;
mod refusal;
mod routes;
mod samples;
mod schema;
mod soql;
mod state;
mod values;

pub use super::calls::{Call, Fault};

use super::server::{Running, Shared};
use crate::provider::Provider;
use serde_json::{Map, Value};
use state::State;
use std::{io, sync::Arc};

/// A running stand-in for one Salesforce organisation. Clones are handles to the same one; it stops with the last.
///
/// ```
/// use emulator::{provider::{Provider, ProviderConfig}, standins::salesforce::Salesforce};
/// use serde_json::json;
///
/// # async fn example() -> std::io::Result<()> {
/// let provider = Provider::start(ProviderConfig::default()).await?;
/// let salesforce = Salesforce::start(&provider).await?;
/// let id = salesforce.insert("Account", json!({ "Name": "Acme" }));
/// let tokens = provider.issue(); // their `instance_url` leads here
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Salesforce {
    server: Arc<Running<State>>,
}

impl Salesforce {
    /// Starts to listen on a free port of 127.0.0.1. Tokens that the provider issues from now on name this address as
    /// `instance_url`.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(provider: &Provider) -> io::Result<Self> {
        let standin = Self {
            server: Running::start(provider.clone(), State::new()).await?.into(),
        };
        provider.knobs(|knobs| {
            drop(
                knobs
                    .extra
                    .insert("instance_url".into(), standin.url().into()),
            );
        });
        Ok(standin)
    }

    fn shared(&self) -> &Shared<State> {
        &self.server.shared
    }

    /// `http://127.0.0.1:PORT`, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        self.shared().url()
    }

    /// Puts a record there as if somebody had created it now, and gives its id. Fields may override what is set by the
    /// system, such as `LastModifiedDate`.
    ///
    /// # Panics
    /// When there is no such object, or `fields` is no JSON object.
    pub fn insert(&self, object: &str, fields: Value) -> String {
        let Value::Object(fields) = fields else {
            panic!("fields of a record are a JSON object")
        };
        self.state(|state| state.insert(object, fields))
    }

    /// Changes fields of a record, now.
    ///
    /// # Panics
    /// When there is no such record, or `fields` is no JSON object.
    pub fn update(&self, object: &str, id: &str, fields: Value) {
        let Value::Object(fields) = fields else {
            panic!("fields of a record are a JSON object")
        };
        assert!(
            self.state(|state| state.update(object, id, fields)),
            "there is no {object} {id}"
        );
    }

    /// A record with all its fields; none when there is none or it is deleted.
    #[must_use]
    pub fn record(&self, object: &str, id: &str) -> Option<Map<String, Value>> {
        self.state(|state| {
            state
                .find(object, id)
                .filter(|record| !state::is_deleted(record))
                .cloned()
        })
    }

    /// All records of an object that are not deleted, in the order of their creation.
    #[must_use]
    pub fn records(&self, object: &str) -> Vec<Map<String, Value>> {
        self.state(|state| {
            state
                .all(object)
                .filter(|record| !state::is_deleted(record))
                .cloned()
                .collect()
        })
    }

    /// Moves the clock, which begins at 2024-06-01T00:00:00Z.
    pub fn pass(&self, seconds: u32) {
        self.state(|state| state.clock.pass(seconds));
    }

    /// How many records a page of query results holds, and how many rows a page of bulk results.
    pub fn set_page_size(&self, records: usize) {
        self.state(|state| state.page_size = records.max(1));
    }

    /// How often a bulk job is said to be in progress before it is done.
    pub fn set_job_pace(&self, polls: usize) {
        self.state(|state| state.job_pace = polls);
    }

    /// Bulk jobs fail as a whole from now on, for this reason; none lets them succeed again.
    pub fn fail_jobs(&self, reason: Option<&str>) {
        self.state(|state| state.job_failure = reason.map(str::to_owned));
    }

    /// Everything that was asked so far, in order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared().calls.all()
    }

    /// The calls that match a regular expression on `METHOD /path?query`, where the query is decoded.
    ///
    /// # Panics
    /// When the pattern is no regular expression.
    #[must_use]
    pub fn calls_like(&self, pattern: &str) -> Vec<Call> {
        self.shared().calls.like(pattern)
    }

    /// Orders faults for calls that match `pattern`, as [`calls_like`](Self::calls_like) has it: one fault for each such
    /// call, then calls succeed again.
    ///
    /// # Panics
    /// When the pattern is no regular expression.
    pub fn fail(&self, pattern: &str, faults: impl IntoIterator<Item = Fault>) {
        self.shared().calls.order(pattern, faults);
    }

    /// Takes back all faults that were ordered and have not happened.
    pub fn forget_faults(&self) {
        self.shared().calls.forget();
    }

    /// Stops listening and ends calls that are under way.
    pub async fn shutdown(&self) {
        self.server.shutdown().await;
    }

    fn state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.shared().service())
    }
}
