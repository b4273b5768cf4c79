//! Prints reports: for people, or as one JSON object, which docs/inspect.md describes. Names and values are written as JSON, so
//! that no control character reaches the terminal.

use super::{
    Queue,
    report::{Problem, Report},
    shape::Row,
};
use serde_json::{Value, json, value::RawValue};
use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
};

/// Prints one JSON object. With `contents` it has the decrypted bodies.
pub(super) fn json(queue: Option<&Queue>, reports: &[Report], contents: bool) {
    let messages: Vec<Value> = reports
        .iter()
        .map(|report| as_json(report, contents))
        .collect();
    let mut printed = json!({ "messages": messages });
    if let Some(Queue { name, state }) = queue {
        printed["queue"] =
            json!({ "name": name, "ready": state.ready, "consumers": state.consumers });
    }
    print(&printed);
}

fn as_json(report: &Report, contents: bool) -> Value {
    let mut printed = json!({ "kind": report.kind, "headers": report.headers(contents) });
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            printed[name] = value;
        }
    };
    if let Some(capture) = &report.capture {
        set("source", json!(capture.source));
        set("bytes", json!(capture.body.as_ref().map(bytes::Bytes::len)));
        if let Some(delivery) = &capture.delivery {
            set("exchange", json!(delivery.exchange));
            set("routingKey", json!(delivery.routing_key));
            set("redelivered", json!(delivery.redelivered));
        }
    }
    set("id", json!(report.id));
    set("protocol", json!(report.protocol));
    set("objectId", json!(report.object_id));
    set(
        "plainBytes",
        json!(report.content.as_ref().map(|json| json.as_bytes().len())),
    );
    set("attachments", json!(report.attachments));
    set("passthrough", json!(report.passthrough));
    set("structure", json!(report.shape.rows));
    set("structureLeftOut", json!(report.shape.left_out));
    set("notes", json!(report.notes));
    if let Some(Problem { problem, remedy }) = &report.problem {
        set("problem", json!(problem));
        set("remedy", json!(remedy));
    }
    if let Some(content) = report.content.as_ref().filter(|_| contents) {
        // Numbers and half surrogate pairs stay as they are written only in the text.
        set("text", json!(String::from_utf8_lossy(content.as_bytes())));
        set("content", content.parse().unwrap_or_default());
    }
    printed
}

/// Prints the reports for people.
pub(super) fn text(queue: Option<&Queue>, reports: &[Report], contents: bool) {
    let mut text = String::new();
    if let Some(Queue { name, state }) = queue {
        let (ready, consumers) = (state.ready, state.consumers);
        let _ = writeln!(
            text,
            "queue {}: {ready} messages ready, {consumers} consumers; {} looked at and put back",
            quoted(name),
            reports.len()
        );
        if reports.is_empty() {
            text += "  no message is ready; those that consumers have been given are not seen\n";
        }
    }
    for report in reports {
        // Writing into a text does not fail.
        let _ = write_report(&mut text, report, contents);
    }
    let _ = io::stdout().write_all(visible(&text).as_bytes());
}

/// Escapes what a terminal may act on: JSON leaves control characters from U+007F on as they are, and line ends between its
/// values.
fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => visible.push(c),
            c if c.is_control() => visible.extend(c.escape_unicode()),
            c => visible.push(c),
        }
    }
    visible
}

fn write_report(text: &mut String, report: &Report, contents: bool) -> fmt::Result {
    write_title(text, report)?;
    if let Some(Problem { problem, remedy }) = &report.problem {
        writeln!(text, "  problem: {problem}\n  remedy: {remedy}")?;
    }
    for note in &report.notes {
        writeln!(text, "  note: {note}")?;
    }
    if let Some(id) = &report.object_id {
        writeln!(text, "  body in object storage: {}", quoted(id))?;
    }
    for (name, value) in report.headers(contents) {
        let value = match value.get("type").and_then(Value::as_str) {
            Some(kind) if !contents => size_text(kind, value["size"].as_u64()),
            _ => value.to_string(),
        };
        writeln!(text, "  header {}: {value}", plain(&name))?;
    }
    write_files(text, report)?;
    for Row { path, kind, size } in &report.shape.rows {
        let size = size.map(|size| size as u64);
        writeln!(text, "  {path}: {}", size_text(kind, size))?;
    }
    if report.shape.left_out > 0 {
        writeln!(text, "  … and {} more", report.shape.left_out)?;
    }
    match &report.content {
        Some(content) if contents => {
            let shown = serde_json::from_slice::<&RawValue>(content.as_bytes());
            writeln!(text, "{}", shown.map_or("", RawValue::get))
        }
        Some(_) => writeln!(text, "  the values are left out; --body shows them"),
        None => Ok(()),
    }
}

/// Writes what the message refers to.
fn write_files(text: &mut String, report: &Report) -> fmt::Result {
    for file in &report.attachments {
        let kind = file.content_type.as_deref().map(quoted);
        let kind = kind.unwrap_or_else(|| "no type".to_owned());
        let size = if file.size.is_null() {
            "size unknown".to_owned()
        } else {
            format!("size {}", file.size)
        };
        writeln!(text, "  attachment {}: {kind}, {size}", quoted(&file.name))?;
    }
    for passed in &report.passthrough {
        writeln!(
            text,
            "  passthrough {}: {} bytes",
            quoted(&passed.step),
            passed.bytes
        )?;
    }
    Ok(())
}

fn write_title(text: &mut String, report: &Report) -> fmt::Result {
    let capture = report.capture.as_ref();
    let source = capture.map_or("", |capture| &capture.source);
    write!(text, "{source}: {}", report.kind)?;
    if let Some(id) = &report.id {
        write!(text, ", id {}", quoted(id))?;
    }
    if let Some(version) = report.protocol {
        write!(text, ", protocol version {version}")?;
    }
    if let Some(body) = capture.and_then(|capture| capture.body.as_ref()) {
        write!(text, ", {} bytes", body.len())?;
    }
    if let Some(content) = &report.content {
        write!(text, ", {} decrypted", content.as_bytes().len())?;
    }
    writeln!(text)?;
    let Some(delivery) = capture.and_then(|capture| capture.delivery.as_ref()) else {
        return Ok(());
    };
    let before = if delivery.redelivered {
        "delivered before"
    } else {
        "not delivered before"
    };
    writeln!(
        text,
        "  published to {} under {}; {before}",
        quoted(&delivery.exchange),
        quoted(&delivery.routing_key)
    )
}

fn size_text(kind: &str, size: Option<u64>) -> String {
    let unit = match kind {
        "text" => "bytes",
        "list" => "items",
        _ => "members",
    };
    size.map_or_else(|| kind.to_owned(), |size| format!("{kind}, {size} {unit}"))
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A name as it is, unless it has control characters.
fn plain(name: &str) -> String {
    if name.chars().any(char::is_control) {
        quoted(name)
    } else {
        name.to_owned()
    }
}

/// Prints a line. A reader that has read enough, such as `head`, is no error.
fn print(line: &dyn fmt::Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_is_printed() {
        let text = "{\n\t\"a\":\r \"\u{9b}31m\u{7f}\u{1b}é€\"}";
        let printed = "{\n\t\"a\":\\u{d} \"\\u{9b}31m\\u{7f}\\u{1b}é€\"}";
        assert_eq!(visible(text), printed);
    }
}
