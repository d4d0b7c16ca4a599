//! The admin page, asked as friends and enemies ask it: over sockets, and by a browser.

mod acts;
mod browser;
mod limits;
mod mounted;
mod rules;
mod shows;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fluster::admin::Admin;
use fluster::{FlusterCluster, Node};
use serde_json::Value;

const TOKEN: &str = "hunter2-admin-token";
const SOON: Duration = Duration::from_secs(20);

/// What came back.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Self {
            status: status.unwrap_or(0),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// Sends these bytes, and reads to the end.
fn send(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Answer {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(SOON)).unwrap();
    // It may have said no and gone.
    let _ = stream.write_all(bytes.as_ref());
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    Answer::read(&String::from_utf8_lossy(&text))
}

/// A GET, with these further lines.
fn get(address: SocketAddr, path: &str, lines: &[&str]) -> Answer {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    send(
        address,
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{lines}\r\n"),
    )
}

/// A POST of JSON, with these further lines.
fn post(address: SocketAddr, path: &str, body: &str, lines: &[&str]) -> Answer {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{lines}\r\n",
        body.len()
    );
    send(address, head + body)
}

fn bearer() -> String {
    format!("authorization: Bearer {TOKEN}")
}

/// A cluster of nobody, and its page.
fn nobody() -> (FlusterCluster, Admin) {
    let cluster =
        FlusterCluster::from_urls(["redis://:hunter2@127.0.0.1:1", "redis://127.0.0.1:2"]).unwrap();
    let admin = cluster.admin().listen("127.0.0.1:0").unwrap();
    (cluster, admin)
}

/// So many nodes that nobody is behind.
fn many(nodes: usize) -> FlusterCluster {
    let node = |n: usize| {
        let url = format!(
            "redis://127.{}.{}.{}:1",
            1 + n / 65_536,
            n / 256 % 256,
            n % 256
        );
        Node::new(&url).unwrap().name(format!("cache-{n:04}"))
    };
    FlusterCluster::builder()
        .nodes((0..nodes).map(node))
        .build()
        .unwrap()
}
