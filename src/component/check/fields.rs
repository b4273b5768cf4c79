//! Compares the fields of component.json with the types that read them.
//!
//! A type is asked with sample values: those that the platform sends for a field, and others. What it reads of them decides;
//! where that tells nothing for certain, nothing is reported.

use crate::{
    component::{
        config_type::{ConfigType, Reading},
        registry::{Component, FunctionKind},
    },
    settings::{
        descriptor::{Field, Function},
        lint::{Finding, Rule, child, meant, of_modules},
    },
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What users may enter into a field for text. The platform sends numbers as text too.
const TEXTS: [&str; 12] = [
    "a",
    "1",
    "1.5",
    "true",
    "https://example.com/",
    "a@example.com",
    "2024-02-29T12:00:00Z",
    "2024-02-29",
    "00000000-0000-4000-8000-000000000000",
    "{}",
    "[]",
    "",
];

/// Members that the platform adds to each configuration.
const ADDED: [&str; 2] = ["_account", "secretId"];

/// More members than any configuration has.
const MAX_MEMBERS: usize = 1000;

type Fields<'a> = BTreeMap<&'a str, &'a Field>;

/// Returns where fields and types do not fit.
pub(super) fn compare(component: &Component) -> Vec<Finding> {
    let credentials = component.descriptor.credentials.as_ref();
    let credentials: Fields<'_> = credentials
        .iter()
        .flat_map(|c| &c.fields)
        .map(|(name, field)| (name.as_str(), field))
        .collect();
    let mut found = Vec::new();
    for (kind, name, function) in component.declared() {
        let step = Step::new(component, &credentials, (kind, name), function);
        step.compare(&mut found);
    }
    if let Some(verify) = &component.verify {
        let place = match &component.descriptor.credentials {
            Some(_) => "/credentials",
            None => "",
        };
        let missing = missing(verify.config, &credentials);
        let text = |name: &String| {
            format!(
                "the check of the credentials requires `{name}`, which no credential field gives"
            )
        };
        found.extend(missing.iter().map(|name| Finding {
            rule: of_modules::MISSING_FIELD,
            pointer: place.to_owned(),
            problem: text(name),
            remedy: ADD_FIELD.to_owned(),
        }));
    }
    found
}

const ADD_FIELD: &str =
    "add a field of that name, or give the member `#[serde(default)]`; the case of letters counts";

/// A function, its fields, and the types that read them.
struct Step<'a> {
    pointer: String,
    own: Fields<'a>,
    /// Those of the credentials too.
    all: Fields<'a>,
    module: Option<ConfigType>,
    /// Those of dynamic metadata and select models.
    others: Vec<(String, ConfigType)>,
}

impl<'a> Step<'a> {
    fn new(
        component: &Component,
        credentials: &Fields<'a>,
        (kind, name): (FunctionKind, &str),
        function: &'a Function,
    ) -> Self {
        let mut modules = component.modules.iter();
        let module = modules.find(|(n, k, _)| *n == name && *k == kind);
        let own: Fields<'a> = function
            .fields
            .iter()
            .map(|(name, field)| (name.as_str(), field))
            .collect();
        let mut all = credentials.clone();
        all.extend(&own);
        let models: BTreeSet<&str> = own.values().filter_map(|f| f.select_model()).collect();
        let models = models.into_iter().filter_map(|name| {
            let model = component.models.get(name)?;
            Some((format!("the select model \"{name}\""), model.config))
        });
        let metadata = component.metadata.get(name);
        let metadata = metadata.map(|m| ("the function for its metadata".to_owned(), m.config));
        Self {
            pointer: child(&child("", kind.section()), name),
            module: module.map(|(.., module)| module.config()),
            others: models.chain(metadata).collect(),
            own,
            all,
        }
    }

    fn compare(&self, found: &mut Vec<Finding>) {
        let mut unread = self.unread();
        if let Some(module) = self.module {
            for name in missing(module, &self.all) {
                // A field of nearly that name is the one that is meant.
                let near = meant(&name, &unread);
                unread.retain(|field| near != Some(*field));
                found.push(self.missing("its module", &name, near));
            }
            for (name, field) in &self.all {
                found.extend(self.unreadable(module, name, field));
            }
            for name in unread {
                let near = meant(name, module.members().unwrap_or_default());
                found.push(self.unread_field(name, near));
            }
        }
        for (who, config) in &self.others {
            let missing = missing(*config, &self.all);
            found.extend(missing.iter().map(|name| self.missing(who, name, None)));
        }
    }

    /// Returns the fields that no type reads; none if the module's type does not tell what it reads. The other functions of
    /// a step usually read few fields: one of them that does not tell which must not hide what the module does not read.
    fn unread(&self) -> Vec<&'a str> {
        let Some(read) = self.module.and_then(ConfigType::members) else {
            return Vec::new();
        };
        let others = self.others.iter();
        let others = others.filter_map(|(_, config)| config.members());
        let read: BTreeSet<&str> = read.iter().chain(others.flatten()).copied().collect();
        let names = self.own.keys().copied();
        names.filter(|name| !read.contains(name)).collect()
    }

    /// Returns the functions beside the module whose types do not tell what they read.
    fn silent(&self) -> Vec<&str> {
        let others = self.others.iter();
        let silent = others.filter(|(_, config)| config.members().is_none());
        silent.map(|(who, _)| who.as_str()).collect()
    }

    fn finding(
        &self,
        rule: Rule,
        field: Option<&str>,
        problem: String,
        remedy: impl Into<String>,
    ) -> Finding {
        let pointer = match field {
            // A field of the credentials that does not suit this function is reported at the function.
            Some(name) if self.own.contains_key(name) => {
                child(&child(&self.pointer, "fields"), name)
            }
            _ => self.pointer.clone(),
        };
        Finding {
            rule,
            pointer,
            problem,
            remedy: remedy.into(),
        }
    }

    fn missing(&self, who: &str, name: &str, near: Option<&str>) -> Finding {
        let problem = format!("{who} requires `{name}`, which no field gives: each message fails");
        let remedy = near.map_or_else(
            || ADD_FIELD.to_owned(),
            |field| {
                format!("is the field `{field}` meant? Rename it or the member; `#[serde(rename_all = \"camelCase\")]` renames all")
            },
        );
        self.finding(of_modules::MISSING_FIELD, near, problem, remedy)
    }

    fn unread_field(&self, name: &str, near: Option<&str>) -> Finding {
        let remedy = match near {
            Some(near) => format!(
                "is it the member `{near}`? Rename one of them; `#[serde(rename_all = \"camelCase\")]` renames all"
            ),
            None => "read it, or remove the field".to_owned(),
        };
        let silent = self.silent();
        let problem = if silent.is_empty() {
            "no type reads this field, so what users enter has no effect".to_owned()
        } else {
            format!(
                "no type reads this field. Only {} may: its type, such as `Value`, does not tell which members it has. A struct \
                 does",
                silent.join(" or ")
            )
        };
        self.finding(of_modules::UNREAD_FIELD, Some(name), problem, remedy)
    }

    /// Returns what is wrong if the module does not read what the platform sends for a field.
    fn unreadable(&self, module: ConfigType, name: &str, field: &Field) -> Option<Finding> {
        if !module.members()?.contains(&name) {
            return None;
        }
        let sent = sent_values(field);
        let refused: Vec<&Value> = sent.iter().filter(|v| refuses(module, name, v)).collect();
        let is_choice = has_choices(field);
        let other = || other_values().into_iter().find(|v| reads(module, name, v));
        if is_choice && !refused.is_empty() {
            let choices: Vec<String> = refused
                .iter()
                .map(std::string::ToString::to_string)
                .collect();
            let problem = format!(
                "the module does not read the choices {} of `{name}`: each message fails",
                choices.join(", ")
            );
            let remedy = "correct the choices, or the type of the member";
            return Some(self.finding(of_modules::UNREADABLE_FIELD, Some(name), problem, remedy));
        }
        if !sent.is_empty()
            && refused.len() == sent.len()
            && let Some(other) = other()
        {
            return Some(self.only_reads(name, field, &other));
        }
        self.unreadable_if_empty(module, name, field)
    }

    fn only_reads(&self, name: &str, field: &Field, other: &Value) -> Finding {
        let (kind, reader) = match other {
            Value::Bool(_) => ("a boolean", "checked"),
            Value::Number(_) => ("a number", "number"),
            Value::Array(_) => ("a list", "list"),
            Value::Object(_) => ("an object", "text"),
            Value::Null | Value::String(_) => ("another value", "text"),
        };
        let sent = if is_check_box(field) {
            "a ticked box is sent as the text \"on\""
        } else {
            "the platform sends what users enter as a text"
        };
        self.finding(
            of_modules::UNREADABLE_FIELD,
            Some(name),
            format!("{sent}, and the member `{name}` of the module's type reads {kind}: each message fails"),
            format!("read it with `deserialize_with = \"sailor::fields::{reader}\"`"),
        )
    }

    /// A field that is not required can be left empty: then it is missing, or an empty text.
    fn unreadable_if_empty(
        &self,
        module: ConfigType,
        name: &str,
        field: &Field,
    ) -> Option<Finding> {
        if is_required(field) || !self.own.contains_key(name) {
            return None;
        }
        let is_needed = missing_first(module, &self.all, name);
        let is_refused = !is_check_box(field)
            && !sent_values(field).is_empty()
            && refuses(module, name, &json!(""));
        if !is_needed && !is_refused {
            return None;
        }
        let what = if is_needed {
            "missing"
        } else {
            "an empty text"
        };
        Some(self.finding(
            of_modules::OPTIONAL_FIELD,
            Some(name),
            format!("users may leave this field empty; then it is {what}, which the module's type does not read"),
            "write `\"required\": true`, or read it with `default` and a function of `sailor::fields`, such as `text`",
        ))
    }
}

/// Returns the members that the type requires, and that no field gives.
fn missing(config: ConfigType, fields: &Fields<'_>) -> Vec<String> {
    let mut missing = Vec::new();
    let Some(mut given) = readable(config, fields) else {
        return missing;
    };
    for _ in 0..MAX_MEMBERS {
        let Reading::Missing(name) = config.read(&given.clone().into()) else {
            break;
        };
        let Some(value) = all_values(None).find(|value| reads(config, &name, value)) else {
            missing.push(name);
            break;
        };
        given.insert(name.clone(), value);
        missing.push(name);
    }
    missing
}

/// Returns true if the type requires this member, although all other fields are given.
fn missing_first(config: ConfigType, fields: &Fields<'_>, name: &str) -> bool {
    let others: Fields<'_> = fields
        .iter()
        .filter(|(other, _)| **other != name)
        .map(|(name, field)| (*name, *field))
        .collect();
    missing(config, &others).iter().any(|m| m == name)
}

/// Returns a value that the type reads for each field; nothing if there is a field without one.
fn readable(config: ConfigType, fields: &Fields<'_>) -> Option<Map<String, Value>> {
    let mut given = Map::new();
    for name in ADDED {
        given.insert(name.to_owned(), json!("a"));
    }
    for (name, field) in fields {
        let value = all_values(Some(field)).find(|value| reads(config, name, value))?;
        given.insert((*name).to_owned(), value);
    }
    Some(given)
}

/// Returns true if the type reads this value of a member. Others may be missing.
fn reads(config: ConfigType, name: &str, value: &Value) -> bool {
    let reading = config.read(&json!({ name: value }));
    matches!(reading, Reading::Read | Reading::Missing(_))
}

fn refuses(config: ConfigType, name: &str, value: &Value) -> bool {
    matches!(config.read(&json!({ name: value })), Reading::Refused(refused) if refused == name)
}

/// Returns the values that the platform sends for a field; none if they can have any form.
fn sent_values(field: &Field) -> Vec<Value> {
    match field.view_class().unwrap_or_default() {
        _ if is_check_box(field) => vec![json!("on")],
        "SelectView" => match &field.model {
            Some(Value::Object(choices)) => choices.keys().map(|key| json!(key)).collect(),
            Some(Value::Array(items)) if items.iter().all(Value::is_string) => items.clone(),
            _ => texts().collect(),
        },
        "TextFieldView"
        | "TextFieldWithNoteView"
        | "TextAreaView"
        | "TextAreaWithNoteView"
        | "PasswordFieldView" => texts().collect(),
        _ => Vec::new(),
    }
}

fn all_values(field: Option<&Field>) -> impl Iterator<Item = Value> {
    let sent = field.map(sent_values).unwrap_or_default();
    sent.into_iter().chain(texts()).chain(other_values())
}

fn texts() -> impl Iterator<Item = Value> {
    TEXTS.iter().map(|text| json!(text))
}

fn other_values() -> Vec<Value> {
    let values = json!([1, 1.5, true, [], {}, ["a"], { "access_token": "a" }, null]);
    match values {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

fn has_choices(field: &Field) -> bool {
    field.view_class() == Some("SelectView")
        && matches!(field.model, Some(Value::Object(_) | Value::Array(_)))
}

fn is_check_box(field: &Field) -> bool {
    field.view_class() == Some("CheckBoxView")
}

fn is_required(field: &Field) -> bool {
    match field.more.get("required") {
        Some(Value::Bool(required)) => *required,
        Some(Value::String(text)) => !text.is_empty(),
        _ => false,
    }
}
