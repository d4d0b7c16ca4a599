//! A proxy in front of one server, in a process of its own: a stalled test must not distort it.
//!
//! The process is this test binary once more, told by an environment variable to be a proxy. It is
//! spoken to over its standard input and output, and ends when they close, however the test ends.

mod process;

#[allow(unused_imports, reason = "benches/peers is the proxy by calling it")]
pub use self::process::serve_when_told_to;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::support::{PortClaim, Server};

/// Set for the process that is a proxy: the port it listens on and the one it leads to.
const ENVIRONMENT: &str = "FLUSTER_FAULT_PROXY";

/// What the proxy does to what passes through it. Counting begins when the fault is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// The port is closed; established connections go on.
    Refuse,
    /// New connections are accepted and hear nothing for good; established ones go on.
    Hold,
    /// Every reply comes this much later.
    Delay(Duration),
    /// Replies come byte by byte, 1 ms apart.
    Slice,
    /// Every connection ends after so many bytes: those that exist count from now, new ones from
    /// their first byte.
    Cut { way: Way, after: u64, end: End },
    /// The same for the one connection that gets there first; the others pass.
    CutOnce { way: Way, after: u64, end: End },
    /// Replies are replaced by bytes that are no RESP.
    Garbage,
    /// So many of 100 new connections fall silent for good after this many bytes of replies.
    Gray { percent: u8, after: u64 },
    /// One reply is swallowed, the next that belongs to a command alone on its connection.
    Swallow,
}

/// The direction whose bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Request,
    Reply,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Fin,
    Rst,
    /// It stays open, and nothing passes any more in either direction.
    Silence,
}

/// What the proxy has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// How often the present fault hit: connections held, cut or silent, replies delayed, sliced,
    /// replaced or swallowed. For [`Fault::Refuse`] 1 when the port is closed.
    pub fired: u64,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// The most connections that were open at once since the present fault was set.
    pub most: u64,
}

/// A running proxy; dropping it ends the process.
pub struct Proxy {
    claim: PortClaim,
    child: Child,
    /// Guards the conversation: a question and its answer.
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Proxy {
    /// A proxy in front of `server`, on a port of its own that passes everything.
    pub fn start(server: &Server) -> Self {
        let claim = PortClaim::new();
        let mut child = Command::new(std::env::current_exe().expect("the test binary"))
            .args(["--exact", process::TEST, "--nocapture", "--test-threads=1"])
            .env(ENVIRONMENT, format!("{} {}", claim.port(), server.port()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the proxy");
        let stdin = child.stdin.take().expect("its stdin is piped");
        let stdout = child.stdout.take().expect("its stdout is piped");
        let proxy = Self {
            claim,
            child,
            talk: Mutex::new((stdin, BufReader::new(stdout))),
        };
        // Its answer means that it listens.
        proxy.seen();
        proxy
    }

    pub fn port(&self) -> u16 {
        self.claim.port()
    }

    /// The default name of the node behind the proxy.
    pub fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.name())
    }

    /// Sets the fault; it is in force when this returns.
    pub fn set(&self, fault: Fault) {
        self.ask(&process::encode(fault));
    }

    /// Ends all present connections with RST.
    pub fn reset_all(&self) {
        self.ask("reset");
    }

    pub fn seen(&self) -> Seen {
        self.ask("seen")
    }

    /// How often the present fault hit. A scenario whose fault did not hit has shown nothing.
    pub fn fired(&self) -> u64 {
        self.seen().fired
    }

    fn ask(&self, line: &str) -> Seen {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(talk.0, "{line}").expect("the proxy lives");
        loop {
            let mut answer = String::new();
            let n = talk.1.read_line(&mut answer).expect("the proxy answers");
            assert!(n > 0, "the proxy ended at `{line}`");
            // Other lines are those of the test runner that it is in.
            if let Some(numbers) = answer.strip_prefix(process::MARK) {
                return process::decode(numbers);
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // A process that is gone already is fine, and there is nothing to do about any other error.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
