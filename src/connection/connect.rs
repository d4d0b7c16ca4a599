//! A TCP connection with the options that every one of ours has.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Half-open connections are noticed after 15 s + 3 x 5 s without traffic.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
/// Sent data that stays unacknowledged for this long ends the connection; without it a socket
/// outlives a network outage by TCP's back-off, many seconds after the network has healed.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn connect_to(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL);
    #[cfg(not(windows))]
    let keepalive = keepalive.with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_socket_has_its_options_set() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bind");
        let stream = connect_to(listener.local_addr().expect("an address"))
            .await
            .expect("connect");
        let socket = SockRef::from(&stream);
        assert!(
            stream.nodelay().expect("TCP_NODELAY"),
            "a command leaves at once"
        );
        assert!(socket.keepalive().expect("SO_KEEPALIVE"));
        #[cfg(target_os = "linux")]
        {
            let times = (
                socket.tcp_keepalive_time().expect("TCP_KEEPIDLE"),
                socket.tcp_keepalive_interval().expect("TCP_KEEPINTVL"),
                socket.tcp_keepalive_retries().expect("TCP_KEEPCNT"),
            );
            assert_eq!(
                times,
                (KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES)
            );
            let limit = socket.tcp_user_timeout().expect("TCP_USER_TIMEOUT");
            assert_eq!(limit, Some(TCP_USER_TIMEOUT));
        }
    }
}
