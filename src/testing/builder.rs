//! What a test's server is to be like.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::server::Server;

/// How a server of a test differs from a plain one.
///
/// ```no_run
/// use fluster::testing::Server;
///
/// let server = Server::builder().password("secret").arg("--maxclients", "8").start();
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ServerBuilder {
    pub(super) args: Vec<OsString>,
    pub(super) password: Option<String>,
    pub(super) transport: Transport,
    pub(super) may_be_loading: bool,
    pub(super) place: Option<Place>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Transport {
    #[default]
    Tcp,
    Tls,
    Unix,
}

/// The PEM files of a server that speaks TLS.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Its certificate.
    pub cert: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
    /// The authority's certificate.
    pub ca: PathBuf,
}

/// Where a server runs, when that is not in the network of this process.
#[derive(Clone, Debug)]
pub struct Place {
    /// The address it listens on.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// The words before the server's program that start it there, such as `nsenter --net=/run/netns/a`.
    pub through: Vec<OsString>,
}

impl ServerBuilder {
    /// One option of `redis-server`, as on its command line. [Example](crate::guide::by_example#servers-for-tests).
    pub fn arg(mut self, option: &str, value: impl AsRef<OsStr>) -> Self {
        self.args.push(option.into());
        self.args.push(value.as_ref().into());
        self
    }

    /// Clients need this password; [`Server::url`] has it. [Example](crate::guide::by_example#servers-for-tests).
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.into());
        self.arg("--requirepass", password)
    }

    /// Keeps the data over a [`Server::restart`]: append-only file, synced at every write.
    /// [Example](crate::guide::by_example#servers-for-tests).
    pub fn durable(self) -> Self {
        self.arg("--appendonly", "yes")
            .arg("--appendfsync", "always")
    }

    /// The port speaks TLS only, with this certificate; clients need none.
    /// [Example](crate::guide::by_example#servers-for-tests).
    pub fn tls(mut self, files: impl Into<TlsFiles>) -> Self {
        let files = files.into();
        self.transport = Transport::Tls;
        self.arg("--tls-cert-file", files.cert)
            .arg("--tls-key-file", files.key)
            .arg("--tls-ca-cert-file", files.ca)
            .arg("--tls-auth-clients", "no")
    }

    /// No port, only the Unix socket, which every other server has too.
    /// [Example](crate::guide::by_example#servers-for-tests).
    pub fn unix_only(mut self) -> Self {
        self.transport = Transport::Unix;
        self
    }

    /// The server runs at this place, in a network namespace for one, and takes connections from wherever that is
    /// reached. [Example](crate::guide::by_example#servers-for-tests).
    pub fn on(mut self, place: impl Into<Place>) -> Self {
        self.place = Some(place.into());
        // Only the test's own network leads there.
        self.arg("--protected-mode", "no")
    }

    /// Starting and restarting end as soon as the server answers, be it with LOADING; otherwise they wait for its
    /// data. [Example](crate::guide::by_example#servers-for-tests).
    pub fn may_be_loading(mut self) -> Self {
        self.may_be_loading = true;
        self
    }

    /// Starts the server and waits until it answers. [Example](crate::guide::by_example#servers-for-tests).
    ///
    /// # Panics
    ///
    /// With the server's log, when it does not start.
    #[track_caller]
    pub fn start(self) -> Server {
        self.try_start().unwrap_or_else(|e| panic!("{e}"))
    }

    /// [`start`](Self::start) for programs that prefer an error. [Example](crate::guide::by_example#servers-for-tests).
    ///
    /// # Errors
    ///
    /// The server's program cannot be started, or ended, or gave no answer within 10 s; the error's text has its log.
    pub fn try_start(self) -> io::Result<Server> {
        Server::try_start(&self)
    }
}
