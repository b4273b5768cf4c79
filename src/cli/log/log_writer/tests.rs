//! Lines are read from a pipe, in place of standard output.

use super::{super::FLUSH_TIMEOUT, *};
use std::{
    io::{BufRead, BufReader, PipeReader, pipe},
    time::Instant,
};

/// Long enough on a busy machine.
const FLUSH_LIMIT: Duration = Duration::from_secs(60);

fn pipe_output() -> (LogWriter, BufReader<PipeReader>) {
    let (reader, writer) = pipe().unwrap();
    let open = move || Box::new(writer.try_clone().unwrap()) as Box<dyn Write + Send>;
    (
        LogWriter::new(open, |dropped| format!("dropped {dropped}\n").into()),
        BufReader::new(reader),
    )
}

fn line(number: usize) -> String {
    format!("{number} {}\n", "x".repeat(number % 9_000))
}

fn read(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

#[test]
fn lines_that_are_read_in_time_are_complete_and_in_order() {
    let (output, mut reader) = pipe_output();
    for number in 0..2_000 {
        output
            .make_writer()
            .write_all(line(number).as_bytes())
            .unwrap();
        if number % 100 == 99 {
            (number - 99..=number).for_each(|number| assert_eq!(read(&mut reader), line(number)));
        }
    }
    assert!(output.flush(FLUSH_LIMIT));
}

#[test]
fn unread_lines_are_dropped_and_counted_in_place() {
    let (output, mut reader) = pipe_output();
    let long = |number| format!("{number} {}\n", "x".repeat(1_000));
    const LINES: usize = 5_000;
    (0..LINES).for_each(|number| {
        output
            .make_writer()
            .write_all(long(number).as_bytes())
            .unwrap();
    });
    assert!(!output.flush(Duration::ZERO), "nothing is read yet");
    let (mut next, mut gaps) = (0, 0);
    while next < LINES {
        let line = read(&mut reader);
        match line.trim_end().strip_prefix("dropped ") {
            Some(dropped) => {
                gaps += 1;
                next += dropped.parse::<usize>().unwrap();
            }
            None => {
                assert_eq!(line, long(next));
                next += 1;
            }
        }
    }
    assert!(gaps > 0 && next == LINES, "{gaps} gaps, {next} lines");
    assert!(output.flush(FLUSH_LIMIT));
    output.make_writer().write_all(b"later\n").unwrap();
    assert_eq!(read(&mut reader), "later\n");
}

#[test]
fn a_line_larger_than_the_buffer_is_dropped_alone() {
    let (output, mut reader) = pipe_output();
    output
        .make_writer()
        .write_all("x".repeat(BUFFER_LIMIT + 1).as_bytes())
        .unwrap();
    assert_eq!(read(&mut reader), "dropped 1\n");
    output.make_writer().write_all(b"small\n").unwrap();
    assert_eq!(read(&mut reader), "small\n");
}

#[test]
fn errors_are_kept_when_other_lines_are_dropped() {
    let (output, mut reader) = pipe_output();
    let line = |text: &str| format!("{text} {}\n", "x".repeat(1_000));
    for _ in 0..3 * BUFFER_LIMIT / 1_000 {
        output.push(line("info").as_bytes(), BUFFER_LIMIT);
    }
    for _ in 0..100 {
        output.push(line("error").as_bytes(), ERROR_BUFFER_LIMIT);
    }
    drop(output);
    let mut errors = 0;
    while errors < 100 {
        let mut text = String::new();
        assert!(
            reader.read_line(&mut text).unwrap() > 0,
            "only {errors} errors"
        );
        errors += usize::from(text.starts_with("error "));
    }
}

#[test]
fn a_closed_output_blocks_nothing() {
    let (output, reader) = pipe_output();
    drop(reader);
    for number in 0..2_000 {
        output
            .make_writer()
            .write_all(line(number).as_bytes())
            .unwrap();
    }
    assert!(output.flush(FLUSH_LIMIT));
}

#[test]
fn flush_does_not_wait_if_nothing_was_logged() {
    let (output, _reader) = pipe_output();
    assert!(output.flush(Duration::ZERO));
    assert!(!output.0.queue().started);
}

#[test]
fn a_non_blocking_output_receives_all_lines() {
    struct Full(u32, io::PipeWriter);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 % 3 {
                1 => Err(ErrorKind::WouldBlock.into()),
                2 => Err(ErrorKind::Interrupted.into()),
                _ => self.1.write(&bytes[..bytes.len().min(7)]),
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (reader, writer) = pipe().unwrap();
    let output = LogWriter::new(
        move || Box::new(Full(0, writer.try_clone().unwrap())),
        |_| vec![],
    );
    output.make_writer().write_all(b"first line\n").unwrap();
    output.make_writer().write_all(b"second line\n").unwrap();
    let mut reader = BufReader::new(reader);
    assert_eq!(
        (read(&mut reader), read(&mut reader)),
        ("first line\n".into(), "second line\n".into())
    );
}

#[test]
fn an_unread_log_delays_the_end_by_a_second() {
    let (output, _unread) = pipe_output();
    for number in 0..2000 {
        output
            .make_writer()
            .write_all(line(number).as_bytes())
            .unwrap();
    }
    let start = Instant::now();
    assert!(!output.flush(FLUSH_TIMEOUT), "nothing is read");
    assert!(start.elapsed() >= Duration::from_secs(1));
}
