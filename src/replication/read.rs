//! A read of one of the replicas, or of a majority.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::StreamExt as _;
use redis::{Cmd, FromRedisValue, Value};
use tokio::time::timeout;

use crate::backend::answer::Answer;
use crate::clock;
use crate::cluster::Engine;
use crate::cluster::attempts::{Attempts, Failed, Policy, Step, next_step};
use crate::command::is_read_only;
use crate::connection::args::args;
use crate::connection::labels::labels;
use crate::connection::reply::Reply;
use crate::connection::request::{LaneRequest, Request};
use crate::error::{Error, ErrorKind, Outcome};
use crate::replication::background::{Running, leave, send};
use crate::replication::{Quorum, ReadFrom, Replicas, refused};

/// What one replica's answer is to the read.
enum Heard {
    /// This is the value.
    Value(Value),
    /// It has no value, and it may be that it only lost it.
    Doubted,
    /// No answer; whether the next replica is asked.
    Failed(Error, Step),
    /// An answer that no other replica would better.
    Final(Error),
}

impl Replicas {
    /// Reads with `cmd`, a command that only reads, from the replicas that `from` says. [Example](crate::guide::by_example#replicas).
    ///
    /// With [`read_repair`](Self::read_repair), a replica that came back lately and has no value is not
    /// believed while another one may have it.
    ///
    /// # Errors
    ///
    /// The last replica's error when none could answer; [`ErrorKind::Invalid`] for a command that may
    /// write; [`ErrorKind::Quorum`] when a majority was asked for and cannot be had.
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub async fn read<T: FromRedisValue>(&self, cmd: &Cmd, from: ReadFrom) -> Result<T, Error> {
        self.read_answer(cmd, &from).await?.parse()
    }

    /// The raw answer.
    pub(crate) async fn read_answer(&self, cmd: &Cmd, from: &ReadFrom) -> Result<Answer, Error> {
        LaneRequest::check(Request::One(cmd))?;
        if !is_read_only(args(cmd)) {
            let name = String::from_utf8_lossy(args(cmd).next().unwrap_or_default()).to_uppercase();
            let text =
                format!("{name} may write, and a read may be sent twice: use `write` for it");
            return Err(refused(text));
        }
        let deadline = clock::now() + self.cluster.deadline();
        let (value, index) = match from {
            ReadFrom::Owner => self.in_turn(cmd, 1, deadline).await?,
            ReadFrom::FirstAvailable => self.in_turn(cmd, self.members.len(), deadline).await?,
            ReadFrom::Hedged { after } => {
                // The quicker of the two: what a slow node usually takes would be no help.
                let first_two = self.members.iter().take(2);
                let usual = first_two.filter_map(|m| m.backend.stats().usual()).min();
                self.hedged(cmd, after.wait(usual), deadline).await?
            }
            ReadFrom::Majority { newest } => {
                let newest = |a: &Value, b: &Value| newest(a, b);
                self.of_majority(cmd, newest, deadline).await?
            }
        };
        Ok(Answer::by(value, Arc::clone(&self.members[index].backend)))
    }

    /// Asks the first `limit` replicas one after the other.
    async fn in_turn(
        &self,
        cmd: &Cmd,
        limit: usize,
        deadline: Instant,
    ) -> Result<(Value, usize), Error> {
        let mut doubted: Vec<usize> = Vec::new();
        let mut attempts = Attempts::default();
        for (index, member) in self.members.iter().take(limit).enumerate() {
            let reply = member.backend.call(LaneRequest::ours(cmd), deadline).await;
            match self.hear(index, reply.map(Reply::into_value), || self.may_repeat()) {
                Heard::Value(value) => {
                    self.found(cmd, &value, &doubted, index);
                    return Ok((value, index));
                }
                Heard::Doubted => doubted.push(index),
                Heard::Final(error) => return Err(error),
                Heard::Failed(error, step) => {
                    if attempts.failed(index, error, step, deadline).is_some() {
                        break;
                    }
                }
            }
        }
        self.nobody(&doubted, &attempts)
    }

    /// Asks the first replica, and the second when the first takes longer than `after`.
    async fn hedged(
        &self,
        cmd: &Cmd,
        after: Duration,
        deadline: Instant,
    ) -> Result<(Value, usize), Error> {
        let engine = self.cluster.engine();
        engine.count_read();
        let cmd = Arc::new(cmd.clone());
        let mut running = Running::new();
        running.push(send(0, &self.members[0], &cmd, deadline));
        let (mut next, mut may_hedge, mut hedge) = (1, self.members.len() > 1, None);
        let mut doubted: Vec<usize> = Vec::new();
        let mut attempts = Attempts::default();
        loop {
            let heard = if may_hedge && engine.tasks().has_runtime() {
                let timed = async { timeout(after, running.next()).await };
                match engine.tasks().enter(timed).await {
                    Ok(heard) => heard,
                    Err(_) => {
                        may_hedge = false;
                        if engine.may_hedge() {
                            hedge = Some(next);
                            running.push(send(next, &self.members[next], &cmd, deadline));
                            next += 1;
                        } else {
                            count_hedge(self.cluster.engine(), "denied");
                        }
                        continue;
                    }
                }
            } else {
                running.next().await
            };
            if let Some((index, result)) = heard {
                match self.hear(index, result, || self.may_repeat()) {
                    Heard::Value(value) => {
                        if let Some(hedge) = hedge {
                            count_hedge(
                                self.cluster.engine(),
                                if index == hedge { "won" } else { "lost" },
                            );
                        }
                        self.found(&cmd, &value, &doubted, index);
                        leave(engine, running);
                        return Ok((value, index));
                    }
                    Heard::Final(error) => return Err(error),
                    Heard::Doubted => doubted.push(index),
                    Heard::Failed(error, step) => {
                        if attempts.failed(index, error, step, deadline).is_some() {
                            next = self.members.len();
                        }
                    }
                }
            }
            // Somebody has answered and has no value: the next one is asked at once, once.
            may_hedge = false;
            if running.is_empty() {
                let Some(member) = self.members.get(next) else {
                    return self.nobody(&doubted, &attempts);
                };
                running.push(send(next, member, &cmd, deadline));
                next += 1;
            }
        }
    }

    /// Asks all replicas and takes the newest value of the first majority.
    async fn of_majority(
        &self,
        cmd: &Cmd,
        newest: impl Fn(&Value, &Value) -> std::cmp::Ordering,
        deadline: Instant,
    ) -> Result<(Value, usize), Error> {
        let needed = Quorum::Majority.of(self.requested).unwrap_or(1);
        if self.members.len() < needed {
            return Err(self.too_few(needed));
        }
        let cmd = Arc::new(cmd.clone());
        let all = self.members.iter().enumerate();
        let mut running: Running = all.map(|(i, m)| send(i, m, &cmd, deadline)).collect();
        let mut answers: Vec<(usize, Value)> = Vec::new();
        let mut errors: Vec<Error> = Vec::new();
        while let Some((index, result)) = running.next().await {
            // All were asked already: nothing is repeated.
            match self.hear(index, result, || false) {
                Heard::Value(value) => answers.push((index, value)),
                Heard::Doubted => answers.push((index, Value::Nil)),
                Heard::Failed(error, _) | Heard::Final(error) => errors.push(error),
            }
            if answers.len() == needed || errors.len() > self.members.len() - needed {
                break;
            }
        }
        leave(self.cluster.engine(), running);
        if answers.len() < needed {
            self.cluster.engine().demand();
            let (asked, got) = (self.requested, answers.len());
            let mut text = format!("{needed} of {asked} replicas had to answer, {got} did");
            for error in &errors {
                text.push_str(&format!("; {error}"));
            }
            return Err(Error::new(ErrorKind::Quorum, Outcome::Answered, text));
        }
        let doubted: Vec<usize> = answers
            .iter()
            .filter(|(i, value)| *value == Value::Nil && self.is_doubted(*i))
            .map(|(i, _)| *i)
            .collect();
        let some = answers.iter().position(|(_, value)| *value != Value::Nil);
        let best = some.map_or(0, |first| {
            (first + 1..answers.len()).fold(first, |best, i| {
                let (a, b) = (&answers[i].1, &answers[best].1);
                if *a != Value::Nil && newest(a, b).is_gt() {
                    i
                } else {
                    best
                }
            })
        });
        let (index, value) = answers.swap_remove(best);
        self.found(&cmd, &value, &doubted, index);
        Ok((value, index))
    }

    /// Makes sense of one replica's reply; the `budget` is asked when the read would be sent a second time.
    fn hear(
        &self,
        index: usize,
        result: Result<Value, Error>,
        budget: impl FnOnce() -> bool,
    ) -> Heard {
        let error = match result {
            Ok(Value::Nil) if self.is_doubted(index) => return Heard::Doubted,
            Ok(value) => {
                let answer = Answer::by(value, Arc::clone(&self.members[index].backend));
                match answer.error() {
                    Some(error) => error,
                    None => return Heard::Value(answer.value),
                }
            }
            Err(error) => error,
        };
        let failed = Failed::from(&error);
        match (next_step(Policy::READ, failed, true, budget), failed) {
            // WRONGTYPE and the like: the next replica would say the same.
            (Step::Return, Failed::Refused(_) | Failed::Hopeless) => Heard::Final(error),
            (step, _) => Heard::Failed(error, step),
        }
    }

    fn may_repeat(&self) -> bool {
        self.cluster.engine().may_repeat()
    }

    /// A value was found: the replicas that should have had it get it.
    fn found(&self, cmd: &Cmd, value: &Value, doubted: &[usize], index: usize) {
        if *value != Value::Nil && !doubted.is_empty() {
            self.fill(cmd, doubted, index);
        }
    }

    /// No replica gave a value.
    fn nobody(
        &self,
        doubted: &[usize],
        attempts: &Attempts<usize>,
    ) -> Result<(Value, usize), Error> {
        match (doubted.first(), attempts.last_error()) {
            // Better than an error: the node did answer.
            (Some(&index), _) => Ok((Value::Nil, index)),
            (None, Some(error)) => {
                self.cluster.engine().demand();
                Err(error.clone())
            }
            (None, None) => Err(self.cluster.engine().empty().into()),
        }
    }
}

/// What became of a hedge: `won`, `lost`, or `denied` by the budget.
fn count_hedge(engine: &Engine, result: &str) {
    let labels = labels(&engine.limits().cluster, [("result", result.to_owned())]);
    metrics::counter!("fluster_hedges_total", labels).increment(1);
}
