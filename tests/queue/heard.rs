//! What a run writes to the log, for tests of what it says and how often.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Level, span};

use crate::observability::Recorded;

/// The warnings and errors of a run, one per line, and its metrics.
#[derive(Clone, Default)]
pub struct Heard {
    lines: Arc<Mutex<Vec<String>>>,
    pub metrics: Recorded,
}

impl Heard {
    /// The lines that have all of `words`.
    pub fn with(&self, words: &[&str]) -> Vec<String> {
        let has = |line: &&String| words.iter().all(|word| line.contains(word));
        self.lines.lock().iter().filter(has).cloned().collect()
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl tracing::Subscriber for Heard {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.lines.lock().push(line.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Runs it on one thread, where its log and its metrics are heard.
pub fn listening<F: Future<Output = ()>>(run: impl FnOnce(Heard) -> F) -> Heard {
    let heard = Heard::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tracing::subscriber::with_default(heard.clone(), || {
        metrics::with_local_recorder(&heard.metrics, || runtime.block_on(run(heard.clone())));
    });
    heard
}
