//! Names and servers that exist in a unit test alone. Nothing here touches a socket, so that time can be paused.
//!
//! A test with a paused clock has one thread, and each connection is a pipe in memory: what happens, and when, is the
//! same in each run.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::Network;
use crate::connection::socket::Socket;

/// How a server, or a resolver, behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As it should.
    Well,
    /// It is not there: what was connected ends, and nothing more is.
    Gone,
    /// Its process is stopped: the kernel accepts, nobody answers; when it goes on, it answers all.
    Stopped,
    /// It does not even accept: each connection is awaited for ever.
    Unreachable,
    /// It takes this long, in milliseconds, for each command.
    Slow(u64),
    /// It answers each command with this line, as in `-LOADING x`.
    Says(&'static str),
    /// It answers all but this command, of which nothing is heard again.
    Swallows(&'static str),
}

/// All that lies beyond the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeNetwork(Arc<Mutex<World>>);

#[derive(Debug, Default)]
struct World {
    names: BTreeMap<String, BTreeSet<SocketAddr>>,
    /// Look-ups wait while this is set.
    resolver: Option<watch::Sender<bool>>,
    /// How often each name was asked for.
    look_ups: BTreeMap<String, u64>,
    servers: BTreeMap<SocketAddr, Server>,
}

#[derive(Debug)]
struct Server {
    manner: watch::Sender<Manner>,
    connections: u64,
    /// Connections up to this one lead nowhere.
    forgotten: Arc<AtomicU64>,
    /// How often each command came.
    heard: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl FakeNetwork {
    pub(crate) fn way_out(&self) -> Network {
        Network {
            fake: Some(self.clone()),
        }
    }

    /// A server begins at an address, or behaves otherwise from now on.
    pub(crate) fn serve(&self, addr: &str, manner: Manner) {
        let mut world = self.0.lock();
        let addr = addr.parse().expect("an address");
        let server = world.servers.entry(addr).or_insert_with(|| Server {
            manner: watch::Sender::new(manner),
            connections: 0,
            forgotten: Arc::default(),
            heard: Arc::default(),
        });
        server.manner.send_replace(manner);
    }

    /// A name leads to these addresses from now on; to none: it is unknown.
    pub(crate) fn name(&self, name: &str, addrs: &[&str]) {
        let addrs = addrs.iter().map(|a| a.parse().expect("an address"));
        self.0.lock().names.insert(name.to_owned(), addrs.collect());
    }

    /// The resolver does not answer, or answers again.
    pub(crate) fn silence_resolver(&self, silent: bool) {
        let mut world = self.0.lock();
        match silent {
            true => world.resolver = Some(watch::Sender::new(true)),
            // Who waits is told by the sender's end.
            false => world.resolver = None,
        }
    }

    /// Questions for a name so far.
    pub(crate) fn look_ups(&self, name: &str) -> u64 {
        self.0.lock().look_ups.get(name).copied().unwrap_or(0)
    }

    /// Somebody between forgets the connections that there are: nothing comes through any more, and nobody is told.
    pub(crate) fn forget(&self, addr: &str) {
        self.server(addr, |server| {
            server.forgotten.store(server.connections, SeqCst);
        });
    }

    /// Connections that a server was asked for so far.
    pub(crate) fn connections(&self, addr: &str) -> u64 {
        self.server(addr, |server| server.connections)
    }

    /// How often a command came to a server so far.
    pub(crate) fn heard(&self, addr: &str, command: &str) -> u64 {
        self.server(addr, |server| {
            server.heard.lock().get(command).copied().unwrap_or(0)
        })
    }

    fn server<R>(&self, addr: &str, look: impl FnOnce(&Server) -> R) -> R {
        let world = self.0.lock();
        look(&world.servers[&addr.parse().expect("an address")])
    }

    pub(super) async fn look_up(&self, name: &str) -> io::Result<BTreeSet<SocketAddr>> {
        let silence = {
            let mut world = self.0.lock();
            *world.look_ups.entry(name.to_owned()).or_insert(0) += 1;
            world.resolver.as_ref().map(watch::Sender::subscribe)
        };
        if let Some(mut silence) = silence {
            while silence.changed().await.is_ok() {}
        }
        let found = self.0.lock().names.get(name).cloned().unwrap_or_default();
        match found.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "no such name")),
            false => Ok(found),
        }
    }

    pub(super) async fn connect(&self, addr: SocketAddr) -> io::Result<Socket> {
        let (manner, line) = {
            let mut world = self.0.lock();
            let Some(server) = world.servers.get_mut(&addr) else {
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            server.connections += 1;
            let line = Line {
                addr,
                number: server.connections,
                forgotten: Arc::clone(&server.forgotten),
                heard: Arc::clone(&server.heard),
            };
            (server.manner.subscribe(), line)
        };
        let is = *manner.borrow();
        match is {
            Manner::Gone => Err(io::ErrorKind::ConnectionRefused.into()),
            Manner::Unreachable => std::future::pending().await,
            Manner::Well
            | Manner::Slow(_)
            | Manner::Stopped
            | Manner::Says(_)
            | Manner::Swallows(_) => {
                let (ours, theirs) = tokio::io::duplex(1 << 16);
                tokio::spawn(converse(theirs, manner, line));
                Ok(Socket::Fake(ours))
            }
        }
    }
}

/// One connection's end at its server.
struct Line {
    addr: SocketAddr,
    number: u64,
    forgotten: Arc<AtomicU64>,
    heard: Arc<Mutex<BTreeMap<String, u64>>>,
}

/// One connection, as a server sees it.
async fn converse(mut pipe: DuplexStream, mut manner: watch::Receiver<Manner>, line: Line) {
    let mut unread = Vec::new();
    loop {
        while let Some(command) = next_command(&mut unread) {
            // Who is stopped has read nothing yet.
            let stopped = |m: &Manner| matches!(m, Manner::Stopped | Manner::Unreachable);
            if manner.wait_for(|m| !stopped(m)).await.is_err() {
                return;
            }
            if line.number <= line.forgotten.load(SeqCst) {
                continue;
            }
            let is = *manner.borrow();
            let name = command[0].to_ascii_uppercase();
            *line.heard.lock().entry(name).or_insert(0) += 1;
            let reply = match is {
                Manner::Says(error) => format!("{error}\r\n"),
                Manner::Gone => return,
                Manner::Swallows(name) if command[0].eq_ignore_ascii_case(name) => continue,
                _ => reply(&command, line.addr),
            };
            if let Manner::Slow(millis) = is {
                sleep(Duration::from_millis(millis)).await;
            }
            if pipe.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
        tokio::select! {
            read = pipe.read_buf(&mut unread) => match read {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            },
            gone = manner.wait_for(|m| *m == Manner::Gone) => {
                drop(gone);
                return;
            }
        }
    }
}

fn reply(command: &[String], addr: SocketAddr) -> String {
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let word = |i: usize| command.get(i).map(String::as_str);
    match (
        word(0).unwrap_or_default().to_ascii_uppercase().as_str(),
        word(1),
    ) {
        ("PING" | "ECHO", Some(token)) => bulk(token),
        ("PING", None) => "+PONG\r\n".into(),
        ("INFO", _) => bulk(&format!(
            "redis_version:7.0.15\r\nrun_id:{:040}\r\n",
            addr.port()
        )),
        ("GET", _) => "$-1\r\n".into(),
        _ => "+OK\r\n".into(),
    }
}

/// Takes a whole command off the front.
fn next_command(unread: &mut Vec<u8>) -> Option<Vec<String>> {
    fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let line = std::str::from_utf8(&rest[..end]).expect("text");
        *rest = &rest[end + 2..];
        Some(line)
    }
    let mut rest = unread.as_slice();
    let count: usize = line(&mut rest)?[1..].parse().expect("an array");
    let mut words = Vec::new();
    for _ in 0..count {
        let len: usize = line(&mut rest)?[1..].parse().expect("a bulk string");
        let word = rest.get(..len)?;
        words.push(String::from_utf8_lossy(word).into_owned());
        rest = rest.get(len + 2..)?;
    }
    let left = rest.len();
    unread.drain(..unread.len() - left);
    Some(words)
}
