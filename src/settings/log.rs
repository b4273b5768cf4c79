//! The settings of the log. Reading them cannot fail, because the log has to report every other error.

use super::env_reader::full_name;
use tracing::level_filters::LevelFilter;

/// Variables that are on every log line when they are set (wire-contract: Variables without the prefix).
const CONTEXT: [&str; 16] = [
    "API_USERNAME",
    "COMP_ID",
    "COMP_NAME",
    "CONTAINER_ID",
    "CONTRACT_ID",
    "EXEC_ID",
    "EXEC_TYPE",
    "EXECUTION_RESULT_ID",
    "FLOW_ID",
    "FLOW_VERSION",
    "FUNCTION",
    "STEP_ID",
    "TASK_USER_EMAIL",
    "TENANT_ID",
    "USER_ID",
    "WORKSPACE_ID",
];

/// What is logged, and which members every line has.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// `LOG_LEVEL` (no prefix): the lowest level that is logged. It is `info` if the variable is not set or unknown.
    pub level: LevelFilter,
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
    /// let variables = HashMap::from([("LOG_LEVEL", "debug"), ("ELASTICIO_STEP_ID", "step_1")]);
    /// let log = LogSettings::read(|name| variables.get(name).map(ToString::to_string));
    /// assert_eq!(log.level.to_string(), "debug");
    /// assert_eq!(log.context, [("ELASTICIO_STEP_ID".to_owned(), "step_1".to_owned())]);
    /// ```
    #[must_use]
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| get(name).filter(|text| !text.is_empty());
        let (level, warning) = level(set("LOG_LEVEL").as_deref());
        Self {
            level,
            context: CONTEXT
                .iter()
                .filter_map(|name| Some((full_name(name), set(&full_name(name))?)))
                .collect(),
            tag: set(&full_name("FLOW_ID")),
            warnings: warning.into_iter().collect(),
        }
    }
}

fn level(name: Option<&str>) -> (LevelFilter, Option<String>) {
    let level = match name.map(str::to_ascii_lowercase).as_deref() {
        None | Some("info") => LevelFilter::INFO,
        Some("trace") => LevelFilter::TRACE,
        Some("debug") => LevelFilter::DEBUG,
        Some("warn") => LevelFilter::WARN,
        // tracing has no level above ERROR.
        Some("error" | "fatal") => LevelFilter::ERROR,
        Some(_) => {
            let warning =
                "LOG_LEVEL must be one of trace, debug, info, warn, error, fatal; using info";
            return (LevelFilter::INFO, Some(warning.to_owned()));
        }
    };
    (level, None)
}
