//! Pushing many messages at once.

use std::time::Instant;

use futures_util::future::join_all;
use redis::Value;

use crate::client::Client;
use crate::cluster::attempts::Attempts;
use crate::connection::redis_rs;
use crate::connection::reply::{Reply, parse};
use crate::connection::request::LaneRequest;
use crate::error::Error;
use crate::node::NodeId;
use crate::queue::message::MessageId;
use crate::queue::push::Outgoing;
use crate::queue::push_outcome::PushOutcome;
use crate::queue::receipt::{PushError, Receipt};
use crate::queue::schedule::When;
use crate::queue::scripts::{Call, PUSH};
use crate::queue::{Queue, refused};

/// What is sent in one piece: one long pipeline would time out as a whole.
const PIECE: usize = 512;
const PIECE_BYTES: usize = 4 << 20;

impl Queue {
    /// Pushes many messages, all nodes at once; one result per message, in their order. [Example](crate::guide::by_example#a-queue).
    ///
    /// Each message fares as with [`push`](Self::push). They are sent in pieces of up to 512 per node, and each
    /// piece has the cluster's deadline.
    ///
    /// # Cancellation
    ///
    /// Safe; any of the messages may have been pushed.
    pub async fn push_many<P: AsRef<[u8]>>(
        &self,
        payloads: impl IntoIterator<Item = P>,
    ) -> Vec<Result<Receipt, PushError>> {
        let payloads: Vec<P> = payloads.into_iter().collect();
        let mut results = Vec::with_capacity(payloads.len());
        let mut rest = &payloads[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let nodes = self.cluster.live_clients().len().max(1);
            let fits = |p: &&P| {
                bytes += p.as_ref().len();
                bytes <= PIECE_BYTES
            };
            let most = rest.iter().take(PIECE * nodes).take_while(fits).count();
            let (piece, others) = rest.split_at(most.max(1));
            rest = others;
            results.extend(self.push_piece(piece).await);
        }
        results
    }

    /// A piece of a large push: every message goes to the node whose turn it is, those of one node together;
    /// what a node would not have goes on to the next one.
    async fn push_piece<P: AsRef<[u8]>>(&self, payloads: &[P]) -> Vec<Result<Receipt, PushError>> {
        let deadline = self.deadline();
        let mut items = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let id = MessageId::random();
            let out = self.outgoing(id, None, payload.as_ref(), When::NOW);
            let order = match out {
                Ok(_) => self.order(id, None).await,
                Err(ref why) => Err(why.clone()),
            };
            items.push(Item::new(id, out, order));
        }
        loop {
            let mut nodes: Vec<(Client, Vec<usize>)> = Vec::new();
            for (n, item) in items.iter().enumerate() {
                let Some(client) = item.next() else {
                    continue;
                };
                match nodes.iter_mut().find(|(c, _)| c == client) {
                    Some((_, list)) => list.push(n),
                    None => nodes.push((client.clone(), vec![n])),
                }
            }
            if nodes.is_empty() {
                if items.iter().any(Item::ran_out) {
                    self.cluster.engine().demand();
                }
                return items.into_iter().map(Item::finish).collect();
            }
            let asked = nodes.iter().map(|(client, list)| {
                let outs = list.iter().filter_map(|&n| items[n].out.as_ref().ok());
                self.push_list(client, outs.copied().collect(), deadline)
            });
            let asked = join_all(asked).await;
            for ((client, list), results) in nodes.into_iter().zip(asked) {
                for (n, result) in list.into_iter().zip(results) {
                    let result = self.judged(&client, result);
                    items[n].answered(client.node(), result, deadline);
                }
            }
        }
    }

    /// One pipeline; one result per message.
    async fn push_list(
        &self,
        client: &Client,
        outs: Vec<Outgoing<'_>>,
        deadline: Instant,
    ) -> Vec<Result<(), Error>> {
        let mut pipe = redis_rs::pipeline(outs.len() + 1);
        let plain = outs.iter().all(|out| self.is_plain(out));
        if !plain {
            // A restarted server has no scripts, and in a pipeline there is no asking first.
            pipe.add_command(PUSH.load());
        }
        let digest = match plain {
            true => Ok(""),
            false => PUSH.digest(client, deadline).await,
        };
        let digest = match digest {
            Ok(digest) => digest,
            Err(error) => return outs.iter().map(|_| Err(error.clone())).collect(),
        };
        for out in &outs {
            pipe.add_command(match plain {
                true => self.xadd(out),
                false => self.call(out).by_digest(digest),
            });
        }
        let request = LaneRequest::all_ours(&pipe);
        match client
            .answer(request, deadline)
            .await
            .map(Reply::into_values)
        {
            Ok(values) => {
                let values = values.into_iter().skip(usize::from(!plain));
                values
                    .map(|value| parse::<Value>(value, client.node()).map(drop))
                    .collect()
            }
            Err(error) => outs.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

/// One message of a large push.
struct Item<'a> {
    id: MessageId,
    out: Result<Outgoing<'a>, Error>,
    order: std::vec::IntoIter<Client>,
    attempts: Attempts<NodeId>,
    end: Option<Result<NodeId, Error>>,
}

impl<'a> Item<'a> {
    fn new(
        id: MessageId,
        out: Result<Outgoing<'a>, Error>,
        order: Result<Vec<Client>, Error>,
    ) -> Self {
        let (order, end) = match order {
            Ok(order) => (order, None),
            Err(why) => (Vec::new(), Some(Err(why))),
        };
        Self {
            id,
            out,
            order: order.into_iter(),
            attempts: Attempts::default(),
            end,
        }
    }

    /// The node to ask next, unless it is settled.
    fn next(&self) -> Option<&Client> {
        self.order.as_slice().first().filter(|_| self.end.is_none())
    }

    /// Whether every node has failed it.
    fn ran_out(&self) -> bool {
        self.end.is_none()
    }

    fn answered(&mut self, node: &NodeId, result: Result<(), Error>, deadline: Instant) {
        self.order.next();
        self.end = match result {
            Ok(()) => Some(Ok(node.clone())),
            Err(error) => {
                let step = PushOutcome::from(&error).step;
                let end = self.attempts.failed(node.clone(), error, step, deadline);
                end.map(Err)
            }
        };
    }

    fn finish(self) -> Result<Receipt, PushError> {
        let last = match self.end {
            Some(Ok(node)) => {
                return Ok(Receipt::new(self.id, node, &self.attempts.into_tried()));
            }
            Some(Err(error)) => error,
            None => match self.attempts.last_error() {
                Some(error) => error.clone(),
                None => refused("all nodes are being drained"),
            },
        };
        Err(PushError::new(self.id, self.attempts.into_tried(), last))
    }
}
