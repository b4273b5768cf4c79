//! One command: parsed by the program that it calls, if that is one of this repository.

use super::{blocks::files, folders, root};
use clap::{
    ArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};
use std::{collections::BTreeSet, fs};

/// Programs of others. Nothing runs their commands.
const NOT_RUN: [&str; 17] = [
    ".",
    "cd",
    "curl",
    "docker",
    "echo",
    "export",
    "jq",
    "kubectl",
    "ls",
    "node",
    "pbpaste",
    "prlimit",
    "rabbitmqctl",
    "rustup",
    "sort",
    "tail",
    "uniq",
];
/// Commands of cargo that take a package.
const CARGO: [&str; 8] = [
    "bench", "build", "clippy", "deny", "doc", "fmt", "install", "test",
];

/// The names of values that are files or folders.
const PATHS: [&str; 2] = ["FILE", "DIR"];
/// The arguments whose file a command writes.
const WRITTEN: [&str; 4] = ["folder", "issue", "record", "write_env"];
/// Files that a page tells the reader to have, or that an earlier command of it writes; `-` is standard input.
pub(super) const OF_THE_READER: [&str; 10] = [
    "-",
    ".emulator/api.env",
    ".emulator/api.json",
    "account.json",
    "acme.secret.json",
    "body.bin",
    "config.json",
    "headers.json",
    "message.json",
    "path/to/component.json",
];

pub(super) fn check(words: &[&str], page: &str) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("there is no command")?;
    match *program {
        "emulator" => emulator(arguments, page),
        "component" => parse(&sailor::command_line(), arguments, page),
        "cargo" => cargo(arguments, page),
        path if path.starts_with("scripts/") || path.starts_with(".ci/") => script(path, arguments),
        program if NOT_RUN.contains(&program) => Ok(()),
        program => Err(format!("nothing checks the command `{program}`")),
    }
}

/// Parses arguments, and looks for the files that they name. A value in capital letters stands for one that the reader chooses.
fn parse(program: &clap::Command, arguments: &[&str], page: &str) -> Result<(), String> {
    let words = [program.get_name()].into_iter();
    let words = words.chain(arguments.iter().copied());
    let error = match program.clone().try_get_matches_from(words) {
        Ok(matches) => return files_exist(program, &matches, page),
        Err(error) => error,
    };
    let is_open = |value: &ContextValue| match value {
        ContextValue::String(word) => is_open(word),
        _ => false,
    };
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Ok(()),
        // Only the name of a command.
        ErrorKind::MissingRequiredArgument if arguments.len() == 1 => Ok(()),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue
            if error.get(ContextKind::InvalidValue).is_some_and(is_open) =>
        {
            Ok(())
        }
        _ => Err(error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()),
    }
}

fn is_open(word: &str) -> bool {
    word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase())
}

/// Each file that is read is there: that of an option, that of an argument, and those of the subcommand.
fn files_exist(program: &clap::Command, matches: &ArgMatches, page: &str) -> Result<(), String> {
    let is_there = |file: &str| {
        folders(page)
            .iter()
            .any(|folder| folder.join(file).exists())
    };
    let read = program.get_arguments().filter(|argument| {
        let names = argument.get_value_names().unwrap_or_default();
        let is_path = names.iter().any(|name| PATHS.contains(&name.as_str()));
        let id = argument.get_id().as_str();
        let is_given = matches.value_source(id) == Some(ValueSource::CommandLine);
        is_path && is_given && !WRITTEN.contains(&id)
    });
    for argument in read {
        let values = matches.get_raw(argument.get_id().as_str());
        for file in values.into_iter().flatten() {
            let file = file.to_str().ok_or("a path is not UTF-8")?;
            if !is_open(file) && !OF_THE_READER.contains(&file) && !is_there(file) {
                return Err(format!("there is no {file}"));
            }
        }
    }
    match matches.subcommand() {
        Some((name, matches)) => match program.find_subcommand(name) {
            Some(program) => files_exist(program, matches, page),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

fn emulator(arguments: &[&str], page: &str) -> Result<(), String> {
    parse(&emulator::command_line(), arguments, page)?;
    match arguments.splitn(2, |word| *word == "--").nth(1) {
        Some(component) if !component.is_empty() => check(component, page),
        _ => Ok(()),
    }
}

/// The names of the repository's packages.
fn packages() -> BTreeSet<String> {
    let name = |(path, text): (String, String)| {
        let manifest: toml_edit::DocumentMut = text
            .parse()
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        Some(manifest.get("package")?["name"].as_str()?.to_owned())
    };
    files("Cargo.toml").into_iter().filter_map(name).collect()
}

fn cargo(arguments: &[&str], page: &str) -> Result<(), String> {
    let (command, rest) = arguments.split_first().ok_or("cargo has no command")?;
    let mut parts = rest.splitn(2, |word| *word == "--");
    let own = parts.next().unwrap_or_default();
    let after = parts.next();
    let value = |names: &[&str]| {
        own.windows(2)
            .find(|pair| names.contains(&pair[0]))
            .map(|pair| pair[1])
    };
    let package = value(&["-p", "--package"]);
    if let Some(package) = package
        && !packages().contains(package)
    {
        return Err(format!("there is no package {package}"));
    }
    if let Some(path) = value(&["--path"])
        && !root().join(path).join("Cargo.toml").exists()
    {
        return Err(format!("there is no package in {path}"));
    }
    if let (Some(package), Some(example)) = (package, value(&["--example"]))
        && !has_example(example)
    {
        return Err(format!("{package} has no example {example}"));
    }
    match (*command, package, after) {
        ("run", Some("elasticio-emulator"), after) => emulator(after.unwrap_or_default(), page),
        ("run", _, Some(after)) => parse(&sailor::command_line(), after, page),
        ("run", _, None) => Ok(()),
        (command, _, _) if CARGO.contains(&command) => Ok(()),
        (command, _, _) => Err(format!("nothing checks the command `cargo {command}`")),
    }
}

/// Whether a package has an example of that name.
fn has_example(name: &str) -> bool {
    let endings = [".rs", "/main.rs"].map(|ending| format!("examples/{name}{ending}"));
    let mut sources = files(".rs").into_iter();
    sources.any(|(path, _)| endings.iter().any(|ending| path.ends_with(ending)))
}

/// The script exists, and its text has the options.
fn script(path: &str, arguments: &[&str]) -> Result<(), String> {
    let text = fs::read_to_string(root().join(path)).map_err(|_| format!("there is no {path}"))?;
    let options = arguments.iter().take_while(|word| **word != "--");
    for option in options.filter_map(|word| word.strip_prefix("--")) {
        let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '-');
        if !words.any(|word| word.strip_prefix("--") == Some(option)) {
            return Err(format!("{path} has no option --{option}"));
        }
    }
    Ok(())
}
