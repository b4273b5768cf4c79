//! What the platform knows, and its rules.

use super::items::{self, Item};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

/// A step of a flow, as its component is given it (wire-contract: Calls of a sailor).
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// The step's id: `ELASTICIO_STEP_ID`.
    pub id: String,
    /// The component's id: `ELASTICIO_COMP_ID`.
    pub comp_id: String,
    /// The trigger or action: `ELASTICIO_FUNCTION`.
    pub function: String,
    /// The step's fields and the credentials. `_account` names the account they come from.
    pub config: Value,
    /// What the step remembered last.
    pub snapshot: Value,
    /// Whether messages carry those of the steps before them.
    pub is_passthrough: bool,
    /// Flow variables.
    pub variables: Value,
    /// Whether bodies of webhook requests come unparsed, in `rawData`: what the platform does for components whose
    /// component.json says `consumesRawData`.
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
    /// Not the configuration: it holds credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("id", &self.id)
            .field("function", &self.function)
            .finish_non_exhaustive()
    }
}

/// What a one-time execution posted (wire-contract: One-time calls).
#[derive(Clone, PartialEq)]
pub struct ServiceResult {
    /// The execution it belongs to.
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

/// Bytes in object storage.
pub(super) struct Object {
    pub(super) bytes: Bytes,
    pub(super) content_type: String,
}

/// Credentials that the platform itself keeps fresh.
pub(super) struct Secret {
    pub(super) credentials: Value,
    refreshed: VecDeque<Value>,
}

impl Secret {
    /// Puts the next credentials over the current ones. None: there are no next ones.
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
    /// Objects behind signed addresses; none until something was put there.
    pub(super) signed: BTreeMap<String, Option<Object>>,
    secrets: BTreeMap<(String, String), Secret>,
    /// Refreshed secrets are answered in a list, as the platform documents it, or bare, as its clients expect them.
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

/// Puts the members of `over` among those of `under`, if both are objects.
fn overlay(under: &mut Value, over: Value) {
    if let (Value::Object(under), Value::Object(mut over)) = (under, over) {
        under.append(&mut over);
    }
}
