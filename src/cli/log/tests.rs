//! The content of log lines.

mod levels;
mod pretty;

use super::*;
use serde_json::{Value, json};
use std::{
    fmt,
    sync::{Arc, Mutex},
    time::UNIX_EPOCH,
};
use tracing::level_filters::LevelFilter;

/// Collects lines, one per write.
#[derive(Clone, Default)]
struct Writes(Arc<Mutex<Vec<Vec<u8>>>>);

impl io::Write for Writes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push(bytes.to_vec());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn settings(level: LevelFilter) -> LogSettings {
    let context = [
        ("ELASTICIO_FLOW_ID", "flow1"),
        ("ELASTICIO_COMP_NAME", "a \"b\""),
    ];
    LogSettings {
        level,
        targets: vec![],
        format: None,
        colours: true,
        context: context
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        tag: Some("flow1".into()),
        warnings: vec![],
    }
}

/// Returns the lines that `act` logs. Every write must be one complete line.
fn lines(settings: &LogSettings, is_terminal: bool, act: impl FnOnce()) -> Vec<String> {
    let writes = Writes::default();
    let writer = writes.clone();
    let (filter, _) = Filter::new(settings, &["my-component"], &["silent"]);
    let format = format(settings, is_terminal);
    let subscriber = subscriber(format, filter, move || writer.clone());
    tracing::subscriber::with_default(subscriber, act);
    let writes = writes.0.lock().unwrap();
    let lines = writes.iter().map(|line| {
        let line = String::from_utf8(line.clone()).unwrap();
        let text = line.strip_suffix('\n').expect("a line ends");
        assert!(!text.contains('\n'), "{text}");
        text.to_owned()
    });
    lines.collect()
}

/// Returns what `act` logs in bunyan lines. In a line, no name occurs twice.
fn logged(level: LevelFilter, act: impl FnOnce()) -> Vec<Value> {
    lines(&settings(level), false, act)
        .iter()
        .map(|text| {
            let value: Value = serde_json::from_str(text).unwrap();
            let members = crate::protocol::Object::read(text.clone().into()).unwrap();
            assert_eq!(
                members.iter().count(),
                value.as_object().unwrap().len(),
                "a name occurs twice: {text}"
            );
            value
        })
        .collect()
}

fn only(lines: Vec<Value>) -> Value {
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.into_iter().next().unwrap()
}

#[test]
fn a_line_names_its_process_and_time() {
    let mut line = only(logged(
        LevelFilter::INFO,
        || tracing::info!(target: "sailor::amqp", "Line\none"),
    ));
    let time = line["time"].take();
    let time = time.as_str().unwrap();
    assert_eq!(
        (time.len(), &time[10..11], &time[19..20], &time[23..]),
        (24, "T", ".", "Z"),
        "{time}"
    );
    assert_eq!(
        line,
        json!({
            "name": "sailor",
            "hostname": gethostname::gethostname().to_string_lossy(),
            "pid": std::process::id(),
            "level": 30,
            "ELASTICIO_FLOW_ID": "flow1",
            "ELASTICIO_COMP_NAME": "a \"b\"",
            "tag": "flow1",
            "msg": "Line\none",
            "time": null,
            "v": 0,
        })
    );
}

#[test]
fn levels_are_bunyans() {
    let lines = logged(LevelFilter::TRACE, || {
        tracing::trace!("");
        tracing::debug!("");
        tracing::info!("");
        tracing::warn!("");
        tracing::error!("");
        tracing::error!(fatal = true, "");
    });
    let levels: Vec<_> = lines
        .iter()
        .map(|line| line["level"].as_u64().unwrap())
        .collect();
    assert_eq!(levels, [10, 20, 30, 40, 50, 60]);
    assert_eq!(lines[5].get("fatal"), None);
}

#[test]
fn fields_keep_their_types() {
    let line = only(logged(LevelFilter::INFO, || {
        tracing::info!(text = "a\"b", shown = %"c", debug = ?Some(1), int = -1, big = u64::MAX, float = 0.5,
            infinite = f64::INFINITY, yes = true, dotted.name = 1, r#type = "t", none = tracing::field::Empty, "");
    }));
    for (name, expected) in [
        ("text", json!("a\"b")),
        ("shown", json!("c")),
        ("debug", json!("Some(1)")),
        ("int", json!(-1)),
        ("big", json!(u64::MAX)),
        ("float", json!(0.5)),
        ("infinite", json!(null)),
        ("yes", json!(true)),
        ("dotted.name", json!(1)),
        ("type", json!("t")),
    ] {
        assert_eq!(line.get(name), Some(&expected), "{name}");
    }
    assert_eq!(line.get("none"), None);
}

#[test]
fn a_line_carries_span_fields_and_the_innermost_wins() {
    let lines = logged(LevelFilter::INFO, || {
        let outer = tracing::info_span!(
            "message",
            threadId = "t1",
            messageId = "m1",
            parentMessageId = tracing::field::Empty
        );
        let _outer = outer.enter();
        outer.record("parentMessageId", "p1");
        tracing::info_span!("inner", messageId = "m2", step = 1)
            .in_scope(|| tracing::info!(step = 2, "a"));
        outer.record("parentMessageId", "p2");
        tracing::info!("b");
    });
    let picked: Vec<_> = lines
        .iter()
        .map(|line| {
            ["msg", "threadId", "messageId", "parentMessageId", "step"]
                .map(|name| line[name].clone())
        })
        .collect();
    assert_eq!(
        json!(picked),
        json!([["a", "t1", "m2", "p1", 2], ["b", "t1", "m1", "p2", null]])
    );
}

#[test]
fn long_ids_are_truncated_and_other_fields_are_not() {
    let long = "€".repeat(1_000);
    let line = only(logged(LevelFilter::INFO, || {
        let message = tracing::info_span!(
            "message",
            threadId = long,
            messageId = tracing::field::Empty
        );
        message.record("messageId", tracing::field::display(&long));
        message
            .in_scope(|| tracing::info!(object_id = long, text = long, identity = long, "{long}"));
    }));
    // 1024 is not a multiple of the three bytes of a character.
    for name in ["threadId", "messageId", "object_id"] {
        assert_eq!(line[name], "€".repeat(341) + "…", "{name}");
    }
    for name in ["text", "identity", "msg"] {
        assert_eq!(line[name], long, "{name}");
    }
}

#[test]
fn the_line_for_dropped_lines_is_a_bunyan_line() {
    let line = format(&settings(LevelFilter::ERROR), false).dropped_lines(17);
    let text = std::str::from_utf8(&line).unwrap();
    assert!(
        text.ends_with("}\n") && text.matches('\n').count() == 1,
        "{text}"
    );
    let line: Value = serde_json::from_str(text).unwrap();
    assert_eq!(
        (
            &line["dropped"],
            &line["level"],
            &line["code"],
            &line["ELASTICIO_COMP_NAME"]
        ),
        (
            &json!(17),
            &json!(40),
            &json!("log-lines-dropped"),
            &json!("a \"b\"")
        )
    );
    assert_eq!(line["time"].as_str().unwrap().len(), 24);
}

#[test]
fn at_level_warn_a_line_still_names_its_message() {
    let line = only(logged(LevelFilter::WARN, || {
        tracing::info_span!("message", threadId = "t1").in_scope(|| {
            tracing::info!("below the level");
            tracing::warn!("wanted");
        });
    }));
    assert_eq!(
        (&line["msg"], &line["threadId"]),
        (&json!("wanted"), &json!("t1"))
    );
}

#[test]
fn an_error_is_its_message_and_its_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("the step failed")]
    struct Failure(#[source] std::num::ParseIntError);
    let failure = Failure("x".parse::<i32>().unwrap_err());
    let lines = logged(LevelFilter::INFO, || {
        tracing::error!(error = %failure, "a");
        tracing::error!(error = &failure as &dyn std::error::Error, "b");
        tracing::error!(error = "text", "c");
    });
    assert_eq!(lines[0]["err"], json!({"message": "the step failed"}));
    assert_eq!(
        lines[1]["err"],
        json!({"message": "the step failed: invalid digit found in string"})
    );
    assert_eq!(lines[2]["err"], json!({"message": "text"}));
    assert_eq!(lines[0].get("error"), None);
}

#[test]
fn fields_with_reserved_names_get_an_underscore() {
    let line = only(logged(LevelFilter::INFO, || {
        tracing::info!(
            name = "n",
            level = 1,
            msg = "m",
            time = "t",
            v = 9,
            tag = "x",
            pid = 1,
            hostname = "h",
            "real"
        );
    }));
    assert_eq!(
        (&line["msg"], &line["level"], &line["v"], &line["tag"]),
        (&json!("real"), &json!(30), &json!(0), &json!("flow1"))
    );
    assert_eq!(
        (&line["name_"], &line["msg_"], &line["level_"]),
        (&json!("n"), &json!("m"), &json!(1))
    );
}

#[test]
fn other_crates_are_logged_from_warn_up() {
    let lines = logged(LevelFilter::TRACE, || {
        tracing::trace!(target: "sailor", "sailor");
        tracing::trace!(target: "my_component::actions", "component");
        tracing::info!(target: "lapin::channel", "top-secret");
        tracing::debug!(target: "hyper", "top-secret");
        tracing::info_span!(target: "h2", "frame", secret = "top-secret")
            .in_scope(|| tracing::warn!(target: "h2", "h2"));
    });
    let logged: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["name"].as_str().unwrap(),
                line["msg"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        logged,
        [
            ("sailor", "sailor"),
            ("component", "component"),
            ("component", "h2")
        ]
    );
    assert!(lines.iter().all(|line| line.get("secret").is_none()));
}

#[test]
fn at_level_error_other_crates_do_not_log_warnings() {
    let lines = logged(LevelFilter::ERROR, || {
        tracing::warn!(target: "hyper", "no");
        tracing::warn!(target: "sailor", "no");
        tracing::error!(target: "hyper", "yes");
    });
    assert_eq!(only(lines)["msg"], "yes");
}

#[test]
fn a_field_may_log_while_it_is_formatted() {
    struct Chatty;
    impl fmt::Debug for Chatty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            tracing::info!("inner");
            f.write_str("shown")
        }
    }
    let lines = logged(
        LevelFilter::INFO,
        || tracing::info!(field = ?Chatty, "outer"),
    );
    assert_eq!(only(lines)["field"], "shown");
}

#[test]
fn times_are_iso_8601_in_utc() {
    for (millis, expected) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (951_868_800_000, "2000-03-01T00:00:00.000Z"),
        (1_709_164_800_001, "2024-02-29T00:00:00.001Z"),
        (1_798_761_599_000, "2026-12-31T23:59:59.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (253_402_207_200_999, "9999-12-30T22:00:00.999Z"),
    ] {
        let time = UNIX_EPOCH + Duration::from_millis(millis);
        assert_eq!(bunyan::time_of_line(time), expected);
    }
    // Fractions of a millisecond are cut off.
    let time = UNIX_EPOCH + Duration::from_nanos(1_999_999);
    assert_eq!(bunyan::time_of_line(time), "1970-01-01T00:00:00.001Z");
}

#[test]
fn the_log_can_be_started_twice() {
    init(&settings(LevelFilter::OFF), &[], &[], None);
    init(&settings(LevelFilter::OFF), &[], &[], None);
}
