//! One reader of events: the whole picture now and then, what happens at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::sleep_until;

use super::inner::Inner;
use super::refusal::Refusal;
use super::report::Report;
use super::told::told;
use crate::clock;
use crate::cluster::events::Event;

/// Between two pictures of up to a hundred nodes; of more it is longer, so that a thousand cost the application no more.
const EVERY: Duration = Duration::from_secs(1);
const NODES: usize = 100;
/// After something happened the next one comes sooner, but not one for each of a thousand events.
const SOON: Duration = Duration::from_millis(200);

struct Reader {
    inner: Arc<Inner>,
    events: Receiver<Event>,
    /// When the next picture is due, and when the last one was made.
    next: Instant,
    last: Instant,
    _place: OwnedSemaphorePermit,
}

/// The events from now on, as server-sent ones: `status` with the whole document, `change` with what happened.
pub(super) fn read(
    inner: &Arc<Inner>,
) -> Result<impl Stream<Item = Bytes> + Send + 'static, Refusal> {
    let place = Arc::clone(&inner.readers).try_acquire_owned();
    let now = clock::now();
    let reader = Reader {
        events: inner.engine().listen(),
        inner: Arc::clone(inner),
        next: now,
        last: now,
        _place: place.map_err(|_| Refusal::Readers)?,
    };
    Ok(stream::unfold(reader, |mut reader| async move {
        let frame = reader.next().await?;
        Some((frame, reader))
    }))
}

impl Reader {
    /// What the reader is told next; `None` once the cluster is closed.
    ///
    /// # Cancellation
    ///
    /// Safe: no event is lost.
    async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            // What happened is told before the picture that shows it.
            biased;
            event = self.events.recv() => {
                self.next = self.next.min(clock::later(self.last, SOON));
                match event {
                    Ok(event) => Some(frame("change", &told(&event))),
                    Err(RecvError::Lagged(missed)) => Some(frame("change", &told(&Event::Missed(missed)))),
                    Err(RecvError::Closed) => None,
                }
            }
            () = sleep_until(self.next.into()) => {
                if self.inner.is_closed() {
                    return None;
                }
                let report = Report::make(&self.inner).await;
                self.last = clock::now();
                let nodes = self.inner.engine().topology().nodes.len();
                let times = u32::try_from(nodes.div_ceil(NODES)).unwrap_or(u32::MAX).clamp(1, 10);
                self.next = clock::later(self.last, EVERY * times);
                Some(frame("status", &report))
            }
        }
    }
}

/// JSON has no line breaks outside of texts, and none inside that are not escaped.
fn frame(event: &str, data: &impl Serialize) -> Bytes {
    // Nothing of ours has keys or numbers that JSON lacks.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {event}\ndata: {data}\n\n").into()
}
