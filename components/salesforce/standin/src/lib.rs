//! A stand-in for Salesforce on loopback: the records of one organisation.
//!
//! It has the REST API and Bulk API 2.0 as far as a component needs them: describe, SOQL, records, blobs, jobs. It accepts
//! the access tokens of a [`TokenIssuer`], and writes errors as Salesforce does. SOQL is parsed and type-checked, so a query
//! that Salesforce refuses is refused here. It responds 501, with the feature's name, to anything else: `HAVING`, `AVG`, `TYPEOF`, date literals such as `TODAY`, formulas, triggers, sharing. Its clock is
//! paused until a test moves it.

mod aggregate;
mod bulk;
mod clock;
mod composite;
mod csv;
mod error;
mod evaluate;
mod job;
mod query;
mod records;
mod response;
mod routes;
mod samples;
mod schema;
mod soql;
mod state;
mod values;

pub use http_double::{
    BrokenBody, EmptyList, Encoding, Fault, Limit, LimitStyle, RandomTrouble, RecordedCall,
    SlowBody, Trouble,
};

use http_double::{ServiceDouble, TokenIssuer};
use serde_json::{Map, Value};
use state::State;
use std::io;

/// A running stand-in for one Salesforce organisation. Clones are handles to the same one; it stops with the last.
///
/// ```
/// use emulator::provider::{Provider, ProviderConfig};
/// use salesforce_standin::Salesforce;
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
    double: ServiceDouble<State>,
}

impl Salesforce {
    /// Listens on a free port of 127.0.0.1, and accepts the tokens of this issuer. Tokens that it issues from now on have
    /// this address as `instance_url`.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(tokens: &(impl TokenIssuer + Clone)) -> io::Result<Self> {
        let double = ServiceDouble::start(tokens.clone(), State::new()).await?;
        tokens.add_token_member("instance_url", double.url().into());
        Ok(Self { double })
    }

    /// `http://127.0.0.1:PORT`, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        self.double.url()
    }

    /// Creates a record now and returns its id. Fields may override what the system sets, such as `LastModifiedDate`.
    ///
    /// # Panics
    /// When there is no such object, or `fields` is not a JSON object.
    pub fn insert(&self, object: &str, fields: Value) -> String {
        let Value::Object(fields) = fields else {
            panic!("fields of a record are a JSON object")
        };
        self.state(|state| state.insert(object, fields))
    }

    /// Changes fields of a record now.
    ///
    /// # Panics
    /// When there is no such record, or `fields` is not a JSON object.
    pub fn update(&self, object: &str, id: &str, fields: Value) {
        let Value::Object(fields) = fields else {
            panic!("fields of a record are a JSON object")
        };
        assert!(
            self.state(|state| state.update(object, id, fields)),
            "there is no {object} {id}"
        );
    }

    /// A record with all its fields; none when it does not exist or is deleted.
    #[must_use]
    pub fn record(&self, object: &str, id: &str) -> Option<Map<String, Value>> {
        self.state(|state| {
            state
                .find(object, id)
                .filter(|record| !state::is_deleted(record))
                .cloned()
        })
    }

    /// All records of an object that are not deleted, in order of creation.
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

    /// Adds text fields to an object: `Wide1__c`, `Wide2__c`, …. Customers have objects with hundreds of fields, whose names
    /// alone are longer than a URL may be.
    ///
    /// # Panics
    /// When there is no such object.
    pub fn widen(&self, object: &str, fields: usize) {
        self.state(|state| state.widen(object, fields));
    }

    /// Moves the clock. It starts at 2024-06-01T00:00:00Z.
    pub fn pass(&self, seconds: u32) {
        self.state(|state| state.clock.pass(seconds));
    }

    /// Sets how many records a page of query results has, and how many rows a page of bulk results.
    pub fn set_page_size(&self, records: usize) {
        self.state(|state| state.page_size = records.max(1));
    }

    /// Sets how often a bulk job reports that it is in progress before it is complete.
    pub fn set_job_pace(&self, polls: usize) {
        self.state(|state| state.job_pace = polls);
    }

    /// Lets bulk jobs fail as a whole from now on, for this reason; none lets them succeed again.
    pub fn fail_jobs(&self, reason: Option<&str>) {
        self.state(|state| state.job_failure = reason.map(str::to_owned));
    }

    /// All calls so far, in order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<RecordedCall> {
        self.double.calls().all()
    }

    /// The calls so far that match a regular expression on [`RecordedCall::line`].
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    #[must_use]
    pub fn calls_matching(&self, pattern: &str) -> Vec<RecordedCall> {
        self.double.calls().matching(pattern)
    }

    /// Injects faults into calls that match `pattern`, a regular expression on [`RecordedCall::line`]: one fault for each
    /// such call, then calls succeed again.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    pub fn inject_faults(&self, pattern: &str, faults: impl IntoIterator<Item = Fault>) {
        self.double.calls().inject_faults(pattern, faults);
    }

    /// Removes the injected faults that have not happened.
    pub fn clear_faults(&self) {
        self.double.calls().clear_faults();
    }

    /// What goes wrong with its responses from now on. Faults that were injected come before it.
    ///
    /// # Panics
    /// When a pattern is not a regular expression.
    pub fn set_trouble(&self, trouble: Trouble) {
        self.double.set_trouble(trouble);
    }

    /// Stops listening and ends open calls.
    pub async fn shutdown(&self) {
        self.double.shutdown().await;
    }

    fn state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.double.service())
    }
}
