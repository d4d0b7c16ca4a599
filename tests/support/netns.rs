//! Networks that a test may break: its own namespaces, gone when their processes are.
//!
//! The test itself runs in a network namespace of its own, in a process of its own, and each of its
//! [`Island`]s is another one, joined to it by a veth pair. No address, route or rule of the machine
//! is touched, so nothing has to be unique and nothing can be left behind: an unnamed namespace ends
//! with its last process, and the guard of [`fluster::testing`] sees to that one.
//!
//! Needs root, `unshare` and `nsenter` (util-linux), `ip` (iproute2) and `iptables`. Where one is
//! missing or forbidden the scenario is skipped, which is printed past the test runner's capture, and
//! counted; with `FLUSTER_REQUIRE_NETNS=1` it fails instead.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use fluster::testing::{Place, forget, wait_until, watch};

use super::alone;

/// Whether this machine lets us make namespaces and break them; else why not.
static USABLE: LazyLock<Result<(), String>> = LazyLock::new(|| {
    let script = "set -e
ip link set lo up
ip link add fl0 type veth peer name fl1
iptables -w -A INPUT -p tcp --dport 1 -j DROP
iptables -w -A INPUT -p tcp --dport 1 -j REJECT --reject-with icmp-host-unreachable
nsenter --version";
    run("unshare", &["--net", "--mount", "sh", "-c", script]).map(drop)
});

/// Runs `scenario` in a network namespace and a process of its own, or says why it cannot.
#[track_caller]
pub fn in_a_network(name: &str, scenario: impl AsyncFnOnce(Net)) {
    if alone::is_here(name) {
        return alone::run(async || scenario(Net::new()).await);
    }
    if let Err(why) = &*USABLE {
        return skip(name, why);
    }
    alone::elsewhere(name, &["unshare", "--net", "--mount", "--"]);
}

fn skip(name: &str, why: &str) {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let skipped = SKIPPED.fetch_add(1, Relaxed) + 1;
    let line = format!("SKIPPED netns: {why} ({name}; {skipped} so far)\n");
    assert!(
        std::env::var_os("FLUSTER_REQUIRE_NETNS").is_none(),
        "{line}"
    );
    // Not `eprintln`, which the test runner hides. Without a stderr nobody can be told.
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// The network of one test; the test's own process is at its centre.
pub struct Net {
    islands: AtomicU8,
}

impl Net {
    fn new() -> Self {
        sh("ip link set lo up");
        Self {
            islands: AtomicU8::new(0),
        }
    }

    /// A place for a server: a network namespace of its own, one hop away.
    pub fn island(&self) -> Island {
        Island::new(self.islands.fetch_add(1, Relaxed) + 1)
    }

    /// The way to all islands is gone: what we send has no route.
    pub fn cut_off(&self) {
        self.each_island(|n| format!("ip route del 10.77.{n}.0/30 dev fl{n}"));
    }

    /// The end of [`cut_off`](Self::cut_off).
    pub fn reconnect(&self) {
        self.each_island(|n| format!("ip route add 10.77.{n}.0/30 dev fl{n} src 10.77.{n}.1"));
    }

    /// Islands reach each other, through here.
    pub fn routes_between_islands(&self, islands: &[Island]) {
        sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
        for island in islands {
            let [a, b, n, _] = island.address.octets();
            island.inside(&format!("ip route add default via {a}.{b}.{n}.1"));
        }
    }

    /// The cable to the island is plugged in, or pulled out.
    pub fn link_is_up(&self, island: &Island, is_up: bool) {
        let n = island.address.octets()[2];
        sh(&format!(
            "ip link set fl{n} {}",
            if is_up { "up" } else { "down" }
        ));
    }

    fn each_island(&self, line: impl Fn(u8) -> String) {
        let lines: Vec<_> = (1..=self.islands.load(Relaxed)).map(line).collect();
        sh(&lines.join("\n"));
    }
}

/// A network namespace with an address, in which servers run.
#[derive(Debug)]
pub struct Island {
    /// Holds the namespace while the servers in it come and go.
    holder: Child,
    address: Ipv4Addr,
}

impl Island {
    fn new(n: u8) -> Self {
        let holder = Command::new("unshare")
            .args(["--net", "sleep", "100000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("start the holder of a namespace");
        watch(&holder);
        let pid = holder.id();
        let island = Self {
            holder,
            address: Ipv4Addr::new(10, 77, n, 2),
        };
        let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
        wait_until(Duration::from_secs(5), || {
            let its = namespace(&pid.to_string());
            its.is_some() && its != namespace("self")
        });
        sh(&format!(
            "ip link add fl{n} type veth peer name eth0 netns {pid}
ip addr add 10.77.{n}.1/30 dev fl{n}
ip link set fl{n} up"
        ));
        // Without the last line the kernel answers the first few connects only.
        island.inside(&format!(
            "ip addr add {}/30 dev eth0
ip link set eth0 up
ip link set lo up
echo 0 > /proc/sys/net/ipv4/icmp_ratelimit",
            island.address
        ));
        island
    }

    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// What a command line must begin with to run in here.
    pub fn enter(&self) -> [String; 2] {
        let pid = self.holder.id();
        ["nsenter".into(), format!("--net=/proc/{pid}/ns/net")]
    }

    /// Everything from and to here is dropped without a word.
    pub fn black_hole(&self) {
        self.inside(
            "iptables -w -A INPUT -i eth0 -j DROP
iptables -w -A OUTPUT -o eth0 -j DROP",
        );
    }

    /// Whatever comes is answered with "host unreachable".
    pub fn reject(&self) {
        self.inside(
            "iptables -w -A INPUT -i eth0 -p tcp -j REJECT --reject-with icmp-host-unreachable",
        );
    }

    /// The end of any fault; returns how many packets met it. A scenario whose fault met none has
    /// shown nothing.
    pub fn heal(&self) -> u64 {
        let hits = self.hits();
        self.inside("iptables -w -F");
        hits
    }

    /// How many packets the present fault has hit.
    pub fn hits(&self) -> u64 {
        let rules = self.inside("iptables -w -nvxL");
        rules
            .lines()
            .filter(|line| line.contains("DROP ") || line.contains("REJECT "))
            .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
            .sum()
    }

    fn inside(&self, script: &str) -> String {
        let [program, namespace] = self.enter();
        let script = format!("set -e\n{script}");
        run(&program, &[&namespace, "sh", "-c", &script])
            .unwrap_or_else(|e| panic!("{script}: {e}"))
    }
}

impl From<&Island> for Place {
    /// On Redis' usual port.
    fn from(island: &Island) -> Self {
        Self {
            address: island.address(),
            port: 6379,
            through: island.enter().map(Into::into).into(),
        }
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        // Gone already, or it goes with the guard.
        drop(self.holder.kill());
        drop(self.holder.wait());
        forget(self.holder.id());
    }
}

fn sh(script: &str) {
    let script = format!("set -e\n{script}");
    run("sh", &["-c", &script]).unwrap_or_else(|e| panic!("{script}: {e}"));
}

/// The program's output, or what it says is wrong.
fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.trim().lines().last().unwrap_or("no reason given");
            Err(format!("{program}: {last}"))
        }
    }
}
