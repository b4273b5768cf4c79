//! `LOG_LEVEL` with levels for single targets.

use super::*;

fn filter(log_level: &str) -> (LogSettings, Vec<String>) {
    let settings = LogSettings::read(|name| (name == "LOG_LEVEL").then(|| log_level.to_owned()));
    let (_, refused) = Filter::new(&settings, &["my-component"], &["silent"]);
    (settings, refused)
}

/// The messages that are logged with this `LOG_LEVEL`, of one event in each level of some targets.
fn logged_with(log_level: &str) -> Vec<String> {
    macro_rules! each_level {
        ($($target:literal),*) => {$(
            tracing::trace!(target: $target, concat!($target, "=trace"));
            tracing::debug!(target: $target, concat!($target, "=debug"));
            tracing::info!(target: $target, concat!($target, "=info"));
            tracing::warn!(target: $target, concat!($target, "=warn"));
            tracing::error!(target: $target, concat!($target, "=error"));
        )*};
    }
    let lines = lines(&filter(log_level).0, false, || {
        each_level!(
            "sailor",
            "sailor::broker::amqp",
            "my_component::api",
            "my_component_client",
            "hyper",
            "silent"
        );
    });
    let lines = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["msg"].clone());
    lines.map(|msg| msg.as_str().unwrap().to_owned()).collect()
}

/// The lowest level of each target, such as `sailor=info`.
fn lowest_levels(log_level: &str) -> Vec<String> {
    let mut lowest: Vec<String> = vec![];
    for line in logged_with(log_level) {
        let target = line.split('=').next().unwrap();
        if !lowest
            .iter()
            .any(|line| line.starts_with(&format!("{target}=")))
        {
            lowest.push(line);
        }
    }
    lowest
}

#[test]
fn the_level_can_be_raised_for_one_target() {
    let others = ["my_component_client=warn", "hyper=warn"];
    for (log_level, own) in [
        (
            "info",
            [
                "sailor=info",
                "sailor::broker::amqp=info",
                "my_component::api=info",
            ],
        ),
        (
            "warn,sailor::broker=trace",
            [
                "sailor=warn",
                "sailor::broker::amqp=trace",
                "my_component::api=warn",
            ],
        ),
        (
            " my-component = debug , info",
            [
                "sailor=info",
                "sailor::broker::amqp=info",
                "my_component::api=debug",
            ],
        ),
        (
            "debug,sailor=error,sailor::broker::amqp=INFO",
            [
                "sailor=error",
                "sailor::broker::amqp=info",
                "my_component::api=debug",
            ],
        ),
        (
            "sailor=trace,sailor=warn",
            [
                "sailor=warn",
                "sailor::broker::amqp=warn",
                "my_component::api=info",
            ],
        ),
    ] {
        let expected: Vec<_> = own.iter().chain(&others).copied().collect();
        assert_eq!(lowest_levels(log_level), expected, "{log_level}");
        assert_eq!(filter(log_level).1, [""; 0], "{log_level}");
    }
}

#[test]
fn other_crates_can_be_lowered_and_not_raised() {
    assert_eq!(
        lowest_levels("off,hyper=warn,silent=trace"),
        ["hyper=warn"],
        "silent targets stay silent"
    );
    assert_eq!(
        lowest_levels("error,hyper=off,my_component_client=trace"),
        [
            "sailor=error",
            "sailor::broker::amqp=error",
            "my_component::api=error",
            "my_component_client=error"
        ]
    );
}

#[test]
fn a_target_that_cannot_be_raised_is_named_with_the_reason() {
    let (settings, refused) =
        filter("hyper=debug,my_component=debug,h2=trace,silent=error,s=debug");
    assert_eq!(settings.warnings, [""; 0]);
    let named: Vec<_> = refused
        .iter()
        .map(|warning| warning.split(',').next().unwrap())
        .collect();
    assert_eq!(
        named,
        [
            "LOG_LEVEL cannot raise hyper to debug",
            "LOG_LEVEL cannot raise h2 to trace",
            "LOG_LEVEL cannot raise silent to error",
            "LOG_LEVEL cannot raise s to debug",
        ]
    );
    assert!(
        refused[0].contains("stays at warn")
            && refused[0].contains("tokens")
            && refused[0].contains("my_component, sailor"),
        "{}",
        refused[0]
    );
}

#[test]
fn a_crate_whose_name_begins_like_the_components_is_another() {
    let lines = lines(&filter("trace").0, false, || {
        tracing::debug!(target: "my_component_client", "top-secret");
        tracing::debug!(target: "sailors", "top-secret");
        tracing::info_span!(target: "my_component_client", "request", secret = "top-secret")
            .in_scope(|| tracing::debug!(target: "my_component", "kept"));
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(!lines[0].contains("top-secret"), "{lines:?}");
}
