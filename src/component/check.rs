//! Compares component.json with the registered modules, and its schemas with their types.

mod fields;
mod templates;
#[cfg(test)]
mod tests;

use super::registry::{Component, FunctionKind};
use crate::{
    codes::{self, Coded},
    settings::{
        descriptor::Function,
        lint::{Issue, Modules, Surroundings, did_you_mean, lint_with},
    },
};
use serde_json::Value;
use std::path::Path;

/// All differences between component.json and the registered modules.
///
/// ```
/// use sailor::{Component, Mismatch};
///
/// let component = Component::new(r#"{"actions": {"send": {"main": "./send.rs"}}}"#)?;
/// let error = component.check().unwrap_err();
/// let mismatch: &Mismatch = error.downcast_ref().unwrap();
/// assert_eq!(mismatch.differences(), ["action \"send\" (./send.rs) has no module: register it"]);
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[error("component.json does not match the registered modules:\n{}", differences.join("\n"))]
pub struct Mismatch {
    differences: Vec<String>,
    /// `component check` finds more about it.
    component: Box<Component>,
}

impl Mismatch {
    /// Returns the differences, one sentence each.
    #[must_use]
    pub fn differences(&self) -> &[String] {
        &self.differences
    }

    pub(crate) fn into_component(self) -> Component {
        *self.component
    }
}

/// A function's schema in component.json, and the schema that is derived from its type.
pub(crate) struct SchemaPair<'a> {
    pub(crate) function: &'a str,
    /// `in` or `out`.
    pub(crate) side: &'static str,
    /// The schema's source in component.json: the path of a file, or the schema itself.
    pub(crate) declared: &'a Value,
    pub(crate) derived: Value,
}

impl Component {
    /// Checks that component.json and the registered modules match, in both directions. [`main`](crate::main) does this for every
    /// component; call it for tests, which create the component without it. Metadata that the platform never asks for is no
    /// mismatch, but a warning of `component check`.
    ///
    /// # Errors
    /// Returns a [`Mismatch`] with every difference.
    ///
    /// ```
    /// let component = sailor::Component::new(r#"{"triggers": {"poll": {"main": "./poll.rs"}}}"#)?;
    /// let error = component.check().unwrap_err();
    /// assert!(error.to_string().contains("trigger \"poll\" (./poll.rs) has no module: register it"));
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn check(self) -> anyhow::Result<Self> {
        let mut found = Vec::new();
        self.check_functions(&mut found);
        self.check_modules(&mut found);
        self.check_models(&mut found);
        let twice = self.twice.iter();
        found.extend(twice.map(|what| format!("{what} is registered more than once")));
        if found.is_empty() {
            Ok(self)
        } else {
            Err(Mismatch {
                differences: found,
                component: self.into(),
            }
            .into())
        }
    }

    /// Checks the text of component.json by the rules of [`lint`](crate::lint), and its triggers and fields by the modules.
    /// `folder` is the folder of component.json.
    pub(crate) fn lint(&self, folder: Option<&Path>) -> Vec<Issue> {
        let triggers = self.modules.iter();
        let triggers = triggers.filter(|(_, kind, _)| *kind == FunctionKind::Trigger);
        let triggers: Vec<_> = triggers
            .map(|(name, _, module)| (*name, module.polls()))
            .collect();
        let mut findings = fields::compare(self);
        findings.extend(templates::misspelt(self));
        let modules = Modules {
            triggers: &triggers,
            findings: &findings,
        };
        let surroundings = Surroundings {
            folder,
            modules: Some(modules),
        };
        lint_with(self.json.as_bytes(), &surroundings)
    }

    /// Checks that every variable that component.json requires has a value in this environment.
    ///
    /// # Errors
    /// Returns an error that names all variables without a value.
    pub(crate) fn check_environment(
        &self,
        get: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<()> {
        let missing = self.descriptor.missing_variables(get);
        if missing.is_empty() {
            return Ok(());
        }
        let lines = missing.iter().map(|(name, variable)| {
            let what = variable.description.trim();
            let colon = if what.is_empty() { "" } else { ": " };
            format!("\n  {name}{colon}{what}")
        });
        let text = format!(
            "Environment variables that component.json requires are missing or empty:{}",
            lines.collect::<String>()
        );
        Err(Coded::new(codes::MISSING_VARIABLES, text).into())
    }

    /// Returns true if this text has the content that the component was created with.
    pub(crate) fn is_of(&self, component_json: &[u8]) -> bool {
        let own: Option<Value> = serde_json::from_str(&self.json).ok();
        own.is_some() && own == serde_json::from_slice(component_json).ok()
    }

    /// Checks that everything that component.json declares is registered.
    fn check_functions(&self, found: &mut Vec<String>) {
        let declared: Vec<_> = self.declared().collect();
        if declared.is_empty() {
            found.push("component.json has neither triggers nor actions".to_owned());
        }
        for (kind, name, function) in declared {
            let registered = self
                .modules
                .iter()
                .filter(|(n, k, _)| n == name && *k == kind)
                .count();
            match (&function.main, registered) {
                (None, _) => found.push(format!("{kind} \"{name}\" has no `main`")),
                (Some(main), 0) => {
                    let others = self.modules.iter();
                    let others = others.filter(|(n, k, _)| *k == kind && !self.declares(kind, n));
                    let near = near(name, others.map(|(n, ..)| *n));
                    found.push(format!(
                        "{kind} \"{name}\" ({main}) has no module: register it{near}"
                    ));
                }
                (Some(_), 1) => {}
                (Some(_), n) => found.push(format!("{kind} \"{name}\" is registered {n} times")),
            }
            if has_dynamic_metadata(function) && !self.metadata.contains_key(name.as_str()) {
                found.push(format!(
                    "{kind} \"{name}\" has dynamic metadata, but no function for it is registered"
                ));
            }
        }
    }

    /// Checks that everything that is registered is declared in component.json.
    fn check_modules(&self, found: &mut Vec<String>) {
        for (name, kind, _) in &self.modules {
            if !self.declares(*kind, name) {
                let others = self.declared().filter(|(k, n, _)| {
                    let is_registered = |(name, kind, _): &(_, _, _)| n == name && k == kind;
                    k == kind && !self.modules.iter().any(is_registered)
                });
                let near = near(name, others.map(|(_, n, _)| n.as_str()));
                found.push(format!(
                    "{kind} \"{name}\" is registered, but not in component.json{near}"
                ));
            }
        }
    }

    /// Returns which registered metadata the platform never asks for, one sentence each.
    pub(crate) fn unused_metadata(&self) -> Vec<String> {
        let unused = self.metadata.keys().filter_map(|name| {
            let why = match self.descriptor.function(name) {
                None => "no function of that name is in component.json",
                Some(function) if has_dynamic_metadata(function) => return None,
                Some(_) => {
                    "component.json does not say `\"dynamicMetadata\": true` there, so the platform never asks for it"
                }
            };
            Some(format!("metadata for \"{name}\" is registered, but {why}"))
        });
        unused.collect()
    }

    /// Checks that fields and registered select models name each other.
    fn check_models(&self, found: &mut Vec<String>) {
        let is_registered = |model: &str| self.models.contains_key(model);
        let is_asked_for = |model: &str| self.descriptor.models().any(|(_, m)| m == model);
        for (place, model) in self.descriptor.models() {
            if !is_registered(model) {
                let unused = self.models.keys().copied();
                let near = near(model, unused.filter(|model| !is_asked_for(model)));
                found.push(format!(
                    "{place} asks for select model \"{model}\", which is not registered{near}"
                ));
            }
        }
        for model in self.models.keys().filter(|model| !is_asked_for(model)) {
            let asked_for = self.descriptor.models().map(|(_, model)| model);
            let near = near(model, asked_for.filter(|model| !is_registered(model)));
            found.push(format!(
                "select model \"{model}\" is registered, but no field asks for it{near}"
            ));
        }
    }

    fn declares(&self, kind: FunctionKind, name: &str) -> bool {
        self.declared().any(|(k, n, _)| n == name && k == kind)
    }

    /// Returns every function in component.json.
    fn declared(&self) -> impl Iterator<Item = (FunctionKind, &String, &Function)> {
        let triggers = self.descriptor.triggers.iter();
        let actions = self.descriptor.actions.iter();
        triggers
            .map(|(name, function)| (FunctionKind::Trigger, name, function))
            .chain(actions.map(|(name, function)| (FunctionKind::Action, name, function)))
    }

    /// Returns where the schemas in component.json differ from the types, one sentence each. Paths in component.json are
    /// relative to `root`. Functions with dynamic metadata or without metadata in component.json are skipped.
    ///
    /// In the tests of a component:
    ///
    /// ```
    /// # use sailor::prelude::*;
    /// # fn component() -> anyhow::Result<Component> {
    /// #     async fn size(message: Message<String>, cx: Context<serde_json::Value, usize>) -> anyhow::Result<()> {
    /// #         cx.data(&message.body.len()).await
    /// #     }
    /// #     Component::new(r#"{"actions": {"size": {"main": "./size.rs", "metadata": {"in": {"type": "number"}}}}}"#)?
    /// #         .action("size", size)
    /// #         .check()
    /// # }
    /// let differences = component()?.schema_differences(env!("CARGO_MANIFEST_DIR").as_ref());
    /// assert_eq!(differences, ["the in metadata of \"size\" in component.json differs from its type"]);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    #[must_use]
    pub fn schema_differences(&self, root: &Path) -> Vec<String> {
        self.schemas()
            .filter_map(|pair| schema_difference(&pair, root))
            .collect()
    }

    /// Returns every schema in component.json.
    pub(crate) fn schemas(&self) -> impl Iterator<Item = SchemaPair<'_>> {
        self.declared()
            .filter(|(_, _, function)| !has_dynamic_metadata(function))
            .flat_map(|(_, name, function)| self.schemas_of(name, function))
    }

    fn schemas_of<'a>(&self, name: &'a str, function: &'a Function) -> Vec<SchemaPair<'a>> {
        let (Some(declared), Some(types)) = (&function.metadata, self.metadata_of(name)) else {
            return Vec::new();
        };
        let input = declared.input.as_ref().zip(types.input);
        let output = declared.output.as_ref().zip(Some(types.output));
        let sides = [("in", input), ("out", output)];
        sides
            .into_iter()
            .filter_map(|(side, schemas)| {
                schemas.map(|(declared, derived)| SchemaPair {
                    function: name,
                    side,
                    declared,
                    derived,
                })
            })
            .collect()
    }
}

/// Asks whether the one of the others is meant that has nearly this name.
fn near<'a>(name: &str, others: impl Iterator<Item = &'a str>) -> String {
    did_you_mean(name, &others.collect::<Vec<_>>())
}

fn has_dynamic_metadata(function: &Function) -> bool {
    let dynamic = function.dynamic_metadata.as_ref();
    dynamic.is_some_and(|dynamic| *dynamic != Value::Bool(false))
}

fn schema_difference(pair: &SchemaPair<'_>, root: &Path) -> Option<String> {
    let SchemaPair {
        function,
        side,
        declared,
        derived,
    } = pair;
    let Value::String(path) = declared else {
        return (*declared != derived).then(|| {
            format!("the {side} metadata of \"{function}\" in component.json differs from its type")
        });
    };
    match std::fs::read_to_string(root.join(path)) {
        Ok(text) => {
            let stored: Value = serde_json::from_str(&text).unwrap_or_default();
            (stored != *derived)
                .then(|| format!("{path} differs from the {side} type of \"{function}\""))
        }
        Err(error) => Some(format!(
            "{path}, the {side} metadata of \"{function}\": {error}"
        )),
    }
}
