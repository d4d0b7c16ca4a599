//! Real servers that are not Redis: a Consul agent, etcd, dnsmasq.
//!
//! Their programs come from `scripts/need-*.sh`, which fetches them where it can. Where it cannot, the
//! test is skipped, which is printed past the test runner's capture, and counted; with
//! `FLUSTER_REQUIRE_DAEMONS=1` it fails instead.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fluster::testing::{forget, new_dir, watch};

/// How long a daemon may take to start, on a busy machine.
const START: Duration = Duration::from_secs(30);

/// The path of a program (`consul`, `etcd`, `dnsmasq`); `None`, said aloud, where it cannot be had.
pub fn need(tool: &'static str) -> Option<PathBuf> {
    static FOUND: Mutex<BTreeMap<&str, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let found = {
        let mut all = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(tool).or_insert_with(|| fetch(tool)).clone()
    };
    match found {
        Ok(path) => Some(path),
        Err(why) => {
            let skipped = SKIPPED.fetch_add(1, Relaxed) + 1;
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            let line = format!("SKIPPED {tool}: {why} ({test}; {skipped} so far)\n");
            assert!(
                std::env::var_os("FLUSTER_REQUIRE_DAEMONS").is_none(),
                "{line}"
            );
            // Not `eprintln`, which the test runner hides. Without a stderr nobody can be told.
            drop(io::stderr().write_all(line.as_bytes()));
            None
        }
    }
}

fn fetch(tool: &str) -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scripts/need-{tool}.sh"));
    let output = Command::new("sh")
        .arg(script)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| e.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout).into()),
        false => {
            let said = text(&output.stderr);
            Err(said.lines().last().unwrap_or("no reason given").to_owned())
        }
    }
}

/// A running daemon; dropping it kills the process and removes its directory.
#[derive(Debug)]
pub struct Daemon {
    program: PathBuf,
    dir: PathBuf,
    args: Vec<OsString>,
    /// `None` while it is down.
    process: Mutex<Option<Child>>,
}

impl Daemon {
    /// Starts the program with the arguments that `args` makes for its directory, and waits until
    /// `is_ready`.
    ///
    /// # Panics
    ///
    /// With its log, when it ends or is not ready in time.
    #[track_caller]
    pub fn start(
        program: PathBuf,
        args: impl FnOnce(&Path) -> Vec<OsString>,
        is_ready: impl Fn() -> bool,
    ) -> Self {
        let dir = new_dir("d");
        let daemon = Self {
            program,
            args: args(&dir),
            dir,
            process: Mutex::new(None),
        };
        daemon.launch(is_ready);
        daemon
    }

    /// SIGKILL: it is gone when this returns.
    pub fn kill(&self) {
        let child = self
            .process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut child) = child {
            child.kill().expect("kill a daemon");
            child.wait().expect("wait for a daemon");
            forget(child.id());
        }
    }

    /// Sends it a signal, by its name.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = process.as_ref().expect("it runs").id();
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {pid}")])
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "kill -{name} {pid}"
        );
    }

    /// Starts it again, with the same arguments in the same directory.
    #[track_caller]
    pub fn restart(&self, is_ready: impl Fn() -> bool) {
        self.kill();
        self.launch(is_ready);
    }

    #[track_caller]
    fn launch(&self, is_ready: impl Fn() -> bool) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .expect("a log");
        let child = Command::new(&self.program)
            .args(&self.args)
            .current_dir(&self.dir)
            // etcd asks for it on anything but x86.
            .env(
                "ETCD_UNSUPPORTED_ARCH",
                std::env::consts::ARCH.replace("aarch64", "arm64"),
            )
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", self.program.display()));
        watch(&child);
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        let started = Instant::now();
        while !is_ready() {
            let ended = {
                let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
                process.as_mut().and_then(|c| c.try_wait().ok().flatten())
            };
            if ended.is_some() || started.elapsed() > START {
                let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                panic!(
                    "{} did not start ({ended:?}); its log:\n{log}",
                    self.program.display()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        // What cannot be removed now goes with the guard, when this process ends.
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// One HTTP request to a port of this machine, over a connection of its own: status and body.
pub fn http(port: u16, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // HTTP/1.0: the answer is not chunked and ends with the connection.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    Ok((status.unwrap_or(0), body.to_owned()))
}
