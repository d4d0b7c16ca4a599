//! Tasks that never stop asking, and a note of every call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fluster::{Error, ErrorKind, FlusterCluster, NodeId, Outcome};
use redis::{Cmd, RedisError};
use tokio::task::JoinHandle;

const TASKS: usize = 64;
const THINK: Duration = Duration::from_millis(5);
const KEYS: usize = 500;

/// Ids are stored in lists of this prefix.
pub const LISTS: &str = "ids:";

/// One of the keys that the load uses.
pub fn key(n: usize) -> String {
    format!("key:{}", n % KEYS)
}

/// All of them, each followed by its value, as MSET takes them: what reads ask for.
pub fn keys_and_values() -> impl Iterator<Item = String> {
    (0..KEYS).flat_map(|n| [key(n), key(n)])
}

/// What each task does, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `get_client(key)` and ECHO of a unique token, on an error once more; every fourth call is an
    /// RPUSH of a unique id instead, which is never repeated.
    Mixed,
    /// `get_client(key)` and ECHO of a unique token, on an error once more, as the original's callers.
    Echo,
    /// `get_client(key)` and GET of a key whose value is its name: ECHO is answered also by a server
    /// that does not serve.
    Get,
    /// The same GET by `run_with_key`.
    Read,
    /// `run_with_key`, ECHO of a unique token: the cluster goes to other candidates by itself.
    Run,
    /// ECHO over an exclusive connection, taken for each call.
    Own,
}

/// One command that was sent, or refused.
#[derive(Clone, Debug)]
pub struct Call {
    pub began: Instant,
    pub ended: Instant,
    /// The node that was asked; `None` when there was none, or the cluster chose.
    pub node: Option<NodeId>,
    pub failure: Option<(ErrorKind, Outcome)>,
    /// Whether it is the second try.
    pub second: bool,
    /// Whether it stores an id.
    pub write: bool,
}

impl Call {
    pub fn took(&self) -> Duration {
        self.ended - self.began
    }

    pub fn failed(&self) -> bool {
        self.failure.is_some()
    }

    pub fn kind(&self) -> Option<ErrorKind> {
        self.failure.map(|f| f.0)
    }

    pub fn is_at(&self, node: &str) -> bool {
        self.node.as_ref().is_some_and(|n| n == node)
    }

    /// Whether any part of it fell between `from` and `to`.
    pub fn overlaps(&self, from: Instant, to: Instant) -> bool {
        self.began <= to && self.ended >= from
    }
}

/// Everything that the application saw.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// In the order of their beginnings.
    pub calls: Vec<Call>,
    /// Replies that belong to somebody else, as text.
    pub wrong: Vec<String>,
    /// The ids that a server acknowledged.
    pub ids: Vec<String>,
    /// What the errors say, each text once, with how often it was said.
    pub texts: BTreeMap<String, usize>,
}

impl Record {
    pub fn failed(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|c| c.failed())
    }

    /// Failures by kind and outcome.
    pub fn kinds(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for (kind, outcome) in self.calls.iter().filter_map(|c| c.failure) {
            *kinds.entry(format!("{kind:?} ({outcome})")).or_default() += 1;
        }
        kinds
    }

    pub fn longest(&self) -> Duration {
        self.calls.iter().map(Call::took).max().unwrap_or_default()
    }

    /// The commands that were on their way to `node` at some time between `from` and `to`.
    pub fn under_way(&self, node: &str, from: Instant, to: Instant) -> usize {
        let at_work = self.calls.iter().filter(|c| c.is_at(node));
        at_work.filter(|c| c.overlaps(from, to)).count()
    }

    /// Every error is one of `node`, of a call that began before `out`.
    pub fn only_calls_of(&self, title: &str, node: &str, from: Instant, out: Instant) {
        for c in self.failed() {
            assert!(c.is_at(node), "{title}: an error of a healthy node: {c:?}");
            assert!(
                c.overlaps(from, out),
                "{title}: an error of a call begun after {node} was out: {c:?}"
            );
        }
    }

    /// Adds the calls of another record.
    pub fn add(&mut self, more: Self) {
        self.calls.extend(more.calls);
        self.wrong.extend(more.wrong);
        self.ids.extend(more.ids);
        for (text, n) in more.texts {
            *self.texts.entry(text).or_default() += n;
        }
    }

    fn say(&mut self, error: &dyn std::fmt::Display) {
        *self.texts.entry(error.to_string()).or_default() += 1;
    }

    /// One call more, made by the scenario itself.
    pub fn note<T>(
        &mut self,
        began: Instant,
        node: Option<NodeId>,
        result: &Result<T, RedisError>,
    ) {
        if let Err(e) = result {
            self.say(e);
        }
        self.calls.push(Call {
            began,
            ended: Instant::now(),
            node,
            failure: result.as_ref().err().map(failure_of),
            second: false,
            write: false,
        });
    }
}

/// The codes with which a server refuses to serve now.
const REFUSALS: [&str; 4] = ["LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY"];

/// What an error says; an answer of the server is no error of ours, and what it means is in its code.
fn failure_of(e: &RedisError) -> (ErrorKind, Outcome) {
    match Error::from_redis(e) {
        Some(e) => (e.kind(), e.outcome()),
        None if e.code().is_some_and(|code| REFUSALS.contains(&code)) => {
            (ErrorKind::Server, Outcome::Rejected)
        }
        None => (ErrorKind::Server, Outcome::Answered),
    }
}

/// A running load.
pub struct Load {
    stop: Arc<AtomicBool>,
    errors: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Record>>,
}

impl Load {
    /// 64 tasks.
    pub fn start(cluster: &FlusterCluster, kind: Kind) -> Self {
        Self::of(cluster, kind, TASKS)
    }

    pub fn of(cluster: &FlusterCluster, kind: Kind, tasks: usize) -> Self {
        let (stop, errors) = (Arc::default(), Arc::default());
        let tasks = (0..tasks)
            .map(|task| {
                let worker = Worker {
                    cluster: cluster.clone(),
                    errors: Arc::clone(&errors),
                    record: Record::default(),
                };
                tokio::spawn(worker.run(task, kind, Arc::clone(&stop)))
            })
            .collect();
        Self {
            stop,
            errors,
            tasks,
        }
    }

    /// The calls that failed so far.
    pub fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    /// Ends the load and gives its record. A panic of a task ends the test here.
    pub async fn stop(self) -> Record {
        self.stop.store(true, Relaxed);
        let mut all = Record::default();
        for task in self.tasks {
            all.add(task.await.expect("no task of the load panics"));
        }
        all.calls.sort_by_key(|c| c.began);
        all
    }

    /// Ends the load and gives its calls, where every reply was the caller's own, and every error one
    /// of ours.
    pub async fn calls(self) -> Vec<Call> {
        let record = self.stop().await;
        assert!(record.wrong.is_empty(), "{:?}", record.wrong);
        let foreign = |c: &&Call| c.kind() == Some(ErrorKind::Server);
        let foreign = record.calls.iter().find(foreign);
        assert!(foreign.is_none(), "{foreign:?} of {:?}", record.texts);
        record.calls
    }
}

struct Worker {
    cluster: FlusterCluster,
    errors: Arc<AtomicU64>,
    record: Record,
}

impl Worker {
    async fn run(mut self, task: usize, kind: Kind, stop: Arc<AtomicBool>) -> Record {
        for n in 0usize.. {
            if stop.load(Relaxed) {
                break;
            }
            let key = key(task * 31 + n);
            let token = format!("{task}-{n}");
            match kind {
                Kind::Mixed if n % 4 == 3 => self.push(&key, token).await,
                Kind::Mixed | Kind::Echo => {
                    if !self.echo(&key, &token, false).await {
                        self.echo(&key, &token, true).await;
                    }
                }
                Kind::Get => self.get(&key).await,
                Kind::Read => self.through(&key, &Cmd::get(&key), &key).await,
                Kind::Own => self.own_echo(&key, &token).await,
                Kind::Run => {
                    let echo = redis::cmd("ECHO").arg(&token).to_owned();
                    self.through(&key, &echo, &token).await;
                }
            }
            tokio::time::sleep(THINK).await;
        }
        self.record
    }

    /// One command through the client of `key`.
    async fn ask<T: redis::FromRedisValue>(
        &mut self,
        key: &str,
        cmd: &Cmd,
        second: bool,
        write: bool,
    ) -> Option<(T, NodeId)> {
        let began = Instant::now();
        let (node, result) = match self.cluster.get_client(key) {
            Err(empty) => (None, Err(RedisError::from(empty))),
            Ok(mut client) => {
                let node = client.node().clone();
                (Some(node), cmd.query_async::<T>(&mut client).await)
            }
        };
        if let Err(e) = &result {
            self.record.say(e);
        }
        let failure = result.as_ref().err().map(failure_of);
        self.note(began, node.clone(), failure, second, write);
        Some((result.ok()?, node?))
    }

    async fn echo(&mut self, key: &str, token: &str, second: bool) -> bool {
        let mut cmd = redis::cmd("ECHO");
        cmd.arg(token);
        match self.ask::<String>(key, &cmd, second, false).await {
            Some((echo, node)) => {
                self.compare(&echo, token, &node);
                true
            }
            None => false,
        }
    }

    async fn push(&mut self, key: &str, id: String) {
        let mut cmd = redis::cmd("RPUSH");
        cmd.arg(format!("{LISTS}{key}")).arg(&id);
        if self.ask::<u64>(key, &cmd, false, true).await.is_some() {
            self.record.ids.push(id);
        }
    }

    async fn own_echo(&mut self, key: &str, token: &str) {
        let began = Instant::now();
        let mut cmd = redis::cmd("ECHO");
        cmd.arg(token);
        let (node, result) = match self.cluster.get_client(key) {
            Err(empty) => (None, Err(RedisError::from(empty))),
            Ok(client) => {
                let node = client.node().clone();
                let result = match client.dedicated().await {
                    Ok(mut own) => cmd.query_async::<String>(&mut own).await,
                    Err(e) => Err(e.into()),
                };
                (Some(node), result)
            }
        };
        match &result {
            Ok(echo) => self.compare(
                echo,
                token,
                &node.clone().unwrap_or_else(|| NodeId::from("?")),
            ),
            Err(e) => self.record.say(e),
        }
        let failure = result.as_ref().err().map(failure_of);
        self.note(began, node, failure, false, false);
    }

    async fn get(&mut self, key: &str) {
        let get = Cmd::get(key);
        if let Some((value, node)) = self.ask::<Option<String>>(key, &get, false, false).await {
            self.compare(value.as_deref().unwrap_or("nothing"), key, &node);
        }
    }

    /// One command through the cluster, whose answer is known.
    async fn through(&mut self, key: &str, cmd: &Cmd, want: &str) {
        let began = Instant::now();
        let failure = match self.cluster.run_with_key::<Option<String>>(key, cmd).await {
            Ok(got) => {
                let got = got.as_deref().unwrap_or("nothing");
                self.compare(got, want, &NodeId::from("the cluster"));
                None
            }
            Err(e) => {
                self.record.say(&e);
                Some((e.kind(), e.outcome()))
            }
        };
        self.note(began, None, failure, false, false);
    }

    fn compare(&mut self, got: &str, want: &str, node: &NodeId) {
        if got != want {
            let text = format!("{node} answered {got} for {want}");
            self.record.wrong.push(text);
        }
    }

    fn note(
        &mut self,
        began: Instant,
        node: Option<NodeId>,
        failure: Option<(ErrorKind, Outcome)>,
        second: bool,
        write: bool,
    ) {
        if failure.is_some() {
            self.errors.fetch_add(1, Relaxed);
        }
        self.record.calls.push(Call {
            began,
            ended: Instant::now(),
            node,
            failure,
            second,
            write,
        });
    }
}
