//! A server that speaks HTTP as badly as it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the server does with a request.
pub enum Reply {
    /// Sends these bytes and waits for the next request.
    Send(Vec<u8>),
    /// Sends these bytes and hangs up.
    SendAndClose(Vec<u8>),
    /// Sends these bytes, and then more and more, until the client hangs up.
    SendForEver(Vec<u8>),
    /// Sends these bytes again and again, until the client hangs up.
    Flood(Vec<u8>),
    /// Sends the first bytes, then the second ones again and again.
    SendThenFlood(Vec<u8>, Vec<u8>),
    /// Says nothing until the client hangs up.
    Hang,
}

/// A request: its head and its body.
#[derive(Clone, Debug)]
pub struct Asked {
    pub head: String,
    pub body: String,
}

/// A running server on a free port of 127.0.0.1; its threads end with their connections.
pub struct Scripted {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    flooded: Arc<AtomicUsize>,
}

impl Scripted {
    /// `script` gets each request with its number, over all connections, from 0.
    pub fn start(script: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (notes, script) = (Arc::clone(&asked), Arc::new(script));
        let flooded = Arc::<AtomicUsize>::default();
        let sent = Arc::clone(&flooded);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (notes, script) = (Arc::clone(&notes), Arc::clone(&script));
                let sent = Arc::clone(&sent);
                // A client that hangs up is none of the server's business.
                thread::spawn(move || drop(serve(stream, &notes, &*script, &sent)));
            }
        });
        Self {
            port,
            asked,
            flooded,
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many bytes went out by [`Reply::Flood`].
    pub fn flooded(&self) -> usize {
        self.flooded.load(Relaxed)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    notes: &Mutex<Vec<Asked>>,
    script: &dyn Fn(usize, &Asked) -> Reply,
    flooded: &AtomicUsize,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let lower = head.to_lowercase();
        let length = lower
            .split_once("content-length: ")
            .and_then(|(_, rest)| rest.lines().next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body)?;
        let asked = Asked {
            head,
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        let n = {
            let mut all = notes.lock().unwrap();
            all.push(asked.clone());
            all.len() - 1
        };
        match script(n, &asked) {
            Reply::Send(bytes) => stream.write_all(&bytes)?,
            Reply::SendAndClose(bytes) => {
                stream.write_all(&bytes)?;
                return stream.shutdown(Shutdown::Both);
            }
            Reply::SendForEver(bytes) => {
                stream.write_all(&bytes)?;
                loop {
                    stream.write_all(&[b'x'; 1 << 16])?;
                }
            }
            Reply::Flood(bytes) => flood(&mut stream, &bytes, flooded)?,
            Reply::SendThenFlood(first, bytes) => {
                stream.write_all(&first)?;
                flood(&mut stream, &bytes, flooded)?;
            }
            Reply::Hang => {
                // Until there is nobody to answer.
                stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                let mut rest = Vec::new();
                reader.read_to_end(&mut rest)?;
                return Ok(());
            }
        }
    }
}

fn flood(stream: &mut TcpStream, bytes: &[u8], flooded: &AtomicUsize) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes)?;
        flooded.fetch_add(bytes.len(), Relaxed);
    }
}

/// A whole answer.
pub fn answer(status: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Send(
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
            .into_bytes(),
    )
}
