//! Decides which events and spans are logged.
//!
//! The level of the runtime and of the component's crates can be anything. Other crates are never logged below `warn`,
//! whatever `LOG_LEVEL` says: below that level HTTP clients log what they send, including tokens.

use super::SAILOR;
use crate::{monitoring::trace, settings::LogSettings};
use tracing::{Metadata, level_filters::LevelFilter};

/// The levels of all targets.
pub(super) struct Filter {
    /// The runtime and the component's crates.
    own: Vec<String>,
    /// Levels of single targets, the most specific one first.
    targets: Vec<(String, LevelFilter)>,
    /// The level of the own targets that are not listed. Others have at most `warn`.
    level: LevelFilter,
    has_traces: bool,
}

impl Filter {
    /// Returns the filter, and a warning for each target that is not logged as the settings say.
    ///
    /// `component` are the names of the component's own crates. `silent` are targets that are not logged at all.
    pub(super) fn new(
        settings: &LogSettings,
        component: &[&str],
        silent: &[&str],
    ) -> (Self, Vec<String>) {
        let own = component.iter().map(|name| name.replace('-', "_"));
        let silent = silent.iter().map(|name| (name, LevelFilter::OFF));
        let mut this = Self {
            own: own.chain([SAILOR.to_owned()]).collect(),
            targets: silent
                .map(|(name, level)| ((*name).to_owned(), level))
                .collect(),
            level: settings.level,
            has_traces: false,
        };
        let (accepted, refused): (Vec<_>, Vec<_>) = settings
            .targets
            .iter()
            .cloned()
            .partition(|(target, level)| *level <= this.limit(target));
        let warnings = refused.iter().map(|refused| this.refusal(refused));
        let warnings = warnings.collect();
        this.targets.extend(accepted);
        // The stable order keeps the last one of two for the same target in front.
        this.targets.reverse();
        this.targets
            .sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
        (this, warnings)
    }

    /// Keeps the spans of traces too. They name nothing in the log.
    pub(super) fn with_traces(self) -> Self {
        Self {
            has_traces: true,
            ..self
        }
    }

    fn refusal(&self, (target, level): &(String, LevelFilter)) -> String {
        format!(
            "LOG_LEVEL cannot raise {target} to {level}, so it stays at {}: other crates log what they send, including \
             tokens. It can raise {}, and modules in them, such as sailor::broker",
            self.level_of(target),
            self.own.join(", ")
        )
    }

    /// Returns whether an event or a span is logged.
    pub(super) fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        if target == trace::TARGET {
            return self.has_traces;
        }
        let level = match (metadata.is_span(), self.is_own(target)) {
            (false, _) => self.level_of(target),
            // Spans name the message of a line, so they are kept even if only warnings are logged.
            (true, true) => self.level_of(target).max(LevelFilter::INFO),
            (true, false) => LevelFilter::OFF,
        };
        *metadata.level() <= level
    }

    /// The most verbose level of any target.
    pub(super) fn max_level(&self) -> LevelFilter {
        let levels = self.targets.iter().map(|(_, level)| *level);
        let of_traces = self.has_traces.then_some(LevelFilter::DEBUG);
        levels
            .chain([self.level, LevelFilter::INFO])
            .chain(of_traces)
            .max()
            .unwrap_or(LevelFilter::INFO)
    }

    fn level_of(&self, target: &str) -> LevelFilter {
        let listed = self.targets.iter().find(|(name, _)| is_in(target, name));
        match listed {
            Some((_, level)) => *level,
            None if self.is_own(target) => self.level,
            None => self.level.min(LevelFilter::WARN),
        }
    }

    /// The most verbose level that a target may have.
    fn limit(&self, target: &str) -> LevelFilter {
        let silent = self.targets.iter().find(|(name, _)| is_in(target, name));
        match silent {
            Some((_, level)) => *level,
            None if self.is_own(target) => LevelFilter::TRACE,
            None => LevelFilter::WARN,
        }
    }

    fn is_own(&self, target: &str) -> bool {
        self.own.iter().any(|name| is_in(target, name))
    }
}

/// Returns whether a target is `module`, or a module in it. A crate whose name only begins with this name is another crate.
pub(super) fn is_in(target: &str, module: &str) -> bool {
    target
        .strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
