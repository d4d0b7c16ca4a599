//! From what the application says to the page.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::access::Access;
use super::error::{AdminError, AdminErrorKind};
use super::host::host_of;
use super::inner::{Inner, Parts};
use super::serve;
use super::service::AdminService;
use super::token::Token;
use crate::cluster::FlusterCluster;
use crate::queue::Queue;
use crate::tasks::{NO_RUNTIME, SpawnError};

impl FlusterCluster {
    /// A page that shows this cluster, and the same as JSON: see [`crate::admin`].
    ///
    /// ```no_run
    /// # async fn run(cluster: fluster::FlusterCluster) -> Result<(), fluster::admin::AdminError> {
    /// cluster.admin().listen("127.0.0.1:9800")?;
    /// # Ok(()) }
    /// ```
    pub fn admin(&self) -> AdminBuilder {
        AdminBuilder {
            parts: Parts::new(self),
            token: None,
            access: Access::default(),
            wrong: None,
        }
    }
}

/// Describes the page; [`listen`](Self::listen) or [`service`](Self::service) makes it, and judges.
#[must_use = "a builder does nothing until `listen` or `service` is called"]
pub struct AdminBuilder {
    parts: Parts,
    token: Option<String>,
    access: Access,
    wrong: Option<AdminError>,
}

impl AdminBuilder {
    /// Wants this token, 16 to 1024 visible characters, in the header `Authorization: Bearer ..` of whatever asks for
    /// more than the page itself, which asks its reader for it. Default: none. [Example](crate::guide::by_example#the-admin-page).
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Lets those who have the token drain and restore nodes, and have them probed at once. Default: the page only shows. [Example](crate::guide::by_example#the-admin-page).
    pub fn allow_actions(mut self) -> Self {
        self.access.allow_actions = true;
        self
    }

    /// Names, or addresses, that requests may call this by, beside the address listened on and `localhost`: what a
    /// browser has in its address bar where there is a proxy in between. [Example](crate::guide::by_example#the-admin-page).
    pub fn allow_hosts<H: AsRef<str>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        for host in hosts {
            match host_of(host.as_ref()) {
                Some(host) => self.access.hosts.push(host),
                None => {
                    let why = "`allow_hosts` has what is no host: write `admin.internal`";
                    self.wrong = Some(AdminError::new(AdminErrorKind::Access, why));
                }
            }
        }
        self
    }

    /// Mounted in one's own service: that one has seen to who may read. Actions want the token all the same. [Example](crate::guide::by_example#the-admin-page).
    pub fn behind_own_auth(mut self) -> Self {
        self.access.own_auth = true;
        self
    }

    /// Shows how deep this queue is, too; it is asked for that every 5 seconds at most, while somebody looks. [Example](crate::guide::by_example#the-admin-page).
    pub fn queue(mut self, queue: &Queue) -> Self {
        self.parts.queues.push(queue.downgrade());
        self
    }

    /// Shows the instances of the application, too. [Example](crate::guide::by_example#the-admin-page).
    #[cfg(feature = "gossip")]
    pub fn gossip(mut self, gossip: &crate::gossip::Gossip) -> Self {
        self.parts.gossip = Some(gossip.downgrade());
        self
    }

    /// Listens at `127.0.0.1:9800`, `[::1]:9800` or `localhost:9800`; with a [token](Self::token) at any other address of
    /// this machine; at port 0 at one that is free. It goes on until the cluster ends, whatever becomes of what is
    /// returned. [Example](crate::guide::by_example#the-admin-page).
    ///
    /// At most 64 connections, of which 16 read events, each with 8 KiB of header and 10 seconds to ask and to be
    /// answered. HTTP without TLS: beyond this machine it wants a proxy with a certificate, or a tunnel.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::Address`] when it is none, is taken or is not ours; [`AdminErrorKind::Access`] without a token
    /// where one is needed, or with one that is none; [`AdminErrorKind::NoRuntime`], [`AdminErrorKind::Closed`].
    pub fn listen(mut self, address: impl AsRef<str>) -> Result<Admin, AdminError> {
        self.settle()?;
        if self.access.own_auth {
            let why = "`behind_own_auth` is for `service()`: a port of its own wants `token`";
            return Err(AdminError::new(AdminErrorKind::Access, why));
        }
        let address = read(address.as_ref())?;
        if self.access.token.is_none() && !address.ip().to_canonical().is_loopback() {
            let why = format!(
                "{address} can be reached from elsewhere: set `token`, or listen at 127.0.0.1"
            );
            return Err(AdminError::new(AdminErrorKind::Access, why));
        }
        let engine = Arc::clone(&self.parts.engine);
        let tasks = engine.tasks();
        let no_runtime = || AdminError::new(AdminErrorKind::NoRuntime, NO_RUNTIME);
        let runtime = tasks.runtime().ok_or_else(no_runtime)?;
        let refuse = |e: std::io::Error| {
            AdminError::new(
                AdminErrorKind::Address,
                format!("{address} cannot be listened on: {e}"),
            )
        };
        let (listener, address) = {
            // The listener belongs to the runtime that the cluster's tasks are on.
            let _inside = runtime.enter();
            let listener = std::net::TcpListener::bind(address).map_err(refuse)?;
            listener.set_nonblocking(true).map_err(refuse)?;
            let listener = TcpListener::from_std(listener).map_err(refuse)?;
            let address = listener.local_addr().map_err(refuse)?;
            (listener, address)
        };
        let inner = Arc::new(Inner::new(self.parts, self.access));
        let task = tasks.spawn(serve::serve(listener, inner));
        let task = task.map_err(|e| match e {
            SpawnError::Closed => closed(),
            SpawnError::NoRuntime => no_runtime(),
        })?;
        tracing::info!(%address, "the admin page is there");
        Ok(Admin { address, task })
    }

    /// The page as a service to mount: in axum with `nest_service`, in hyper by its trait `Service`. It wants a
    /// [`token`](Self::token), or [`behind_own_auth`](Self::behind_own_auth) written out. [Example](crate::guide::by_example#the-admin-page).
    ///
    /// Where [`allow_hosts`](Self::allow_hosts) is left out it answers under any name. It reads 16 streams of events at
    /// once; connections and their headers are the service's around it.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::Access`] when neither is there, or the token is none; [`AdminErrorKind::Closed`].
    pub fn service(mut self) -> Result<AdminService, AdminError> {
        self.settle()?;
        if self.access.token.is_none() && !self.access.own_auth {
            let why = "mounted, it wants `token`, or `behind_own_auth` where the service around it has seen to that";
            return Err(AdminError::new(AdminErrorKind::Access, why));
        }
        self.access.is_mounted = true;
        Ok(AdminService::new(Arc::new(Inner::new(
            self.parts,
            self.access,
        ))))
    }

    /// What holds for both.
    fn settle(&mut self) -> Result<(), AdminError> {
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        let refuse = |why| AdminError::new(AdminErrorKind::Access, why);
        if let Some(token) = self.token.take() {
            self.access.token = Some(Token::new(&token).map_err(refuse)?);
        }
        if self.access.allow_actions && self.access.token.is_none() {
            return Err(refuse(
                "`allow_actions` wants `token`, wherever it is asked from".to_owned(),
            ));
        }
        match self.parts.engine.tasks().is_closed() {
            true => Err(closed()),
            false => Ok(()),
        }
    }
}

fn closed() -> AdminError {
    AdminError::new(AdminErrorKind::Closed, "the cluster is shut down")
}

/// An address with a port. Names are not looked up: what they lead to may change.
fn read(text: &str) -> Result<SocketAddr, AdminError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = text.strip_prefix("localhost:").map(str::parse::<u16>);
    match port {
        Some(Ok(port)) => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        _ => Err(AdminError::new(
            AdminErrorKind::Address,
            format!("\"{text}\" is no address with a port: write 127.0.0.1:9800"),
        )),
    }
}

/// Without the token.
impl fmt::Debug for AdminBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminBuilder")
            .field("token", &self.token.as_ref().map(|_| "<redacted>"))
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

/// A page on a port of its own; made by [`AdminBuilder::listen`].
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    task: AbortHandle,
}

impl Admin {
    /// Where it listens. [Example](crate::guide::by_example#the-admin-page).
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, with all its connections; otherwise it ends with the cluster. [Example](crate::guide::by_example#the-admin-page).
    pub fn stop(&self) {
        self.task.abort();
    }
}
