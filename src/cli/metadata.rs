//! `component check` and `component schema`: component.json compared with the modules and their types.

use crate::component::Component;
use anyhow::Context as _;
use serde_json::Value;
use std::{fs, path::Path};

/// Returns an error with all differences between the metadata and the types.
pub(super) fn check(component: &Component) -> anyhow::Result<()> {
    let differences = component.schema_differences(Path::new("."));
    anyhow::ensure!(
        differences.is_empty(),
        "the metadata differs from the types (update it with `component schema --write`):\n{}",
        differences.join("\n")
    );
    let descriptor = component.descriptor();
    println!(
        "{}: {} triggers, {} actions, all with their modules; metadata is up to date",
        descriptor.title,
        descriptor.triggers.len(),
        descriptor.actions.len()
    );
    Ok(())
}

/// Prints the metadata that is derived from the types, or writes it to the files that component.json names.
pub(super) fn schema(component: &Component, write: bool) -> anyhow::Result<()> {
    for (function, side, place, schema) in component.schemas() {
        let text = serde_json::to_string_pretty(&schema)? + "\n";
        match place {
            Value::String(path) if write => write_schema(Path::new(path), &text)?,
            _ if write => println!(
                "{function}, {side}: is defined in component.json itself; compare it with `component check`"
            ),
            _ => println!("// {function}, {side}\n{text}"),
        }
    }
    Ok(())
}

fn write_schema(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}
