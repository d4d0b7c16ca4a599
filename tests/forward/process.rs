//! Instances as processes of their own, under load: restarted one by one, and killed.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};

use fluster::discovery::{Endpoint, Static};
use fluster::gossip::Gossip;

use super::*;

/// `bind seed ring-id http policy`: this test binary is one of the instances.
const CHILD: &str = "FLUSTER_FORWARD_CHILD";
const KEYS: usize = 300;
const INSTANCES: usize = 5;

#[test]
#[ignore = "it is the process of an instance"]
fn instance_process() {
    let Ok(told) = std::env::var(CHILD) else {
        return;
    };
    let words: Vec<_> = told.split(' ').collect();
    let [bind, seed, id, http, policy] = words[..] else {
        panic!("{told}")
    };
    let (id, seed) = (id.to_owned(), seed.parse::<SocketAddr>().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async move {
        let listener = TcpListener::bind(http).await.unwrap();
        let gossip = Gossip::builder("processes")
            .bind(bind.parse().unwrap())
            .http(format!("http://{http}"))
            .seeds(Static::new([Endpoint::new(
                seed.ip().to_string(),
                seed.port(),
            )]))
            .keyring(key())
            .ring_id(&*id)
            .start()
            .await
            .unwrap();
        let builder = Forwarder::builder(gossip.clone());
        let builder = if policy == "stand-in" {
            stand_in(builder)
        } else {
            builder
        };
        let forward = builder.build().unwrap();
        let app = Router::new().fallback(move || {
            let answer = Response::builder()
                .header("x-instance", &*id)
                .body(Body::empty());
            async move { answer.unwrap() }
        });
        let app = app.layer(forward.layer(path_segment(1)));
        let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lines() {
                let _ = told.send(line.unwrap_or_default());
            }
        });
        // Leave first, then close the listener.
        let leaves = gossip.clone();
        let stop = async move {
            if tells.recv().await.as_deref() == Some("leave") {
                leaves.leave().await;
            } else {
                // Whoever started us is gone.
                std::process::exit(0);
            }
        };
        tokio::spawn(async move {
            gossip.wait_ready(INSTANCES, LONG).await.unwrap();
            println!("\nready");
        });
        axum::serve(listener, app)
            .with_graceful_shutdown(stop)
            .await
            .unwrap();
    });
}

/// A process, and where it is.
struct Process {
    child: Child,
    stdin: ChildStdin,
    is_ready: Arc<Mutex<bool>>,
}

#[derive(Clone)]
struct At {
    id: String,
    udp: SocketAddr,
    seed: SocketAddr,
    http: SocketAddr,
    policy: &'static str,
}

impl At {
    fn start(&self) -> Process {
        let Self {
            id,
            udp,
            seed,
            http,
            policy,
        } = self;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "forward::process::instance_process",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD, format!("{udp} {seed} {id} {http} {policy}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (out, is_ready) = (child.stdout.take().unwrap(), Arc::new(Mutex::new(false)));
        let ready = Arc::clone(&is_ready);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                *ready.lock().unwrap() |= line == "ready";
            }
        });
        Process {
            stdin: child.stdin.take().unwrap(),
            child,
            is_ready,
        }
    }
}

impl Process {
    async fn ready(&self) {
        until("it knows the others", || *self.is_ready.lock().unwrap()).await;
    }

    async fn leave(mut self) {
        writeln!(self.stdin, "leave").unwrap();
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < LONG, "it leaves");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn places(policy: &'static str) -> Vec<At> {
    let udp: Vec<_> = (0..INSTANCES)
        .map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap())
        .collect();
    let tcp: Vec<_> = (0..INSTANCES)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let address = |n: usize| udp[n].local_addr().unwrap();
    let at = |n: usize| At {
        id: format!("i{n}"),
        udp: address(n),
        seed: address(usize::from(n == 0)),
        http: tcp[n].local_addr().unwrap(),
        policy,
    };
    (0..INSTANCES).map(at).collect()
}

/// One request, as it ended.
#[derive(Clone, Debug)]
struct Done {
    method: &'static str,
    key: usize,
    status: u16,
    reason: String,
    instance: String,
    via: usize,
    at: Instant,
    lasted: Duration,
}

/// Requests without pause, as a load balancer sends them: to those that are up, whatever their key.
struct Load {
    targets: Arc<Mutex<Vec<usize>>>,
    done: Arc<Mutex<Vec<Done>>>,
    _workers: Vec<Ends>,
}

impl Load {
    fn start(at: &[At]) -> Self {
        let targets: Arc<Mutex<Vec<_>>> = Arc::new(Mutex::new((0..at.len()).collect()));
        let done = Arc::new(Mutex::new(Vec::new()));
        let bases: Vec<_> = at.iter().map(|at| format!("http://{}", at.http)).collect();
        let worker = |worker: usize| {
            let (targets, done, bases) = (Arc::clone(&targets), Arc::clone(&done), bases.clone());
            ends(async move {
                // Four of five are idempotent.
                let method = ["GET", "PUT", "GET", "PUT", "POST"][worker % 5];
                for n in 0.. {
                    let key = (worker * 7919 + n * 31) % KEYS;
                    let via = {
                        let targets = targets.lock().unwrap();
                        targets[(worker + n) % targets.len()]
                    };
                    let began = Instant::now();
                    let answer = ask(&bases[via], method, &format!("/x/k{key}"), &[], b"").await;
                    done.lock().unwrap().push(Done {
                        method,
                        key,
                        status: answer.status,
                        reason: answer.reason().to_owned(),
                        instance: answer.instance().to_owned(),
                        via,
                        at: Instant::now(),
                        lasted: began.elapsed(),
                    });
                    tokio::time::sleep(Duration::from_millis(80)).await;
                }
            })
        };
        let _workers = (0..20).map(worker).collect();
        Self {
            targets,
            done,
            _workers,
        }
    }

    /// No new requests go there; those that are under way end.
    async fn without(&self, n: usize) {
        self.targets.lock().unwrap().retain(|target| *target != n);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    fn with(&self, n: usize) {
        self.targets.lock().unwrap().push(n);
    }

    fn len(&self) -> usize {
        self.done.lock().unwrap().len()
    }

    fn done(&self) -> Vec<Done> {
        self.done.lock().unwrap().clone()
    }

    /// Lets so many requests pass.
    async fn more(&self, n: usize) {
        let before = self.len();
        until("requests pass", || self.len() >= before + n).await;
    }
}

fn failed(done: &[Done]) -> Vec<Done> {
    done.iter()
        .filter(|done| done.status != 200)
        .cloned()
        .collect()
}

/// None of what may be done twice failed; of the rest only what may have been done.
fn only_posts_are_unknown(done: &[Done]) {
    let failed = failed(done);
    let bad: Vec<_> = failed
        .iter()
        .filter(|done| done.method != "POST" || done.reason != "outcome-unknown")
        .collect();
    assert!(
        bad.is_empty(),
        "{} of {}: {:?}",
        bad.len(),
        done.len(),
        &bad[..bad.len().min(5)]
    );
    let posts = done.iter().filter(|done| done.method == "POST").count();
    println!(
        "{} requests, {posts} POST, {} of them outcome-unknown",
        done.len(),
        failed.len()
    );
    let forwarded = done
        .iter()
        .filter(|done| done.instance != format!("i{}", done.via));
    assert!(
        forwarded.count() * 2 > done.len(),
        "most of them are forwarded"
    );
}

async fn owners(at: &[At], via: usize) -> BTreeMap<usize, String> {
    let base = format!("http://{}", at[via].http);
    let mut owners = BTreeMap::new();
    for key in 0..KEYS {
        let answer = ask(&base, "GET", &format!("/x/k{key}"), &[], b"").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        owners.insert(key, answer.instance().to_owned());
    }
    owners
}

async fn started(at: &[At]) -> Vec<Process> {
    let processes: Vec<_> = at.iter().map(At::start).collect();
    for process in &processes {
        process.ready().await;
    }
    processes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_are_restarted_one_by_one_and_nothing_fails_that_may_be_repeated() {
    let at = places("fail");
    let mut processes = started(&at).await;
    let load = Load::start(&at);
    load.more(200).await;
    for n in 0..INSTANCES {
        load.without(n).await;
        let process = processes.remove(n);
        process.leave().await;
        processes.insert(n, at[n].start());
        processes[n].ready().await;
        load.with(n);
        load.more(100).await;
    }
    only_posts_are_unknown(&load.done());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_is_killed_and_with_stand_ins_nothing_fails_that_may_be_repeated() {
    let at = places("stand-in");
    let mut processes = started(&at).await;
    let load = Load::start(&at);
    load.more(200).await;
    load.without(3).await;
    processes[3].child.kill().unwrap();
    let killed = Instant::now();
    tokio::time::sleep(Duration::from_secs(10)).await;
    load.more(200).await;
    let done = load.done();
    only_posts_are_unknown(&done);
    let after = done.iter().filter(|done| done.at > killed);
    assert!(after.clone().count() > 100);
    println!(
        "the longest took {:?}",
        after.map(|done| done.lasted).max().unwrap()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_is_killed_and_its_keys_alone_fail_for_a_while_and_move() {
    let at = places("fail");
    let mut processes = started(&at).await;
    let before = owners(&at, 0).await;
    let load = Load::start(&at);
    load.more(200).await;
    load.without(3).await;
    processes[3].child.kill().unwrap();
    let killed = Instant::now();
    let ok = |done: &Done| done.status == 200 && before[&done.key] == "i3";
    let began = Instant::now();
    // Until its keys are answered by others.
    loop {
        let done = load.done();
        let late = done.iter().rev().take_while(|done| done.at > killed);
        if late.filter(|done| ok(done)).count() > 50 {
            break;
        }
        assert!(began.elapsed() < LONG, "its keys are served again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    load.more(200).await;
    let done = load.done();
    let failed = failed(&done);
    for done in &failed {
        assert_eq!(before[&done.key], "i3", "another one's key: {done:?}");
    }
    let last = failed.iter().map(|done| done.at).max();
    let lasted = last.map_or(Duration::ZERO, |last| {
        last.saturating_duration_since(killed)
    });
    println!(
        "{} of {} failed, the last one after {lasted:?}",
        failed.len(),
        done.len()
    );
    // 5.5 s on a machine that does nothing else.
    assert!(lasted < 3 * Duration::from_millis(5500), "{lasted:?}");
    drop(load);

    let after = owners(&at, 0).await;
    for (key, owner) in &after {
        let moved = before[key] != *owner;
        assert_eq!(
            moved,
            before[key] == "i3",
            "k{key}: {} and now {owner}",
            before[key]
        );
    }
    processes[3] = at[3].start();
    processes[3].ready().await;
    let began = Instant::now();
    while owners(&at, 0).await != before {
        assert!(began.elapsed() < LONG, "exactly its keys return");
    }
}
