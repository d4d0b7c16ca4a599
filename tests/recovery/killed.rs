//! Writers that are killed, not shut down: what they were told is done is owed all the same, by whoever is there or comes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::*;

/// Where a process is told that it writes, and to which servers, of which the first is out.
const CHILD: &str = "FLUSTER_RETURN_WRITER";
/// How many keys the first server has.
const KEYS: usize = 2_000;

/// Writes for ever, and says what it was told is done, if the environment says so.
#[test]
fn child() {
    let Ok(urls) = std::env::var(CHILD) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let ms = Duration::from_millis;
        let (first, _) = urls.split_once(',').unwrap();
        let cluster = FlusterCluster::builder()
            .urls(urls.split(','))
            .penalty(Penalty::default().min_wait(ms(50)).max_wait(ms(200)))
            .on_return(OnReturn::Invalidate)
            .build()
            .unwrap();
        let owner = first.trim_start_matches("redis://").to_owned();
        let all = (0..).map(|i| format!("k{i}"));
        let own = all.filter(|key| cluster.get_node(key).unwrap() == *owner.as_str());
        let own: Vec<_> = own.take(KEYS).collect();
        for key in own.iter().cycle() {
            let mut set = redis::cmd("SET");
            if cluster.run::<()>(set.arg(key).arg("new")).await.is_ok() {
                println!("done {key}");
                std::io::stdout().flush().unwrap();
            }
        }
    });
}

/// A process that writes; it ends with this.
struct Writer {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Writer {
    fn start(servers: &[Server]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command
            .args(["--exact", "recovery::killed::child", "--nocapture"])
            .env(CHILD, urls(servers).join(","))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    fn done(line: &str) -> Option<String> {
        Some(line.trim().strip_prefix("done ")?.to_owned())
    }

    /// Kills it in the middle of its writes, once so many are done; what it said is done.
    fn kill_after(mut self, writes: usize) -> Vec<String> {
        let mut done = Vec::new();
        let mut line = String::new();
        while done.len() < writes {
            line.clear();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "it ended");
            done.extend(Self::done(&line));
        }
        self.child.kill().unwrap();
        let rest = self.said.by_ref().lines().map_while(Result::ok);
        done.extend(rest.filter_map(|line| Self::done(&line)));
        done.sort_unstable();
        done.dedup();
        done
    }
}

/// Servers of which the first has old values; and the keys.
fn with_old_values() -> ([Server; 3], Vec<String>) {
    let servers: [Server; 3] = durable();
    let cluster = hasty(&servers).build().unwrap();
    let keys = keys_of(&cluster, &servers[0], "k", KEYS);
    let pairs = keys.iter().flat_map(|key| [key.as_str(), "old"]);
    let mset: Vec<&str> = std::iter::once("MSET").chain(pairs).collect();
    assert_eq!(servers[0].raw(mset), "OK");
    (servers, keys)
}

fn old(server: &Server, keys: &[String]) -> usize {
    let is_old = |key: &&String| server.get(key).as_deref() == Some("old");
    keys.iter().filter(is_old).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_writer_did_that_was_killed_during_the_outage_is_taken_by_another_process() {
    for outage in [Outage::Stopped, Outage::Killed] {
        let (servers, keys) = with_old_values();
        let other = invalidating(&servers);
        outage.begin(&servers[0]);
        is_out(&other, &servers[0]).await;
        let done = Writer::start(&servers).kill_after(300);
        outage.end(&servers[0]);
        is_back(&other, &servers[0]).await;
        assert_eq!(old(&servers[0], &done), 0, "of {}", done.len());
        assert!(old(&servers[0], &keys) > 0, "the others are still there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_only_process_did_is_taken_by_the_next_one_a_second_after_its_start() {
    for outage in [Outage::Stopped, Outage::Killed] {
        let (servers, _keys) = with_old_values();
        outage.begin(&servers[0]);
        let done = Writer::start(&servers).kill_after(300);
        outage.end(&servers[0]);
        assert_eq!(old(&servers[0], &done), done.len(), "nobody is there");
        let began = Instant::now();
        let next = invalidating(&servers);
        // Its background begins with its first call.
        let _ = get(&next, "any").await;
        eventually(SOON, || old(&servers[0], &done[..1]) == 0).await;
        eventually(SOON, || old(&servers[0], &done) == 0).await;
        println!(
            "{outage:?}: {} keys gone after {:?}",
            done.len(),
            began.elapsed()
        );
    }
}
