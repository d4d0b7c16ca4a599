//! One connection through the proxy: threads and blocking sockets, nothing that a test could stall.
//!
//! Three threads per connection: one takes requests to the server, one takes in replies and notes
//! when they came, one gives them to the client and does to them what the fault says.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::frames::Frames;
use super::{End, Fault, Shared, Way};

const NO_RESP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";

pub(super) struct Conn {
    client: TcpStream,
    server: Option<TcpStream>,
    /// Nothing passes any more.
    silent: AtomicBool,
    /// Becomes silent after so many bytes of replies; `u64::MAX` for never.
    gray_after: u64,
    /// Guards what is known of the commands under way.
    commands: Mutex<Commands>,
    /// Bytes since the fault was set, per direction.
    requests: Counter,
    replies: Counter,
}

#[derive(Default)]
struct Commands {
    asked: Frames,
    answered: Frames,
}

#[derive(Default)]
struct Counter {
    armed: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    /// The bytes counted since the fault number `armed` was set.
    fn so_far(&self, armed: u64) -> u64 {
        if self.armed.swap(armed, SeqCst) != armed {
            self.bytes.store(0, SeqCst);
        }
        self.bytes.load(SeqCst)
    }

    fn add(&self, n: usize) {
        self.bytes.fetch_add(n as u64, SeqCst);
    }
}

impl Conn {
    fn is_silent(&self) -> bool {
        self.silent.load(SeqCst)
    }

    /// Ends the connection; the sockets close when the threads that use them are gone.
    pub(super) fn end(&self, how: End) {
        match how {
            End::Silence => return self.silent.store(true, SeqCst),
            // Both ends wake; the last owner closes the socket, with a FIN.
            End::Fin => drop(self.client.shutdown(Shutdown::Both)),
            End::Rst => {
                // With no time to linger, closing is an RST. The reading half only: shutting the
                // writing half would send a FIN first.
                drop(SockRef::from(&self.client).set_linger(Some(Duration::ZERO)));
                drop(self.client.shutdown(Shutdown::Read));
            }
        }
        self.silent.store(true, SeqCst);
        if let Some(server) = &self.server {
            drop(server.shutdown(Shutdown::Both));
        }
    }
}

/// Counts a connection while it lives.
struct Open<'a>(&'a Shared, u64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.seen.open -= 1;
        state.conns.remove(&self.1);
    }
}

pub(super) fn serve(shared: &Arc<Shared>, client: TcpStream) {
    let (id, hold, gray_after) = {
        let mut state = shared.state();
        state.seen.accepted += 1;
        state.seen.open += 1;
        state.seen.most = state.seen.most.max(state.seen.open);
        let hold = matches!(state.fault, Fault::Hold | Fault::Blackhole);
        if hold {
            state.seen.fired += 1;
        }
        let mut gray_after = u64::MAX;
        if let Fault::Gray { percent, after } = state.fault {
            state.gray += u32::from(percent);
            if state.gray >= 100 {
                state.gray -= 100;
                gray_after = after;
            }
        }
        (state.seen.accepted, hold, gray_after)
    };
    let open = Open(shared, id);
    let server = match hold {
        true => None,
        false => {
            match TcpStream::connect(shared.upstream) {
                Ok(server) => Some(server),
                // Nobody there: as a proxy does, accept and hang up.
                Err(_) => return,
            }
        }
    };
    for socket in [Some(&client), server.as_ref()].into_iter().flatten() {
        // Without it small replies wait for each other's acknowledgements; a socket that cannot have it is gone.
        drop(socket.set_nodelay(true));
    }
    let conn = Arc::new(Conn {
        client,
        server,
        silent: AtomicBool::new(hold),
        gray_after,
        commands: Mutex::default(),
        requests: Counter::default(),
        replies: Counter::default(),
    });
    shared.state().conns.insert(id, Arc::clone(&conn));
    let threads = conn.server.is_some().then(|| {
        let (sender, receiver) = mpsc::channel();
        let (reading, writing) = (Arc::clone(&conn), Arc::clone(&conn));
        let shared = Arc::clone(shared);
        [
            thread::spawn(move || take_replies(&reading, &sender)),
            thread::spawn(move || give_replies(&shared, &writing, &receiver)),
        ]
    });
    pass_requests(shared, &conn);
    for thread in threads.into_iter().flatten() {
        // A thread that panicked has said so on stderr.
        drop(thread.join());
    }
    drop(open);
}

fn pass_requests(shared: &Shared, conn: &Conn) {
    let mut buf = vec![0; 64 * 1024];
    loop {
        let n = match (&conn.client).read(&mut buf) {
            Ok(n) if n > 0 => n,
            _ => break,
        };
        if conn.is_silent() {
            continue;
        }
        let (n, end) = allowed(shared, &conn.requests, Way::Request, n);
        lock(&conn.commands).asked.feed(&buf[..n]);
        let Some(mut server) = conn.server.as_ref() else {
            continue;
        };
        if server.write_all(&buf[..n]).is_err() {
            break;
        }
        if let Some(end) = end {
            conn.end(end);
        }
    }
    // The client is gone, or the connection was ended.
    if let Some(server) = &conn.server {
        drop(server.shutdown(Shutdown::Both));
    }
}

fn take_replies(conn: &Conn, sender: &mpsc::Sender<(Instant, Vec<u8>)>) {
    let Some(mut server) = conn.server.as_ref() else {
        return;
    };
    let mut buf = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = server.read(&mut buf) {
        if sender.send((Instant::now(), buf[..n].to_vec())).is_err() {
            return;
        }
    }
}

fn give_replies(shared: &Shared, conn: &Conn, replies: &mpsc::Receiver<(Instant, Vec<u8>)>) {
    let mut given = 0;
    for (came, mut bytes) in replies {
        if conn.is_silent() {
            continue;
        }
        let fault = shared.state().fault;
        let alone = answers_the_only_command(conn, &bytes);
        let mut slice = false;
        match fault {
            Fault::Delay(by) => {
                shared.hit();
                thread::sleep((came + by).saturating_duration_since(Instant::now()));
            }
            Fault::Slice => {
                slice = true;
                shared.hit();
            }
            Fault::Garbage => {
                bytes = NO_RESP.to_vec();
                shared.hit();
            }
            Fault::Swallow if alone => {
                let mut state = shared.state();
                state.fault = Fault::Pass;
                state.seen.fired += 1;
                continue;
            }
            _ => {}
        }
        let (mut n, mut end) = allowed(shared, &conn.replies, Way::Reply, bytes.len());
        if given + n as u64 >= conn.gray_after {
            n = (conn.gray_after - given) as usize;
            end = Some(End::Silence);
            shared.hit();
        }
        given += n as u64;
        let mut client = &conn.client;
        let sent = if slice {
            bytes[..n].iter().try_for_each(|byte| {
                thread::sleep(Duration::from_millis(1));
                client.write_all(&[*byte])
            })
        } else {
            client.write_all(&bytes[..n])
        };
        if let Some(end) = end {
            conn.end(end);
        } else if sent.is_err() {
            break;
        }
    }
    if !conn.is_silent() {
        // The server hung up.
        drop(conn.client.shutdown(Shutdown::Both));
    }
}

/// How many of `n` bytes may pass, and how the connection ends after them.
fn allowed(shared: &Shared, counter: &Counter, way: Way, n: usize) -> (usize, Option<End>) {
    let mut state = shared.state();
    let so_far = counter.so_far(state.armed);
    let (Fault::Cut {
        way: cut,
        after,
        end,
    }
    | Fault::CutOnce {
        way: cut,
        after,
        end,
    }) = state.fault
    else {
        return (n, None);
    };
    counter.add(n);
    if cut != way || so_far + (n as u64) < after {
        return (n, None);
    }
    state.seen.fired += 1;
    if matches!(state.fault, Fault::CutOnce { .. }) {
        state.fault = Fault::Pass;
    }
    ((after - so_far.min(after)) as usize, Some(end))
}

/// Notes these replies; whether they are the one reply to the one command under way.
fn answers_the_only_command(conn: &Conn, bytes: &[u8]) -> bool {
    let mut commands = lock(&conn.commands);
    let before = commands.answered.done;
    commands.answered.feed(bytes);
    commands.asked.done == before + 1 && commands.answered.done == before + 1
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
