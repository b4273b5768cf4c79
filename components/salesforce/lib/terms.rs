//! The search terms of a message as a condition of SOQL: `sTerm_1`, `link_1_2`, `sTerm_2`, …

use crate::{
    api::Record,
    describe::{Field, Object},
    literal::literal,
    soql,
};
use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

/// The operators of a term, as SOQL writes them.
pub const CONDITIONS: [&str; 11] = [
    "=", "!=", "<", "<=", ">", ">=", "LIKE", "IN", "NOT IN", "INCLUDES", "EXCLUDES",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Term {
    field_name: String,
    condition: String,
    #[serde(default)]
    field_value: Value,
}

/// The condition for WHERE; none without terms. AND binds more strongly than OR.
pub fn condition(
    object: &Object,
    message: &Record,
    count: usize,
) -> anyhow::Result<Option<String>> {
    let mut alternatives: Vec<Vec<String>> = vec![];
    for number in 1..=count {
        let name = format!("sTerm_{number}");
        let term = message.get(&name).filter(|term| !term.is_null());
        let term = term
            .with_context(|| format!("`{name}` is missing: the step has {count} search terms"))?;
        let term = Term::deserialize(term)
            .with_context(|| format!("`{name}` must have fieldName, condition and fieldValue"))?;
        let comparison =
            comparison(object, &term).with_context(|| format!("search term `{name}`"))?;
        let link = format!("link_{}_{number}", number - 1);
        match (
            alternatives.last_mut(),
            message
                .get(&link)
                .and_then(Value::as_str)
                .unwrap_or_default(),
        ) {
            (None, _) => alternatives.push(vec![comparison]),
            (Some(_), word) if word.eq_ignore_ascii_case("OR") => {
                alternatives.push(vec![comparison]);
            }
            (Some(together), word) if word.eq_ignore_ascii_case("AND") => together.push(comparison),
            _ => anyhow::bail!("`{link}` must be AND or OR"),
        }
    }
    let alternatives: Vec<String> = alternatives
        .iter()
        .map(|together| format!("({})", together.join(" AND ")))
        .collect();
    Ok(Some(alternatives.join(" OR ")).filter(|condition| !condition.is_empty()))
}

fn comparison(object: &Object, term: &Term) -> anyhow::Result<String> {
    let labelled = || {
        object
            .fields
            .iter()
            .find(|field| field.label == term.field_name)
    };
    let field = object
        .field(&term.field_name)
        .or_else(|error| labelled().ok_or(error))?;
    let asked = term.condition.trim().to_uppercase();
    let condition = CONDITIONS.iter().find(|known| **known == asked);
    let condition = condition
        .with_context(|| format!("`condition` must be one of {}", CONDITIONS.join(" ")))?;
    let value = match *condition {
        "IN" | "NOT IN" | "INCLUDES" | "EXCLUDES" => list(field, &term.field_value)?,
        "LIKE" => soql::text(
            term.field_value
                .as_str()
                .context("`fieldValue` must be a text for LIKE")?,
        ),
        _ => literal(field, &term.field_value)?,
    };
    Ok(format!("{} {condition} {value}", field.name))
}

fn list(field: &Field, value: &Value) -> anyhow::Result<String> {
    let literals = match value {
        Value::Array(values) => values
            .iter()
            .map(|value| literal(field, value))
            .collect::<Result<Vec<_>, _>>()?,
        Value::String(text) => {
            let values = text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            values
                .map(|part| literal(field, &part.into()))
                .collect::<Result<_, _>>()?
        }
        Value::Null => vec![],
        value => vec![literal(field, value)?],
    };
    anyhow::ensure!(
        !literals.is_empty(),
        "`fieldValue` must be a list, or values with commas between them"
    );
    Ok(format!("({})", literals.join(", ")))
}
