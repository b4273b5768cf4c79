//! The log of a test, at the level that a process has without `LOG_LEVEL`.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};
use tracing::subscriber::DefaultGuard;

/// What this thread logs, until it is dropped.
pub(crate) struct CapturedLog {
    written: Written,
    _guard: DefaultGuard,
}

impl CapturedLog {
    pub(crate) fn begin() -> Self {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        Self {
            written,
            _guard: tracing::subscriber::set_default(lines),
        }
    }

    pub(crate) fn text(&self) -> String {
        let written = self.written.0.lock();
        let written = written.unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&written).into_owned()
    }

    /// How many lines have all of these texts.
    pub(crate) fn count(&self, texts: &[&str]) -> usize {
        let text = self.text();
        let lines = text.lines();
        lines
            .filter(|line| texts.iter().all(|text| line.contains(text)))
            .count()
    }

    /// Asserts that one line, and no other, has all of these texts.
    #[track_caller]
    pub(crate) fn assert_one(&self, texts: &[&str]) {
        assert_eq!(self.count(texts), 1, "{texts:?} in:\n{}", self.text());
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
