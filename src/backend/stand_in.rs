//! A limit to how long what a stand-in was given lives.
//!
//! When the owner comes back, what was written meanwhile is on the stand-in, and it is stale as soon as
//! the owner is written again. The next time the owner goes out, readers would meet it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;
use redis::{Cmd, Pipeline, Value};

use crate::backend::role::Role;
use crate::backend::{Backend, Calling, Unheard};
use crate::command::{Spec, is_read_only};
use crate::connection::args::args;
use crate::connection::reply::Reply;
use crate::connection::request::{LaneRequest, Request};
use crate::error::Error;

/// What follows a write on a stand-in: `PEXPIRE key ttl LT` for each of its keys, which shortens a time to
/// live and never prolongs one.
fn caps<'a>(keys: impl IntoIterator<Item = &'a [u8]>, ttl: Duration) -> Option<Pipeline> {
    let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut caps = Pipeline::new();
    for key in keys {
        caps.cmd("PEXPIRE").arg(key).arg(ttl).arg("LT");
    }
    (!caps.is_empty()).then_some(caps)
}

/// The limits to the life of what this request writes to a node in this role.
pub(super) fn caps_of(role: Role<'_>, request: Request<'_>, ttl: Duration) -> Option<Pipeline> {
    match role {
        Role::Owner => None,
        Role::StandIn => caps(written(request), ttl),
        Role::StandInFor(keys) => caps(keys, ttl),
    }
}

/// The keys that a request writes.
pub(crate) fn written<'a>(request: Request<'a>) -> Vec<&'a [u8]> {
    let mut keys = Vec::new();
    let add = |cmd: &'a Cmd| {
        let words = args(cmd);
        if is_read_only(words.clone()) {
            return;
        }
        let spec = Spec::find(words.clone());
        if let Some(Ok(positions)) = spec.map(|s| s.key_positions(words.clone())) {
            keys.extend(positions.pick(words));
        }
    };
    request.commands().for_each(add);
    keys.sort_unstable();
    keys.dedup();
    keys
}

impl Backend {
    /// The request to a node in its role: the one way of what may write a key.
    ///
    /// A stand-in is given what it writes for at most the time to live that the cluster allows stand-ins. The cap goes
    /// right behind the request on the same connection. What was written is written: a cap that fails is counted and
    /// said, and is no error of the caller's.
    ///
    /// # Cancellation
    ///
    /// As [`call`](Self::call).
    pub(crate) fn execute<'a>(
        self: &'a Arc<Self>,
        began: Instant,
        request: LaneRequest<'a>,
        role: Role<'a>,
        deadline: Instant,
    ) -> Calling<'a> {
        let call = self.call_from(began, request, deadline);
        match self.limits().stand_in_ttl {
            Some(ttl) if !matches!(role, Role::Owner) => {
                call.by(Box::pin(self.capped(ttl, began, request, role, deadline)))
            }
            _ => call,
        }
    }

    async fn capped(
        self: &Arc<Self>,
        ttl: Duration,
        began: Instant,
        request: LaneRequest<'_>,
        role: Role<'_>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let Some(caps) = caps_of(role, request.request(), ttl) else {
            return self.call_from(began, request, deadline).await;
        };
        let follow = LaneRequest::all_ours(&caps);
        // The first future is polled first, and a connection keeps the order.
        let (reply, capped) = join(
            self.call_from(began, request, deadline),
            self.call_from(began, follow, deadline),
        )
        .await;
        // A write that was not executed needs no cap.
        if !matches!(
            &reply,
            Err(_) | Ok(Reply::Aborted(_) | Reply::One(Value::ServerError(_)))
        ) {
            self.hear(Unheard::Cap, caps.len(), &capped);
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::redis_rs;

    fn keys(line: &str) -> Vec<String> {
        let mut cmd = Cmd::new();
        for word in line.split(' ') {
            cmd.arg(word);
        }
        let keys = written(Request::One(&cmd));
        keys.into_iter()
            .map(|k| String::from_utf8_lossy(k).into_owned())
            .collect()
    }

    #[test]
    fn every_written_key_is_capped_once_and_none_that_is_only_read() {
        assert_eq!(keys("SET k v"), ["k"]);
        assert_eq!(keys("INCR k"), ["k"]);
        assert_eq!(keys("MSET a 1 b 2 a 3"), ["a", "b"]);
        assert_eq!(keys("EVAL return 2 a b 7"), ["a", "b"]);
        assert!(keys("GET k").is_empty());
        assert!(keys("PING").is_empty());
    }

    #[test]
    fn a_cap_is_at_least_a_millisecond_and_shortens_only() {
        let caps = caps([b"k".as_slice()], Duration::from_nanos(1)).expect("one");
        let cmd = redis_rs::commands(&caps).next().expect("one");
        let words: Vec<_> = args(cmd).collect();
        assert_eq!(words, [b"PEXPIRE".as_slice(), b"k", b"1", b"LT"]);
        assert!(super::caps([], Duration::from_secs(1)).is_none());
    }
}
