//! A server that says what a test wants, for versions and moods that no installed server has.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A command as it arrived.
pub type Words = Vec<String>;

/// A running fake on a free port of 127.0.0.1; its threads end with their connections.
pub struct Fake {
    port: u16,
    heard: Arc<Mutex<Vec<Words>>>,
}

impl Fake {
    /// `script` gets each command and gives the bytes of its reply; `None` hangs up.
    pub fn start(script: impl Fn(&[String]) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::<Mutex<Vec<Words>>>::default();
        let (notes, script) = (Arc::clone(&heard), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (notes, script) = (Arc::clone(&notes), Arc::clone(&script));
                // A client that hangs up is none of the server's business.
                thread::spawn(move || drop(serve(&stream, &notes, &*script)));
            }
        });
        Self { port, heard }
    }

    /// A server of this version that says OK to everything else.
    pub fn of_version(version: &'static str) -> Self {
        Self::start(move |words| Some(Self::answer(version, words)))
    }

    /// What such a server says to one command.
    pub fn answer(version: &str, words: &[String]) -> String {
        match words[0].to_uppercase().as_str() {
            "INFO" => bulk(&format!(
                "# Server\r\nredis_version:{version}\r\nrun_id:{}\r\n",
                "0a".repeat(20)
            )),
            "ECHO" => bulk(&words[1]),
            "PING" => words.get(1).map_or("+PONG\r\n".to_owned(), |w| bulk(w)),
            "GET" => "$-1\r\n".to_owned(),
            _ => "+OK\r\n".to_owned(),
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// How often it got a command that begins with this word.
    pub fn count(&self, name: &str) -> usize {
        let heard = self.heard.lock().expect("nobody panics with it");
        heard
            .iter()
            .filter(|words| words[0].eq_ignore_ascii_case(name))
            .count()
    }
}

/// A bulk string.
pub fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// The answer of a Redis to the `ECHO` in these bytes, which every set-up ends with; `None` when there is none.
pub fn answer_to_echo(asked: &[u8]) -> Option<String> {
    let asked = String::from_utf8_lossy(asked);
    let (_, rest) = asked.split_once("ECHO\r\n$")?;
    rest.split("\r\n").nth(1).map(bulk)
}

fn serve(
    stream: &TcpStream,
    notes: &Mutex<Vec<Words>>,
    script: &dyn Fn(&[String]) -> Option<String>,
) -> io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let count = number(&mut reader)?;
        let mut words = Words::with_capacity(count);
        for _ in 0..count {
            let mut bytes = vec![0; number(&mut reader)? + 2];
            reader.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            words.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        notes
            .lock()
            .expect("nobody panics with it")
            .push(words.clone());
        match script(&words) {
            Some(reply) => writer.write_all(reply.as_bytes())?,
            None => return Ok(()),
        }
    }
}

/// The number behind `*` or `$`.
fn number(reader: &mut impl BufRead) -> io::Result<usize> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let digits = line.get(1..).unwrap_or_default().trim_end();
    digits
        .parse()
        .map_err(|_| io::ErrorKind::UnexpectedEof.into())
}
