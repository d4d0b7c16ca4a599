//! A relay in front of a server that reads requests as slowly as it is told, and cuts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;

use crate::support::Server;

/// So little is kept by the system, in bytes: what is written waits with its writer.
const WINDOW: u32 = 4 << 10;

#[derive(Default)]
struct Orders {
    deaf: AtomicBool,
    bite: AtomicUsize,
    cut: Notify,
}

/// It ends with the runtime that it was started on.
pub struct Relay {
    address: SocketAddr,
    orders: Arc<Orders>,
}

impl Relay {
    pub fn start(server: &Server) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Connections that are accepted inherit it.
        socket.set_recv_buffer_size(WINDOW).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let orders = Arc::<Orders>::default();
        let (server, given) = (server.port(), Arc::clone(&orders));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, server, Arc::clone(&given)));
            }
        });
        Self { address, orders }
    }

    /// The server's URL, by way of this.
    pub fn url(&self, server: &Server) -> String {
        let direct = server.url();
        direct.replace(&server.name(), &self.address.to_string())
    }

    /// Requests are read no more, or again.
    pub fn deaf(&self, deaf: bool) {
        self.orders.deaf.store(deaf, Relaxed);
    }

    /// So many bytes of requests are read at once; 0 for as many as there are.
    pub fn bite(&self, bytes: usize) {
        self.orders.bite.store(bytes, Relaxed);
    }

    /// Ends all connections that it has now.
    pub fn cut(&self) {
        self.orders.cut.notify_waiters();
    }
}

async fn relay(client: TcpStream, server: u16, orders: Arc<Orders>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    tokio::select! {
        () = orders.cut.notified() => {}
        () = requests(from_client, to_server, &orders) => {}
        _ = copy(&mut from_server, &mut to_client) => {}
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, orders: &Orders) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        while orders.deaf.load(Relaxed) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let bite = match orders.bite.load(Relaxed) {
            0 => bytes.len(),
            bite => bite.min(bytes.len()),
        };
        let n = from.read(&mut bytes[..bite]).await.unwrap_or(0);
        if n == 0 || to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
}
