//! A name server for a test that runs in a network of its own.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::guard;
use super::netns::Net;

/// Answers whatever the machine's resolver asks, from a thread of its own.
pub struct Dns {
    zone: Arc<Mutex<Zone>>,
}

#[derive(Default)]
struct Zone {
    names: BTreeMap<String, Vec<Ipv4Addr>>,
    silent: bool,
    asked: u64,
}

impl Dns {
    /// Starts the server and makes this process ask it, and no other: the files that say so are
    /// replaced in this process' own view of the file system.
    pub fn start(_only_in: &Net) -> Self {
        let dir = guard::new_dir("dns");
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
        Self { zone }
    }

    /// `name` leads to these addresses, listed in another order each time.
    pub fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        let mut zone = lock(&self.zone);
        zone.names.insert(name.to_owned(), addresses.to_vec());
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
        self.asked += 1;
        if self.silent {
            return None;
        }
        let (name, end) = name_in(question)?;
        let kind = question.get(end..end + 4)?;
        let known = self.names.get_mut(&name);
        let code = if known.is_some() { 0 } else { 3 };
        let addresses = match known {
            Some(addresses) if kind == A => {
                let next = 1.min(addresses.len());
                addresses.rotate_left(next);
                addresses.clone()
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
            // The name of the question, an address, good for 0 s.
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            reply.extend(address.octets());
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
