//! Lines for a terminal.

use super::*;

/// The lines of a terminal without colours. The time is checked and cut off.
fn plain(act: impl FnOnce()) -> Vec<String> {
    let settings = LogSettings {
        colours: false,
        ..settings(LevelFilter::INFO)
    };
    let lines = lines(&settings, true, act);
    let lines = lines.into_iter().map(|line| {
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!(
            (time.len(), &time[2..3], &time[8..9], &time[12..]),
            (13, ":", ".", "Z"),
            "{time}"
        );
        rest.to_owned()
    });
    lines.collect()
}

#[test]
fn a_line_has_level_target_message_and_fields() {
    let lines = plain(|| {
        let message = tracing::info_span!("message", threadId = "t1", messageId = "m1");
        message.in_scope(|| {
            tracing::warn!(
                target: "sailor::amqp",
                code = %codes::BROKER_BLOCKED,
                reason = "low on memory",
                messageId = "m2",
                number = 7,
                text = "a \"b\"",
                empty = "",
                "The broker blocks publishing; waiting."
            );
        });
        tracing::error!(target: "my_component", fatal = true, error = "no such file", "a");
        tracing::info!(target: "my_component", "b");
    });
    assert_eq!(
        lines,
        [
            r#"WARN  sailor::amqp: The broker blocks publishing; waiting. code=broker-blocked reason="low on memory" messageId=m2 number=7 text="a \"b\"" empty="" threadId=t1"#,
            r#"FATAL my_component: a error="no such file""#,
            "INFO  my_component: b",
        ]
    );
}

#[test]
fn nothing_that_is_logged_controls_the_terminal() {
    let attack = "\u{1b}[2J\u{9b}31m\r\n\u{7}\u{8}\u{7f}\u{202e}\u{2066}\u{2028}";
    let lines = plain(|| {
        tracing::info!(text = attack, error = attack, "{attack}");
        tracing::info_span!("span", text = attack).in_scope(|| tracing::info!("b"));
    });
    for line in &lines {
        let obeyed = line
            .chars()
            .find(|c| c.is_control() || ('\u{2028}'..='\u{2069}').contains(c));
        assert_eq!(obeyed, None, "{line:?}");
    }
    assert!(
        lines[0].contains(r"\u{1b}[2J\u{9b}31m\r\n\u{7}"),
        "{}",
        lines[0]
    );
    assert_eq!(lines.len(), 2);
}

#[test]
fn other_characters_are_shown_as_they_are() {
    let text = "größe €\u{301} 日本 \\ 'x'";
    assert_eq!(
        plain(|| tracing::info!(target: "a", "{text}")),
        Vec::<String>::new(),
        "info of another crate is not logged"
    );
    let lines = plain(|| tracing::info!(target: "sailor", "{text}"));
    assert_eq!(lines, [format!("INFO  sailor: {text}")]);
}

#[test]
fn colours_are_for_terminals_that_have_them() {
    let colours = |variables: &[(&str, &str)], is_terminal: bool| {
        let settings = LogSettings::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        let lines = lines(&settings, is_terminal, || {
            tracing::warn!(code = "c", "text");
        });
        let is_pretty = !lines[0].starts_with('{');
        (is_pretty, lines[0].contains('\u{1b}'))
    };
    let (term, force) = (("TERM", "xterm"), ("ELASTICIO_LOG_FORMAT", "pretty"));
    for (variables, is_terminal, expected) in [
        (&[term][..], true, (true, true)),
        (&[term, ("NO_COLOR", "1")], true, (true, false)),
        (&[term, ("NO_COLOR", "")], true, (true, true)),
        (&[("TERM", "dumb")], true, (true, false)),
        (&[], true, (true, false)),
        (&[term], false, (false, false)),
        (&[term, force], false, (true, false)),
        (&[term, force], true, (true, true)),
        (
            &[term, ("ELASTICIO_LOG_FORMAT", "bunyan")],
            true,
            (false, false),
        ),
        (
            &[term, ("ELASTICIO_LOG_FORMAT", "json")],
            false,
            (false, false),
        ),
    ] {
        assert_eq!(
            colours(variables, is_terminal),
            expected,
            "{variables:?} {is_terminal}"
        );
    }
}

#[test]
fn every_colour_ends_in_its_line() {
    let lines = lines(&settings(LevelFilter::TRACE), true, || {
        tracing::trace!(target: "sailor", a = 1, "t");
        tracing::debug!(target: "sailor", "d");
        tracing::info!("i");
        tracing::warn!(error = "x", "w");
        tracing::error!("e");
        tracing::error!(fatal = true, "f");
    });
    assert_eq!(lines.len(), 6);
    for line in lines {
        let begun = line.matches("\u{1b}[").count();
        let ended = line.matches("\u{1b}[0m").count();
        assert!(
            ended >= 3 && begun >= 2 * ended && line.rfind("\u{1b}[") <= line.rfind("\u{1b}[0m"),
            "{line:?}"
        );
    }
}

#[test]
fn the_line_for_dropped_lines_is_pretty_too() {
    let settings = LogSettings {
        colours: false,
        ..settings(LevelFilter::INFO)
    };
    let line = String::from_utf8(format(&settings, true).dropped_lines(17)).unwrap();
    let end = "WARN  sailor: Log lines are missing here: standard output was not read fast enough code=log-lines-dropped dropped=17\n";
    assert!(line.ends_with(end), "{line}");
}
