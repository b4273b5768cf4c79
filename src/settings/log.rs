//! What the log needs to know. Reading it cannot fail: a log is wanted most when everything else is wrong.

use super::reader::full;
use tracing::level_filters::LevelFilter;

/// Variables that stand on every log line when they are set (wire-contract: Variables without the prefix).
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

/// What is logged, and what every line says about where it comes from.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// `LOG_LEVEL` (no prefix): the least level that is logged; `info` when it is not set or unknown.
    pub level: LevelFilter,
    /// Full names and values of the platform's variables that stand on every line.
    pub context: Vec<(String, String)>,
    /// `FLOW_ID`, which lines carry as their `tag` as well.
    pub tag: Option<String>,
    /// What is odd about these variables.
    pub warnings: Vec<String>,
}

impl LogSettings {
    /// Reads the log's variables as `get` gives them.
    #[must_use]
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| get(name).filter(|text| !text.is_empty());
        let (level, warning) = level(set("LOG_LEVEL").as_deref());
        Self {
            level,
            context: CONTEXT
                .iter()
                .filter_map(|name| Some((full(name), set(&full(name))?)))
                .collect(),
            tag: set(&full("FLOW_ID")),
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
        // The most that can be left out: fatal lines are errors here.
        Some("error" | "fatal") => LevelFilter::ERROR,
        Some(_) => {
            let remark =
                "LOG_LEVEL is none of trace, debug, info, warn, error and fatal: info is used";
            return (LevelFilter::INFO, Some(remark.to_owned()));
        }
    };
    (level, None)
}
