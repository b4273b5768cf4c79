//! The settings of the log. Reading them cannot fail, because the log has to report every other error.

use super::{variable::Variable, variables as vars};
use crate::protocol::truncated;
use tracing::level_filters::LevelFilter;

/// Variables that are on every log line when they are set (wire-contract: Variables without the prefix).
const CONTEXT: [&Variable; 16] = [
    &vars::API_USERNAME,
    &vars::COMP_ID,
    &vars::COMP_NAME,
    &vars::CONTAINER_ID,
    &vars::CONTRACT_ID,
    &vars::EXEC_ID,
    &vars::EXEC_TYPE,
    &vars::EXECUTION_RESULT_ID,
    &vars::FLOW_ID,
    &vars::FLOW_VERSION,
    &vars::FUNCTION,
    &vars::STEP_ID,
    &vars::TASK_USER_EMAIL,
    &vars::TENANT_ID,
    &vars::USER_ID,
    &vars::WORKSPACE_ID,
];

/// What an item of `LOG_LEVEL` must be.
const LEVEL_SYNTAX: &str = "a level (trace, debug, info, warn, error, fatal or off), or a target with its level. After commas \
    there can be more of them, such as info,sailor::broker=debug";

/// The longest part of a variable that a warning shows.
const MAX_SHOWN: usize = 100;

/// The form of the log's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object per line, for the platform.
    Bunyan,
    /// Lines for somebody who reads them in a terminal.
    Pretty,
}

/// What is logged, and which members every line has.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// `LOG_LEVEL` (no prefix): the lowest level that is logged. It is `info` if the variable names no level.
    pub level: LevelFilter,
    /// The levels of single targets in `LOG_LEVEL`, in their order: a crate or a module, and everything in it.
    pub targets: Vec<(String, LevelFilter)>,
    /// `LOG_FORMAT`: the form of the lines. Without it, they are pretty if standard output is a terminal.
    pub format: Option<LogFormat>,
    /// Whether lines in a terminal may have colours: not with `NO_COLOR` (<https://no-color.org>), and not if `TERM` says
    /// that the terminal has none.
    pub colours: bool,
    /// Full names and values of the platform's variables that are on every line.
    pub context: Vec<(String, String)>,
    /// `FLOW_ID`, which every line carries as its `tag` too.
    pub tag: Option<String>,
    /// Warnings about these variables.
    pub warnings: Vec<String>,
}

impl LogSettings {
    /// Reads the variables of the log with the function `get`.
    ///
    /// ```
    /// use sailor::settings::LogSettings;
    /// use std::collections::HashMap;
    ///
    /// let variables = HashMap::from([("LOG_LEVEL", "warn,my_component::api=trace"), ("ELASTICIO_STEP_ID", "step_1")]);
    /// let log = LogSettings::read(|name| variables.get(name).map(ToString::to_string));
    /// assert_eq!(log.level.to_string(), "warn");
    /// assert_eq!(log.targets[0].0, "my_component::api");
    /// assert_eq!(log.context, [("ELASTICIO_STEP_ID".to_owned(), "step_1".to_owned())]);
    /// ```
    #[must_use]
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let set = |variable: &Variable| get(variable.name).filter(|text| !text.is_empty());
        let terminal = set(&vars::TERM);
        let mut this = Self {
            level: LevelFilter::INFO,
            targets: Vec::new(),
            format: None,
            colours: set(&vars::NO_COLOR).is_none() && terminal.is_some_and(|name| name != "dumb"),
            context: CONTEXT
                .iter()
                .filter_map(|variable| Some((variable.name.to_owned(), set(variable)?)))
                .collect(),
            tag: set(&vars::FLOW_ID),
            warnings: Vec::new(),
        };
        this.read_levels(&set(&vars::LOG_LEVEL).unwrap_or_default());
        this.read_format(set(&vars::ELASTICIO_LOG_FORMAT).as_deref());
        this
    }

    fn read_levels(&mut self, text: &str) {
        let items = text.split(',').map(str::trim);
        for item in items.filter(|item| !item.is_empty()) {
            let (target, name) = match item.split_once('=') {
                Some((target, name)) => (Some(target.trim()), name.trim()),
                None => (None, item),
            };
            match (target, level(name)) {
                (None, Some(level)) => self.level = level,
                (Some(target), Some(level)) if is_target(target) => {
                    // A crate's name has no hyphens in a target.
                    self.targets.push((target.replace('-', "_"), level));
                }
                _ => {
                    let item = truncated(item, MAX_SHOWN);
                    self.warnings.push(format!(
                        "LOG_LEVEL contains {item:?}, which is ignored: expected {LEVEL_SYNTAX}"
                    ));
                }
            }
        }
    }

    fn read_format(&mut self, text: Option<&str>) {
        self.format = match text.map(str::to_ascii_lowercase).as_deref() {
            None => None,
            Some("bunyan") => Some(LogFormat::Bunyan),
            Some("pretty") => Some(LogFormat::Pretty),
            Some(_) => {
                let warning =
                    "must be bunyan or pretty; without it, lines are pretty in a terminal";
                let warning = format!("{} {warning}", vars::ELASTICIO_LOG_FORMAT.name);
                self.warnings.push(warning);
                None
            }
        };
    }
}

/// Reads a level in any letter case.
fn level(name: &str) -> Option<LevelFilter> {
    Some(match &*name.to_ascii_lowercase() {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warn" => LevelFilter::WARN,
        // tracing has no level above ERROR.
        "error" | "fatal" => LevelFilter::ERROR,
        "off" => LevelFilter::OFF,
        _ => return None,
    })
}

/// Returns whether this can be a crate or a module: `my_component::api`.
fn is_target(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}
