//! What was published and not read yet: so many notices, and so many bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;

use super::message::Notice;

/// How many notices wait for a slow reader; beyond that messages are dropped, and a gap announced.
const NOTICES: usize = 1_024;
/// What they may take together. One of any size is taken when nothing waits.
const BYTES: usize = 32 << 20;

pub(super) fn new() -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel(NOTICES);
    let held = Arc::<AtomicUsize>::default();
    let sender = Sender {
        sender,
        held: Arc::clone(&held),
    };
    (sender, Receiver { receiver, held })
}

#[derive(Clone)]
pub(super) struct Sender {
    sender: mpsc::Sender<Notice>,
    /// The bytes of what waits.
    held: Arc<AtomicUsize>,
}

impl Sender {
    /// Lets a notice wait; `false` when there is no room for it.
    pub(super) fn send(&self, notice: Notice) -> bool {
        let size = bytes(&notice);
        // Several nodes' messages may come at once: each reserves before it is sure.
        let before = self.held.fetch_add(size, Relaxed);
        let fits = size == 0 || before == 0 || before.saturating_add(size) <= BYTES;
        let sent = fits && self.sender.try_send(notice).is_ok();
        if !sent {
            self.held.fetch_sub(size, Relaxed);
        }
        sent
    }
}

pub(super) struct Receiver {
    receiver: mpsc::Receiver<Notice>,
    held: Arc<AtomicUsize>,
}

impl Receiver {
    pub(super) async fn next(&mut self) -> Option<Notice> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Notice>> {
        let notice = ready!(self.receiver.poll_recv(cx));
        if let Some(notice) = &notice {
            self.held.fetch_sub(bytes(notice), Relaxed);
        }
        Poll::Ready(notice)
    }
}

fn bytes(notice: &Notice) -> usize {
    match notice {
        Notice::Message(m) => {
            m.payload.len() + m.channel.len() + m.pattern.as_ref().map_or(0, Vec::len)
        }
        Notice::Gap { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodeId;
    use crate::pubsub::Message;
    use futures_util::FutureExt as _;

    fn message(bytes: usize) -> Notice {
        Notice::Message(Message {
            node: NodeId::from("n"),
            channel: Vec::new(),
            pattern: None,
            payload: vec![0; bytes],
        })
    }

    #[test]
    fn so_many_bytes_wait_or_one_message_of_any_size() {
        let (sender, mut receiver) = new();
        assert!(sender.send(message(2 * BYTES)));
        assert!(!sender.send(message(1)));
        // A gap takes nothing, so that it can be told.
        assert!(sender.send(Notice::Gap {
            node: NodeId::from("n")
        }));
        assert!(receiver.next().now_or_never().is_some());
        assert!(receiver.next().now_or_never().is_some());
        let half = BYTES / 2;
        assert!(sender.send(message(half)) && sender.send(message(half)));
        assert!(!sender.send(message(1)));
        assert!(receiver.next().now_or_never().is_some());
        assert!(sender.send(message(half)) && !sender.send(message(1)));
        while receiver.next().now_or_never().is_some() {}
        assert_eq!(receiver.held.load(Relaxed), 0);
    }

    #[test]
    fn so_many_notices_wait() {
        let (sender, _receiver) = new();
        let sent = (0..2 * NOTICES).filter(|_| sender.send(message(1))).count();
        assert_eq!(sent, NOTICES);
        assert_eq!(sender.held.load(Relaxed), NOTICES);
    }
}
