//! A proxy in front of one server, in a process of its own: a stalled test must not distort it.
//!
//! The process is this test binary once more, told by an environment variable to be a proxy of
//! [`fluster::testing`]. It is spoken to over its standard input and output, and ends when they close, however the
//! test ends.

mod process;

#[allow(unused_imports, reason = "benches/peers is the proxy by calling it")]
pub use self::process::serve_when_told_to;
#[allow(unused_imports, reason = "benches/peers has use for some of them")]
pub use fluster::testing::{End, Fault, Seen, Way};

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::support::Server;

/// Set for the process that is a proxy: the port it leads to.
const ENVIRONMENT: &str = "FLUSTER_FAULT_PROXY";

/// A running proxy; dropping it ends the process.
pub struct Proxy {
    port: u16,
    child: Child,
    /// Guards the conversation: a question and its answer.
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Proxy {
    /// A proxy in front of `server`, on a port of its own that passes everything.
    pub fn start(server: &Server) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("the test binary"))
            .args(["--exact", process::TEST, "--nocapture", "--test-threads=1"])
            .env(ENVIRONMENT, server.port().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the proxy");
        let stdin = child.stdin.take().expect("its stdin is piped");
        let stdout = child.stdout.take().expect("its stdout is piped");
        let mut proxy = Self {
            port: 0,
            child,
            talk: Mutex::new((stdin, BufReader::new(stdout))),
        };
        // Its answer means that it listens.
        proxy.port = proxy.ask("seen").0;
        proxy
    }

    pub fn port(&self) -> u16 {
        self.port
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
        self.ask("seen").1
    }

    /// How often the present fault hit. A scenario whose fault did not hit has shown nothing.
    pub fn fired(&self) -> u64 {
        self.seen().fired
    }

    fn ask(&self, line: &str) -> (u16, Seen) {
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
