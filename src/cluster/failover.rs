//! One command, from candidate to candidate, as far as that is safe.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Value;
use tokio::time::timeout_at;
use tracing::Instrument as _;

use crate::backend::Backend;
use crate::cluster::core::Core;
use crate::cluster::options::{Failover, Refusals};
use crate::cluster::plan::cross_node;
use crate::cluster::target::Target;
use crate::command;
use crate::connection::args::args;
use crate::connection::reply::{Reply, one};
use crate::connection::request::{Request, Shared};
use crate::error::{Error, ErrorKind, Outcome};
use crate::health::verdict::{Route, classify_code};

/// What to do with what one candidate gave.
pub(crate) enum Next {
    Done(Value),
    /// Try the next candidate; this is what to say when there is none.
    Another(Error),
    Failed(Error),
}

impl Core {
    /// Sends a command, or a pipeline that is one node's, to the candidates of its target, `limit` at
    /// most.
    pub(crate) async fn route(
        self: &Arc<Self>,
        target: &Target<'_>,
        request: Shared<'_>,
        limit: Duration,
    ) -> Result<(Value, Arc<Backend>), Error> {
        let mut now = Instant::now();
        let mut deadline = now + limit;
        let mut tried: Vec<u64> = Vec::new();
        let mut last: Option<Error> = None;
        let mut left: Option<Arc<Backend>> = None;
        let mut waited = false;
        loop {
            let Some(backend) = self.next_candidate(target, &tried) else {
                let key = target.key();
                match last.take() {
                    // It found out itself that every candidate is out: then it waits like those
                    // that come later.
                    Some(error) if waited || !self.waits_for(key) => return Err(error),
                    None => self.still_together(target, request.request())?,
                    Some(_) => {}
                }
                left = None;
                self.wait_for_node(key).await?;
                tried.clear();
                waited = true;
                // The wait has its own limit; the call still has all of its time.
                now = Instant::now();
                deadline = now + limit;
                continue;
            };
            if let Some(left) = left.take() {
                left.meter().failed_over();
            }
            let span = tracing::trace_span!("fluster.command", node = %backend.id());
            let stand_in = self.caps_stand_ins() && self.stands_in(target.key(), &backend);
            let call = backend.call_for(now, request, deadline, stand_in);
            let mut result = call.instrument(span).await;
            if let Some(eval) = self.scripts.instead_of(request.request(), &result) {
                let eval = Shared::ours(&eval);
                result = backend
                    .call_for(Instant::now(), eval, deadline, stand_in)
                    .await;
            }
            let read_only = result.is_err() && is_read_only(request.request());
            match self.judge(&backend, read_only, result) {
                Next::Done(value) => return Ok((value, backend)),
                Next::Another(error) if Instant::now() < deadline => {
                    now = Instant::now();
                    tried.push(backend.key());
                    left = Some(backend);
                    last = Some(error);
                }
                Next::Another(error) | Next::Failed(error) => return Err(error),
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
                    Request::Many(_) => "an atomic pipeline".into(),
                };
                Err(cross_node(&snapshot, &name, keys.iter().copied()))
            }
            _ => Ok(()),
        }
    }

    /// A transaction that the server refused is an answer; its errors are inside.
    fn judge(&self, backend: &Backend, read_only: bool, result: Result<Reply, Error>) -> Next {
        match result {
            Ok(Reply::Aborted(e)) => Next::Failed(Error::answered(backend.id(), e)),
            Ok(reply) => self.judge_answer(backend, one(reply)),
            Err(error) => self.judge_one(backend, read_only, &mut None, Err(error)),
        }
    }

    /// Decides on the answer to one command: the caller's, or the next candidate's turn. `granted` is
    /// what the budget said to the request that the command was part of: one repetition for all of it.
    pub(crate) fn judge_one(
        &self,
        backend: &Backend,
        read_only: bool,
        granted: &mut Option<bool>,
        result: Result<Value, Error>,
    ) -> Next {
        let error = match result {
            Ok(value) => return self.judge_answer(backend, value),
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::Closed | ErrorKind::Refused) {
            return Next::Failed(error);
        }
        let safe = error.outcome().is_safe_to_repeat();
        let goes_on = match self.options.failover {
            Failover::Never => false,
            Failover::IfSafe => safe || read_only,
            Failover::Always => true,
        };
        // What may have been executed and is sent again adds to the load of an outage.
        if goes_on && (safe || *granted.get_or_insert_with(|| self.may_repeat())) {
            Next::Another(error)
        } else {
            Next::Failed(error)
        }
    }

    fn judge_answer(&self, backend: &Backend, value: Value) -> Next {
        let Value::ServerError(e) = &value else {
            return Next::Done(value);
        };
        let outcome = match classify_code(e.code(), e.details().unwrap_or_default()).route() {
            _ if self.options.failover == Failover::Never => return Next::Done(value),
            Route::Rejected => Outcome::Rejected,
            Route::NotServing if self.options.refusals == Refusals::NextCandidate => {
                Outcome::Answered
            }
            _ => return Next::Done(value),
        };
        match value.extract_error() {
            Ok(value) => Next::Done(value),
            Err(e) => Next::Another(Error::refused_by(backend.id(), outcome, e)),
        }
    }

    /// Takes one repetition from the budget.
    pub(crate) fn may_repeat(&self) -> bool {
        let now = Instant::now();
        let mut budget = self.budget.lock();
        if !budget.is_fresh(now) {
            let snapshot = self.snapshot.load();
            let sent = snapshot.nodes.iter().map(|b| b.vitals().commands()).sum();
            budget.earn(sent, now);
        }
        budget.take()
    }

    fn waits_for(&self, key: &[u8]) -> bool {
        self.options.wait_for_node.is_some() && self.snapshot.load().route(key).is_none()
    }

    /// With every candidate out: fails at once, or waits as long as the builder said.
    async fn wait_for_node(self: &Arc<Self>, key: &[u8]) -> Result<(), Error> {
        if self.tasks.is_closed() {
            return Err(Error::closed());
        }
        let mut published = self.published.subscribe();
        let empty = self.empty();
        let Some(wait) = self.options.wait_for_node else {
            return Err(empty.into());
        };
        let until = Instant::now() + wait;
        let back = async {
            loop {
                if self.tasks.is_closed() || self.snapshot.load().route(key).is_some() {
                    return;
                }
                // While somebody waits, the demand for a probe is renewed.
                let again = Duration::from_millis(100);
                let _ = tokio::time::timeout(again, published.changed()).await;
                drop(self.empty());
            }
        };
        if !self.tasks.has_runtime() {
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
