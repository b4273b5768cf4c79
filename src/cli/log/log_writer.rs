//! Writes log lines to standard output without blocking. A platform may stop reading a container's log for a while, and
//! message processing must continue during that time.
//!
//! A thread owns the output. Lines wait for it in a buffer of limited size. When the buffer is full, lines are dropped,
//! and one line reports their number.

use memchr::{memchr, memrchr};
#[cfg(test)]
mod tests;

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

/// The size of the buffer in bytes. The thread can hold the same amount in addition.
const BUFFER_LIMIT: usize = 1024 * 1024;

/// The size of the buffer for errors. They are dropped later than other lines, because a line may be the only trace of
/// an error.
const ERROR_BUFFER_LIMIT: usize = 4 * BUFFER_LIMIT;

/// The capacity that an empty buffer keeps.
const KEPT_CAPACITY: usize = 64 * 1024;

/// A pipe accepts a write of this size completely or not at all. So the last line is complete when the process ends.
const PIPE_BUF: usize = 4096;

/// The delay before the next attempt if a non-blocking output is full.
const RETRY_DELAY: Duration = Duration::from_millis(20);

type OpenOutput = dyn Fn() -> Box<dyn Write + Send> + Send + Sync;
type DroppedRecord = dyn Fn(u64) -> Vec<u8> + Send + Sync;

/// Accepts lines, one per write, and never blocks.
#[derive(Clone)]
pub(super) struct LogWriter(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
    written: Condvar,
    open_output: Box<OpenOutput>,
    /// Builds the line that says how many lines have been dropped.
    dropped_record: Box<DroppedRecord>,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    /// How many lines have been dropped since the thread took the last ones.
    dropped: u64,
    /// Whether lines are waiting or being written.
    busy: bool,
    /// Whether the thread is running. It starts with the first line.
    started: bool,
}

impl LogWriter {
    pub(super) fn new(
        open_output: impl Fn() -> Box<dyn Write + Send> + Send + Sync + 'static,
        dropped_record: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            more: Condvar::new(),
            written: Condvar::new(),
            open_output: Box::new(open_output),
            dropped_record: Box::new(dropped_record),
        }))
    }

    /// Writes to standard output, without the lock that `println!` takes.
    pub(super) fn to_stdout(
        dropped_record: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let open_output = || match io::stdout().as_fd().try_clone_to_owned() {
            Ok(file) => Box::new(File::from(file)) as Box<dyn Write + Send>,
            Err(_) => Box::new(io::stdout()),
        };
        Self::new(open_output, dropped_record)
    }

    /// Waits until all lines are written, for at most `limit`. Returns true if they are.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let queue = self.0.queue();
        let waited = self
            .0
            .written
            .wait_timeout_while(queue, limit, |queue| queue.busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn push(&self, line: &[u8], limit: usize) {
        let mut queue = self.0.queue();
        if queue.lines.len() + line.len() <= limit {
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
                .spawn(move || shared.write_pending());
            queue.started = thread.is_ok();
            // If the thread cannot start, the next line tries again, and `flush` does not wait.
            queue.busy = queue.started;
        }
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter {
            log: self,
            limit: BUFFER_LIMIT,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> LineWriter<'a> {
        let limit = if *metadata.level() == Level::ERROR {
            ERROR_BUFFER_LIMIT
        } else {
            BUFFER_LIMIT
        };
        LineWriter { log: self, limit }
    }
}

/// Accepts one line.
pub(super) struct LineWriter<'a> {
    log: &'a LogWriter,
    limit: usize,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.log.push(line, self.limit);
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

    /// Writes lines for as long as the process lives.
    fn write_pending(&self) {
        let mut output = (self.open_output)();
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
                // The dropped lines came after the ones in `lines`.
                lines.extend((self.dropped_record)(dropped));
            }
            write(&mut *output, &lines);
            lines.clear();
            lines.shrink_to(KEPT_CAPACITY);
        }
    }
}

/// Writes whole lines, as many as one write of a pipe accepts.
fn write(output: &mut dyn Write, mut lines: &[u8]) {
    while !lines.is_empty() {
        let chunk = &lines[..lines.len().min(PIPE_BUF)];
        let end = memrchr(b'\n', chunk)
            .or_else(|| memchr(b'\n', lines))
            .map_or(lines.len(), |end| end + 1);
        match output.write(&lines[..end]) {
            Ok(0) => return,
            Ok(length) => lines = &lines[length..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_DELAY),
            // Nobody reads the output, so these lines are lost.
            Err(_) => return,
        }
    }
}
