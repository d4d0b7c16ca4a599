//! One real `redis-server` process.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::builder::{Place, ServerBuilder, Transport};
use super::guard;
use super::port::PortClaim;
use super::resp::{Raw, Reply};
use super::wait::wait_until;

/// How long a server may take to start, on a busy machine.
const START: Duration = Duration::from_secs(10);

/// Starts `N` plain servers: `let [a, b, c] = fleet();`. [Example](crate::guide::by_example#servers-for-tests).
pub fn fleet<const N: usize>() -> [Server; N] {
    std::array::from_fn(|_| Server::start())
}

/// The servers' URLs, for [`FlusterCluster::from_urls`](crate::FlusterCluster::from_urls). [Example](crate::guide::by_example#servers-for-tests).
pub fn urls<'a>(servers: impl IntoIterator<Item = &'a Server>) -> Vec<String> {
    servers.into_iter().map(Server::url).collect()
}

/// A running `redis-server`; dropping it kills the process and removes its directory.
///
/// The program is `redis-server`, or what the environment variable `REDIS_SERVER` names.
#[derive(Debug)]
pub struct Server {
    dir: PathBuf,
    claim: PortClaim,
    builder: ServerBuilder,
    /// `None` while the server is down.
    process: Mutex<Option<Child>>,
}

impl Server {
    /// A plain server on a free port of 127.0.0.1, without persistence. [Example](crate::guide::by_example#servers-for-tests).
    ///
    /// # Panics
    ///
    /// With the server's log, when it does not start.
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A server that differs from a plain one. [Example](crate::guide::by_example#servers-for-tests).
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    pub(super) fn try_start(builder: &ServerBuilder) -> io::Result<Self> {
        loop {
            let server = Self {
                dir: guard::new_dir("s"),
                claim: PortClaim::new(),
                builder: builder.clone(),
                process: Mutex::new(None),
            };
            match server.launch() {
                // Someone who knows nothing of our claims was faster: try another port.
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
                Err(e) => return Err(e),
                Ok(()) => return Ok(server),
            }
        }
    }

    /// The port of the server; it stays the server's while it is down. [Example](crate::guide::by_example#servers-for-tests).
    pub fn port(&self) -> u16 {
        match &self.builder.place {
            Some(place) => place.port,
            None => self.claim.port(),
        }
    }

    /// The address it listens on. [Example](crate::guide::by_example#servers-for-tests).
    pub fn host(&self) -> String {
        match &self.builder.place {
            Some(place) => place.address.to_string(),
            None => "127.0.0.1".into(),
        }
    }

    /// The default name of the server's node: `127.0.0.1:port`, or the path of the Unix socket. [Example](crate::guide::by_example#servers-for-tests).
    pub fn name(&self) -> String {
        match self.builder.transport {
            Transport::Unix => self.socket().display().to_string(),
            Transport::Tcp | Transport::Tls => format!("{}:{}", self.host(), self.port()),
        }
    }

    /// `redis://`, `rediss://` or `unix://`, with the password if there is one. [Example](crate::guide::by_example#servers-for-tests).
    pub fn url(&self) -> String {
        let user_info = self
            .builder
            .password
            .as_ref()
            .map_or(String::new(), |p| format!(":{p}@"));
        match self.builder.transport {
            Transport::Tcp => format!("redis://{user_info}{}", self.name()),
            Transport::Tls => format!("rediss://{user_info}{}", self.name()),
            Transport::Unix => self.unix_url(),
        }
    }

    /// The URL of the Unix socket, which every server has. [Example](crate::guide::by_example#servers-for-tests).
    pub fn unix_url(&self) -> String {
        let query = self
            .builder
            .password
            .as_ref()
            .map_or(String::new(), |p| format!("?pass={p}"));
        format!("unix://{}{query}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// The server's directory: its data, its socket, its log. [Example](crate::guide::by_example#servers-for-tests).
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Everything the server has logged, over all its restarts. [Example](crate::guide::by_example#servers-for-tests).
    pub fn log(&self) -> String {
        fs::read(self.dir.join("log")).map_or_else(
            |e| format!("no log: {e}"),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// The process id, or `None` while the server is down. [Example](crate::guide::by_example#servers-for-tests).
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Child::id)
    }

    /// SIGKILL: the server is gone when this returns. Its port stays ours. Does nothing when it
    /// is down already; works on a stopped one too. [Example](crate::guide::by_example#servers-for-tests).
    pub fn kill(&self) {
        if let Some(mut child) = self.process().take() {
            child.kill().expect("kill redis-server");
            child.wait().expect("wait for redis-server");
            guard::forget(child.id());
        }
    }

    /// Kills the server if it is up, and starts it again on the same port and directory; it
    /// serves when this returns. A plain server comes back empty, a durable one with its data. [Example](crate::guide::by_example#servers-for-tests).
    ///
    /// # Panics
    ///
    /// With the server's log, when it does not start.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        self.launch().unwrap_or_else(|e| panic!("{e}"));
    }

    /// SIGSTOP: the kernel still accepts connections, nobody answers. [Example](crate::guide::by_example#servers-for-tests).
    ///
    /// # Panics
    ///
    /// When the server is down.
    pub fn stop(&self) {
        self.signal("STOP");
        let Some(pid) = self.pid() else { return };
        // The signal is on its way; on Linux, wait until it has stopped every thread.
        let stat = format!("/proc/{pid}/stat");
        wait_until(Duration::from_secs(5), || match fs::read_to_string(&stat) {
            Ok(stat) => stat
                .rsplit(") ")
                .next()
                .is_some_and(|state| state.starts_with('T')),
            Err(_) => true,
        });
    }

    /// SIGCONT: the end of [`stop`](Self::stop). [Example](crate::guide::by_example#servers-for-tests).
    ///
    /// # Panics
    ///
    /// When the server is down.
    pub fn cont(&self) {
        self.signal("CONT");
    }

    /// Sends a signal by its name. The shell's own `kill` (1 ms) is there on every machine and
    /// needs neither a crate nor `unsafe`.
    ///
    /// # Panics
    ///
    /// When the server is down.
    #[track_caller]
    fn signal(&self, name: &str) {
        let pid = self
            .pid()
            .unwrap_or_else(|| panic!("SIG{name} for a server that is down"));
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {pid}")])
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "kill -{name} {pid}"
        );
    }

    /// A blocking connection that has nothing to do with fluster's own. [Example](crate::guide::by_example#servers-for-tests).
    ///
    /// # Errors
    ///
    /// When nobody answers within 2 s.
    pub fn connect(&self) -> io::Result<Raw> {
        let mut raw = Raw::connect(&self.socket())?;
        if let Some(password) = &self.builder.password {
            // The server's own errors (a rotated password) reach the caller with the next reply.
            raw.call(["AUTH", password])?;
        }
        Ok(raw)
    }

    /// Runs one command and returns its reply as text: `"(nil)"` for nothing, one line per
    /// element of an array. [Example](crate::guide::by_example#servers-for-tests).
    ///
    /// # Panics
    ///
    /// When the server does not answer within 2 s, or answers with an error.
    #[track_caller]
    pub fn raw<A: AsRef<[u8]>>(&self, args: impl IntoIterator<Item = A>) -> String {
        match self.try_raw(args) {
            Ok(Reply::Error(error)) => panic!("{} says: {error}", self.name()),
            Ok(reply) => reply.to_string(),
            Err(error) => panic!("{} does not answer: {error}", self.name()),
        }
    }

    /// Runs one command; an error reply is a value here. [Example](crate::guide::by_example#servers-for-tests).
    ///
    /// # Errors
    ///
    /// When nobody answers within 2 s, or what answers is no Redis.
    pub fn try_raw<A: AsRef<[u8]>>(&self, args: impl IntoIterator<Item = A>) -> io::Result<Reply> {
        self.connect()?.call(args)
    }

    /// The string at `key`, if there is one. [Example](crate::guide::by_example#servers-for-tests).
    ///
    /// # Panics
    ///
    /// When it is no string, or nobody answers.
    #[track_caller]
    pub fn get(&self, key: &str) -> Option<String> {
        match self.try_raw(["GET", key]) {
            Ok(Reply::Nil) => None,
            Ok(Reply::Text(bytes)) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            other => panic!("GET {key} on {}: {other:?}", self.name()),
        }
    }

    /// The lines of CLIENT LIST, without the connection that asks. [Example](crate::guide::by_example#servers-for-tests).
    ///
    /// # Panics
    ///
    /// When nobody answers.
    #[track_caller]
    pub fn clients(&self) -> Vec<String> {
        let mut raw = self.connect().expect("connect for CLIENT LIST");
        let me = format!("id={} ", raw.call(["CLIENT", "ID"]).expect("CLIENT ID"));
        let list = raw
            .call(["CLIENT", "LIST"])
            .expect("CLIENT LIST")
            .to_string();
        list.lines()
            .filter(|line| !line.starts_with(&me))
            .map(Into::into)
            .collect()
    }

    /// One number of INFO, such as `total_connections_received`. [Example](crate::guide::by_example#servers-for-tests).
    ///
    /// # Panics
    ///
    /// When there is no such number, or nobody answers.
    #[track_caller]
    pub fn info(&self, field: &str) -> u64 {
        let info = self.raw(["INFO", "everything"]);
        let value = info
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("no number {field} in INFO"))
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        // A panic elsewhere must not keep Drop from killing the process.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(&self) -> io::Result<()> {
        let child = self.command()?.spawn().map_err(|e| {
            io::Error::new(
                e.kind(),
                format!(
                    "{}: {e}; install it, or name it in REDIS_SERVER",
                    program().display()
                ),
            )
        })?;
        guard::watch(&child);
        *self.process() = Some(child);
        let result = self.wait_ready();
        if result.is_err() {
            self.kill();
        }
        result
    }

    fn command(&self) -> io::Result<Command> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))?;
        let port = self.port().to_string();
        let (plain, tls) = match self.builder.transport {
            Transport::Tcp => (Some(port), None),
            Transport::Tls => (None, Some(port)),
            Transport::Unix => (None, None),
        };
        let mut command = match &self.builder.place {
            None => Command::new(program()),
            Some(Place { through, .. }) => match through.split_first() {
                None => Command::new(program()),
                Some((enter, words)) => {
                    let mut command = Command::new(enter);
                    command.args(words).arg(program());
                    command
                }
            },
        };
        command
            .args([
                "--bind",
                &self.host(),
                "--daemonize",
                "no",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args(["--port", plain.as_deref().unwrap_or("0")])
            .args(["--unixsocket", "socket", "--dir"])
            .arg(&self.dir)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C in the terminal is for us, not for the servers.
            .process_group(0);
        if let Some(port) = tls {
            command.args(["--tls-port", &port]);
        }
        command.args(&self.builder.args);
        Ok(command)
    }

    /// Whether the server answers a PING. Its Unix socket is the last one it opens, so the port is
    /// open by then.
    fn is_ready(&self) -> bool {
        match Raw::connect(&self.socket()).and_then(|mut raw| raw.call(["PING"])) {
            Ok(Reply::Error(error)) if error.starts_with("LOADING") => self.builder.may_be_loading,
            // NOAUTH also comes from a server that is up.
            Ok(_) => true,
            Err(_) => false,
        }
    }

    fn wait_ready(&self) -> io::Result<()> {
        let started = Instant::now();
        loop {
            if self.is_ready() {
                return Ok(());
            }
            let ended = match self.process().as_mut() {
                Some(child) => child.try_wait()?,
                None => None,
            };
            let why = match ended {
                Some(status) => format!("redis-server ended ({status})"),
                None if started.elapsed() > START => {
                    format!("redis-server gave no answer for {START:?}")
                }
                None => {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                }
            };
            let log = self.log();
            let kind = if log.contains("Address already in use") {
                io::ErrorKind::AddrInUse
            } else {
                io::ErrorKind::Other
            };
            return Err(io::Error::new(kind, format!("{why}; its log:\n{log}")));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // What cannot be removed now goes with the guard, when this process ends.
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn program() -> OsString {
    std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into())
}
