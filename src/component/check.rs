//! Compares component.json with the registered modules, and its schemas with their types.

use super::registry::{Component, FunctionKind};
use crate::settings::{
    descriptor::Function,
    lint::{Issue, Surroundings, lint_with},
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
#[error("component.json does not match the registered modules:\n{}", .0.join("\n"))]
pub struct Mismatch(Vec<String>);

impl Mismatch {
    /// Returns the differences, one sentence each.
    #[must_use]
    pub fn differences(&self) -> &[String] {
        &self.0
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
    /// Checks that component.json and the registered modules match, in both directions. This is the last call of the
    /// function that [`main`](crate::main) takes.
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
        if found.is_empty() {
            Ok(self)
        } else {
            Err(Mismatch(found).into())
        }
    }

    /// Checks the text of component.json by the rules of [`lint`](crate::lint), and the types of its triggers.
    pub(crate) fn lint(&self) -> Vec<Issue> {
        let triggers = self.modules.iter();
        let triggers = triggers.filter(|(_, kind, _)| *kind == FunctionKind::Trigger);
        let triggers: Vec<_> = triggers
            .map(|(name, _, module)| (*name, module.polls()))
            .collect();
        let surroundings = Surroundings {
            triggers: &triggers,
            ..Surroundings::default()
        };
        lint_with(self.json.as_bytes(), &surroundings)
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
                (Some(main), 0) => found.push(format!(
                    "{kind} \"{name}\" ({main}) has no module: register it"
                )),
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
            if !self.declared().any(|(k, n, _)| n == name && k == *kind) {
                found.push(format!(
                    "{kind} \"{name}\" is registered, but not in component.json"
                ));
            }
        }
        for name in self.metadata.keys() {
            if self.descriptor.function(name).is_none() {
                found.push(format!(
                    "metadata for \"{name}\" is registered, but no function of that name is in component.json"
                ));
            }
        }
    }

    /// Checks that fields and registered select models name each other.
    fn check_models(&self, found: &mut Vec<String>) {
        for (place, model) in self.descriptor.models() {
            if !self.models.contains_key(model) {
                found.push(format!(
                    "{place} asks for select model \"{model}\", which is not registered"
                ));
            }
        }
        for model in self.models.keys() {
            if !self.descriptor.models().any(|(_, m)| m == *model) {
                found.push(format!(
                    "select model \"{model}\" is registered, but no field asks for it"
                ));
            }
        }
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
            .filter(|(_, name, _)| !self.metadata.contains_key(name.as_str()))
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

#[cfg(test)]
mod tests {
    use crate::prelude::*;
    use serde_json::Value;

    struct Poll;

    impl Trigger for Poll {
        type Config = Value;
        type Snapshot = u64;
        type Output = u64;

        async fn poll(
            &self,
            _since: Option<u64>,
            _cx: Context<Value, u64>,
        ) -> anyhow::Result<Option<u64>> {
            Ok(None)
        }
    }

    async fn receive(_request: Message<Value>, _cx: Context) -> anyhow::Result<()> {
        Ok(())
    }

    #[test]
    fn the_type_of_a_trigger_is_compared_with_its_module() {
        let component = |poll: &str, receive_as: &str| {
            let json = format!(
                r#"{{"title": "T", "version": "1.0.0", "triggers": {{
                "news": {{"title": "N", "main": "./n.rs"{poll}}},
                "requests": {{"title": "R", "main": "./r.rs"{receive_as}}}}}}}"#
            );
            let component = Component::new(&json).unwrap().trigger("news", Poll);
            component.trigger("requests", receive).check().unwrap()
        };
        let (polling, webhook) = (r#", "type": "polling""#, r#", "type": "webhook""#);
        assert_eq!(component(polling, "").lint(), []);
        assert_eq!(component(polling, webhook).lint(), []);
        for (poll, receive_as, line) in [("", "", 2), (webhook, "", 2), (polling, polling, 3)] {
            let issues = component(poll, receive_as).lint();
            let found: Vec<_> = issues.iter().map(|i| (i.rule.id(), i.line)).collect();
            assert_eq!(found, [("trigger-type", line)]);
        }
    }
}
