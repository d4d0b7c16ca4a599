//! A name server for a test that runs in a network of its own.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::netns::Net;
use fluster::testing::new_dir;

/// Answers whatever the machine's resolver asks, from a thread of its own.
pub struct Dns {
    zone: Arc<Mutex<Zone>>,
    dir: PathBuf,
}

#[derive(Default)]
struct Zone {
    names: BTreeMap<String, Vec<IpAddr>>,
    /// No answer lists more addresses than this.
    most: Option<usize>,
    silent: bool,
    asked: u64,
}

impl Dns {
    /// Starts the server and makes this process ask it, and no other: the files that say so are
    /// replaced in this process' own view of the file system.
    pub fn start(_only_in: &Net) -> Self {
        let dir = new_dir("dns");
        for (name, text) in [
            ("resolv.conf", "nameserver 127.0.0.1\n"),
            ("nsswitch.conf", "hosts: files dns\n"),
        ] {
            fs::write(dir.join(name), text).expect("write the resolver's configuration");
            let bound = Command::new("mount")
                .arg("--bind")
                .arg(dir.join(name))
                .arg(format!("/etc/{name}"))
                .status();
            assert!(bound.is_ok_and(|s| s.success()), "mount --bind /etc/{name}");
        }
        let socket =
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).expect("port 53 of our own network");
        let zone = Arc::<Mutex<Zone>>::default();
        let answers = Arc::clone(&zone);
        thread::spawn(move || {
            let mut buf = [0; 512];
            while let Ok((n, from)) = socket.recv_from(&mut buf) {
                if let Some(reply) = lock(&answers).answer(&buf[..n]) {
                    // Whoever asked may have given up.
                    drop(socket.send_to(&reply, from));
                }
            }
        });
        Self { zone, dir }
    }

    /// `name` leads to these addresses, listed in another order each time.
    pub fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        let all: Vec<_> = addresses.iter().copied().map(IpAddr::V4).collect();
        self.set_all(name, &all);
    }

    /// The same, of both families.
    pub fn set_all(&self, name: &str, addresses: &[IpAddr]) {
        let mut zone = lock(&self.zone);
        zone.names.insert(name.to_owned(), addresses.to_vec());
    }

    /// From now on an answer lists this many addresses at most, other ones each time, as Consul's does.
    pub fn at_most(&self, most: usize) {
        lock(&self.zone).most = Some(most);
    }

    /// What this process' `/etc/resolv.conf` says from now on.
    pub fn resolv_conf(&self, text: &str) {
        // In place: the file is mounted. The C library reads it again when its time has changed.
        fs::write(self.dir.join("resolv.conf"), text).expect("write the resolver's configuration");
    }

    /// No name exists any more.
    pub fn clear(&self) {
        lock(&self.zone).names.clear();
    }

    /// Whether questions get no answer at all.
    pub fn silent(&self, silent: bool) {
        lock(&self.zone).silent = silent;
    }

    /// How many questions came so far.
    pub fn asked(&self) -> u64 {
        lock(&self.zone).asked
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Zone {
    fn answer(&mut self, question: &[u8]) -> Option<Vec<u8>> {
        const A: [u8; 4] = [0, 1, 0, 1];
        const AAAA: [u8; 4] = [0, 28, 0, 1];
        self.asked += 1;
        if self.silent {
            return None;
        }
        let (name, end) = name_in(question)?;
        let kind: [u8; 4] = question.get(end..end + 4)?.try_into().ok()?;
        // The entry for all names that have none of their own, as in a zone: `*.name`.
        let wild = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let entry = match self.names.contains_key(&name) {
            true => Some(name),
            false => wild,
        };
        let known = entry.and_then(|entry| self.names.get_mut(&entry));
        let code = if known.is_some() { 0 } else { 3 };
        let most = self.most.unwrap_or(usize::MAX);
        let addresses: Vec<IpAddr> = match known {
            Some(addresses) if kind == A || kind == AAAA => {
                if kind == A {
                    let next = 1.min(addresses.len());
                    addresses.rotate_left(next);
                }
                let of_kind = addresses.iter().filter(|a| a.is_ipv4() == (kind == A));
                of_kind.take(most).copied().collect()
            }
            _ => Vec::new(),
        };
        // Our answer to the question with this id, recursion available; one question, n answers.
        let mut reply = question[..2].to_vec();
        reply.extend([
            0x81,
            0x80 | code,
            0,
            1,
            0,
            addresses.len() as u8,
            0,
            0,
            0,
            0,
        ]);
        reply.extend(&question[12..end + 4]);
        for address in addresses {
            let octets = match address {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            // The name of the question, an address, good for 0 s.
            reply.extend([
                0xc0,
                12,
                0,
                kind[1],
                0,
                1,
                0,
                0,
                0,
                0,
                0,
                octets.len() as u8,
            ]);
            reply.extend(octets);
        }
        Some(reply)
    }
}

/// The name asked for, and where it ends.
fn name_in(question: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let len = usize::from(*question.get(at)?);
        at += 1;
        if len == 0 {
            return Some((labels.join("."), at));
        }
        let label = question.get(at..at + len)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += len;
    }
}
