//! Watches the log for errors that no error event has told.

use super::model::SharedModel;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// Tells the model about errors in the log of this thread, until the guard is dropped.
pub(super) fn watch(model: &SharedModel) -> tracing::subscriber::DefaultGuard {
    let watch = LogWatch(model.clone());
    tracing::subscriber::set_default(tracing_subscriber::registry().with(watch))
}

struct LogWatch(SharedModel);

/// The class of the message that a span belongs to.
struct MessageClass(u32);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogWatch {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.is_span() || *metadata.level() == Level::ERROR
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(class), Some(span)) = (fields.class, context.span(id)) {
            span.extensions_mut().insert(MessageClass(class));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if !fields.is_report {
            return;
        }
        let of_span = || {
            let mut scope = context.event_scope(event)?;
            scope.find_map(|span| span.extensions().get::<MessageClass>().map(|class| class.0))
        };
        self.0.lock().logged(fields.class.or_else(of_span));
    }
}

/// What the fields of a span or of a line say.
#[derive(Default)]
struct Fields {
    class: Option<u32>,
    /// The line holds the error of a message.
    is_report: bool,
}

impl Fields {
    fn read(&mut self, field: &Field, text: &str) {
        match field.name() {
            "messageId" => {
                let class = text.trim_matches('"').strip_prefix('m');
                self.class = class.and_then(|class| class.parse().ok());
            }
            "reported_message" => {
                self.is_report = true;
                let mut words = text.split("class ").skip(1);
                let class = words.next().and_then(|rest| rest.split(' ').next());
                self.class = class.and_then(|class| class.parse().ok());
            }
            _ => {}
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.read(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.read(field, &format!("{value:?}"));
    }
}
