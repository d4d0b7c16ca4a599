//! Five instances of an application as processes: one is killed and comes back, one leaves, a stranger knocks.
//!
//! `make gossip-demo`; with `--check` the exit code is 1 when a figure misses. No Redis is needed.

use std::error::Error;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use fluster::discovery::{Endpoint, Static};
use fluster::gossip::{Act, Gossip, Keyring, MemberStatus, Operator};

type Fallible<T> = Result<T, Box<dyn Error>>;

const KEYS: usize = 300;
/// The key of an instance: every user of a machine can read the arguments of its processes.
const KEY: &str = "GOSSIP_DEMO_KEY";
const LIMIT: Duration = Duration::from_secs(40);

#[tokio::main]
async fn main() -> Fallible<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["instance", bind, seed, id] => instance(bind, seed, id).await.map(|()| ExitCode::SUCCESS),
        [] => demo(false).await,
        ["--check"] => demo(true).await,
        _ => Err("usage: gossip_demo [--check]".into()),
    }
}

/// One of the five: what an application does.
async fn instance(bind: &str, seed: &str, id: &str) -> Fallible<()> {
    let key = std::env::var(KEY)?;
    let seed: SocketAddr = seed.parse()?;
    let gossip = Gossip::builder("demo")
        .bind(bind.parse()?)
        .ring_id(id)
        .keyring(Keyring::from_hex(&key)?)
        .seeds(Static::new([Endpoint::new(
            seed.ip().to_string(),
            seed.port(),
        )]))
        .start()
        .await?;
    let mut events = gossip.events();
    // It ends when it was told to leave; or when the demo ends, which holds its standard input.
    // On a thread of its own: the runtime would wait for one of its threads that reads.
    let (ended, parent) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        drop(ended);
    });
    tokio::select! {
        _ = parent => {}
        () = async { while !matches!(events.next().await, None | Some(fluster::gossip::GossipEvent::Left)) {} } => {}
    }
    Ok(())
}

struct Process {
    child: Child,
    at: SocketAddr,
}

impl Process {
    fn start(at: SocketAddr, seed: SocketAddr, id: &str, key: &str) -> Fallible<Self> {
        let child = Command::new(std::env::current_exe()?)
            .args(["instance", &at.to_string(), &seed.to_string(), id])
            .env(KEY, key)
            .stdin(Stdio::piped())
            .spawn()?;
        Ok(Self { child, at })
    }

    /// Whether it ends well by itself.
    async fn ends(&mut self) -> Fallible<bool> {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.success());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(false)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until all of them say so.
async fn until(
    operator: &Operator,
    all: &[Process],
    says: impl Fn(&[MemberStatus]) -> bool,
) -> Fallible<Duration> {
    let began = Instant::now();
    'again: loop {
        if began.elapsed() > LIMIT {
            return Err("it did not happen".into());
        }
        for process in all {
            let members = operator.members(process.at).await.unwrap_or_default();
            if !says(&members) {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue 'again;
            }
        }
        return Ok(began.elapsed());
    }
}

async fn owners(operator: &Operator, at: SocketAddr) -> Fallible<Vec<String>> {
    let keys: Vec<_> = (0..KEYS)
        .map(|n| format!("user:{n}").into_bytes())
        .collect();
    let found = operator.lookup(at, &keys, 1).await?;
    Ok(found
        .into_iter()
        .map(|mut names| names.pop().unwrap_or_default())
        .collect())
}

async fn table(operator: &Operator, at: SocketAddr) -> Fallible<()> {
    let owners = owners(operator, at).await?;
    for member in operator.members(at).await? {
        let keys = owners
            .iter()
            .filter(|owner| **owner == member.ring_id)
            .count();
        println!(
            "  {:8} {:8} {:9} {keys:4} keys",
            member.ring_id, member.state, member.phase
        );
    }
    Ok(())
}

fn ready(members: &[MemberStatus]) -> usize {
    let is_there = |m: &&MemberStatus| m.state == "alive" || m.state == "suspect";
    members
        .iter()
        .filter(is_there)
        .filter(|m| m.phase == "ready")
        .count()
}

fn is(members: &[MemberStatus], id: &str, state: &str) -> bool {
    members.iter().any(|m| m.ring_id == id && m.state == state)
}

async fn demo(check: bool) -> Fallible<ExitCode> {
    let (key, other) = (Keyring::generate(), Keyring::generate());
    let operator = Operator::new("demo", Some(key.clone()));
    let sockets = (0..6)
        .map(|_| UdpSocket::bind("127.0.0.1:0"))
        .collect::<Result<Vec<_>, _>>()?;
    let at = sockets
        .iter()
        .map(UdpSocket::local_addr)
        .collect::<Result<Vec<_>, _>>()?;
    drop(sockets);
    let start = |n: usize, key: &Keyring| {
        let seed = if n == 0 { at[1] } else { at[0] };
        Process::start(at[n], seed, &format!("app-{n}"), &key.to_hex())
    };
    println!("five instances start");
    let mut all = (0..5)
        .map(|n| start(n, &key))
        .collect::<Fallible<Vec<_>>>()?;
    let joined = until(&operator, &all, |members| ready(members) == 5).await?;
    table(&operator, at[0]).await?;
    let before = owners(&operator, at[0]).await?;

    println!("app-4 is killed");
    drop(all.pop());
    let died = until(&operator, &all, |members| is(members, "app-4", "down")).await?;
    table(&operator, at[0]).await?;
    let without = owners(&operator, at[0]).await?;
    let moved = before.iter().zip(&without).filter(|(a, b)| a != b).count();
    let its = before.iter().filter(|owner| *owner == "app-4").count();

    println!("it starts again");
    all.push(start(4, &key)?);
    let back = until(&operator, &all, |members| ready(members) == 5).await?;
    let returned = owners(&operator, at[0]).await? == before;

    println!("app-3 leaves");
    operator.act(at[3], Act::Leave).await?;
    let mut leaver = all.remove(3);
    let left = until(&operator, &all, |members| is(members, "app-3", "left")).await?;
    table(&operator, at[0]).await?;

    let ended = leaver.ends().await?;

    println!("a stranger with another key knocks");
    let _stranger = start(5, &other)?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let status = operator.status(at[0]).await?;
    let is_out = !operator
        .members(at[0])
        .await?
        .iter()
        .any(|member| member.address == at[5]);
    println!("  {} of its datagrams were refused", status.refused);

    println!(
        "joined after {joined:.1?}, death known after {died:.1?}, back after {back:.1?}, leave known after {left:.1?}"
    );
    println!(
        "keys moved by the death: {moved}, those of the dead one: {its}; all returned: {returned}; the one that left has ended: {ended}"
    );
    let holds = moved == its
        && returned
        && is_out
        && status.refused > 0
        && ended
        && died < Duration::from_secs(13)
        && left < Duration::from_secs(4);
    Ok(ExitCode::from(u8::from(check && !holds)))
}
