//! One command, from candidate to candidate, as far as that is safe.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::time::timeout_at;
use tracing::Instrument as _;

use crate::backend::Backend;
use crate::backend::answer::Answer;
use crate::backend::role::Role;
use crate::clock;
use crate::cluster::attempts::{Attempts, Failed, Policy, Step, next_step};
use crate::cluster::engine::Engine;
use crate::cluster::plan::cross_node;
use crate::cluster::target::Target;
use crate::command;
use crate::connection::args::args;
use crate::connection::reply::Reply;
use crate::connection::request::{LaneRequest, Request};
use crate::error::{Error, ErrorKind, class_of};
use crate::tasks::give_way;

/// What one candidate gave.
pub(crate) enum Heard {
    Done(Value),
    /// This is what failed; what follows is decided.
    Failed(Error, Step),
}

impl Engine {
    /// Sends a command, or a pipeline that is one node's, to the candidates of its target, `limit` at
    /// most.
    pub(crate) async fn route(
        self: &Arc<Self>,
        target: &Target<'_>,
        request: LaneRequest<'_>,
        limit: Duration,
    ) -> Result<Answer, Error> {
        let mut now = clock::now();
        let mut deadline = now + limit;
        let mut attempts = Attempts::default();
        let mut waited = false;
        loop {
            let Some((backend, owed)) = self.next_noted(target, request.request(), &attempts)
            else {
                self.demand();
                match attempts.last_error() {
                    // It found out itself that every candidate is out: then it waits like those
                    // that come later.
                    Some(error) if waited || !self.waits_for(target) => return Err(error.clone()),
                    None => self.still_together(target, request.request())?,
                    Some(_) => {}
                }
                // Boxed, as few need it.
                Box::pin(self.wait_for_node(target)).await?;
                attempts.clear();
                waited = true;
                // The wait has its own limit; the call still has all of its time.
                now = clock::now();
                deadline = now + limit;
                continue;
            };
            if let Some(left) = attempts.left() {
                left.meter().failed_over();
            }
            let span = tracing::trace_span!("fluster.command", node = %backend.id());
            let role = || Role::standing_in(self.is_stand_in(target.key(), &backend));
            let mut result = match owed.is_empty() {
                true => {
                    let call = backend.execute(now, request, role(), deadline);
                    call.instrument(span).await
                }
                false => {
                    let call = self.execute_noted(&backend, now, request, role(), &owed, deadline);
                    Box::pin(call.instrument(span)).await
                }
            };
            if let Some(eval) = self.scripts.instead_of(request.request(), &result) {
                let (now, eval) = (clock::now(), LaneRequest::ours(&eval));
                result = match owed.is_empty() {
                    true => Box::pin(backend.execute(now, eval, role(), deadline)).await,
                    false => {
                        let call = self.execute_noted(&backend, now, eval, role(), &owed, deadline);
                        Box::pin(call).await
                    }
                };
            }
            let read_only = result.is_err() && is_read_only(request.request());
            match self.heard(target, &backend, read_only, result) {
                Heard::Done(value) => return Ok(Answer::by(value, backend)),
                Heard::Failed(error, step) => {
                    now = clock::now();
                    if let Some(error) = attempts.failed(backend, error, step, deadline) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// The keys of a command were on one node when it was planned; a change of the nodes may have parted
    /// them since.
    fn still_together(&self, target: &Target<'_>, request: Request<'_>) -> Result<(), Error> {
        let snapshot = self.snapshot.load();
        match target {
            Target::Keys(keys) if snapshot.route(target.key()).is_some() => {
                let name = match request {
                    Request::One(cmd) => {
                        String::from_utf8_lossy(args(cmd).next().unwrap_or_default())
                    }
                    _ => "an atomic pipeline".into(),
                };
                Err(cross_node(&snapshot, &name, keys.iter().copied()))
            }
            _ => Ok(()),
        }
    }

    fn heard(
        &self,
        target: &Target<'_>,
        backend: &Backend,
        read_only: bool,
        result: Result<Reply, Error>,
    ) -> Heard {
        match result {
            // A transaction that the server refused is an answer; its errors are inside.
            Ok(Reply::Aborted(e)) => Heard::Failed(Error::answered(backend.id(), e), Step::Return),
            Ok(reply) => self.heard_value(target, backend, reply.into_value()),
            Err(error) => self.heard_one(target, backend, read_only, &mut None, Err(error)),
        }
    }

    /// Decides on the answer to one command. `granted` is what the budget said to the request that the command was
    /// part of: one repetition for all of it.
    pub(crate) fn heard_one(
        &self,
        target: &Target<'_>,
        backend: &Backend,
        read_only: bool,
        granted: &mut Option<bool>,
        result: Result<Value, Error>,
    ) -> Heard {
        let error = match result {
            Ok(value) => return self.heard_value(target, backend, value),
            Err(error) => error,
        };
        let budget = || *granted.get_or_insert_with(|| self.may_repeat());
        if error.kind() == ErrorKind::UnreachableHere {
            // Nobody stands in: the next probe need not wait out the node's penalty.
            self.pull_probes(clock::now());
        }
        let failed = match target.stays_at(backend) {
            true => Failed::Kept,
            false => Failed::from(&error),
        };
        let step = next_step(self.policy(), failed, read_only, budget);
        Heard::Failed(error, step)
    }

    fn heard_value(&self, target: &Target<'_>, backend: &Backend, value: Value) -> Heard {
        let Value::ServerError(e) = &value else {
            return Heard::Done(value);
        };
        let failed = match target.stays_at(backend) {
            true => Failed::Kept,
            false => Failed::Refused(class_of(e)),
        };
        // The caller's error replies stay what they are, for redis-rs's own types.
        if next_step(self.policy(), failed, false, || false) == Step::Return {
            return Heard::Done(value);
        }
        match value.extract_error() {
            Ok(value) => Heard::Done(value),
            Err(e) => Heard::Failed(Error::answered(backend.id(), e), Step::Another),
        }
    }

    fn policy(&self) -> Policy {
        Policy {
            failover: self.options.failover,
            refusals: self.options.refusals,
        }
    }

    /// Takes one repetition from the budget.
    pub(crate) fn may_repeat(&self) -> bool {
        let now = clock::now();
        let mut budget = self.budget.lock();
        if !budget.is_fresh(now) {
            let snapshot = self.snapshot.load();
            let sent = snapshot.nodes.iter().map(|b| b.stats().commands()).sum();
            budget.earn(sent, now);
        }
        budget.take()
    }

    fn waits_for(&self, target: &Target<'_>) -> bool {
        self.options.wait_for_node.is_some() && !self.is_served(target)
    }

    /// With every candidate out: fails at once, or waits as long as the builder said.
    async fn wait_for_node(self: &Arc<Self>, target: &Target<'_>) -> Result<(), Error> {
        if self.tasks.is_closed() {
            give_way().await;
            return Err(Error::closed());
        }
        let mut published = self.published.subscribe();
        let empty = self.empty();
        let Some(wait) = self.options.wait_for_node else {
            give_way().await;
            return Err(empty.into());
        };
        let until = clock::now() + wait;
        let back = async {
            loop {
                if self.tasks.is_closed() || self.is_served(target) {
                    return;
                }
                // While somebody waits, the demand for a probe is renewed.
                let again = Duration::from_millis(100);
                let _ = tokio::time::timeout(again, published.changed()).await;
                drop(self.empty());
            }
        };
        if !self.tasks.has_runtime() {
            give_way().await;
            return Err(empty.into());
        }
        let back = async { timeout_at(until.into(), back).await };
        match self.tasks.enter(back).await {
            Ok(()) if self.tasks.is_closed() => Err(Error::closed()),
            Ok(()) => Ok(()),
            Err(_) => Err(empty.into()),
        }
    }
}

fn is_read_only(request: Request<'_>) -> bool {
    let mut commands = request.commands();
    commands.all(|cmd| command::is_read_only(args(cmd)))
}
