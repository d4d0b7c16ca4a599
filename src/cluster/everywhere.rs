//! Commands about the whole cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::{Cmd, Value};

use crate::backend::Backend;
use crate::client::one;
use crate::cluster::core::Core;
use crate::cluster::parse;
use crate::command::Gather;
use crate::failure::Error;
use crate::lane::NoLane;
use crate::link::Request;

impl Core {
    /// Sends `cmd` to every configured node and makes one answer of theirs.
    ///
    /// Unless `partial`, it fails when a node is out or fails, and names it; the others have then done
    /// what they were asked.
    pub(crate) async fn everywhere(
        self: &Arc<Self>,
        cmd: &Cmd,
        gather: Gather,
        limit: Duration,
        partial: bool,
    ) -> Result<Value, Error> {
        let deadline = Instant::now() + limit;
        let snapshot = self.snapshot.load_full();
        if !partial && snapshot.live.count() < snapshot.nodes.len() {
            // Nothing was sent yet, so nothing is done by halves.
            return Err(self.missing(&snapshot.nodes));
        }
        let asked = snapshot.live.iter().map(|i| &snapshot.nodes[i]);
        let answers = join_all(asked.map(|backend| async move {
            let value = backend.call(Request::One(cmd), deadline).await.map(one);
            let value = value.and_then(|value| parse::<Value>(value, backend.id()));
            (backend.id().to_string(), value)
        }))
        .await;
        let mut good = Vec::with_capacity(answers.len());
        let mut bad = None;
        for (name, answer) in answers {
            match answer {
                Ok(value) => good.push((name, value)),
                Err(error) if partial => bad = Some(error),
                Err(error) => {
                    let others = snapshot.nodes.len() - 1;
                    return Err(error.wrap(&format!(
                        "one of {} nodes; the other {others} were asked too",
                        others + 1
                    )));
                }
            }
        }
        if good.is_empty() {
            return Err(bad.unwrap_or_else(|| self.empty().into()));
        }
        Ok(gathered(gather, good))
    }

    /// Names the nodes that are out.
    fn missing(self: &Arc<Self>, nodes: &[Arc<Backend>]) -> Error {
        let out: Vec<_> = nodes.iter().filter(|b| !b.gate().read().admits()).collect();
        let names: Vec<_> = out.iter().map(|b| b.id().to_string()).collect();
        let error = match out.first() {
            Some(backend) => backend.no_lane(NoLane::NodeOut),
            None => self.empty().into(),
        };
        error.wrap(&format!(
            "the command is for every node, and {} is out; `partial()` makes do with the others",
            names.join(", ")
        ))
    }
}

fn gathered(gather: Gather, answers: Vec<(String, Value)>) -> Value {
    let values = |answers: Vec<(String, Value)>| answers.into_iter().map(|(_, value)| value);
    match gather {
        Gather::Same => values(answers).next().unwrap_or(Value::Nil),
        Gather::Sum => Value::Int(values(answers).fold(0, |sum, value| match value {
            Value::Int(n) => sum + n,
            _ => sum,
        })),
        Gather::Join => Value::Array(
            values(answers)
                .flat_map(|value| match value {
                    Value::Array(items) | Value::Set(items) => items,
                    other => vec![other],
                })
                .collect(),
        ),
        Gather::All => {
            let lists: Vec<Vec<Value>> = values(answers)
                .map(|value| match value {
                    Value::Array(items) => items,
                    other => vec![other],
                })
                .collect();
            let shortest = lists.iter().map(Vec::len).min().unwrap_or(0);
            let all = |i: usize| {
                lists
                    .iter()
                    .all(|list| matches!(list[i], Value::Int(1) | Value::Boolean(true)))
            };
            Value::Array(
                (0..shortest)
                    .map(|i| Value::Int(i64::from(all(i))))
                    .collect(),
            )
        }
        Gather::ByNode => Value::Map(
            answers
                .into_iter()
                .map(|(name, value)| (Value::BulkString(name.into_bytes()), value))
                .collect(),
        ),
    }
}
