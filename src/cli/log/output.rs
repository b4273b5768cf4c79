//! Standard output, without waiting for who reads it: a platform may stop reading a container's log for a while, and
//! work has to go on.
//!
//! A thread owns the output. Lines for it wait in memory, up to a bound; beyond it they are dropped, and a line of its own
//! says how many.

use memchr::{memchr, memrchr};
use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::AsFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How many bytes of lines wait to be written; as many again can be on their way.
const MOST: usize = 1024 * 1024;

/// The same for errors. A line may be the only place where an error stands, so these find room for longer.
const MOST_ERRORS: usize = 4 * MOST;

/// What is kept of a buffer for the next lines.
const KEPT: usize = 64 * 1024;

/// A pipe takes up to this many bytes whole or not at all: so lines stay whole where a process ends in the midst of them.
const AT_ONCE: usize = 4096;

/// An output that was made not to block, and is full, is tried again after this.
const FULL: Duration = Duration::from_millis(20);

type Open = dyn Fn() -> Box<dyn Write + Send> + Send + Sync;
type Gap = dyn Fn(u64) -> Vec<u8> + Send + Sync;

/// Takes lines, each in one write, and never lets their writer wait.
#[derive(Clone)]
pub(super) struct Output(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
    written: Condvar,
    open: Box<Open>,
    /// The line that says how many lines are missing in its place.
    gap: Box<Gap>,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    /// Lines that found no room since the last ones were taken to be written.
    dropped: u64,
    /// There is something to write, or being written.
    busy: bool,
    /// The thread exists; it begins with the first line.
    started: bool,
}

impl Output {
    pub(super) fn new(
        open: impl Fn() -> Box<dyn Write + Send> + Send + Sync + 'static,
        gap: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            more: Condvar::new(),
            written: Condvar::new(),
            open: Box::new(open),
            gap: Box::new(gap),
        }))
    }

    /// The process's standard output: the file itself, without the lock that `println!` takes.
    pub(super) fn standard(gap: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let open = || match io::stdout().as_fd().try_clone_to_owned() {
            Ok(file) => Box::new(File::from(file)) as Box<dyn Write + Send>,
            Err(_) => Box::new(io::stdout()),
        };
        Self::new(open, gap)
    }

    /// Waits until everything is written, for at most so long. True when it is.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let queue = self.0.queue();
        let waited = self
            .0
            .written
            .wait_timeout_while(queue, patience, |queue| queue.busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn push(&self, line: &[u8], most: usize) {
        let mut queue = self.0.queue();
        if queue.lines.len() + line.len() <= most {
            queue.lines.extend_from_slice(line);
        } else {
            queue.dropped += 1;
        }
        if queue.busy {
            return;
        }
        queue.busy = true;
        if queue.started {
            self.0.more.notify_one();
        } else {
            let shared = self.0.clone();
            let thread = thread::Builder::new()
                .name("log".into())
                .spawn(move || shared.write_all_there_is());
            queue.started = thread.is_ok();
            // Without a thread the line waits for the next one, and nobody waits for it.
            queue.busy = queue.started;
        }
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            output: self,
            most: MOST,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line {
            output: self,
            most: if *metadata.level() == Level::ERROR {
                MOST_ERRORS
            } else {
                MOST
            },
        }
    }
}

/// Takes one line.
pub(super) struct Line<'a> {
    output: &'a Output,
    most: usize,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.output.push(line, self.most);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lives as long as the process.
    fn write_all_there_is(&self) {
        let mut output = (self.open)();
        let mut lines = Vec::new();
        loop {
            let mut queue = self.queue();
            while queue.lines.is_empty() && queue.dropped == 0 {
                queue.busy = false;
                self.written.notify_all();
                queue = self
                    .more
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut lines, &mut queue.lines);
            let dropped = std::mem::take(&mut queue.dropped);
            drop(queue);
            if dropped > 0 {
                // They came after those that are here, and before those to come.
                lines.extend((self.gap)(dropped));
            }
            write(&mut *output, &lines);
            lines.clear();
            lines.shrink_to(KEPT);
        }
    }
}

fn write(output: &mut dyn Write, mut lines: &[u8]) {
    while !lines.is_empty() {
        let some = &lines[..lines.len().min(AT_ONCE)];
        let end = memrchr(b'\n', some)
            .or_else(|| memchr(b'\n', lines))
            .map_or(lines.len(), |end| end + 1);
        match output.write(&lines[..end]) {
            Ok(0) => return,
            Ok(length) => lines = &lines[length..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL),
            // Nobody is there to read it. Whoever comes later gets what is written then.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, PipeReader, pipe};

    /// Long enough for anything on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn output() -> (Output, BufReader<PipeReader>) {
        let (reader, writer) = pipe().unwrap();
        let open = move || Box::new(writer.try_clone().unwrap()) as Box<dyn Write + Send>;
        (
            Output::new(open, |dropped| format!("dropped {dropped}\n").into()),
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
    fn what_is_read_in_time_comes_whole_and_in_order() {
        let (output, mut reader) = output();
        for number in 0..2_000 {
            output
                .make_writer()
                .write_all(line(number).as_bytes())
                .unwrap();
            if number % 100 == 99 {
                (number - 99..=number)
                    .for_each(|number| assert_eq!(read(&mut reader), line(number)));
            }
        }
        assert!(output.flush(PATIENCE));
    }

    #[test]
    fn unread_lines_are_dropped_and_counted_in_place() {
        let (output, mut reader) = output();
        let long = |number| format!("{number} {}\n", "x".repeat(1_000));
        const LINES: usize = 5_000;
        (0..LINES).for_each(|number| {
            output
                .make_writer()
                .write_all(long(number).as_bytes())
                .unwrap();
        });
        assert!(!output.flush(Duration::ZERO), "nobody has read it");
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
        assert!(output.flush(PATIENCE));
        output.make_writer().write_all(b"later\n").unwrap();
        assert_eq!(read(&mut reader), "later\n");
    }

    #[test]
    fn a_line_larger_than_the_room_for_lines_is_dropped_alone() {
        let (output, mut reader) = output();
        output
            .make_writer()
            .write_all("x".repeat(MOST + 1).as_bytes())
            .unwrap();
        assert_eq!(read(&mut reader), "dropped 1\n");
        output.make_writer().write_all(b"small\n").unwrap();
        assert_eq!(read(&mut reader), "small\n");
    }

    #[test]
    fn errors_find_room_when_other_lines_are_dropped() {
        let (output, mut reader) = output();
        let line = |text: &str| format!("{text} {}\n", "x".repeat(1_000));
        for _ in 0..3 * MOST / 1_000 {
            output.push(line("info").as_bytes(), MOST);
        }
        for _ in 0..100 {
            output.push(line("error").as_bytes(), MOST_ERRORS);
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
    fn a_reader_that_has_gone_holds_nothing_up() {
        let (output, reader) = output();
        drop(reader);
        for number in 0..2_000 {
            output
                .make_writer()
                .write_all(line(number).as_bytes())
                .unwrap();
        }
        assert!(output.flush(PATIENCE));
    }

    #[test]
    fn nothing_is_waited_for_where_nothing_was_written() {
        let (output, _reader) = output();
        assert!(output.flush(Duration::ZERO));
        assert!(!output.0.queue().started);
    }

    #[test]
    fn an_output_that_does_not_block_gets_its_lines_all_the_same() {
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
        let output = Output::new(
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
}
