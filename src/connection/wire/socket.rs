//! The socket of a connection, plain or encrypted, and a look at it while it is idle.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

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
pub(super) enum Glance {
    Healthy,
    Closed,
    Stray,
}

impl Socket {
    /// Looks for an end of stream or unexpected bytes without taking them.
    pub(super) fn glance(&self) -> Glance {
        let mut buf = [MaybeUninit::uninit(); 1];
        let (seen, opaque) = match self {
            Self::Tcp(s) => (socket2::SockRef::from(s).peek(&mut buf), false),
            #[cfg(unix)]
            Self::Unix(s) => (socket2::SockRef::from(s).peek(&mut buf), false),
            // Under TLS waiting bytes may be a session ticket: only the end says something.
            #[cfg(feature = "tls")]
            Self::Tls(s) => (socket2::SockRef::from(s.get_ref().0).peek(&mut buf), true),
            // Nothing waits unread in it: whoever writes into it wakes who reads.
            #[cfg(test)]
            Self::Fake(_) => (Err(io::ErrorKind::WouldBlock.into()), false),
        };
        match seen {
            Ok(0) => Glance::Closed,
            Ok(_) if opaque => Glance::Healthy,
            Ok(_) => Glance::Stray,
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Glance::Healthy
            }
            Err(_) => Glance::Closed,
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
