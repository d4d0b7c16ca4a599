//! What lies beyond this process: names that lead to addresses, and addresses where servers listen.

#[cfg(test)]
pub(crate) mod fake;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

use crate::connection::connect::connect_to;
use crate::connection::socket::Socket;

/// The operating system's resolver and its sockets; in unit tests maybe a world of their own, whose time can be paused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    #[cfg(test)]
    fake: Option<fake::FakeNetwork>,
}

impl Network {
    /// All addresses that a name leads to now.
    ///
    /// # Errors
    ///
    /// The resolver's.
    pub(super) async fn look_up(&self, host: &str, port: u16) -> io::Result<BTreeSet<SocketAddr>> {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return fake.look_up(host).await;
        }
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }

    /// A connection to an address.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(super) async fn connect(&self, addr: SocketAddr) -> io::Result<Socket> {
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return fake.connect(addr).await;
        }
        connect_to(addr).await.map(Socket::Tcp)
    }
}
