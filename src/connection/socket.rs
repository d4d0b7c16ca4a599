//! The socket of a connection, plain or encrypted, and a look at it while it is idle.

use std::io::{self, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::driver::Stream;

/// The socket itself.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    /// To a server of a [fake network](crate::connection::network::fake).
    #[cfg(test)]
    Fake(tokio::io::DuplexStream),
}

/// What a look at an idle socket shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glance {
    Healthy,
    Closed,
    /// So many bytes were there, and are read.
    Bytes(usize),
}

impl Glance {
    fn of(read: io::Result<usize>) -> Self {
        use io::ErrorKind::{Interrupted, WouldBlock};
        match read {
            Ok(0) => Self::Closed,
            Ok(n) => Self::Bytes(n),
            Err(e) if matches!(e.kind(), WouldBlock | Interrupted) => Self::Healthy,
            Err(_) => Self::Closed,
        }
    }
}

impl Stream for Socket {
    /// Asks the system itself: what the runtime believes of a socket may be from before it was stalled.
    fn glance(&self, buf: &mut [u8]) -> Glance {
        match self {
            Self::Tcp(s) => Glance::of((&*SockRef::from(s)).read(buf)),
            #[cfg(unix)]
            Self::Unix(s) => Glance::of((&*SockRef::from(s)).read(buf)),
            // Waiting bytes may be a session ticket: only the end says something.
            #[cfg(feature = "tls")]
            Self::Tls(s) => {
                let mut one = [std::mem::MaybeUninit::uninit(); 1];
                match Glance::of(SockRef::from(s.get_ref().0).peek(&mut one)) {
                    Glance::Bytes(_) => Glance::Healthy,
                    glance => glance,
                }
            }
            // Nothing waits unread in it: whoever writes into it wakes who reads.
            #[cfg(test)]
            Self::Fake(_) => Glance::Healthy,
        }
    }

    fn is_opaque(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            #[cfg(unix)]
            Self::Unix(_) => false,
            #[cfg(feature = "tls")]
            Self::Tls(_) => true,
            #[cfg(test)]
            Self::Fake(_) => false,
        }
    }
}

macro_rules! on_socket {
    ($self:expr, $s:ident => $call:expr) => {
        match $self {
            Socket::Tcp($s) => $call,
            #[cfg(unix)]
            Socket::Unix($s) => $call,
            #[cfg(feature = "tls")]
            Socket::Tls($s) => $call,
            #[cfg(test)]
            Socket::Fake($s) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_socket!(self.get_mut(), s => Pin::new(s).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_socket!(self.get_mut(), s => Pin::new(s).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self.get_mut(), s => Pin::new(s).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self.get_mut(), s => Pin::new(s).poll_shutdown(cx))
    }
}
