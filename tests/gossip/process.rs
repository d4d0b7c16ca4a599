//! Instances as processes of their own: killed, stopped, and started again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::*;

/// `bind seed ring-id key`: this test binary is one of the instances.
const CHILD: &str = "FLUSTER_GOSSIP_CHILD";

#[test]
#[ignore = "it is the process of an instance"]
fn instance_process() {
    let Ok(told) = std::env::var(CHILD) else {
        return;
    };
    let words: Vec<_> = told.split(' ').collect();
    let [bind, seed, id, key] = words[..] else {
        panic!("{told}")
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let key = Keyring::from_hex(key).unwrap();
        let gossip = Gossip::builder("processes")
            .bind(bind.parse().unwrap())
            .seeds(seeds(&[seed.parse().unwrap()]))
            .keyring(key)
            .ring_id(id)
            .drain(Duration::from_millis(300))
            .linger(Duration::from_millis(200))
            .start()
            .await
            .unwrap();
        let mut changes = gossip.changes();
        let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lines() {
                let _ = told.send(line.unwrap_or_default());
            }
        });
        loop {
            {
                let view = changes.borrow_and_update();
                let members = view
                    .members()
                    .iter()
                    .map(|m| format!("{}={}/{}", m.ring_id, m.state.as_str(), m.phase.as_str()));
                let fingerprint = view
                    .fingerprint()
                    .map(|f| f.to_string())
                    .unwrap_or_default();
                println!(
                    "\nview {fingerprint} {}",
                    members.collect::<Vec<_>>().join(" ")
                );
            }
            tokio::select! {
                changed = changes.changed() => changed.unwrap(),
                tell = tells.recv() => match tell.as_deref() {
                    Some("leave") => {
                        gossip.leave().await;
                        return;
                    }
                    // Whoever started us is gone.
                    _ => return,
                },
            }
        }
    });
}

struct Instance {
    child: Child,
    stdin: ChildStdin,
    /// All views that it told of.
    views: Arc<Mutex<Vec<String>>>,
}

impl Instance {
    fn start(bind: SocketAddr, seed: SocketAddr, id: &str, key: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "gossip::process::instance_process",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD, format!("{bind} {seed} {id} {key}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (out, views) = (
            child.stdout.take().unwrap(),
            Arc::new(Mutex::new(Vec::new())),
        );
        let all = Arc::clone(&views);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Some(view) = line.strip_prefix("view ") {
                    all.lock().unwrap().push(view.to_owned());
                }
            }
        });
        Self {
            stdin: child.stdin.take().unwrap(),
            child,
            views,
        }
    }

    fn view(&self) -> String {
        self.views
            .lock()
            .unwrap()
            .last()
            .cloned()
            .unwrap_or_default()
    }

    fn sees(&self, what: &str) -> bool {
        self.view().contains(what)
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_ports(n: usize) -> Vec<SocketAddr> {
    let sockets: Vec<_> = (0..n)
        .map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap())
        .collect();
    sockets.iter().map(|s| s.local_addr().unwrap()).collect()
}

/// The same ring of so many at all of them.
fn agree(all: &[Instance], n: usize) -> bool {
    let first = all[0].view();
    let ring = first.split(' ').next().unwrap_or_default().to_owned();
    !ring.is_empty()
        && all.iter().all(|i| {
            let view = i.view();
            view.starts_with(&ring) && view.matches("=alive/ready").count() == n
        })
}

async fn processes(n: usize) {
    let (ports, key) = (free_ports(n), Keyring::generate().to_hex());
    let start = |i: usize| {
        let seed = if i == 0 { ports[1] } else { ports[0] };
        Instance::start(ports[i], seed, &format!("i{i}"), &key)
    };
    let mut all: Vec<_> = (0..n).map(start).collect();
    let joined = until("they join", || agree(&all, n)).await;
    let ring = all[0].view();

    let mut killed = all.pop().unwrap();
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    let down = format!("i{}=down", n - 1);
    let dead = until("the death is known", || all.iter().all(|i| i.sees(&down))).await;
    assert!(agree(&all, n - 1));
    all.push(start(n - 1));
    let back = until("it is back", || agree(&all, n)).await;
    assert_eq!(
        ring.split(' ').next(),
        all[0].view().split(' ').next(),
        "exactly its keys return"
    );

    let stopped = &all[1];
    let seen: Vec<_> = all.iter().map(|i| i.views.lock().unwrap().len()).collect();
    stopped.signal("-STOP");
    tokio::time::sleep(Duration::from_secs(8)).await;
    let missed = |(i, seen): (&Instance, &usize)| {
        let views = i.views.lock().unwrap()[*seen..].join("\n");
        views.contains("i1=suspect") || views.contains("i1=down")
    };
    assert!(all.iter().zip(&seen).any(missed), "the stop was noticed");
    let told = stopped.views.lock().unwrap().len();
    stopped.signal("-CONT");
    let woken = until("it is back", || agree(&all, n)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let views = stopped.views.lock().unwrap()[told..].join("\n");
    assert!(
        !views.contains("=down"),
        "the woken one drops nobody: {views}"
    );

    let mut leaver = all.pop().unwrap();
    writeln!(leaver.stdin, "leave").unwrap();
    let left = format!("i{}=left", n - 1);
    let leave = until("it left", || all.iter().all(|i| i.sees(&left))).await;
    println!(
        "{n} processes: join {joined:?}, death {dead:?}, return {back:?}, woken {woken:?}, leave {leave:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_processes_survive_a_kill_a_stop_and_a_leave() {
    processes(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "twenty processes: make gossip-soak"]
async fn twenty_processes_do_too() {
    processes(20).await;
}
