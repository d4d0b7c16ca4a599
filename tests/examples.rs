//! Every example is run, as a user would run it, against real servers.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::{Server, TlsPki, fleet, forget, http, new_dir, urls, wait_until, watch};

/// Much more than any of them takes, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Where the examples are, all of them built as this test was.
static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let profile = profile();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--all-features", "--examples"]);
    build(cargo, &profile);
    profile.join("examples")
});

/// Builds what the command says, in the profile of this test.
fn build(mut cargo: Command, profile: &Path) {
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    // What cargo tells a test of its package is another environment for build scripts: they would run again, and
    // once more for whoever builds next.
    for (name, _) in std::env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if told {
            cargo.env_remove(name);
        }
    }
    assert!(cargo.status().expect("cargo").success());
}

/// Where the profile's artifacts are, beside which this test is.
fn profile() -> PathBuf {
    let me = std::env::current_exe().expect("a path");
    let profile = me.parent().and_then(Path::parent).expect("target/debug");
    profile.to_owned()
}

pub(crate) fn example(name: &str, servers: &[Server]) -> Command {
    let mut command = Command::new(BUILT.join(name));
    command
        .env("REDIS_URLS", urls(servers).join(","))
        .stdin(Stdio::null());
    command
}

/// What an example says that is to succeed.
fn said(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {out}{err}", output.status);
    out
}

/// An example that runs until it is told to end; killed when it is dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        watch(&child);
        let out = BufReader::new(child.stdout.take().expect("its output"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // Nobody listens any more at the end of the test.
            let _ = out
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line));
        });
        Self { child, lines }
    }

    /// The rest of the next line that begins so.
    fn says(&self, beginning: &str) -> String {
        let until = Instant::now() + SOON;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("it never said {beginning:?}"));
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.to_owned();
            }
        }
    }

    /// Sends the signal and waits for a good end.
    fn ends_by(mut self, signal: &str) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args([signal, &pid]).status();
        assert!(kill.expect("kill").success());
        let child = &mut self.child;
        let mut status = None;
        wait_until(SOON, || {
            status = child.try_wait().expect("a child");
            status.is_some()
        });
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        forget(self.child.id());
    }
}

#[test]
fn admin_shows_a_cluster_under_load() {
    let servers: [Server; 3] = fleet();
    let mut admin = example("admin", &servers);
    admin.env("LISTEN", "127.0.0.1:0").env_remove("ADMIN_TOKEN");
    let admin = Running::start(admin);
    let port = admin.says("see http://127.0.0.1:").parse().expect("a port");
    let (status, page) = http(port, "GET", "/status", "").expect("an answer");
    assert_eq!(status, 200, "{page}");
    for url in urls(&servers) {
        assert!(
            page.contains(url.trim_start_matches("redis://")),
            "{url}: {page}"
        );
    }
    assert!(admin.says("0 commands, the last one: ").starts_with("Ok("));
}

#[test]
fn apalis_works_off_queues_that_are_spread_over_the_nodes() {
    let profile = profile();
    let target = profile.parent().expect("the target directory");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--locked"])
        .args(["--manifest-path", "examples/apalis/Cargo.toml"])
        .arg("--target-dir")
        .arg(target);
    build(cargo, &profile);
    let servers: [Server; 3] = fleet();
    let mut apalis = Command::new(profile.join("fluster-apalis"));
    apalis.env("REDIS_URLS", urls(&servers).join(","));
    let out = said(&mut apalis);
    assert!(out.ends_with("120 emails sent by 6 workers\n"), "{out}");
    assert_eq!(out.matches("} is on ").count(), 6, "{out}");
}

#[test]
fn every_example_is_run() {
    let here = include_str!("examples.rs");
    let makefile = include_str!("../Makefile");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut found = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let is_run = match name {
            // tests/readme.rs
            "quickstart" => true,
            "gossip_demo" => makefile.contains("--example gossip_demo -- --check"),
            // A package of its own, since its dependencies are.
            "apalis" => here.contains("examples/apalis/Cargo.toml"),
            _ => here.contains(&format!("example(\"{name}\"")),
        };
        assert!(is_run, "no test runs the example {name}");
        found += 1;
    }
    assert!(found >= 15, "{found} examples");
}

#[test]
fn rate_limit_lets_five_pass_in_a_window_and_all_when_nobody_can_count() {
    let servers: [Server; 3] = fleet();
    let out = said(&mut example("rate_limit", &servers));
    let allowed = out.matches(": allowed").count() as u64;
    // The minute may have ended in between.
    let windows = servers.iter().flat_map(|server| {
        let keys = server.raw(["KEYS", "rate:ann:*"]);
        let keys: Vec<String> = keys.split_whitespace().map(str::to_owned).collect();
        keys.into_iter()
            .filter_map(|key| server.get(&key)?.parse::<u64>().ok())
            .collect::<Vec<_>>()
    });
    let windows: Vec<u64> = windows.collect();
    assert_eq!(windows.iter().sum::<u64>(), 7, "{windows:?}");
    assert_eq!(
        allowed,
        windows.iter().map(|n| (*n).min(5)).sum::<u64>(),
        "{out}"
    );

    servers.iter().for_each(Server::kill);
    let out = said(&mut example("rate_limit", &servers));
    assert_eq!(out.matches(": allowed").count(), 7, "{out}");
}

#[test]
fn sessions_outlive_any_one_server() {
    let servers: [Server; 3] = fleet();
    for dead in &servers {
        let token = said(example("sessions", &servers).args(["login", "ann"]));
        let token = token.trim();
        dead.kill();
        let show = || said(example("sessions", &servers).args(["show", token]));
        assert_eq!(show().trim(), "ann", "without {}", dead.name());
        dead.restart();
    }
    let token = said(example("sessions", &servers).args(["login", "ann"]));
    said(example("sessions", &servers).args(["logout", token.trim()]));
    let nobody = said(example("sessions", &servers).args(["show", token.trim()]));
    assert_eq!(nobody.trim(), "nobody");
}

#[test]
fn transaction_moves_no_money_twice_and_makes_none() {
    let servers: [Server; 3] = fleet();
    let out = said(&mut example("transaction", &servers));
    assert_eq!(out.matches("moved 30").count(), 3, "{out}");
    assert_eq!(out.matches("not enough left").count(), 1, "{out}");
    assert!(out.contains("ann has 10, bob has 90"), "{out}");
}

#[test]
fn pubsub_hears_what_was_published_on_every_channel() {
    let servers: [Server; 3] = fleet();
    let out = said(&mut example("pubsub", &servers));
    assert_eq!(out.matches(": 1 listening").count(), 3, "{out}");
    assert_eq!(out.matches(": hello (from ").count(), 3, "{out}");
}

#[test]
fn tls_works_with_our_authority_and_says_what_is_wrong_with_another() {
    let pki = TlsPki::new();
    let server = Server::builder()
        .tls(&pki)
        .arg("--tls-auth-clients", "yes")
        .start();
    let url = format!("rediss://127.0.0.1:{}", server.port());
    let with = |authority: &TlsPki| {
        let mut command = example("tls", &[]);
        command
            .env("REDIS_URLS", &url)
            .env("CA_FILE", authority.ca())
            .env("CERT_FILE", pki.client_cert())
            .env("KEY_FILE", pki.client_key());
        command
    };
    let out = said(&mut with(&pki));
    assert!(out.contains("visit 1, over TLS"), "{out}");

    let output = with(&TlsPki::new()).output().expect("it runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && err.contains("certificate"),
        "{err}"
    );
}

#[test]
fn discovery_follows_the_file() {
    let [a, b] = fleet();
    let file = new_dir("nodes").join("nodes.txt");
    let line = |server: &Server, name: &str| format!("{}  name={name}\n", server.name());
    std::fs::write(&file, line(&a, "a")).unwrap();
    let mut command = example("discovery", &[]);
    command.arg(&file);
    let running = Running::start(command);
    assert_eq!(running.says("1 servers: "), "a");
    running.says("counted ");
    std::fs::write(&file, line(&a, "a") + &line(&b, "b")).unwrap();
    assert_eq!(running.says("2 servers: "), "a, b");
    running.says("counted ");
    running.ends_by("-INT");
}

#[test]
fn sync_counts_from_four_threads_also_without_a_server() {
    let servers: [Server; 3] = fleet();
    let all = "four threads counted 200 and 200\n";
    assert_eq!(said(&mut example("sync", &servers)), all);
    servers[1].kill();
    assert_eq!(said(&mut example("sync", &servers)), all);
}

#[test]
fn cache_renders_once_for_all_and_forgets_at_once() {
    let servers: [Server; 3] = fleet();
    let out = said(&mut example("cache", &servers));
    assert_eq!(out.matches("rendering home").count(), 1, "{out}");
    assert_eq!(out.matches("Page {").count(), 8, "{out}");
    assert!(out.contains("left: None"), "{out}");
}

#[test]
fn near_answers_most_reads_from_memory() {
    let out = said(&mut example("near", &[]));
    let rows: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let hits = |name: &str| {
        let rows = rows.iter().filter(|row| row.first() == Some(&name));
        let shares = rows.map(|row| row[3].parse::<f64>().unwrap());
        shares.collect::<Vec<_>>()
    };
    assert_eq!(hits("plain"), [0.0; 3], "{out}");
    let near = hits("near");
    assert!(
        near.len() == 3 && near.iter().all(|share| *share > 50.0),
        "{out}"
    );
}

#[test]
fn replicated_write_reads_what_a_majority_has() {
    let servers: [Server; 3] = fleet();
    servers[0].kill();
    let out = said(&mut example("replicated_write", &servers));
    assert!(out.contains("config is Some(\"7:blue\")"), "{out}");
}

#[test]
fn worker_queue_does_every_job_and_buries_the_impossible_one() {
    let servers: [Server; 3] = fleet();
    let out = said(&mut example("worker_queue", &servers));
    assert!(out.contains("1001 jobs done"), "{out}");
    assert_eq!(
        out.matches("dead: \"a job that cannot be done\"").count(),
        1,
        "{out}"
    );
}

#[test]
fn worker_lists_does_every_job() {
    let servers: [Server; 3] = fleet();
    let out = said(&mut example("worker_lists", &servers));
    for job in 0..30 {
        assert_eq!(out.matches(&format!("job {job} from ")).count(), 1, "{out}");
    }
}

#[test]
fn demo_gives_nothing_up() {
    let mut command = example("demo", &[]);
    let out = said(command.env_remove("REDIS_URLS"));
    assert!(out.contains("is out (refused)"), "{out}");
    assert!(out.contains("serves its keys again"), "{out}");
    let given_up = out.lines().find(|line| line.contains("given up"));
    let given_up = given_up.unwrap_or_else(|| panic!("not said: {out}"));
    assert!(
        given_up.split_whitespace().any(|word| word == "0"),
        "{given_up}"
    );
}

#[test]
fn axum_limits_caches_works_measures_and_ends_in_order() {
    let servers: [Server; 3] = fleet();
    let mut command = example("axum", &servers);
    command.env("LISTEN", "127.0.0.1:0");
    let running = Running::start(command);
    let port: u16 = running.says("listening on 127.0.0.1:").parse().unwrap();
    let ask =
        |method: &str, path: &str, body: &str| http(port, method, path, body).expect("an answer");

    let (status, first) = ask("GET", "/pages/home", "");
    assert_eq!(status, 200, "{first}");
    assert!(first.contains("\"title\":\"home\""), "{first}");
    assert_eq!(ask("GET", "/pages/home", "").1, first, "from the cache");
    // Any one server may die, one that has a copy too: jobs go elsewhere.
    let has_it = |server: &&Server| server.raw(["KEYS", "page:*"]).contains("page:home");
    assert_eq!(servers.iter().filter(has_it).count(), 2);
    let holder = servers.iter().find(has_it).expect("a copy");
    holder.kill();
    assert_eq!(
        ask("GET", "/pages/home", "").1,
        first,
        "from the other copy"
    );
    for n in 0..5 {
        assert_eq!(ask("POST", "/mails", &format!("ann-{n}")).0, 202);
    }
    let mut mails: Vec<String> = (0..5).map(|_| running.says("mail to ")).collect();
    mails.sort();
    mails.dedup();
    assert_eq!(mails.len(), 5, "{mails:?}");

    let answers = (0..60).map(|_| ask("GET", "/pages/home", "").0);
    let refused = answers.filter(|status| *status == 429).count();
    assert!(
        (12..60).contains(&refused),
        "{refused} of 60 were one too many"
    );
    assert_eq!(ask("GET", "/ready", "").0, 200);
    let (_, metrics) = ask("GET", "/metrics", "");
    for name in [
        "fluster_commands_total",
        "fluster_queue_acked_total",
        "fluster_cache_reads_total",
    ] {
        assert!(metrics.contains(name), "no {name} in {metrics}");
    }
    running.ends_by("-TERM");
}

#[test]
fn rate_limiter_has_one_bucket_for_a_key_whichever_instance_is_asked() {
    let dir = new_dir("rate-limiter");
    let keys = dir.join("gossip.key");
    std::fs::write(&keys, "5a".repeat(32)).unwrap();
    let udp: Vec<_> = (0..3)
        .map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap())
        .collect();
    let tcp: Vec<_> = (0..3)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let gossip: Vec<_> = udp.iter().map(|s| s.local_addr().unwrap()).collect();
    let listen: Vec<_> = tcp.iter().map(|s| s.local_addr().unwrap()).collect();
    drop((udp, tcp));
    let start = |n: usize| {
        let mut command = example("rate_limiter", &[]);
        command.args(["--gossip", &gossip[n].to_string()]);
        command.args(["--http", &listen[n].to_string()]);
        command.args(["--seed", &gossip[usize::from(n == 0)].to_string()]);
        command.arg("--key-file").arg(&keys);
        Running::start(command)
    };
    let all = [0, 1, 2].map(start);
    let mut round = 0;
    // Each has a bucket of its own until they know each other.
    wait_until(SOON, || {
        round += 1;
        let began = Instant::now();
        let ask = |n: usize| http(listen[n % 3].port(), "POST", &format!("/limit/{round}"), "");
        let answers: Vec<_> = (0..30).map_while(|n| ask(n).ok()).collect();
        let taken = answers.iter().filter(|(status, _)| *status == 200).count();
        let refused = answers.iter().filter(|(status, _)| *status == 429).count();
        let most = 6.0 + 5.0 * began.elapsed().as_secs_f64();
        taken + refused == 30 && taken >= 5 && (taken as f64) < most
    });
    for running in all {
        running.ends_by("-TERM");
    }
}
