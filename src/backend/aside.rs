//! What is written over an exclusive connection to a node that stands in for others.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::backend::Backend;
use crate::backend::stand_in::written;
use crate::connection::args::args;
use crate::connection::request::Request;

/// Keys that may be written by a request on its way; they are owed to those who should have had it when this is dropped.
#[must_use = "dropped at once it comes before the write"]
pub(crate) struct Aside {
    backend: Arc<Backend>,
    keys: Vec<Vec<u8>>,
    /// It has the `EXEC` of a transaction.
    ends: bool,
}

impl Aside {
    /// Of a request that is about to be sent, behind what its transaction has queued; nothing while nobody takes notes.
    pub(crate) fn new(
        backend: &Arc<Backend>,
        request: Request<'_>,
        queued: &mut Vec<Vec<u8>>,
    ) -> Option<Self> {
        if !backend.limits().is_noting.load(Relaxed) {
            return None;
        }
        let is_exec = |name: &[u8]| name.eq_ignore_ascii_case(b"EXEC");
        let mut commands = request.commands();
        let ends = commands.any(|cmd| args(cmd).next().is_some_and(is_exec));
        let mut keys = match ends {
            true => std::mem::take(queued),
            false => Vec::new(),
        };
        keys.extend(written(request).into_iter().map(<[u8]>::to_vec));
        Some(Self {
            backend: Arc::clone(backend),
            keys,
            ends,
        })
    }

    /// Nothing of it was sent.
    pub(crate) fn forget(mut self) {
        self.keys.clear();
    }

    /// It was answered, or may have been executed; inside a transaction it was only queued, and waits for its `EXEC`.
    pub(crate) fn sent(mut self, is_in_multi: bool, queued: &mut Vec<Vec<u8>>) {
        if is_in_multi && !self.ends {
            queued.append(&mut self.keys);
        } else if !self.ends {
            // What there was is discarded.
            queued.clear();
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.keys.is_empty() {
            self.backend.observer.sent_aside(&self.backend, &self.keys);
        }
    }
}
