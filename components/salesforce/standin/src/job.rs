//! A job of the Bulk API.

use serde_json::Value;

/// A bulk job.
pub(super) struct Job {
    pub(super) info: Value,
    /// How many more times it reports that it is in progress.
    pub(super) polls: usize,
    pub(super) upload: Option<String>,
    /// Results, each with its header line.
    pub(super) successful: String,
    pub(super) failed: String,
    pub(super) unprocessed: String,
    /// The header of a query's results.
    pub(super) header: String,
    pub(super) rows: Vec<String>,
}

impl Job {
    pub(super) fn new(info: Value, polls: usize) -> Self {
        let none = String::new;
        Self {
            info,
            polls,
            upload: None,
            successful: none(),
            failed: none(),
            unprocessed: none(),
            header: none(),
            rows: vec![],
        }
    }

    /// Its state in a response: a completed job reports that it is in progress for some time.
    pub(super) fn status(&mut self) -> Value {
        let mut info = self.info.clone();
        if self.polls > 0
            && ["JobComplete", "Failed"].contains(&info["state"].as_str().unwrap_or_default())
        {
            self.polls -= 1;
            info["state"] = "InProgress".into();
        }
        info
    }
}
