//! Those who take and do not give back: they get little, and not for long.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{SOON, get, many, nobody, send};
use crate::support::eventually;

fn open(address: SocketAddr, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    stream
}

/// The first bytes of what comes.
fn first(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 64];
    let read = stream.read(&mut bytes).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sixty_fifth_connection_is_turned_away_and_nobody_stays_for_nothing() {
    let (_cluster, admin) = nobody();
    let at = admin.address();
    let began = Instant::now();
    let mut idle: Vec<TcpStream> = (0..64).map(|_| open(at, "")).collect();
    let one_more = || get(at, "/status", &[]).status;
    eventually(SOON, || one_more() == 503).await;
    drop(idle.pop());
    eventually(SOON, || one_more() == 200).await;
    // Who says nothing, or only half of it, is hung up on.
    let mut half = idle.pop().unwrap();
    half.write_all(b"GET /status HTTP/1.1\r\nhost: lo").unwrap();
    for mut stream in idle.into_iter().chain([half]) {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("it ends");
    }
    let took = began.elapsed();
    assert!(
        (Duration::from_secs(9)..Duration::from_secs(40)).contains(&took),
        "{took:?}"
    );
    assert_eq!(one_more(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seventeenth_reader_of_events_is_turned_away() {
    let (_cluster, admin) = nobody();
    let at = admin.address();
    let ask = format!("GET /events HTTP/1.1\r\nhost: {at}\r\n\r\n");
    let mut readers: Vec<TcpStream> = (0..16).map(|_| open(at, &ask)).collect();
    for reader in &mut readers {
        assert!(first(reader).starts_with("HTTP/1.1 200"));
    }
    let refused = get(at, "/events", &[]);
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.head.contains("retry-after"), "{}", refused.head);
    assert_eq!(get(at, "/status", &[]).status, 200, "others are served");
    drop(readers.pop());
    eventually(SOON, || {
        let mut stream = open(at, &ask);
        first(&mut stream).starts_with("HTTP/1.1 200")
    })
    .await;
    // They stay longer than who asks for one thing.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let mut bytes = [0; 1 << 16];
    for reader in &mut readers {
        reader.set_nonblocking(false).unwrap();
        assert!(reader.read(&mut bytes).expect("still there") > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_beyond_8_kib_is_refused_and_garbage_hurts_nobody() {
    let (_cluster, admin) = nobody();
    let at = admin.address();
    let fits = format!("x-padding: {}", "x".repeat(7_000));
    assert_eq!(get(at, "/status", &[&fits]).status, 200);
    let large = format!("x-padding: {}", "x".repeat(9_000));
    assert_eq!(get(at, "/status", &[&large]).status, 431);
    let path = format!("/explain?key={}", "x".repeat(9_000));
    assert!([414, 431].contains(&get(at, &path, &[]).status));
    for garbage in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "*1\r\n$4\r\nPING\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0",
    ] {
        let answer = send(at, garbage);
        assert!(
            [0, 400, 505].contains(&answer.status),
            "{garbage:?}: {}",
            answer.status
        );
    }
    assert_eq!(get(at, "/status", &[]).status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sender_and_who_does_not_read_are_cut_off() {
    let cluster = many(1000);
    let admin = cluster.admin().listen("127.0.0.1:0").unwrap();
    let at = admin.address();
    let mut slow = open(
        at,
        &format!(
            "POST /explain HTTP/1.1\r\nhost: {at}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
        ),
    );
    // Some hundred kilobytes at once, of which it takes none.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&at.into()).unwrap();
    let mut deaf = TcpStream::from(socket);
    deaf.set_read_timeout(Some(SOON)).unwrap();
    write!(deaf, "GET /events HTTP/1.1\r\nhost: {at}\r\n\r\n").unwrap();
    let began = Instant::now();
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    let took = began.elapsed();
    assert!(
        (Duration::from_secs(8)..Duration::from_secs(18)).contains(&took),
        "{took:?}"
    );
    // By then it is over for the other one, too; what the kernel had of it is all that comes.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut rest = Vec::new();
    let read = deaf.read_to_end(&mut rest);
    let whole = get(at, "/status", &[]).body.len();
    assert!(
        read.is_err() || rest.len() < whole,
        "{read:?}, {} of {whole} bytes",
        rest.len()
    );
}
