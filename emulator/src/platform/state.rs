//! What the platform stores, and its rules.

use super::items::{self, Item};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

/// A step of a flow, as its component gets it (wire-contract: Calls of a sailor).
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// The step's id: `ELASTICIO_STEP_ID`.
    pub id: String,
    /// The component's id: `ELASTICIO_COMP_ID`.
    pub comp_id: String,
    /// The trigger or action: `ELASTICIO_FUNCTION`.
    pub function: String,
    /// The step's fields and credentials. `_account` names the account of the credentials.
    pub config: Value,
    /// The step's snapshot.
    pub snapshot: Value,
    /// Whether messages carry the messages of earlier steps.
    pub is_passthrough: bool,
    /// Flow variables.
    pub variables: Value,
    /// Whether bodies of webhook requests are passed on unparsed, in `rawData`: the platform does it for components with
    /// `consumesRawData` in component.json.
    #[serde(skip)]
    pub consumes_raw_data: bool,
}

impl Default for Step {
    fn default() -> Self {
        let empty = || Value::Object(Map::new());
        Self {
            id: "step_1".into(),
            comp_id: "emulated-component".into(),
            function: String::new(),
            config: empty(),
            snapshot: empty(),
            is_passthrough: false,
            variables: empty(),
            consumes_raw_data: false,
        }
    }
}

impl fmt::Debug for Step {
    /// Omits the configuration, because it contains credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("id", &self.id)
            .field("function", &self.function)
            .finish_non_exhaustive()
    }
}

/// The result of a one-time call (wire-contract: One-time calls).
#[derive(Clone, PartialEq)]
pub struct ServiceResult {
    /// The id of the call.
    pub exec: String,
    /// True for `status: "success"`.
    pub success: bool,
    /// The `data` member; null when it is missing.
    pub data: Value,
}

impl fmt::Debug for ServiceResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceResult")
            .field("exec", &self.exec)
            .field("success", &self.success)
            .finish_non_exhaustive()
    }
}

/// An object in object storage.
pub(super) struct Object {
    pub(super) bytes: Bytes,
    pub(super) content_type: String,
}

/// Credentials that the platform itself refreshes.
pub(super) struct Secret {
    pub(super) credentials: Value,
    refreshed: VecDeque<Value>,
}

impl Secret {
    /// Merges the next credentials into the current ones. None when there are no next ones.
    pub(super) fn refresh(&mut self) -> Option<()> {
        overlay(&mut self.credentials, self.refreshed.pop_front()?);
        Some(())
    }
}

#[derive(Default)]
pub(super) struct State {
    steps: BTreeMap<(String, String), Step>,
    pub(super) accounts: BTreeMap<String, Map<String, Value>>,
    pub(super) startup: BTreeMap<String, Value>,
    pub(super) objects: BTreeMap<String, Object>,
    /// Objects at signed addresses; none until one is put there.
    pub(super) signed: BTreeMap<String, Option<Object>>,
    secrets: BTreeMap<(String, String), Secret>,
    /// Whether refreshed secrets are returned bare, as clients expect them, or in a list, as the platform documents it.
    pub(super) bare_refreshes: bool,
    pub(super) results: Vec<ServiceResult>,
    pub(super) items: Vec<Item>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            items: items::seed(),
            ..Self::default()
        }
    }

    pub(super) fn set_step(&mut self, flow: &str, step: Step) {
        if let Some(account) = account_of(&step.config) {
            self.accounts.entry(account.to_owned()).or_default();
        }
        self.steps.insert((flow.to_owned(), step.id.clone()), step);
    }

    pub(super) fn step(&self, flow: &str, id: &str) -> Option<Step> {
        let mut step = self.steps.get(&(flow.to_owned(), id.to_owned()))?.clone();
        let keys = account_of(&step.config)
            .and_then(|account| self.accounts.get(account))
            .cloned();
        overlay(&mut step.config, Value::Object(keys.unwrap_or_default()));
        Some(step)
    }

    pub(super) fn consumes_raw_data(&self, flow: &str) -> bool {
        self.steps
            .iter()
            .any(|((of, _), step)| of == flow && step.consumes_raw_data)
    }

    pub(super) fn set_snapshot(&mut self, flow: &str, id: &str, snapshot: Value) -> bool {
        let step = self.steps.get_mut(&(flow.to_owned(), id.to_owned()));
        step.map(|step| step.snapshot = snapshot).is_some()
    }

    pub(super) fn merge_account(&mut self, id: &str, mut keys: Map<String, Value>) -> bool {
        self.accounts
            .get_mut(id)
            .map(|account| account.append(&mut keys))
            .is_some()
    }

    pub(super) fn set_object(&mut self, id: &str, bytes: Bytes, content_type: &str) {
        self.objects.insert(
            id.to_owned(),
            Object {
                bytes,
                content_type: content_type.to_owned(),
            },
        );
    }

    pub(super) fn set_secret(
        &mut self,
        workspace: &str,
        id: &str,
        credentials: Value,
        refreshed: Vec<Value>,
    ) {
        let secret = Secret {
            credentials,
            refreshed: refreshed.into(),
        };
        self.secrets
            .insert((workspace.to_owned(), id.to_owned()), secret);
    }

    pub(super) fn secret(&self, workspace: &str, id: &str) -> Option<Value> {
        Some(
            self.secrets
                .get(&(workspace.to_owned(), id.to_owned()))?
                .credentials
                .clone(),
        )
    }

    pub(super) fn secret_mut(&mut self, workspace: &str, id: &str) -> Option<&mut Secret> {
        self.secrets.get_mut(&(workspace.to_owned(), id.to_owned()))
    }
}

fn account_of(config: &Value) -> Option<&str> {
    config.get("_account")?.as_str()
}

/// Merges the members of `over` into `under` if both are objects; the members of `over` win.
fn overlay(under: &mut Value, over: Value) {
    if let (Value::Object(under), Value::Object(mut over)) = (under, over) {
        under.append(&mut over);
    }
}
