//! component.json.

use sailor::{Component, descriptor::Descriptor, lint};

/// Whatever the text is, the linter says where it is wrong, and a component is made of it or refused with a reason.
pub fn descriptor(data: &[u8]) {
    let issues = lint::lint(data);
    let lines = data.split(|byte| *byte == b'\n').count();
    for issue in &issues {
        assert!((1..=lines + 1).contains(&issue.line) && issue.column > 0);
        assert!(!issue.problem.is_empty() && !issue.remedy.is_empty());
        assert!(!issue.to_string().contains('\n'));
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let is_json = serde_json::from_str::<serde_json::Value>(text).is_ok();
    let is_invalid = issues.iter().any(|issue| issue.rule.id() == "invalid-json");
    assert!(!is_json || !is_invalid, "it is JSON");
    if let Ok(descriptor) = serde_json::from_str::<Descriptor>(text) {
        for name in descriptor.triggers.keys().chain(descriptor.actions.keys()) {
            assert!(descriptor.function(name).is_some());
        }
    }
    if let Err(error) = Component::new(text) {
        assert!(!error.to_string().is_empty());
    }
}
