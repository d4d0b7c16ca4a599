//! What a test's server is to be like.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::Ipv4Addr;

#[cfg(target_os = "linux")]
use super::netns::Island;
use super::server::Server;
use super::tls::TlsPki;

/// How the servers of a test differ from a plain one.
///
/// ```ignore
/// let server = Server::builder().password("secret").arg("--maxclients", "8").start();
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Builder {
    pub(super) args: Vec<OsString>,
    pub(super) password: Option<String>,
    pub(super) transport: Transport,
    pub(super) may_be_loading: bool,
    /// Where it runs, when that is not this process' own network: its address, the port, and what
    /// starts a program there.
    pub(super) place: Option<(Ipv4Addr, u16, [String; 2])>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Transport {
    #[default]
    Tcp,
    Tls,
    Unix,
}

impl Builder {
    /// One option of `redis-server`, as on its command line: `.arg("--maxclients", "8")`.
    pub fn arg(mut self, option: &str, value: impl AsRef<OsStr>) -> Self {
        self.args.push(option.into());
        self.args.push(value.as_ref().into());
        self
    }

    /// Clients need this password; [`Server::url`] has it.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.into());
        self.arg("--requirepass", password)
    }

    /// Keeps the data over a [`Server::restart`]: append-only file, synced at every write.
    pub fn durable(self) -> Self {
        self.arg("--appendonly", "yes")
            .arg("--appendfsync", "always")
    }

    /// The port speaks TLS only, with the server certificate of `pki`; clients need none.
    pub fn tls(mut self, pki: &TlsPki) -> Self {
        self.transport = Transport::Tls;
        self.arg("--tls-cert-file", pki.server_cert())
            .arg("--tls-key-file", pki.server_key())
            .arg("--tls-ca-cert-file", pki.ca())
            .arg("--tls-auth-clients", "no")
    }

    /// No port, only the Unix socket, which every other server has too.
    pub fn unix_only(mut self) -> Self {
        self.transport = Transport::Unix;
        self
    }

    /// The server runs on this island, on Redis' usual port.
    #[cfg(target_os = "linux")]
    pub fn on(mut self, island: &Island) -> Self {
        self.place = Some((island.address(), 6379, island.enter()));
        // Only the test's own network leads there.
        self.arg("--protected-mode", "no")
    }

    /// Starting and restarting end as soon as the server answers, be it with LOADING; otherwise
    /// they wait for its data.
    pub fn may_be_loading(mut self) -> Self {
        self.may_be_loading = true;
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    ///
    /// With the server's log, when it does not start.
    #[track_caller]
    pub fn start(self) -> Server {
        self.try_start().unwrap_or_else(|e| panic!("{e}"))
    }

    /// [`start`](Self::start) for programs that prefer an error.
    pub fn try_start(self) -> io::Result<Server> {
        Server::try_start(&self)
    }
}
