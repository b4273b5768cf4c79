//! The declared variables are those that are read.

use super::*;
use std::{cell::RefCell, collections::BTreeSet};

/// A value that makes the readers ask for as much as possible.
fn value_of(name: &str) -> Option<String> {
    let value = match name {
        "ELASTICIO_HOOK_SHUTDOWN" | "ELASTICIO_ADDITIONAL_VARS_FOR_HEADERS" => return None,
        // The shorter name is asked for only without the longer one.
        name if name.starts_with("OTEL_EXPORTER_OTLP_TRACES_") => return None,
        "OTEL_EXPORTER_OTLP_ENDPOINT" | "ELASTICIO_API_URI" => "http://localhost",
        "OTEL_SDK_DISABLED" => "false",
        "OTEL_TRACES_EXPORTER" => "otlp",
        "OTEL_TRACES_SAMPLER" => "traceidratio",
        "ELASTICIO_CFG" => "{}",
        "ELASTICIO_OAUTH_MODE" => "expiry",
        _ => "1",
    };
    Some(value.to_owned())
}

fn declared() -> impl Iterator<Item = &'static Variable> {
    VARIABLES.iter().flat_map(|section| section.variables)
}

#[test]
fn exactly_the_declared_variables_are_read() {
    let asked = RefCell::new(BTreeSet::new());
    let get = |name: &str| {
        asked.borrow_mut().insert(name.to_uppercase());
        value_of(name)
    };
    let _ = Settings::read(get);
    let start = ServiceSettings::read(Some("selectModel"), get);
    assert!(matches!(start, ServiceStart::Ready(..)), "{start:?}");
    let _ = LogSettings::read(get);
    TlsSettings::read(get);
    let (traces, _) = TraceSettings::read(get);
    assert!(traces.is_some());
    component_path(get);
    // Only the HTTP client reads the one, and only a credential the other.
    for elsewhere in ["NO_PROXY", "ELASTICIO_OAUTH_HTTP_HOSTS"] {
        asked.borrow_mut().insert(elsewhere.to_owned());
    }
    let declared: BTreeSet<_> = declared()
        .map(|variable| variable.name.to_owned())
        .collect();
    assert_eq!(asked.into_inner(), declared);
}

#[test]
fn each_variable_is_declared_once_and_described() {
    let mut names = BTreeSet::new();
    for variable in declared() {
        assert!(
            names.insert(variable.name),
            "{} is twice there",
            variable.name
        );
        let about = variable.about.trim();
        assert!(about.ends_with('.') || about.ends_with(')'), "{variable:?}");
    }
    assert!(names.len() > 90, "{}", names.len());
}
