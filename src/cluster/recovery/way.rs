//! A way to a server: the connection that all share where there is one, else one that is dialled for it and dropped.

use std::sync::Arc;
use std::time::Instant;

use redis::{Pipeline, ServerError, Value};

use crate::backend::{Backend, Unheard};
use crate::clock;
use crate::connection::link::Link;
use crate::connection::meter::Use;
use crate::connection::reply::Reply;
use crate::connection::request::{LaneRequest, Request};
use crate::error::text::one_line;
use crate::recovery::unknown::Facts;

/// Why something was not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No answer, or one for which it is too early: it is tried again.
    Failed,
    /// The server does not do such a thing; it was said. It would be no other the next time.
    Refused,
}

#[derive(Clone)]
pub(super) enum Way {
    Lane(Arc<Backend>),
    Link(Arc<Backend>, Arc<Link>),
}

impl Way {
    /// A connection of its own.
    pub(super) async fn dial(backend: &Arc<Backend>) -> Result<Self, Trouble> {
        let open = backend.meter().connection(Use::Probe);
        let epoch = backend.gate().read().epoch();
        // What is picked may be long: it is read like what a caller asks for.
        let wanted = backend.wanted(Use::Dedicated, None);
        match backend.dialer().dial(epoch, open, wanted).await {
            Ok(link) => Ok(Self::Link(Arc::clone(backend), Arc::new(link))),
            Err(_) => Err(Trouble::Failed),
        }
    }

    pub(super) fn backend(&self) -> &Arc<Backend> {
        match self {
            Self::Lane(backend) | Self::Link(backend, _) => backend,
        }
    }

    /// What each command is answered, or what the transaction is; errors are values.
    async fn send(&self, pipeline: &Pipeline, deadline: Instant) -> Result<Reply, Trouble> {
        match self {
            Self::Lane(backend) => {
                let request = LaneRequest::all_ours(pipeline);
                let reply = backend.call(request, deadline).await;
                reply.map_err(|_| Trouble::Failed)
            }
            Self::Link(backend, link) => {
                let left = deadline.saturating_duration_since(clock::now());
                let limit = left.min(backend.limits().response_timeout);
                let reply = link.call(Request::Many(pipeline), Some(limit)).await;
                reply.map_err(|_| Trouble::Failed)
            }
        }
    }

    /// What these commands are answered, one by one.
    pub(super) async fn ask(
        &self,
        pipeline: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Value>, Trouble> {
        let values = match self.send(pipeline, deadline).await? {
            // Of a transaction it is inside the one answer.
            Reply::Many(mut values) if pipeline.is_transaction() => match values.pop() {
                Some(Value::Array(inner)) => inner,
                Some(Value::ServerError(e)) => return Err(self.refused(pipeline, &e)),
                _ => return Err(Trouble::Failed),
            },
            Reply::Many(values) => values,
            Reply::One(value) => vec![value],
            Reply::Aborted(e) => {
                let inside = e.clone().into_server_errors();
                return Err(match inside.as_deref().and_then(<[_]>::first) {
                    Some((_, e)) => self.refused(pipeline, e),
                    None => self.says_no(pipeline, &e.to_string()),
                });
            }
        };
        let error = values.iter().find_map(|value| match value {
            Value::ServerError(e) if !is_no_such_key(e) => Some(e),
            _ => None,
        });
        match error {
            Some(e) => Err(self.refused(pipeline, e)),
            None => Ok(values),
        }
    }

    /// An error reply: for now, or for good.
    fn refused(&self, pipeline: &Pipeline, e: &ServerError) -> Trouble {
        let soon = ["LOADING", "BUSY", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN"];
        if soon.contains(&e.code()) {
            return Trouble::Failed;
        }
        let text = format!("{} {}", e.code(), e.details().unwrap_or_default());
        self.says_no(pipeline, &text)
    }

    fn says_no(&self, pipeline: &Pipeline, why: &str) -> Trouble {
        let commands = crate::connection::redis_rs::commands(pipeline);
        let names = commands.map(|cmd| {
            let name = crate::connection::args::args(cmd).next();
            String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
        });
        let names: Vec<String> = names.collect();
        let text = format!(
            "{} to {}: allow it, see the guide's chapter on returns",
            one_line(why),
            names.join(", ")
        );
        self.backend().failed_unheard(Unheard::Note, 1, text);
        Trouble::Refused
    }

    /// What the server says of itself; as much as it does.
    pub(super) async fn facts(&self, deadline: Instant) -> Result<Facts, Trouble> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("INFO").arg("server");
        pipeline.cmd("INFO").arg("persistence");
        pipeline.cmd("DBSIZE");
        let values = self.send(&pipeline, deadline).await?.into_values();
        let mut facts = Facts::default();
        for value in values {
            match value {
                Value::BulkString(text) => {
                    String::from_utf8_lossy(&text)
                        .lines()
                        .for_each(|line| facts.line(line));
                }
                Value::VerbatimString { text, .. } => {
                    text.lines().for_each(|line| facts.line(line))
                }
                Value::Int(keys) => facts.keys = u64::try_from(keys).ok(),
                // Forbidden: it works without.
                _ => {}
            }
        }
        Ok(facts)
    }
}

/// The set that was to be closed is not there.
fn is_no_such_key(e: &ServerError) -> bool {
    e.details().is_some_and(|text| text.contains("no such key"))
}
