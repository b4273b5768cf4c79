//! The rules for the fields of functions and credentials (wire-contract: Fields).

use super::{
    report::Report,
    rule,
    tree::{Member, Node, Value},
    words,
};

const MEMBERS: [&str; 13] = [
    "label",
    "viewClass",
    "required",
    "model",
    "require",
    "prompt",
    "placeholder",
    "note",
    "help",
    "prefix",
    "suffix",
    "order",
    "description",
];

const TEXTS: [&str; 5] = ["prompt", "placeholder", "note", "prefix", "suffix"];

/// Views for one value that the user types, ticks or connects: they have no choices.
const PLAIN_VIEWS: [&str; 7] = [
    "TextFieldView",
    "TextFieldWithNoteView",
    "TextAreaView",
    "TextAreaWithNoteView",
    "PasswordFieldView",
    "CheckBoxView",
    "OAuthFieldView",
];

const SELECT_VIEWS: [&str; 2] = ["SelectView", "MultiSelectView"];

/// Views with labels of their own.
const LABELLED_VIEWS: [&str; 4] = [
    "HTTPAuthView",
    "WebhookAuthView",
    "CSVReadView",
    "CSVWriteView",
];

const OTHER_VIEWS: [&str; 5] = [
    "RESTAPIView",
    "JSONataView",
    "CodeFieldView",
    "InMetadataExtensionView",
    "SelectPropertyView",
];

/// Checks an object of fields.
pub(super) fn check(report: &mut Report<'_>, fields: &Node) {
    for member in fields.members() {
        report.name(member);
        if report.expect(member.node.is_object(), &member.node, "an object") {
            field(report, member, fields);
        }
    }
}

fn field(report: &mut Report<'_>, Member { start, node, .. }: &Member, fields: &Node) {
    report.spelling(node, &MEMBERS);
    report.texts(node, &TEXTS);
    report.help(node);
    report.order(node);
    view_class(report, *start, node);
    label(report, *start, node);
    model(report, node);
    required(report, node);
    require(report, node, fields);
}

fn view_class(report: &mut Report<'_>, start: usize, field: &Node) {
    let Some(node) = field.get("viewClass") else {
        return report.add_at(
            rule::MISSING_VIEW_CLASS,
            start,
            &field.pointer,
            "it has no `viewClass`, so users may not see it",
            "add `viewClass`, such as \"TextFieldView\"",
        );
    };
    let Some(view) = report.text(field, "viewClass") else {
        return;
    };
    if !view.ends_with("View") {
        return report.add(
            rule::INVALID_VIEW_CLASS,
            node,
            "this is not the name of a view: their names end with `View`",
            "name a view, such as \"TextFieldView\"",
        );
    }
    if is_known(view) {
        return;
    }
    let known = [
        &PLAIN_VIEWS[..],
        &SELECT_VIEWS,
        &LABELLED_VIEWS,
        &OTHER_VIEWS,
    ]
    .concat();
    let remedy = match words::meant(view, &known) {
        Some(meant) => format!("write \"{meant}\", if that is meant"),
        None => "check that your installation of the platform has this view".to_owned(),
    };
    let problem = format!("`{view}` is no view of the platform's documentation and components");
    report.add(rule::UNKNOWN_VIEW_CLASS, node, problem, remedy);
}

fn is_known(view: &str) -> bool {
    let lists: [&[&str]; 4] = [&PLAIN_VIEWS, &SELECT_VIEWS, &LABELLED_VIEWS, &OTHER_VIEWS];
    let mappers = ["Mapper", "Mapping", "JSONata"];
    lists.iter().any(|views| views.contains(&view)) || mappers.iter().any(|m| view.contains(m))
}

fn label(report: &mut Report<'_>, start: usize, field: &Node) {
    let view = field.text("viewClass").unwrap_or("TextFieldView");
    let label = report.text(field, "label");
    let needs_one = is_known(view) && !LABELLED_VIEWS.contains(&view);
    let is_missing = match field.get("label") {
        None => true,
        Some(_) => label == Some(""),
    };
    if needs_one && is_missing {
        report.add_at(
            rule::MISSING_LABEL,
            start,
            &field.pointer,
            "it has no `label`, so users do not see what it is for",
            "add `label`",
        );
    }
}

fn model(report: &mut Report<'_>, field: &Node) {
    let view = field.text("viewClass").unwrap_or_default();
    let Some(model) = field.get("model") else {
        if SELECT_VIEWS.contains(&view) {
            report.add(
                rule::SELECT_WITHOUT_MODEL,
                field,
                format!("a {view} needs `model`, its choices"),
                "add `model`: an object from value to label, a list of values, or the name of a select model",
            );
        }
        return;
    };
    if PLAIN_VIEWS.contains(&view) {
        report.add(
            rule::MODEL_WITHOUT_SELECT,
            model,
            format!("a {view} has no choices"),
            "remove `model`, or write \"viewClass\": \"SelectView\"",
        );
    }
    choices(report, model);
}

fn choices(report: &mut Report<'_>, model: &Node) {
    let is_empty = match &model.value {
        Value::Text(_) => {
            report.filled(model);
            return;
        }
        Value::Object(members) => members.is_empty(),
        Value::List(items) => items.is_empty(),
        _ => {
            let expected =
                "an object from value to label, a list of values, or the name of a select model";
            report.expect(false, model, expected);
            return;
        }
    };
    if is_empty {
        report.add(
            rule::EMPTY_MODEL,
            model,
            "there is nothing to choose from",
            "add choices, or name a select model",
        );
    }
    for Member { node, .. } in model.members() {
        report.expect(
            node.as_text().is_some(),
            node,
            "a text, the label of the choice",
        );
    }
    for node in model.items() {
        let is_choice = matches!(
            node.value,
            Value::Text(_) | Value::Number | Value::Object(_)
        );
        report.expect(is_choice, node, "a text or a number");
    }
}

fn required(report: &mut Report<'_>, field: &Node) {
    let Some(node) = field.get("required") else {
        return;
    };
    match node.as_text() {
        Some("true" | "false") => report.add(
            rule::REQUIRED_AS_TEXT,
            node,
            "in JavaScript every text that is not empty counts as true, also \"false\"",
            "write true or false without quotes",
        ),
        _ => report.flags(field, &["required"]),
    }
}

fn require(report: &mut Report<'_>, field: &Node, fields: &Node) {
    let Some(list) = report.list(field, "require") else {
        return;
    };
    for node in list.items() {
        if let Some(name) = report.filled(node)
            && !name.is_empty()
            && !fields.has(name)
        {
            report.add(
                rule::UNKNOWN_REQUIRE,
                node,
                format!("there is no field `{name}` beside this one"),
                "name a field of the same object, or remove it",
            );
        }
    }
}
