//! Pushing: which node, and what when it will not have it.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use redis::{Cmd, FromRedisValue, Value};

use crate::client::Client;
use crate::clock;
use crate::cluster::attempts::Attempts;
use crate::connection::reply::parse;
use crate::error::Error;
use crate::node::NodeId;
use crate::queue::calls::Push;
use crate::queue::message::MessageId;
use crate::queue::meter::Pushed;
use crate::queue::push_outcome::PushOutcome;
use crate::queue::receipt::{PushError, Receipt};
use crate::queue::schedule::When;
use crate::queue::scripts::{raw, run};
use crate::queue::spread::{Spread, least, turn};
use crate::queue::{Queue, eviction, named, refused};

/// How old the depths may be that a push goes by, and how long asking for them may take.
const DEPTHS_AGE: Duration = Duration::from_secs(1);
const DEPTHS_WAIT: Duration = Duration::from_millis(100);

/// The depths as they were asked for last, and what was pushed since.
#[derive(Debug, Default)]
pub(crate) struct Depths {
    asked: Option<Instant>,
    known: HashMap<NodeId, u64>,
}

/// A message on its way to a node.
#[derive(Clone, Copy)]
pub(super) struct Outgoing<'a> {
    id: MessageId,
    key: Option<&'a [u8]>,
    payload: &'a [u8],
    due: (&'static str, u64),
}

impl Queue {
    /// Pushes a message to one of the nodes.
    ///
    /// A node that is out, or refuses (`OOM`, `READONLY`, `MISCONF`, `LOADING`, [`max_len`](Self::max_len)), is
    /// passed over, within the cluster's deadline. So is one whose answer does not come: it may have the message
    /// nonetheless, and then there are two copies with one id, see [`Receipt::may_be_twice`].
    ///
    /// # Errors
    ///
    /// A [`PushError`] when no node took it, with what each of them said. A key of another type, or a missing
    /// permission, is an error at once: passed over, it would stay unnoticed.
    ///
    /// # Cancellation
    ///
    /// Safe; the message may have been pushed.
    ///
    /// ```no_run
    /// # async fn run(jobs: fluster::queue::Queue) -> Result<(), fluster::queue::PushError> {
    /// let receipt = jobs.push("resize cat.png").await?;
    /// println!("{} is on {}", receipt.id(), receipt.node());
    /// # Ok(()) }
    /// ```
    pub async fn push(&self, payload: impl AsRef<[u8]>) -> Result<Receipt, PushError> {
        let id = MessageId::random();
        self.push_one(id, None, payload.as_ref(), When::NOW).await
    }

    /// [`push`](Self::push) under an id that was given before: for another try after a [`PushError`], or an id
    /// of the application's own. [Example](crate::guide::by_example#a-queue).
    pub async fn push_as(
        &self,
        id: MessageId,
        payload: impl AsRef<[u8]>,
    ) -> Result<Receipt, PushError> {
        self.push_one(id, None, payload.as_ref(), When::NOW).await
    }

    /// Pushes a message to the node that the cluster places `key` on, or its stand-in. [Example](crate::guide::by_example#a-queue).
    ///
    /// Messages of one key are first delivered in the order in which they were pushed, one push after the other, as
    /// long as their node lives. The order ends where several consumers work on them at once, and with every
    /// delivery that is repeated.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub async fn push_by_key(
        &self,
        key: impl AsRef<[u8]>,
        payload: impl AsRef<[u8]>,
    ) -> Result<Receipt, PushError> {
        let id = MessageId::random();
        let key = Some(key.as_ref());
        self.push_one(id, key, payload.as_ref(), When::NOW).await
    }

    /// Pushes a message that is not delivered before its time: a `SystemTime`, or a `Duration` from now. Up to ten
    /// years ahead.
    ///
    /// The clock is that of the server that has it, which looks once a second: a message comes up to a second late,
    /// and later while no consumer is there to look.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// # async fn run(jobs: fluster::queue::Queue) -> Result<(), fluster::queue::PushError> {
    /// jobs.push_at(Duration::from_secs(3600), "remind Ann").await?;
    /// # Ok(()) }
    /// ```
    pub async fn push_at(
        &self,
        when: impl Into<When>,
        payload: impl AsRef<[u8]>,
    ) -> Result<Receipt, PushError> {
        let id = MessageId::random();
        self.push_one(id, None, payload.as_ref(), when.into()).await
    }

    async fn push_one(
        &self,
        id: MessageId,
        key: Option<&[u8]>,
        payload: &[u8],
        when: When,
    ) -> Result<Receipt, PushError> {
        let deadline = self.deadline();
        let mut attempts = Attempts::default();
        let fail =
            |attempts: Attempts<_>, last| Err(PushError::new(id, attempts.into_tried(), last));
        let out = match self.outgoing(id, key, payload, when) {
            Ok(out) => out,
            Err(why) => return fail(attempts, why),
        };
        let order = match self.order(id, key).await {
            Ok(order) => order,
            Err(why) => return fail(attempts, why),
        };
        for client in order {
            let node = client.node().clone();
            let error = match self.push_to(&client, &out, deadline).await {
                Ok(()) => return Ok(Receipt::new(id, node, &attempts.into_tried())),
                Err(error) => error,
            };
            let step = PushOutcome::from(&error).step;
            if let Some(last) = attempts.failed(node, error, step, deadline) {
                return fail(attempts, last);
            }
        }
        let last = attempts.last_error().cloned();
        self.cluster.engine().demand();
        fail(
            attempts,
            last.unwrap_or_else(|| refused("all nodes are being drained")),
        )
    }

    pub(super) fn outgoing<'a>(
        &self,
        id: MessageId,
        key: Option<&'a [u8]>,
        payload: &'a [u8],
        when: When,
    ) -> Result<Outgoing<'a>, Error> {
        self.usable()?;
        let too_long = self.options.refuse_bytes("payload", payload.len());
        let too_long =
            too_long.or_else(|| self.options.refuse_bytes("key", key.map_or(0, <[u8]>::len)));
        if let Some(why) = too_long {
            return Err(refused(why));
        }
        let due = match when.is_now() {
            true => ("in", 0),
            false => when.words(SystemTime::now()).map_err(refused)?,
        };
        Ok(Outgoing {
            id,
            key,
            payload,
            due,
        })
    }

    /// The nodes to ask, in turn.
    pub(super) async fn order(
        &self,
        id: MessageId,
        key: Option<&[u8]>,
    ) -> Result<Vec<Client>, Error> {
        let by_id;
        let key = match (key, self.options.spread) {
            (None, Spread::ByKey) => {
                by_id = id.to_string();
                Some(by_id.as_bytes())
            }
            (key, _) => key,
        };
        let mut clients = match key {
            Some(key) => self.cluster.candidate_clients(key),
            None => self.cluster.live_clients(),
        };
        if clients.is_empty() {
            clients = self.live().await?;
        }
        clients.retain(|client| !self.is_drained(client.node()));
        if key.is_some() {
            return Ok(clients);
        }
        let cursor = self.inner.cursor.fetch_add(1, Relaxed);
        let order = match self.options.spread {
            Spread::LeastDepth => {
                let order = least(&self.known_depths(&clients).await, cursor);
                if let Some(&n) = order.first() {
                    // Nobody asks again for a second: the push counts at once.
                    let node = clients[n].node().clone();
                    *self.inner.depths.lock().known.entry(node).or_default() += 1;
                }
                order
            }
            _ => turn(clients.len(), cursor),
        };
        Ok(order.into_iter().map(|n| clients[n].clone()).collect())
    }

    /// The depths of these nodes, as of a second ago at most, for the first one to be pushed to.
    async fn known_depths(&self, clients: &[Client]) -> Vec<u64> {
        let now = clock::now();
        let is_old = {
            let mut depths = self.inner.depths.lock();
            let old = depths
                .asked
                .is_none_or(|at| now.saturating_duration_since(at) >= DEPTHS_AGE);
            if old {
                // Whoever comes meanwhile goes by what is known.
                depths.asked = Some(now);
            }
            old
        };
        if is_old {
            let deadline = now + DEPTHS_WAIT.min(self.cluster.deadline());
            let mut cmd = redis::cmd("XLEN");
            cmd.arg(&*self.keys().stream);
            let asked = join_all(clients.iter().map(|c| raw(c, &cmd, deadline))).await;
            let mut depths = self.inner.depths.lock();
            for (client, answer) in clients.iter().zip(asked) {
                // A node that does not say is the last to be asked for more.
                let depth = answer.ok().and_then(|v| u64::from_redis_value(v).ok());
                depths
                    .known
                    .insert(client.node().clone(), depth.unwrap_or(u64::MAX >> 1));
            }
        }
        let depths = self.inner.depths.lock();
        let of = |c: &Client| depths.known.get(c.node()).copied().unwrap_or_default();
        clients.iter().map(of).collect()
    }

    /// Asks one node.
    async fn push_to(
        &self,
        client: &Client,
        out: &Outgoing<'_>,
        deadline: Instant,
    ) -> Result<(), Error> {
        let result = match self.is_plain(out) {
            true => match raw(client, &self.xadd(out), deadline).await {
                Ok(value) => parse::<Value>(value, client.node()).map(drop),
                Err(error) => Err(error),
            },
            false => run(self.call(out), client, deadline).await,
        };
        self.judged(client, result)
    }

    pub(super) fn judged(&self, client: &Client, result: Result<(), Error>) -> Result<(), Error> {
        let meter = self.inner.meter.of(client.node());
        match result {
            Ok(()) => {
                meter.pushed(Pushed::Ok);
                eviction::look(self, client);
                Ok(())
            }
            Err(error) => {
                meter.pushed(PushOutcome::from(&error).counts);
                Err(named(error, &self.keys().stream))
            }
        }
    }

    /// Without delay and limit there is nothing to ask: one command of the server's own.
    pub(super) fn is_plain(&self, out: &Outgoing<'_>) -> bool {
        self.options.max_len.is_none() && out.due == ("in", 0)
    }

    pub(super) fn xadd(&self, out: &Outgoing<'_>) -> Cmd {
        let mut cmd = redis::cmd("XADD");
        cmd.arg(&*self.keys().stream).arg("*");
        cmd.arg("i").arg(out.id.to_string());
        if let Some(key) = out.key {
            cmd.arg("k").arg(key);
        }
        cmd.arg("p").arg(out.payload);
        cmd
    }

    pub(super) fn call<'a>(&'a self, out: &Outgoing<'a>) -> Push<'a> {
        Push {
            keys: self.keys(),
            max_len: self.options.max_len,
            due: out.due,
            id: out.id,
            payload: out.payload,
            key: out.key,
        }
    }
}
