//! Evaluates a parsed query, with Salesforce's type checks: a quoted date is refused, and so is an unquoted text.

use super::{
    aggregate,
    error::ErrorResponse,
    schema::{Field, Object, Schema},
    soql::{Condition, Item, Literal, Operator, Select},
    state::{Record, State, is_deleted},
};
use serde_json::{Value, json};
use std::cmp::Ordering;

/// The largest OFFSET that Salesforce accepts.
const MAX_OFFSET: usize = 2000;

pub(super) type Found<T> = Result<T, ErrorResponse>;

/// The records in their order, as responses show them; for `COUNT()` a null for each record.
pub(super) fn run(
    state: &State,
    select: &Select,
    deleted: bool,
    version: &str,
) -> Found<Vec<Value>> {
    let object = queried(&state.schema, &select.from)?;
    let scope = Scope {
        state,
        object,
        deleted,
        version,
    };
    if let Some(condition) = &select.condition {
        scope.check(condition)?;
    }
    let mut records: Vec<&Record> = state
        .all(&object.name)
        .filter(|record| deleted || !is_deleted(record))
        .collect();
    if let Some(condition) = &select.condition {
        records.retain(|record| scope.holds(condition, record));
    }
    if aggregate::is_asked(select) {
        return aggregate::rows(&scope, select, &records);
    }
    let items = scope.items(select)?;
    scope.sort(&mut records, select)?;
    if select.offset > MAX_OFFSET {
        return Err(ErrorResponse::new(
            400,
            "NUMBER_OUTSIDE_VALID_RANGE",
            "Maximum SOQL offset allowed is 2000",
        ));
    }
    let records = records
        .into_iter()
        .skip(select.offset)
        .take(select.limit.unwrap_or(usize::MAX));
    records
        .map(|record| {
            if items.is_empty() {
                Ok(Value::Null)
            } else {
                scope.shown(record, &items)
            }
        })
        .collect()
}

fn queried<'a>(schema: &'a Schema, name: &str) -> Found<&'a Object> {
    schema.object(name).map_err(|_| {
        ErrorResponse::new(
            400,
            "INVALID_TYPE",
            format!("sObject type '{name}' is not supported."),
        )
    })
}

/// The object of a query, and its options.
pub(super) struct Scope<'a> {
    state: &'a State,
    object: &'a Object,
    deleted: bool,
    version: &'a str,
}

impl<'a> Scope<'a> {
    fn sort(&self, records: &mut [&Record], select: &Select) -> Found<()> {
        for (field, descends) in select.order.iter().rev() {
            let (_, field) = self.field(field)?;
            records.sort_by(|a, b| {
                let order = compared(&a[&field.name], &b[&field.name]);
                if *descends { order.reverse() } else { order }
            });
        }
        Ok(())
    }

    /// The selected fields; empty for `COUNT()`.
    fn items(&self, select: &'a Select) -> Found<Vec<&'a Item>> {
        if select.items == [Item::Count] {
            return Ok(vec![]);
        }
        for item in &select.items {
            match item {
                Item::Field(path) => drop(self.field(path)?),
                Item::Count | Item::Aggregate { .. } => {
                    return Err(ErrorResponse::not_here("COUNT() beside fields"));
                }
                Item::Children(children) => {
                    let child = self.child(&children.from)?;
                    let object = queried(&self.state.schema, child)?;
                    let scope = Scope { object, ..*self };
                    scope.items(children)?;
                }
            }
        }
        Ok(select.items.iter().collect())
    }

    fn child(&self, relationship: &str) -> Found<&'a str> {
        let child = self
            .object
            .children
            .iter()
            .find(|c| c.relationship_name.eq_ignore_ascii_case(relationship));
        child.map(|child| child.object.as_str()).ok_or_else(|| {
            let message = format!(
                "Didn't understand relationship '{relationship}' in FROM part of query call."
            );
            ErrorResponse::new(400, "INVALID_TYPE", message)
        })
    }

    /// The relationships of a path, and the field at its end.
    pub(super) fn field(&self, path: &str) -> Found<(Vec<&'a Field>, &'a Field)> {
        let mut object = self.object;
        let mut way = Vec::new();
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                let field = object.field(part).ok_or_else(|| {
                    let message = format!("No such column '{part}' on entity '{}'", object.name);
                    ErrorResponse::new(400, "INVALID_FIELD", message)
                })?;
                return Ok((way, field));
            }
            let is_it = |field: &&Field| {
                field
                    .relationship_name
                    .as_ref()
                    .is_some_and(|n| n.eq_ignore_ascii_case(part))
            };
            let relationship = object.fields.iter().find(is_it).ok_or_else(|| {
                let message = format!("Didn't understand relationship '{part}' in field path.");
                ErrorResponse::new(400, "INVALID_FIELD", message)
            })?;
            way.push(relationship);
            object = match relationship.reference_to.as_slice() {
                [one] => self.state.schema.object(one)?,
                [first, ..] => {
                    // One of several objects: queries know the fields that all of them have.
                    let common = parts.next().filter(|name| *name == "Id" || *name == "Name");
                    let field =
                        common.and_then(|name| self.state.schema.object(first).ok()?.field(name));
                    let field = field.filter(|_| parts.peek().is_none()).ok_or_else(|| {
                        ErrorResponse::new(
                            400,
                            "INVALID_FIELD",
                            format!("No such column on entity 'Name' behind '{part}'"),
                        )
                    })?;
                    return Ok((way, field));
                }
                [] => return Err(ErrorResponse::malformed(format!("'{part}' leads nowhere"))),
            };
        }
        Err(ErrorResponse::malformed("a field is missing"))
    }

    fn check(&self, condition: &Condition) -> Found<()> {
        match condition {
            Condition::All(terms) | Condition::Any(terms) => {
                terms.iter().try_for_each(|term| self.check(term))
            }
            Condition::Not(term) => self.check(term),
            Condition::Compare {
                field,
                operator,
                values,
            } => {
                let (_, described) = self.field(field)?;
                values
                    .iter()
                    .try_for_each(|value| fits(described, *operator, value))
            }
        }
    }

    fn holds(&self, condition: &Condition, record: &Record) -> bool {
        match condition {
            Condition::All(terms) => terms.iter().all(|term| self.holds(term, record)),
            Condition::Any(terms) => terms.iter().any(|term| self.holds(term, record)),
            Condition::Not(term) => !self.holds(term, record),
            Condition::Compare {
                field,
                operator,
                values,
            } => {
                let value = self.value(field, record);
                matches(&value, *operator, values)
            }
        }
    }

    pub(super) fn value(&self, path: &str, record: &Record) -> Value {
        let Ok((way, field)) = self.field(path) else {
            return Value::Null;
        };
        let mut record = Some(record);
        for relationship in way {
            record = record.and_then(|record| self.parent(relationship, record));
        }
        record
            .and_then(|record| record.get(&field.name).cloned())
            .unwrap_or_default()
    }

    fn parent(&self, relationship: &Field, record: &Record) -> Option<&'a Record> {
        Some(self.parent_and_its_object(relationship, record)?.1)
    }

    fn parent_and_its_object(
        &self,
        relationship: &Field,
        record: &Record,
    ) -> Option<(&'a Object, &'a Record)> {
        let id = record[&relationship.name].as_str()?;
        relationship.reference_to.iter().find_map(|object| {
            let object = self.state.schema.object(object).ok()?;
            Some((object, self.state.find(&object.name, id)?))
        })
    }

    fn shown(&self, record: &Record, items: &[&Item]) -> Found<Value> {
        let mut shown = self.attributes(record);
        for item in items {
            match item {
                Item::Count | Item::Aggregate { .. } => {}
                Item::Field(path) => self.show_field(&mut shown, record, path)?,
                Item::Children(select) => {
                    let child = self
                        .object
                        .children
                        .iter()
                        .find(|c| c.relationship_name.eq_ignore_ascii_case(&select.from));
                    let Some(child) = child else { continue };
                    let object = queried(&self.state.schema, &child.object)?;
                    let scope = Scope { object, ..*self };
                    let items = scope.items(select)?;
                    let belongs = |other: &&Record| {
                        other[&child.field] == record["Id"] && (self.deleted || !is_deleted(other))
                    };
                    let holds = |other: &&Record| {
                        select
                            .condition
                            .as_ref()
                            .is_none_or(|c| scope.holds(c, other))
                    };
                    let children = self.state.all(&child.object).filter(belongs).filter(holds);
                    let children: Vec<Value> = children
                        .take(select.limit.unwrap_or(usize::MAX))
                        .map(|r| scope.shown(r, &items))
                        .collect::<Found<_>>()?;
                    shown[&child.relationship_name] = match children.len() {
                        0 => Value::Null,
                        size => json!({ "totalSize": size, "done": true, "records": children }),
                    };
                }
            }
        }
        Ok(shown)
    }

    fn show_field(&self, shown: &mut Value, record: &Record, path: &str) -> Found<()> {
        let (way, field) = self.field(path)?;
        let (mut place, mut record, mut object) = (shown, record, self.object);
        for relationship in way {
            let name = relationship.relationship_name.clone().unwrap_or_default();
            let Some((its_object, parent)) = self.parent_and_its_object(relationship, record)
            else {
                place[&name] = Value::Null;
                return Ok(());
            };
            object = its_object;
            if place[&name].is_null() {
                place[&name] = Scope { object, ..*self }.attributes(parent);
            }
            place = &mut place[&name];
            record = parent;
        }
        place[&field.name] = match field.kind.as_str() {
            // Queries show the address of a blob, not its contents.
            "base64" => {
                let id = record["Id"].as_str().unwrap_or_default();
                format!(
                    "/services/data/v{}/sobjects/{}/{id}/{}",
                    self.version, object.name, field.name
                )
                .into()
            }
            _ => record.get(&field.name).cloned().unwrap_or_default(),
        };
        Ok(())
    }

    fn attributes(&self, record: &Record) -> Value {
        let (name, id) = (&self.object.name, record["Id"].as_str().unwrap_or_default());
        json!({ "attributes": { "type": name, "url": format!("/services/data/v{}/sobjects/{name}/{id}", self.version) } })
    }
}

/// Whether the field can be compared with a literal of this type.
fn fits(field: &Field, operator: Operator, value: &Literal) -> Found<()> {
    let refused = |message: String| Err(ErrorResponse::new(400, "INVALID_FIELD", message));
    let (name, kind) = (&field.name, field.kind.as_str());
    if !field.filterable {
        return refused(format!(
            "field '{name}' can not be filtered in a query call"
        ));
    }
    let is_multi = kind == "multipicklist";
    if matches!(operator, Operator::Includes | Operator::Excludes) != is_multi
        && !matches!(operator, Operator::Is | Operator::IsNot)
    {
        return refused(format!(
            "{operator:?} operator not valid on {kind} field {name}"
        ));
    }
    let is_number = matches!(kind, "int" | "double" | "currency" | "percent");
    if operator == Operator::Like
        && (is_number || matches!(kind, "boolean" | "date" | "datetime" | "id" | "reference"))
    {
        return refused(format!("invalid operator on {kind} field {name}: LIKE"));
    }
    let fits = match value {
        Literal::Null => true,
        Literal::Text(_) => !is_number && !matches!(kind, "boolean" | "date" | "datetime"),
        Literal::Number(_) => is_number,
        Literal::Bool(_) => kind == "boolean",
        Literal::Time(time) => {
            kind == if time.contains('T') {
                "datetime"
            } else {
                "date"
            }
        }
    };
    if fits {
        return Ok(());
    }
    let quotes = if matches!(value, Literal::Text(_)) {
        "should not"
    } else {
        "should"
    };
    refused(format!(
        "value of filter criterion for field '{name}' must be of type {kind} and {quotes} be enclosed in quotes"
    ))
}

fn matches(value: &Value, operator: Operator, literals: &[Literal]) -> bool {
    let first = &literals[0];
    let order = || (!value.is_null()).then(|| against(value, first)).flatten();
    let is = |literal: &Literal| against(value, literal) == Some(Ordering::Equal);
    let has = |literal: &Literal| match literal {
        // One literal may name several choices, and all of them must be present.
        Literal::Text(wanted) => {
            let own: Vec<&str> = value.as_str().unwrap_or_default().split(';').collect();
            wanted.split(';').all(|choice| own.contains(&choice))
        }
        _ => false,
    };
    match operator {
        Operator::Is => is(first),
        Operator::IsNot => !is(first),
        Operator::Less => order() == Some(Ordering::Less),
        Operator::AtMost => matches!(order(), Some(Ordering::Less | Ordering::Equal)),
        Operator::More => order() == Some(Ordering::Greater),
        Operator::AtLeast => matches!(order(), Some(Ordering::Greater | Ordering::Equal)),
        Operator::Like => match (value, first) {
            (Value::String(text), Literal::Text(pattern)) => {
                is_like(&text.to_lowercase(), &pattern.to_lowercase())
            }
            _ => false,
        },
        Operator::In => literals.iter().any(is),
        Operator::NotIn => !literals.iter().any(is),
        Operator::Includes => literals.iter().any(has),
        Operator::Excludes => !literals.iter().any(has),
    }
}

fn against(value: &Value, literal: &Literal) -> Option<Ordering> {
    match (value, literal) {
        (Value::Null, Literal::Null) => Some(Ordering::Equal),
        (Value::String(text), Literal::Text(other)) => {
            Some(text.to_lowercase().cmp(&other.to_lowercase()))
        }
        (Value::String(text), Literal::Time(time)) => Some(instant(text).cmp(&instant(time))),
        (Value::Number(number), Literal::Number(other)) => number.as_f64()?.partial_cmp(other),
        (Value::Bool(flag), Literal::Bool(other)) => Some(flag.cmp(other)),
        _ => None,
    }
}

/// A time in UTC as text, whose order is the order in time.
fn instant(text: &str) -> String {
    let text = ["Z", "+0000", "+00:00"]
        .iter()
        .find_map(|zone| text.strip_suffix(zone))
        .unwrap_or(text);
    if text.contains('T') && !text.contains('.') {
        format!("{text}.000")
    } else {
        text.to_owned()
    }
}

fn is_like(text: &str, pattern: &str) -> bool {
    let mut characters = pattern.chars();
    match characters.next() {
        None => text.is_empty(),
        Some('%') => {
            let rest = characters.as_str();
            text.char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .any(|at| is_like(&text[at..], rest))
        }
        Some(wanted) => {
            let mut own = text.chars();
            own.next().is_some_and(|c| wanted == '_' || c == wanted)
                && is_like(own.as_str(), characters.as_str())
        }
    }
}

pub(super) fn compared(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a
            .as_f64()
            .partial_cmp(&b.as_f64())
            .unwrap_or(Ordering::Equal),
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        _ => Ordering::Equal,
    }
}
