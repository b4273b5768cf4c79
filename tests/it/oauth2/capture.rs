//! The log of a test.

use std::{
    io,
    sync::{Arc, Mutex},
};
use tracing::{Level, level_filters::LevelFilter, subscriber::DefaultGuard};
use tracing_subscriber::{
    filter::Targets,
    fmt::{MakeWriter, format::FmtSpan},
    layer::SubscriberExt,
};

/// Records everything that the runtime logs on this thread, at every level, and the warnings of other crates.
pub struct Capture {
    written: Written,
    _guard: DefaultGuard,
}

impl Capture {
    pub fn begin() -> Self {
        let written = Written::default();
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_span_events(FmtSpan::FULL)
            .with_writer(written.clone());
        let targets = Targets::new()
            .with_default(LevelFilter::WARN)
            .with_target("sailor", Level::TRACE);
        let guard = tracing::subscriber::set_default(
            tracing_subscriber::registry().with(targets).with(lines),
        );
        Self {
            written,
            _guard: guard,
        }
    }

    /// Asserts that one line, and no other, has all of these texts.
    #[track_caller]
    pub fn assert_one(&self, texts: &[&str]) {
        let text = self.text();
        let has_all = |line: &&str| texts.iter().all(|text| line.contains(text));
        let count = text.lines().filter(has_all).count();
        assert_eq!(count, 1, "{texts:?} in:\n{text}");
    }

    /// Everything recorded so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.written.0.lock().unwrap().clone()).unwrap()
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
