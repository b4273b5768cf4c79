//! docs/settings.md, made of the variables that the runtime declares.

use super::{cell, compare};
use sailor::settings::{IfUnset, Kind, Section, VARIABLES, Variable};
use std::fmt::Write as _;

const INTRODUCTION: &str = "\
# Settings

Every environment variable that a component's process reads. This page is made of the table that the runtime reads by
(`src/settings/variables.rs`).

- An empty text counts as not set. A number of zero or below does too.
- Numbers are read as JavaScript's `parseInt` does. A flag is off if it is not set, empty or `false`; every other text turns it on.
- A value that looks like a mistake is a warning in the log. A required variable that is missing, or one that cannot be used, ends
  the start; one message names them all.
- \"Also read by\" names the platform's sailors that read the variable too. What only they read is in the
  [wire contract](reference/wire-contract.md#environment-variables).
- [`component doctor`](doctor.md) prints the values that count in a container.
";

const MIB: u32 = 1 << 20;

fn value(variable: &Variable) -> String {
    let kind = match variable.kind {
        Kind::Text => "text".to_owned(),
        Kind::Secret => "secret".to_owned(),
        Kind::Url(schemes) => format!("URL: {schemes}"),
        Kind::Path => "path".to_owned(),
        Kind::Flag => "flag".to_owned(),
        Kind::Number("") => "number".to_owned(),
        Kind::Number(unit) => format!("number of {unit}"),
        Kind::Port => "port, 1 to 65535; any other text ends the start".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::OneOf(texts) => {
            let texts: Vec<_> = texts.iter().map(|text| format!("`{text}`")).collect();
            texts.join(", ")
        }
        Kind::List => "list, with commas".to_owned(),
        Kind::Json => "JSON".to_owned(),
    };
    match variable.range {
        Some((least, most)) => format!("{kind}, {least} to {most}"),
        None => kind,
    }
}

fn default(variable: &Variable) -> String {
    match variable.default {
        IfUnset::Required => "**required**".to_owned(),
        IfUnset::Unset => "not set".to_owned(),
        IfUnset::Number(number) if number >= MIB && number % MIB == 0 => {
            format!("{number} ({} MiB)", number / MIB)
        }
        IfUnset::Number(number) => number.to_string(),
        IfUnset::Words(words) => words.to_owned(),
    }
}

fn others(variable: &Variable) -> &'static str {
    match (variable.in_node, variable.in_java) {
        (true, true) => "Node, Java",
        (true, false) => "Node",
        (false, true) => "Java",
        (false, false) => "",
    }
}

#[test]
fn the_page_of_settings_is_that_of_the_code() {
    let mut page = INTRODUCTION.to_owned();
    for Section {
        title,
        about,
        variables,
    } in VARIABLES
    {
        write!(page, "\n## {title}\n\n").unwrap();
        if !about.is_empty() {
            write!(page, "{about}\n\n").unwrap();
        }
        page +=
            "| variable | value | default | also read by | what it does |\n|---|---|---|---|---|\n";
        for variable in *variables {
            let (name, about) = (variable.name, cell(variable.about));
            let (value, default, others) = (value(variable), default(variable), others(variable));
            writeln!(
                page,
                "| `{name}` | {value} | {default} | {others} | {about} |"
            )
            .unwrap();
        }
    }
    compare("docs/settings.md", &page);
}
