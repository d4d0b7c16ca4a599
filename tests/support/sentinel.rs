//! Real `redis-sentinel` processes, and the masters with replicas that they watch.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use fluster::testing::{PortClaim, Server, wait_until};
use redis::{ConnectionLike as _, FromRedisValue};

use super::daemon::Daemon;
use super::tls::TlsPki;

/// More than a failover takes on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// What sentinels watch under one name.
pub struct Watched<'a> {
    pub name: &'a str,
    pub server: &'a Server,
    /// What the master and its replicas are called; an address where names are not resolved.
    pub host: &'a str,
    pub password: Option<&'a str>,
}

impl<'a> Watched<'a> {
    pub fn new(name: &'a str, server: &'a Server) -> Self {
        Self {
            name,
            server,
            host: "127.0.0.1",
            password: None,
        }
    }
}

/// How sentinels differ from plain ones.
#[derive(Default)]
pub struct Manner<'a> {
    pub password: Option<&'a str>,
    /// They call hosts by their names.
    pub by_name: bool,
    /// They speak TLS, to servers that do.
    pub tls: Option<&'a TlsPki>,
}

/// One sentinel on a free port of 127.0.0.1; dropping it kills it.
pub struct Sentinel {
    daemon: Daemon,
    port: PortClaim,
    password: Option<String>,
    is_tls: bool,
}

impl Sentinel {
    /// Three of them, two of which have to agree.
    pub fn three(watched: &[Watched<'_>]) -> [Self; 3] {
        let all = std::array::from_fn(|_| Self::start(watched, 2, &Manner::default()));
        Self::acquainted(&all, watched);
        all
    }

    /// One, `quorum` of which have to agree. It gives a master up after half a second.
    pub fn start(watched: &[Watched<'_>], quorum: usize, manner: &Manner<'_>) -> Self {
        let port = PortClaim::new();
        let mut conf = String::from(
            "bind 127.0.0.1\nloglevel verbose\ndir .\nsentinel deny-scripts-reconfig yes\n",
        );
        let ours = match manner.tls {
            None => format!("port {}\n", port.port()),
            Some(pki) => format!(
                "port 0\ntls-port {}\ntls-replication yes\ntls-auth-clients no\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\n",
                port.port(),
                pki.server_cert().display(),
                pki.server_key().display(),
                pki.ca().display()
            ),
        };
        conf.push_str(&ours);
        if let Some(password) = manner.password {
            writeln!(conf, "requirepass {password}").expect("a string has room");
        }
        if manner.by_name {
            conf.push_str("sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\nsentinel announce-ip localhost\n");
        }
        for Watched {
            name,
            server,
            host,
            password,
        } in watched
        {
            let at = server.port();
            writeln!(
                conf,
                "sentinel monitor {name} {host} {at} {quorum}\n\
                 sentinel down-after-milliseconds {name} 500\n\
                 sentinel failover-timeout {name} 4000"
            )
            .expect("a string has room");
            if let Some(password) = password {
                writeln!(conf, "sentinel auth-pass {name} {password}").expect("a string has room");
            }
        }
        let program = std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let number = port.port();
        let args = |dir: &std::path::Path| -> Vec<OsString> {
            let file = dir.join("sentinel.conf");
            fs::write(&file, &conf).expect("write a sentinel's configuration");
            vec![file.into(), "--sentinel".into()]
        };
        Self {
            daemon: Daemon::start(program.into(), args, || listens(number)),
            port,
            password: manner.password.map(Into::into),
            is_tls: manner.tls.is_some(),
        }
    }

    /// Waits until each knows the others, and a replica of each master: until then nothing can be failed over.
    pub fn acquainted(all: &[Self], watched: &[Watched<'_>]) {
        for sentinel in all {
            for Watched { name, .. } in watched {
                wait_until(SOON, || {
                    sentinel.field(name, "num-slaves").as_deref() == Some("1")
                        && sentinel.field(name, "num-other-sentinels")
                            == Some((all.len() - 1).to_string())
                });
            }
        }
    }

    /// `127.0.0.1:port`.
    pub fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    pub fn port(&self) -> u16 {
        self.port.port()
    }

    /// One command, over a connection of its own.
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> Option<T> {
        assert!(!self.is_tls, "asked in plain text");
        let user = self.password.as_ref();
        let user = user.map_or(String::new(), |p| format!(":{p}@"));
        let client = redis::Client::open(format!("redis://{user}{}", self.name())).expect("a URL");
        let mut connection = client
            .get_connection_with_timeout(Duration::from_secs(2))
            .ok()?;
        connection
            .set_read_timeout(Some(Duration::from_secs(2)))
            .ok()?;
        let mut cmd = redis::Cmd::new();
        for word in words {
            cmd.arg(word);
        }
        let value = connection.req_command(&cmd).ok()?;
        redis::from_redis_value(value).ok()
    }

    /// A field of what it knows of a master.
    pub fn field(&self, master: &str, field: &str) -> Option<String> {
        let fields: Vec<String> = self.ask(&["SENTINEL", "MASTER", master])?;
        let at = fields.iter().position(|name| name == field)?;
        fields.get(at + 1).cloned()
    }

    /// The port that it names for a master.
    pub fn master(&self, name: &str) -> Option<u16> {
        let named: Vec<String> = self.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name])?;
        named.get(1)?.parse().ok()
    }

    pub fn kill(&self) {
        self.daemon.kill();
    }

    pub fn restart(&self) {
        let number = self.port();
        self.daemon.restart(|| listens(number));
    }

    pub fn stop(&self) {
        self.daemon.signal("STOP");
    }

    pub fn cont(&self) {
        self.daemon.signal("CONT");
    }
}

fn listens(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// A master and its replica.
pub struct Pair {
    pub master: Server,
    pub replica: Server,
}

impl Pair {
    pub fn start() -> Self {
        Self::of(Server::start(), Server::start())
    }

    /// Makes the second a replica of the first, and waits until it has its data.
    pub fn of(master: Server, replica: Server) -> Self {
        for server in [&master, &replica] {
            server.raw(["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
        }
        replica.raw(["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
        wait_until(SOON, || replica.raw(["ROLE"]).contains("connected"));
        Self { master, replica }
    }
}
