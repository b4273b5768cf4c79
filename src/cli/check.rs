//! `component check`: component.json compared with the modules and their types, and any component.json checked by the rules
//! of [`lint`](crate::lint).

use crate::{
    component::{Component, Mismatch},
    lint::{self, Issue},
    settings,
};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// More than any descriptor has: an endless input ends with an error.
const MAX_BYTES: u64 = 16 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Check this component.json instead, also that of a component in Node or Java; - reads standard input.
    ///
    /// The exit status is 0 without errors, 1 with errors, and 2 if the file cannot be read. Warnings do not count.
    /// docs/component-json.md describes the rules.
    #[arg(long, value_name = "FILE")]
    pub(super) descriptor: Option<PathBuf>,
    /// Print what is found as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// Checks a component's own component.json. Prints everything that is wrong, and returns an error if that is an error.
pub(super) fn check_own(component: Component, json: bool) -> anyhow::Result<()> {
    let folder = own_folder(&component)?;
    let found = Found::in_component(component, &folder);
    if json {
        print(&found.as_json());
        let errors = found.errors();
        anyhow::ensure!(errors == 0, "errors found: {errors}");
        return Ok(());
    }
    found.print_text()
}

/// What the check of a component's own component.json finds.
struct Found {
    title: String,
    triggers: usize,
    actions: usize,
    issues: Vec<Issue>,
    /// Where component.json and the modules differ.
    modules: Option<Mismatch>,
    /// Where the metadata and the types differ.
    metadata: Vec<String>,
    /// Metadata functions that component.json has no use for.
    unused: Vec<String>,
    /// The variables that component.json requires and that are not set here.
    missing: Vec<String>,
}

impl Found {
    fn in_component(component: Component, folder: &Path) -> Self {
        let descriptor = component.descriptor();
        let missing = descriptor.missing_variables(settings::environment);
        Self {
            title: descriptor.title.clone(),
            triggers: descriptor.triggers.len(),
            actions: descriptor.actions.len(),
            missing: missing.iter().map(|(name, _)| (*name).to_owned()).collect(),
            issues: component.lint(Some(folder)),
            metadata: component.schema_differences(folder),
            unused: component.unused_metadata(),
            modules: component
                .check()
                .err()
                .and_then(|error| error.downcast().ok()),
        }
    }

    fn differences_of_modules(&self) -> &[String] {
        self.modules.as_ref().map_or(&[], Mismatch::differences)
    }

    fn errors(&self) -> usize {
        count_errors(&self.issues) + self.differences_of_modules().len() + self.metadata.len()
    }

    fn warnings(&self) -> usize {
        self.issues.len() - count_errors(&self.issues) + self.unused.len()
    }

    /// docs/component-json.md describes this shape.
    fn as_json(&self) -> Value {
        json!({
            "descriptor": "component.json",
            "errors": self.errors(),
            "warnings": self.warnings(),
            "issues": self.issues.iter().map(as_json).collect::<Vec<_>>(),
            "modules": self.differences_of_modules(),
            "metadata": self.metadata,
            "unused_metadata": self.unused,
            "missing_variables": self.missing,
        })
    }

    fn print_text(&self) -> anyhow::Result<()> {
        print_lines("component.json", &self.issues);
        for warning in &self.unused {
            print(&format_args!("component.json: warning: {warning}"));
        }
        if !self.missing.is_empty() {
            print(&format_args!(
                "component.json requires variables that are not set here, and a step does not start without: {}",
                self.missing.join(", ")
            ));
        }
        let mut errors = Vec::new();
        if count_errors(&self.issues) > 0 {
            let errors_of_file = number(count_errors(&self.issues), "error");
            errors.push(format!("component.json has {errors_of_file}"));
        }
        errors.extend(self.modules.as_ref().map(ToString::to_string));
        if !self.metadata.is_empty() {
            errors.push(format!(
                "the metadata differs from the types (update it with `component schema --write`):\n{}",
                self.metadata.join("\n")
            ));
        }
        anyhow::ensure!(errors.is_empty(), errors.join("\n"));
        let warnings = match self.warnings() {
            0 => String::new(),
            n => format!("; {}", number(n, "warning")),
        };
        let Self {
            title,
            triggers,
            actions,
            ..
        } = self;
        print(&format_args!(
            "{title}: {}, {}, all with their modules; metadata is up to date{warnings}",
            number(*triggers, "trigger"),
            number(*actions, "action")
        ));
        Ok(())
    }
}

/// Returns the folder of component.json, which must be the one that the component was built with.
pub(super) fn own_folder(component: &Component) -> anyhow::Result<PathBuf> {
    let folder = settings::component_path(settings::environment);
    let path = folder.join("component.json");
    let json = read(&path, false).map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => "is not in this folder".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        anyhow::anyhow!(
            "{} {reason}: run this command in the folder of the component's component.json; nothing was checked or written",
            path.display()
        )
    })?;
    anyhow::ensure!(
        component.is_of(&json),
        "{} is not the one that this binary was built with: build the component again, or run this command in its \
         own folder; nothing was checked or written",
        path.display()
    );
    Ok(folder)
}

/// Checks the component.json at `path`, and prints what it finds. Returns the exit status.
pub(super) fn check_file(path: &Path, args: &CheckArgs) -> ExitCode {
    let name = path.display().to_string();
    let from_input = path == Path::new("-");
    let json = match read(path, from_input) {
        Ok(json) => json,
        Err(error) => {
            let remedy = "name a file, or - for standard input";
            let _ = writeln!(io::stderr(), "{name} cannot be read: {error}; {remedy}");
            return ExitCode::from(2);
        }
    };
    let issues = match path.parent() {
        Some(folder) if !from_input => lint::lint_in(&json, folder),
        _ => lint::lint(&json),
    };
    let errors = count_errors(&issues);
    let warnings = issues.len() - errors;
    if args.json {
        let issues: Vec<Value> = issues.iter().map(as_json).collect();
        print(
            &json!({ "descriptor": name, "errors": errors, "warnings": warnings, "issues": issues }),
        );
    } else {
        print_lines(&name, &issues);
        let (e, w) = (number(errors, "error"), number(warnings, "warning"));
        print(&format_args!("{name}: {e}, {w}"));
    }
    ExitCode::from(u8::from(errors > 0))
}

fn read(path: &Path, from_input: bool) -> io::Result<Vec<u8>> {
    let mut json = Vec::new();
    if from_input {
        io::stdin().take(MAX_BYTES + 1).read_to_end(&mut json)?;
    } else {
        File::open(path)?
            .take(MAX_BYTES + 1)
            .read_to_end(&mut json)?;
    }
    if json.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!(
            "it is longer than {MAX_BYTES} bytes"
        )));
    }
    Ok(json)
}

fn count_errors(issues: &[Issue]) -> usize {
    issues.iter().filter(|issue| issue.is_error()).count()
}

fn number(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn print_lines(name: &str, issues: &[Issue]) {
    for issue in issues {
        print(&format_args!("{name}:{issue}"));
    }
}

/// Prints a line. A reader that has read enough, such as `head`, is no error.
fn print(line: &dyn std::fmt::Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// docs/component-json.md describes this shape.
fn as_json(issue: &Issue) -> Value {
    json!({
        "rule": issue.rule.id(),
        "severity": issue.rule.severity().to_string(),
        "line": issue.line,
        "column": issue.column,
        "pointer": issue.pointer,
        "problem": issue.problem,
        "remedy": issue.remedy,
    })
}
