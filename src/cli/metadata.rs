//! `component schema`: the metadata that is derived from the types of the modules.

use super::check::own_folder;
use crate::component::{Component, SchemaPair};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

#[derive(Debug, clap::Args)]
pub(super) struct SchemaArgs {
    /// Write the files.
    #[arg(long)]
    write: bool,
    /// Print one JSON object: the schemas of each function, by `in` and `out`.
    #[arg(long, conflicts_with = "write")]
    json: bool,
    /// Print only the paths of the metadata files that component.json names, one per line, for builds of images.
    #[arg(long, conflicts_with_all = ["json", "write"])]
    files: bool,
}

/// Prints the metadata that is derived from the types, or writes it to the files that component.json names.
pub(super) fn schema(component: Component, args: &SchemaArgs) -> anyhow::Result<()> {
    if args.files {
        print_files(&component);
        return Ok(());
    }
    let (component, write) = (component.check()?, args.write);
    if args.json {
        println!("{:#}", as_json(&component));
        return Ok(());
    }
    let folder = if write {
        own_folder(&component)?
    } else {
        PathBuf::new()
    };
    for pair in component.schemas() {
        let SchemaPair {
            function,
            side,
            declared,
            derived,
        } = pair;
        let text = serde_json::to_string_pretty(&derived)? + "\n";
        match declared {
            Value::String(path) if write => write_schema(&folder.join(path), &text)?,
            _ if write => println!(
                "{function}, {side}: is defined in component.json itself; compare it with `component check`"
            ),
            _ => println!("// {function}, {side}\n{text}"),
        }
    }
    Ok(())
}

fn as_json(component: &Component) -> Value {
    let mut functions = json!({});
    for pair in component.schemas() {
        functions[pair.function][pair.side] = pair.derived;
    }
    functions
}

fn print_files(component: &Component) {
    let files: BTreeSet<&str> = component.descriptor().metadata_files().collect();
    for file in files {
        println!("{file}");
    }
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
