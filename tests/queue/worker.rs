//! A worker of the chaos test, in a process of its own: this test binary once more.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fluster::queue::Queue;
use fluster::{FlusterCluster, Penalty};
use parking_lot::Mutex;

/// Set for the process that is a worker: the servers' URLs.
const ENVIRONMENT: &str = "FLUSTER_QUEUE_WORKER";
const TEST: &str = "queue::worker::be_a_worker_when_told_to";
const MARK: &str = "@done ";

/// What a worker holds at most, per node and at work.
pub const PREFETCH: usize = 8;
pub const TASKS: usize = 4;

/// Without the rule for flapping nodes: a server that is killed five times a minute would be out for the rest.
pub fn cluster_of(urls: &str) -> FlusterCluster {
    let builder = FlusterCluster::builder().urls(urls.split(','));
    let builder = builder.penalty(Penalty::default().flap_count(0));
    builder.build().expect("valid URLs")
}

/// The queue as producers and workers have it.
pub fn queue_of(cluster: &FlusterCluster) -> Queue {
    let queue = cluster
        .queue("chaos")
        .visibility(Duration::from_millis(1_500));
    queue.prefetch(PREFETCH).max_attempts(u32::MAX)
}

pub fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_micros() as u64)
}

/// A job that was done: its id, its node, and the microseconds since it was pushed.
#[derive(Clone, Debug)]
pub struct Done {
    pub id: String,
    pub node: String,
    pub took: u64,
}

pub struct Worker(Child);

impl Worker {
    /// Starts a worker that reports into `done` as long as it lives.
    pub fn start(urls: &str, done: &Arc<Mutex<Vec<Done>>>) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("the test binary"))
            .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
            .env(ENVIRONMENT, urls)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start a worker");
        let stdout = child.stdout.take().expect("its stdout is piped");
        let done = Arc::clone(done);
        // Ends with the worker: what it wrote before it was killed is still read.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Some(rest) = line.split_once(MARK).map(|(_, rest)| rest) else {
                    continue;
                };
                let mut words = rest.split(' ').map(str::to_owned);
                let (Some(id), Some(node), Some(took)) = (words.next(), words.next(), words.next())
                else {
                    continue;
                };
                let took = took.parse().unwrap_or_default();
                done.lock().push(Done { id, node, took });
            }
        });
        Self(child)
    }
}

/// SIGKILL.
impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn be_a_worker_when_told_to() {
    let Ok(urls) = std::env::var(ENVIRONMENT) else {
        return;
    };
    // Nobody is left to kill this process when its parent is killed: its input ends then.
    std::thread::spawn(|| {
        drop(std::io::stdin().read(&mut [0]));
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let cluster = cluster_of(&urls);
        let consumer = queue_of(&cluster).consumer("workers", "w").unwrap();
        let tasks = (0..TASKS).map(|_| work(&consumer));
        futures_util::future::join_all(tasks).await;
    });
}

async fn work(consumer: &fluster::queue::Consumer) {
    loop {
        // Nodes come and go all the time.
        let Ok(Some(job)) = consumer.pop(Duration::from_secs(1)).await else {
            continue;
        };
        let pushed: u64 = String::from_utf8_lossy(job.payload())
            .parse()
            .unwrap_or_default();
        // Jobs take their time, so that there is always one to be killed.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(5..50))).await;
        let took = micros().saturating_sub(pushed);
        // In one piece: what a killed worker wrote is whole lines.
        let line = format!("{MARK}{} {} {took}\n", job.id(), job.node());
        std::io::stdout()
            .write_all(line.as_bytes())
            .expect("the parent reads");
        // Done, and said so: now it may be killed. Without a success the job comes again.
        drop(job.ack().await);
    }
}
