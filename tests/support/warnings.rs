//! What a cluster warns of while a test runs.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// The lines of level WARN and above, each with its fields.
#[derive(Clone, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Hears what this thread does in `run`.
    pub fn during<R>(&self, run: impl FnOnce() -> R) -> R {
        tracing::subscriber::with_default(Listener(self.clone()), run)
    }

    /// The lines that contain all of these words.
    pub fn with(&self, words: &[&str]) -> Vec<String> {
        let lines = self.0.lock().expect("nobody panics with it");
        let fits = |line: &&String| words.iter().all(|word| line.contains(word));
        lines.iter().filter(fits).cloned().collect()
    }
}

struct Listener(Warnings);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Listener {
    fn enabled(&self, of: &Metadata<'_>) -> bool {
        of.is_event() && *of.level() <= Level::WARN
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.0.lock().expect("nobody panics with it").push(line.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
