//! The rules for triggers and actions (wire-contract: Functions).

use super::{
    field,
    report::Report,
    rule,
    surroundings::Surroundings,
    tree::{Member, Node, Value},
};
use std::path::Path;

const MEMBERS: [&str; 11] = [
    "main",
    "title",
    "description",
    "help",
    "deprecated",
    "order",
    "autoResolveObjectReferences",
    "dynamicMetadata",
    "metadata",
    "fields",
    "type",
];

pub(super) fn check(report: &mut Report<'_>, root: &Node, surroundings: &Surroundings<'_>) {
    let triggers = report
        .object(root, "triggers")
        .map_or(&[][..], Node::members);
    let actions = report
        .object(root, "actions")
        .map_or(&[][..], Node::members);
    if triggers.is_empty() && actions.is_empty() && is_readable(root) {
        report.add(
            rule::NO_FUNCTIONS,
            root,
            "the component has neither triggers nor actions",
            "add a member to `triggers` or to `actions`",
        );
    }
    for trigger in triggers {
        function(report, trigger);
        trigger_type(report, trigger, surroundings);
    }
    for action in actions {
        function(report, action);
        if action.node.has("type") {
            report.add(
                rule::ACTION_WITH_TYPE,
                &action.node,
                "only triggers have a `type`",
                "remove it, or move the function to `triggers`",
            );
        }
        if triggers.iter().any(|trigger| trigger.name == action.name) {
            report.add_at(
                rule::SAME_NAME,
                action.start,
                &action.node.pointer,
                "a trigger has the same name: the Node sailor and this one run the trigger for both",
                "rename one of them",
            );
        }
    }
    if let Some(folder) = surroundings.folder {
        let functions: Vec<&Node> = triggers.iter().chain(actions).map(|m| &m.node).collect();
        missing_files(report, &functions, folder);
    }
}

/// Returns true if nothing was reported for the two members themselves.
fn is_readable(root: &Node) -> bool {
    let kinds = ["triggers", "actions"].map(|name| root.get(name));
    kinds.into_iter().flatten().all(Node::is_object)
}

fn function(report: &mut Report<'_>, member: &Member) {
    report.name(member);
    let node = &member.node;
    if !report.expect(node.is_object(), node, "an object") {
        return;
    }
    report.spelling(node, &MEMBERS);
    report.title(node);
    main(report, node);
    report.texts(node, &["description"]);
    report.help(node);
    report.order(node);
    report.flags(node, &["deprecated", "autoResolveObjectReferences"]);
    metadata(report, node);
    if let Some(fields) = report.object(node, "fields") {
        field::check(report, fields);
    }
}

fn main(report: &mut Report<'_>, function: &Node) {
    let Some(node) = function.get("main") else {
        return report.add(
            rule::MISSING_MAIN,
            function,
            "it has no `main`, so no sailor can run it",
            "add `main`: the path of its file, or the name of its class in Java",
        );
    };
    report.filled(node);
    path_outside(report, node);
}

/// Reports a path that is not below the component's folder.
fn path_outside(report: &mut Report<'_>, node: &Node) {
    let path = node.as_text().unwrap_or_default();
    let leaves = path.split('/').any(|part| part == "..");
    if path.starts_with('/') || path.contains('\\') || leaves {
        report.add(
            rule::PATH_OUTSIDE,
            node,
            "the path does not lead to a file of the component on each platform",
            "write a path relative to component.json, with `/` and without `..`",
        );
    }
}

fn trigger_type(report: &mut Report<'_>, trigger: &Member, surroundings: &Surroundings<'_>) {
    let declared = report.text(&trigger.node, "type");
    let is_valid = declared.is_none_or(|kind| ["polling", "webhook"].contains(&kind));
    let node = trigger.node.get("type");
    report.valid(node, is_valid, "`polling` or `webhook`");
    if !is_valid || !trigger.node.is_object() {
        return;
    }
    let is_polling = declared == Some("polling");
    let registered = surroundings.modules.iter().flat_map(|m| m.triggers);
    let registered = registered.filter(|(name, _)| *name == trigger.name);
    let registered = registered.map(|(_, polls)| *polls).next();
    let node = node.unwrap_or(&trigger.node);
    let is_known = registered.is_some();
    match (registered.or_else(|| guess(trigger)), is_polling) {
        (Some(true), false) if is_known => report.add(
            rule::of_modules::POLLING_AS_WEBHOOK,
            node,
            "its module polls, but without `\"type\": \"polling\"` the platform waits for webhooks",
            "write `\"type\": \"polling\"`",
        ),
        (Some(true), false) => report.add(
            rule::TRIGGER_TYPE,
            node,
            "the trigger seems to poll, but without `\"type\": \"polling\"` the platform waits for webhooks",
            "write `\"type\": \"polling\"`",
        ),
        (Some(false), true) => report.add(
            rule::TRIGGER_TYPE,
            node,
            "the trigger seems to receive webhooks, but the platform runs it on a schedule",
            "write `\"type\": \"webhook\"`",
        ),
        _ => {}
    }
}

/// Tells from the name and the file of a trigger whether it polls.
fn guess(trigger: &Member) -> Option<bool> {
    let main = trigger.node.text("main").unwrap_or_default();
    let names = format!("{} {main}", trigger.name).to_ascii_lowercase();
    match (names.contains("poll"), names.contains("webhook")) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        _ => None,
    }
}

fn metadata(report: &mut Report<'_>, function: &Node) {
    let dynamic = function.get("dynamicMetadata");
    if let Some(dynamic) = dynamic {
        match dynamic.value {
            Value::Text(_) => {
                report.filled(dynamic);
            }
            _ => {
                let is_flag = matches!(dynamic.value, Value::Flag(_));
                report.expect(
                    is_flag,
                    dynamic,
                    "a boolean, or the name of a class in Java",
                );
            }
        }
    }
    let Some(metadata) = report.object(function, "metadata") else {
        return;
    };
    let is_dynamic = dynamic.is_some_and(|d| !matches!(d.value, Value::Flag(false)));
    if is_dynamic && !metadata.members().is_empty() {
        report.add(
            rule::METADATA_TWICE,
            metadata,
            "with `dynamicMetadata` the platform asks the component and ignores this",
            "remove `metadata`, or `dynamicMetadata`",
        );
    }
    // An action that emits what it receives names one file twice.
    let is_one_file = metadata.text("in").is_some() && metadata.text("in") == metadata.text("out");
    for (side, other) in [("in", ".out.json"), ("out", ".in.json")] {
        if let Some(schema) = metadata.get(side) {
            let other = Some(other).filter(|_| !is_one_file);
            metadata_side(report, schema, other);
        }
    }
}

/// Checks one schema, or the path of its file.
fn metadata_side(report: &mut Report<'_>, node: &Node, other_side: Option<&str>) {
    let Value::Text(path) = &node.value else {
        report.expect(
            node.is_object(),
            node,
            "a JSON schema (an object), or the path of a file with one",
        );
        return;
    };
    report.filled(node);
    path_outside(report, node);
    let problem = if other_side.is_some_and(|ending| path.ends_with(ending)) {
        "the file's name says that it is the schema of the other side"
    } else if !path.is_empty() && !path.ends_with(".json") {
        "this is not the name of a JSON file"
    } else {
        return;
    };
    report.add(
        rule::METADATA_FILE_NAME,
        node,
        problem,
        "name the JSON file with this side's schema, such as `./lib/schemas/send.in.json`",
    );
}

/// Reports files that are missing beside others of their kind.
fn missing_files(report: &mut Report<'_>, functions: &[&Node], folder: &Path) {
    // A class name in Java is no path.
    let mains = functions.iter().filter_map(|f| f.get("main"));
    let mains = mains.filter(|m| m.as_text().is_some_and(|path| path.contains('/')));
    let sides = functions.iter().filter_map(|f| f.get("metadata"));
    let schemas = sides.flat_map(|m| [m.get("in"), m.get("out")]).flatten();
    let schemas = schemas.filter(|schema| schema.as_text().is_some());
    for files in [mains.collect::<Vec<_>>(), schemas.collect()] {
        let (found, missing): (Vec<&Node>, Vec<&Node>) =
            files.into_iter().partition(|file| exists(folder, file));
        for file in missing.into_iter().filter(|_| !found.is_empty()) {
            report.add(
                rule::MISSING_FILE,
                file,
                "the file is not there",
                "write the path relative to component.json, or add the file",
            );
        }
    }
}

/// Returns true if a file is there, or its source in TypeScript. In Node a path may lack its ending.
fn exists(folder: &Path, file: &Node) -> bool {
    let path = file.as_text().unwrap_or_default();
    let source = path.strip_suffix(".js").map(|stem| format!("{stem}.ts"));
    let mut candidates = [path.to_owned(), format!("{path}.js")]
        .into_iter()
        .chain(source);
    candidates.any(|path| folder.join(path).exists())
}
