//! Five instances of an application as processes: one is killed and comes back, one leaves, a stranger knocks. Requests
//! reach any of them, and are answered by the owner of their key.
//!
//! `make gossip-demo`; with `--check` the exit code is 1 when a figure misses. No Redis is needed.

use std::error::Error;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use fluster::discovery::{Endpoint, Static};
use fluster::forward::{Forwarder, path_segment};
use fluster::gossip::{Act, Gossip, Keyring, MemberStatus, Operator};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

type Fallible<T> = Result<T, Box<dyn Error>>;

const KEYS: usize = 300;
/// The key of an instance: every user of a machine can read the arguments of its processes.
const KEY: &str = "GOSSIP_DEMO_KEY";
const LIMIT: Duration = Duration::from_secs(40);

#[tokio::main]
async fn main() -> Fallible<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["instance", bind, seed, http, id] => instance(bind, seed, http, id)
            .await
            .map(|()| ExitCode::SUCCESS),
        [] => demo(false).await,
        ["--check"] => demo(true).await,
        _ => Err("usage: gossip_demo [--check]".into()),
    }
}

/// One of the five: what an application does.
async fn instance(bind: &str, seed: &str, http: &str, id: &str) -> Fallible<()> {
    let key = std::env::var(KEY)?;
    let listener = tokio::net::TcpListener::bind(http).await?;
    let seed: SocketAddr = seed.parse()?;
    let gossip = Gossip::builder("demo")
        .bind(bind.parse()?)
        .ring_id(id)
        .http(format!("http://{http}"))
        .keyring(Keyring::from_hex(&key)?)
        .seeds(Static::new([Endpoint::new(
            seed.ip().to_string(),
            seed.port(),
        )]))
        .start()
        .await?;
    let mut events = gossip.events();
    // It answers with its name; what is another one's goes there.
    let forward = Forwarder::new(&gossip)?;
    let name = id.to_owned();
    let app = Router::new().fallback(move || std::future::ready(name.clone()));
    let app = app.layer(forward.layer(path_segment(1)));
    tokio::spawn(async move { axum::serve(listener, app).await });
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
    http: SocketAddr,
}

impl Process {
    fn start(
        at: SocketAddr,
        seed: SocketAddr,
        http: SocketAddr,
        id: &str,
        key: &str,
    ) -> Fallible<Self> {
        let [bind, seed, to] = [at, seed, http].map(|address| address.to_string());
        let child = Command::new(std::env::current_exe()?)
            .args(["instance", &bind, &seed, &to, id])
            .env(KEY, key)
            .stdin(Stdio::piped())
            .spawn()?;
        Ok(Self { child, at, http })
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

/// Who answers a request for a key that reaches this instance; its status when nobody does.
async fn asked(via: &Process, key: usize) -> Fallible<String> {
    let mut stream = tokio::net::TcpStream::connect(via.http).await?;
    let request = format!(
        "PUT /limit/user:{key} HTTP/1.1\r\nhost: demo\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await??;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Ok(answer.lines().next().unwrap_or_default().to_owned()),
    }
}

/// How many requests are answered by somebody else than the owner; each reaches another instance than the one before.
async fn astray(all: &[Process], owners: &[String]) -> Fallible<usize> {
    let mut astray = 0;
    for (key, owner) in owners.iter().enumerate() {
        let via = &all[key % all.len()];
        astray += usize::from(asked(via, key).await? != *owner);
    }
    Ok(astray)
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
    let listeners = (0..6)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<Vec<_>, _>>()?;
    let http = listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<Vec<_>, _>>()?;
    drop((sockets, listeners));
    let start = |n: usize, key: &Keyring| {
        let seed = if n == 0 { at[1] } else { at[0] };
        Process::start(at[n], seed, http[n], &format!("app-{n}"), &key.to_hex())
    };
    println!("five instances start");
    let mut all = (0..5)
        .map(|n| start(n, &key))
        .collect::<Fallible<Vec<_>>>()?;
    let joined = until(&operator, &all, |members| ready(members) == 5).await?;
    table(&operator, at[0]).await?;
    let before = owners(&operator, at[0]).await?;
    let mut wrong = astray(&all, &before).await?;
    let moves = before.iter().position(|owner| owner == "app-4");
    let moves = moves.ok_or("app-4 owns nothing")?;
    let first = asked(&all[0], moves).await?;
    println!("  a request for user:{moves} that reaches app-0 is answered by {first}");

    println!("app-4 is killed");
    drop(all.pop());
    let died = until(&operator, &all, |members| is(members, "app-4", "down")).await?;
    table(&operator, at[0]).await?;
    let without = owners(&operator, at[0]).await?;
    let moved = before.iter().zip(&without).filter(|(a, b)| a != b).count();
    wrong += astray(&all, &without).await?;
    let second = asked(&all[0], moves).await?;
    println!("  user:{moves} is answered by {second}");
    let its = before.iter().filter(|owner| *owner == "app-4").count();

    println!("it starts again");
    all.push(start(4, &key)?);
    let back = until(&operator, &all, |members| ready(members) == 5).await?;
    let returned = owners(&operator, at[0]).await? == before;
    wrong += astray(&all, &before).await?;
    let third = asked(&all[0], moves).await?;
    println!("  user:{moves} is answered by {third}");

    println!("app-3 leaves");
    operator.act(at[3], Act::Leave).await?;
    let mut leaver = all.remove(3);
    let left = until(&operator, &all, |members| is(members, "app-3", "left")).await?;
    table(&operator, at[0]).await?;

    let now = owners(&operator, at[0]).await?;
    wrong += astray(&all, &now).await?;
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
    println!(
        "requests that somebody else than the owner answered: {wrong} of {}",
        4 * KEYS
    );
    let follows = [&*first, &*third] == ["app-4"; 2] && second == without[moves];
    let holds = moved == its
        && returned
        && is_out
        && status.refused > 0
        && ended
        && wrong == 0
        && follows
        && died < Duration::from_secs(13)
        && left < Duration::from_secs(4);
    Ok(ExitCode::from(u8::from(check && !holds)))
}
