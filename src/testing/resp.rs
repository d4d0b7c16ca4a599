//! A tiny blocking Redis client, so that tests can look at a server without what they test.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long a server may take to answer; only one that is stopped takes longer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Nil,
    /// A number.
    Int(i64),
    /// A status or a bulk string.
    Text(Vec<u8>),
    /// An error, in the server's words.
    Error(String),
    /// Several.
    Array(Vec<Self>),
}

impl fmt::Display for Reply {
    /// Nearly as `redis-cli` prints it: `(nil)` for nothing, one line per element of an array.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("(nil)"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Text(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
            Self::Error(text) => write!(f, "(error) {text}"),
            Self::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    let separator = if i == 0 { "" } else { "\n" };
                    write!(f, "{separator}{item}")?;
                }
                Ok(())
            }
        }
    }
}

/// One blocking connection, over the server's Unix socket: it works whatever a test does to TCP
/// or to TLS.
#[derive(Debug)]
pub struct Raw {
    stream: BufReader<UnixStream>,
}

impl Raw {
    pub(super) fn connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends one command and reads its reply; an error reply is a [`Reply::Error`]. [Example](crate::guide::by_example#servers-for-tests).
    ///
    /// # Errors
    ///
    /// When no answer comes within 2 s, or none that is RESP2.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: impl IntoIterator<Item = A>) -> io::Result<Reply> {
        self.stream.get_mut().write_all(&encode(args))?;
        self.read()
    }

    /// Reads one reply, or one message after SUBSCRIBE or MONITOR. [Example](crate::guide::by_example#servers-for-tests).
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn read(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line
            .split_at_checked(1)
            .ok_or_else(|| bad("an empty line"))?;
        match kind {
            "+" => Ok(Reply::Text(rest.into())),
            "-" => Ok(Reply::Error(rest.into())),
            ":" => Ok(Reply::Int(number(rest)?)),
            "$" => match usize::try_from(number(rest)?) {
                Ok(length) => self.bulk(length).map(Reply::Text),
                Err(_) => Ok(Reply::Nil),
            },
            "*" => match usize::try_from(number(rest)?) {
                Ok(length) => (0..length)
                    .map(|_| self.read())
                    .collect::<io::Result<_>>()
                    .map(Reply::Array),
                Err(_) => Ok(Reply::Nil),
            },
            _ => Err(bad(&line)),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    fn bulk(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

fn encode<A: AsRef<[u8]>>(args: impl IntoIterator<Item = A>) -> Vec<u8> {
    let args: Vec<A> = args.into_iter().collect();
    let mut wire = format!("*{}\r\n", args.len()).into_bytes();
    for arg in &args {
        let arg = arg.as_ref();
        wire.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        wire.extend_from_slice(arg);
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| bad(text))
}

fn bad(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not RESP2: {what}"))
}
