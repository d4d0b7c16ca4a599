//! What a subscription hears.

use redis::{PushInfo, PushKind, Value};

use crate::node::NodeId;

/// One item of a [`Subscription`](crate::pubsub::Subscription).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A message was published.
    Message(Message),
    /// Messages may have been lost until now: a channel was moved, a connection had ended, or the reader
    /// was too slow. From here on the subscription listens at this node.
    #[non_exhaustive]
    Gap {
        /// The node that is listened to now.
        node: NodeId,
    },
}

/// A published message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The node it was published on.
    pub node: NodeId,
    /// The channel it was published to.
    pub channel: Vec<u8>,
    /// The pattern that matched, with `psubscribe`.
    pub pattern: Option<Vec<u8>>,
    /// What was published.
    pub payload: Vec<u8>,
}

impl Message {
    /// The message of a push; `None` for a confirmation.
    pub(super) fn read(node: &NodeId, push: PushInfo) -> Option<Self> {
        let mut data = push.data.into_iter().map(bytes);
        let pattern = match push.kind {
            PushKind::Message | PushKind::SMessage => None,
            PushKind::PMessage => Some(data.next()?),
            _ => return None,
        };
        Some(Self {
            node: node.clone(),
            pattern,
            channel: data.next()?,
            payload: data.next()?,
        })
    }
}

fn bytes(value: Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes,
        Value::SimpleString(text) => text.into_bytes(),
        _ => Vec::new(),
    }
}
