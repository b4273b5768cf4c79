//! Writes each event that passes the filter as one line, with one write.
//!
//! A line contains the fields of the event and the fields of its spans. No name occurs twice: the event wins over its
//! spans, and an inner span wins over an outer one.

use super::{bunyan::Bunyan, fields::Fields, filter::Filter, pretty::Pretty};
use crate::monitoring::trace;
use std::{cell::RefCell, io::Write as _};
use tracing::{
    Event, Metadata, Subscriber, level_filters::LevelFilter, span, subscriber::Interest,
};
use tracing_subscriber::{Layer, fmt::MakeWriter, layer::Context, registry::LookupSpan};

/// The form of the lines.
#[derive(Clone)]
pub(super) enum Format {
    Bunyan(Bunyan),
    Pretty(Pretty),
}

impl Format {
    /// Returns the line that replaces dropped lines.
    pub(super) fn dropped_lines(&self, dropped: u64) -> Vec<u8> {
        match self {
            Self::Bunyan(format) => format.dropped_lines(dropped),
            Self::Pretty(format) => format.dropped_lines(dropped),
        }
    }
}

/// Writes the events that pass the filter.
pub(super) struct LogLayer<W> {
    pub(super) filter: Filter,
    pub(super) format: Format,
    pub(super) writer: W,
}

impl<S, W> Layer<S> for LogLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.filter.enabled(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.filter.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.filter.max_level())
    }

    fn on_new_span(
        &self,
        attributes: &span::Attributes<'_>,
        id: &span::Id,
        context: Context<'_, S>,
    ) {
        // What spans of a trace tell is not for the log.
        if attributes.metadata().target() != trace::TARGET
            && let Some(span) = context.span(id)
        {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        thread_local!(static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        // Formatting a field runs other code, which may log too. So it happens before the buffer is borrowed.
        let mut fields = Fields::default();
        event.record(&mut fields);
        LINE.with_borrow_mut(|line| {
            line.clear();
            let (metadata, spans) = (event.metadata(), context.event_scope(event));
            let spans = spans.into_iter().flatten();
            // There is nowhere to report that the log cannot be written.
            let _ = match &self.format {
                Format::Bunyan(format) => format.write(line, metadata, &fields, spans),
                Format::Pretty(format) => format.write(line, metadata, &fields, spans),
            };
            let _ = self.writer.make_writer_for(metadata).write_all(line);
        });
    }
}
