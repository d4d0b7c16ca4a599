//! Asking a node that is out whether it is back.

#[cfg(test)]
pub(crate) mod fake;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use redis::Value;

use crate::backend::Backend;
use crate::clock;
use crate::connection::meter::Use;
use crate::connection::reply::Reply;
use crate::connection::request::Request;
use crate::connection::stats::NodeStats;
use crate::health::verdict::{Observation, Phase, Seen};

pub(crate) type Probing = Pin<Box<dyn Future<Output = Observation> + Send>>;

/// A way to find out whether a node serves.
pub(crate) trait Probe: Send + Sync {
    fn probe(&self, backend: Arc<Backend>) -> Probing;
}

pub(crate) type Preparing = Pin<Box<dyn Future<Output = bool> + Send>>;

/// What has to be done at a node before it serves again; `false` leaves it out until its next good probe.
pub(crate) trait Preparation: Send + Sync {
    fn prepare(&self, backend: Arc<Backend>) -> Preparing;
}

/// Who sees to nodes that are out or doubted.
#[derive(Clone)]
pub(crate) struct Care {
    pub(crate) probe: Arc<dyn Probe>,
    /// Nobody yet, but in unit tests.
    pub(crate) preparation: Option<Arc<dyn Preparation>>,
}

impl Default for Care {
    fn default() -> Self {
        Self {
            probe: Arc::new(RedisProbe),
            preparation: None,
        }
    }
}

/// A fresh connection through the whole set-up, and a `PING` whose answer must carry a random token.
///
/// Never an existing connection: after an outage old sockets stay dead for seconds. Never TCP alone:
/// the kernel accepts connections for a stopped process.
#[derive(Debug)]
pub(crate) struct RedisProbe;

impl Probe for RedisProbe {
    fn probe(&self, backend: Arc<Backend>) -> Probing {
        Box::pin(async move {
            NodeStats::count(&backend.stats().probes);
            backend.follow_name(true).await;
            let open = backend.meter().connection(Use::Probe);
            let epoch = backend.gate().read().epoch();
            let wanted = backend.wanted(Use::Probe, None);
            let link = match backend.dialer().dial(epoch, open, wanted).await {
                Ok(link) => link,
                Err(e) => return backend.dial_observation(&e),
            };
            let token = format!("fluster-{:016x}", fastrand::u64(..));
            let mut ping = redis::cmd("PING");
            ping.arg(&token);
            let sent_at = clock::now();
            let limit = backend.limits().response_timeout;
            let seen = match link.call(Request::One(&ping), Some(limit)).await {
                Ok(reply) => match reply.class() {
                    Some(class) => Seen::Error(class),
                    None if carries(&reply, &token) => Seen::Value,
                    None => Seen::WrongToken,
                },
                Err(e) => return backend.call_observation(&e, sent_at),
            };
            Observation::new(Phase::Command, seen, sent_at)
        })
    }
}

fn carries(reply: &Reply, token: &str) -> bool {
    match reply {
        Reply::One(Value::BulkString(bytes)) => bytes == token.as_bytes(),
        Reply::One(Value::SimpleString(text)) => text == token,
        _ => false,
    }
}
