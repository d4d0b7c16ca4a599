//! A connection to an instance.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::base::Base;

/// After so long without a word the other machine's kernel is asked whether it is there.
const SILENT: Duration = Duration::from_secs(15);

/// Bytes to and fro, sealed or not.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(crate) type Socket = TokioIo<Box<dyn Io>>;

/// How instances at `https://` are talked to: not at all without TLS.
#[derive(Clone, Default)]
pub(crate) struct Secure {
    #[cfg(feature = "forward-tls")]
    pub(crate) connectors: Option<Connectors>,
}

/// One for each version, which the two sides agree on while they shake hands.
#[cfg(feature = "forward-tls")]
#[derive(Clone)]
pub(crate) struct Connectors {
    one: tokio_rustls::TlsConnector,
    two: tokio_rustls::TlsConnector,
}

#[cfg(feature = "forward-tls")]
impl Connectors {
    pub(crate) fn new(
        tls: &crate::connection::tls::Tls,
    ) -> Result<Self, crate::build_error::BuildError> {
        let connector = tls.connector(false)?;
        let speaking = |protocol: &[u8]| {
            let mut config = (**connector.config()).clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            tokio_rustls::TlsConnector::from(std::sync::Arc::new(config))
        };
        Ok(Self {
            one: speaking(b"http/1.1"),
            two: speaking(b"h2"),
        })
    }
}

impl Secure {
    pub(crate) fn can_reach(&self, base: &Base) -> bool {
        #[cfg(feature = "forward-tls")]
        return !base.is_tls || self.connectors.is_some();
        #[cfg(not(feature = "forward-tls"))]
        return !base.is_tls;
    }
}

/// Connects, and shakes hands where the base says `https`, within `limit`.
pub(crate) async fn dial(
    base: &Base,
    secure: &Secure,
    is_two: bool,
    limit: Duration,
) -> io::Result<Socket> {
    let connect = async {
        let stream = TcpStream::connect((&*base.host, base.port)).await?;
        stream.set_nodelay(true)?;
        // An answer may stream for hours, and nothing else would notice that the other machine is gone.
        let alive = TcpKeepalive::new()
            .with_time(SILENT)
            .with_interval(SILENT / 3);
        SockRef::from(&stream).set_tcp_keepalive(&alive)?;
        secured(stream, base, secure, is_two).await
    };
    match timeout(limit, connect).await {
        Ok(socket) => socket.map(TokioIo::new),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no connection within {limit:?}"),
        )),
    }
}

#[cfg(feature = "forward-tls")]
async fn secured(
    stream: TcpStream,
    base: &Base,
    secure: &Secure,
    is_two: bool,
) -> io::Result<Box<dyn Io>> {
    use tokio_rustls::rustls::pki_types::ServerName;

    if !base.is_tls {
        return Ok(Box::new(stream));
    }
    let Some(connectors) = &secure.connectors else {
        return Err(no_tls());
    };
    let connector = if is_two {
        &connectors.two
    } else {
        &connectors.one
    };
    let name = ServerName::try_from(base.host.to_string()).map_err(io::Error::other)?;
    let stream = connector.connect(name, stream).await?;
    if is_two && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::other(
            "the instance does not speak HTTP/2 over TLS",
        ));
    }
    Ok(Box::new(stream))
}

#[cfg(not(feature = "forward-tls"))]
async fn secured(stream: TcpStream, base: &Base, _: &Secure, _: bool) -> io::Result<Box<dyn Io>> {
    match base.is_tls {
        true => Err(no_tls()),
        false => Ok(Box::new(stream)),
    }
}

fn no_tls() -> io::Error {
    io::Error::other("https:// needs the feature forward-tls, and a builder with `tls`")
}
