//! docs/commands.md, made of the command lines themselves.

use super::{cell, compare};
use clap::{Arg, Command};
use std::fmt::Write as _;

const INTRODUCTION: &str = "\
# Commands

Every command and option of a component's binary and of the emulator, as `--help` has them. This page is made of the code.

| where | `component` is | `emulator` is |
|---|---|---|
| in the folder of your own component | `cargo run -q --` | the program that `cargo install` has installed ([how](first-component.md#install-the-emulator)) |
| in a component's image | `component` | |
| in this repository | `cargo run -q --bin component --` | `cargo run -q -p elasticio-emulator --` |

[components.md](components.md#commands) and [emulator.md](emulator.md) say how they are used. The exit status is 0 for success,
1 for failure, and 2 for an invalid command line, environment or file.

`--version` (`-V`) of a component prints its title, its version in component.json, and the version of the sailor; that of the emulator
prints its own. Each program and command has `--help` (`-h`).

A command whose result a program may read has `--json`. The others need none: the exit status of `component health`, `login` and
`logout` and of `emulator new` says whether it worked, and `--version` prints a line for each version.
";

/// The help of a command as sentences: clap leaves out the last full stop.
fn about(command: &Command) -> String {
    let about = command.get_long_about().or_else(|| command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    if about.ends_with(['.', ')']) {
        about
    } else {
        about + "."
    }
}

/// The long help if there is one.
fn help(arg: &Arg) -> String {
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let mut help = cell(&help.map(ToString::to_string).unwrap_or_default());
    if !help.ends_with(['.', ']', ')']) {
        help.push('.');
    }
    let takes_value = arg.get_action().takes_values();
    let defaults: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy())
        .collect();
    if takes_value && !defaults.is_empty() && !arg.is_hide_default_value_set() {
        write!(help, " Default: `{}`.", defaults.join(" ")).unwrap();
    }
    let values = arg.get_possible_values();
    let values: Vec<_> = values
        .iter()
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if takes_value && !values.is_empty() {
        write!(help, " One of {}.", values.join(", ")).unwrap();
    }
    help
}

/// The argument as it is written on a command line.
fn name(arg: &Arg) -> String {
    let value = arg.get_value_names().map(|names| names[0].to_string());
    let value = value.unwrap_or_else(|| arg.get_id().to_string().to_uppercase());
    match arg.get_long() {
        Some(long) if arg.is_require_equals_set() => format!("`--{long}[={value}]`"),
        Some(long) if arg.get_action().takes_values() => format!("`--{long} {value}`"),
        Some(long) => format!("`--{long}`"),
        None if arg.is_last_set() => format!("`-- {value}…`"),
        None => format!("`{value}`"),
    }
}

fn write_command(page: &mut String, path: &str, command: &Command) {
    write!(page, "\n### {path}\n\n{}\n", about(command)).unwrap();
    let arguments = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let rows: Vec<_> = arguments
        .filter(|arg| arg.get_id() != "help" && arg.get_id() != "version")
        .map(|arg| format!("| {} | {} |\n", name(arg), help(arg)))
        .collect();
    if !rows.is_empty() {
        write!(
            page,
            "\n| argument | what it does |\n|---|---|\n{}",
            rows.concat()
        )
        .unwrap();
    }
}

#[test]
fn the_page_of_commands_is_that_of_the_code() {
    let mut page = INTRODUCTION.to_owned();
    let programs = [
        ("The component", sailor::command_line()),
        ("The emulator", emulator::command_line()),
    ];
    for (title, program) in programs {
        write!(page, "\n## {title}\n\n{}\n", about(&program)).unwrap();
        let shown = |command: &&Command| !command.is_hide_set();
        for command in program.get_subcommands().filter(shown) {
            assert!(!command.has_subcommands(), "{command:?} has commands too");
            let path = format!("{} {}", program.get_name(), command.get_name());
            write_command(&mut page, &path, command);
        }
    }
    compare("docs/commands.md", &page);
}
