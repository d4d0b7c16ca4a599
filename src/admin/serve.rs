//! The port: who is let in, how many, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tower_service::Service as _;

use super::inner::Inner;
use super::paced::Paced;
use super::refusal::Refusal;
use super::service::{AdminService, LIMIT};

/// So many connections at once.
const CONNECTIONS: usize = 64;
/// What the lines before a body may have, all of them together.
const HEADER: usize = 8 << 10;
/// What the kernel keeps for somebody who does not read.
const UNREAD: usize = 64 << 10;
/// After an error of the listener, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// For those who come when all connections are taken.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 10\r\ncontent-length: 0\r\n\r\n";

/// Answers until it is dropped, and all that it has begun with it.
pub(super) async fn serve(listener: TcpListener, inner: Arc<Inner>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let (mut connections, mut is_ill) = (JoinSet::new(), false);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    is_ill = false;
                    match Arc::clone(&room).try_acquire_owned() {
                        Ok(place) => drop(connections.spawn(talk(stream, Arc::clone(&inner), place))),
                        // What does not go at once is no loss: it hangs up all the same.
                        Err(_) => {
                            inner.knocks.heard(Some(Refusal::Readers));
                            drop(stream.try_write(FULL));
                        }
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_ill, true) {
                        tracing::warn!(%error, "the admin page cannot take connections, and tries on");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            },
            // So that those that have ended are not kept.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One request and its answer.
async fn talk(stream: TcpStream, inner: Arc<Inner>, _place: OwnedSemaphorePermit) {
    let local = stream.local_addr().ok().map(|address| address.ip());
    // Both only make it leaner.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(UNREAD);
    let is_endless = Arc::new(AtomicBool::new(false));
    let endless = Arc::clone(&is_endless);
    let service = service_fn(move |request| {
        let mut service = AdminService::at(Arc::clone(&inner), local);
        let endless = Arc::clone(&endless);
        async move {
            let answer = service.call(request).await;
            if answer
                .as_ref()
                .is_ok_and(|answer| answer.body().is_endless())
            {
                endless.store(true, SeqCst);
            }
            answer
        }
    });
    let stream = TokioIo::new(Paced::new(stream, LIMIT));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(LIMIT)
        .max_buf_size(HEADER)
        // One question each: nobody holds a place by doing nothing.
        .keep_alive(false);
    let late = async {
        tokio::time::sleep(LIMIT).await;
        // Who reads events has to take them, and may go on.
        if is_endless.load(SeqCst) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = builder.serve_connection(stream, service) => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection of the admin page broke");
            }
        }
        () = late => tracing::debug!("a connection of the admin page took too long"),
    }
}
