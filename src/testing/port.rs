//! Free ports that stay ours, also while the server that owns one is down.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Below the ephemeral range of Linux (32768) and macOS (49152). An ephemeral port could be given
/// to someone's outgoing connection while its server is down, or even to the connection that
/// tries to reach the server, which would then talk to itself.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A TCP port of 127.0.0.1 that no other test process takes while this value lives.
///
/// The claim is the UDP port of the same number: nobody else wants it, and the kernel gives it
/// back when the process ends, however it ends.
#[derive(Debug)]
pub struct PortClaim {
    port: u16,
    _udp: UdpSocket,
}

impl PortClaim {
    /// Claims a port on which nobody listens at this moment. [Example](crate::guide::by_example#servers-for-tests).
    ///
    /// # Panics
    ///
    /// When all of 20 000 to 31 999 are taken.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(seed()));
        for _ in 0..COUNT {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let port = u16::try_from(FIRST + n % COUNT).expect("the range ends below 65536");
            let Ok(udp) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else {
                continue;
            };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Self { port, _udp: udp };
            }
        }
        panic!("no free port between {FIRST} and {}", FIRST + COUNT);
    }

    /// The port. [Example](crate::guide::by_example#servers-for-tests).
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Processes that run side by side begin at different places, so they rarely try the same port.
fn seed() -> u32 {
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |t| t.subsec_nanos());
    std::process::id().wrapping_mul(7919).wrapping_add(nanos)
}
