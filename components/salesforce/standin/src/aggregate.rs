//! Queries with aggregate functions and GROUP BY.

use super::{
    error::ErrorResponse,
    evaluate::{Found, Scope, compared},
    soql::{Item, Select},
    state::Record,
};
use serde_json::{Map, Value, json};

/// Whether a query has groups or aggregate functions.
pub(super) fn is_asked(select: &Select) -> bool {
    let is_aggregate = |item: &Item| matches!(item, Item::Aggregate { .. });
    !select.group.is_empty() || select.items.iter().any(is_aggregate)
}

/// A row for each group of records, in the order of the groups' first records. Without GROUP BY there is one row.
pub(super) fn rows(scope: &Scope, select: &Select, records: &[&Record]) -> Found<Vec<Value>> {
    for name in &select.group {
        scope.field(name)?;
    }
    let mut groups: Vec<(Vec<Value>, Vec<&Record>)> = vec![];
    if select.group.is_empty() {
        groups.push((vec![], vec![]));
    }
    for record in records {
        let key = select.group.iter().map(|name| scope.value(name, record));
        let key: Vec<Value> = key.collect();
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, members)) => members.push(record),
            None => groups.push((key, vec![record])),
        }
    }
    let groups = groups.iter().take(select.limit.unwrap_or(usize::MAX));
    groups
        .map(|(_, members)| row(scope, select, members))
        .collect()
}

fn row(scope: &Scope, select: &Select, members: &[&Record]) -> Found<Value> {
    let mut row = Map::from_iter([(
        "attributes".to_owned(),
        json!({ "type": "AggregateResult" }),
    )]);
    let mut unnamed = 0;
    for item in &select.items {
        match item {
            Item::Aggregate {
                function,
                field,
                alias,
            } => {
                scope.field(field)?;
                let name = alias.clone().unwrap_or_else(|| {
                    unnamed += 1;
                    format!("expr{}", unnamed - 1)
                });
                let values = members.iter().map(|record| scope.value(field, record));
                let values = values.filter(|value| !value.is_null()).collect();
                row.insert(name, value(function, values));
            }
            Item::Field(path)
                if select
                    .group
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(path)) =>
            {
                let (_, field) = scope.field(path)?;
                let first = members.first().map(|record| scope.value(path, record));
                row.insert(field.name.clone(), first.unwrap_or_default());
            }
            _ => {
                return Err(ErrorResponse::malformed(
                    "Field must be grouped or aggregated",
                ));
            }
        }
    }
    Ok(row.into())
}

fn value(function: &str, values: Vec<Value>) -> Value {
    match function {
        "COUNT" => values.len().into(),
        "SUM" => values.iter().filter_map(Value::as_f64).sum::<f64>().into(),
        "MIN" => values.into_iter().min_by(compared).unwrap_or_default(),
        _ => values.into_iter().max_by(compared).unwrap_or_default(),
    }
}
