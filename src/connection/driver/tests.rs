#[cfg(feature = "tls")]
mod encrypted;
mod room;
mod shifts;
mod writes;

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::{Cmd, Pipeline, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;
use crate::connection::fault::{Fault, LinkError};
use crate::connection::link::send;
use crate::connection::proof::Proof;
use crate::connection::queue::{Bounds, Purpose};
use crate::connection::reply::Reply;
use crate::connection::request::Request;
use crate::node::NodeId;

impl Stream for DuplexStream {}

const BOUNDS: Bounds = Bounds {
    calls: 1000,
    bytes: 1 << 20,
};
const LIMIT: Duration = Duration::from_millis(500);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A connection over a pipe of so many bytes, and the server's end of it.
fn connected(
    pipe: usize,
    pushes: Pushes,
    tokens: bool,
) -> (Arc<Wire>, DuplexStream, JoinHandle<()>) {
    let (ours, theirs) = duplex(pipe);
    let (wire, driver) = driver_on(ours, pushes, tokens);
    let task = tokio::spawn(driver);
    (wire, theirs, task)
}

/// What drives a connection over a stream, and is not polled yet.
fn driver_on<S: Stream>(stream: S, pushes: Pushes, tokens: bool) -> (Arc<Wire>, Driver<S>) {
    let wire = Wire::new(BOUNDS);
    wire.setup_done();
    let proof = Arc::new(Proof::new(&NodeId::from("n"), "", Box::new(|| ())));
    let manner = Manner {
        pushes,
        limits: DecodeLimits::default().reply(1 << 20),
        tokens: tokens.then(|| Tokens::new(&proof)),
    };
    let stats = Arc::new(NodeStats::default());
    let driver = Driver::new(stream, Arc::clone(&wire), stats, manner);
    (wire, driver)
}

fn plain(pipe: usize) -> (Arc<Wire>, DuplexStream, JoinHandle<()>) {
    connected(pipe, Pushes::Never, false)
}

async fn ask(
    wire: &Wire,
    request: Request<'_>,
    limit: Option<Duration>,
) -> Result<Reply, LinkError> {
    let now = tokio::time::Instant::now().into_std();
    let deadline = limit.map(|limit| now + limit);
    send(wire, now, request, deadline, Purpose::User).await
}

fn echo(text: &str) -> Cmd {
    let mut cmd = redis::cmd("ECHO");
    cmd.arg(text);
    cmd
}

async fn echoed(wire: &Wire, text: &str) -> Result<String, LinkError> {
    let reply = ask(wire, Request::One(&echo(text)), Some(LIMIT)).await?;
    match reply {
        Reply::One(Value::BulkString(bytes)) => Ok(String::from_utf8(bytes).expect("text")),
        other => panic!("{other:?}"),
    }
}

/// A server that echoes the last word of each command, in pieces of so many bytes; what it heard is noted.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    piece: usize,
    heard: Arc<Mutex<Vec<String>>>,
) {
    let mut asked = Vec::new();
    loop {
        let n = stream.read_buf(&mut asked).await.unwrap_or(0);
        if n == 0 {
            return;
        }
        while let Some((words, used)) = words(&asked) {
            asked.drain(..used);
            let last = words.last().expect("a word").clone();
            heard.lock().push(words.join(" "));
            let reply = format!("${}\r\n{last}\r\n", last.len());
            for piece in reply.as_bytes().chunks(piece) {
                if stream.write_all(piece).await.is_err() {
                    return;
                }
                // What encrypts keeps some.
                if stream.flush().await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    }
}

/// The first whole command, and its length.
fn words(bytes: &[u8]) -> Option<(Vec<String>, usize)> {
    let line = |at: usize| -> Option<(usize, usize)> {
        let end = at + bytes.get(at..)?.windows(2).position(|w| w == b"\r\n")?;
        let number = std::str::from_utf8(&bytes[at + 1..end])
            .ok()?
            .parse()
            .ok()?;
        Some((number, end + 2))
    };
    let (count, mut at) = line(0)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let (len, begin) = line(at)?;
        let word = bytes.get(begin..begin + len)?;
        words.push(String::from_utf8_lossy(word).into_owned());
        at = begin + len + 2;
    }
    (bytes.len() >= at).then_some((words, at))
}

#[tokio::test(start_paused = true)]
async fn everybody_gets_an_own_reply_through_pipes_and_pieces_of_any_size() {
    for pipe in [1, 7, 64, 4096] {
        for piece in [1, 3, 100] {
            let (wire, theirs, _task) = plain(pipe);
            tokio::spawn(serve(theirs, piece, Arc::default()));
            let calls = (0..40).map(|n| {
                let wire = Arc::clone(&wire);
                async move {
                    for i in 0..10 {
                        let text = format!("{n}-{i}");
                        assert_eq!(echoed(&wire, &text).await.expect("a reply"), text);
                    }
                }
            });
            join_all(calls).await;
            assert_eq!(wire.in_flight(), 0);
        }
    }
}

/// Calls are dropped after each number of polls, and at random moments; the others get their own replies.
#[tokio::test(start_paused = true)]
async fn a_call_may_be_dropped_at_any_moment() {
    for pipe in [5, 30, 4096] {
        let (wire, theirs, _task) = plain(pipe);
        let heard = Arc::<Mutex<Vec<String>>>::default();
        tokio::spawn(serve(theirs, 2, Arc::clone(&heard)));
        let calls = (0..30_u64).map(|n| {
            let wire = Arc::clone(&wire);
            tokio::spawn(async move {
                for i in 0..40_u64 {
                    let text = format!("{n}-{i}");
                    let mut call = Box::pin(echoed(&wire, &text));
                    let mut polls = 1 + (n * 7 + i * 3) % 9;
                    let result = poll_fn(|cx| {
                        let polled = call.as_mut().poll(cx);
                        polls -= 1;
                        match polled {
                            Poll::Ready(result) => Poll::Ready(Some(result)),
                            Poll::Pending if polls == 0 => Poll::Ready(None),
                            Poll::Pending => {
                                cx.waker().wake_by_ref();
                                Poll::Pending
                            }
                        }
                    })
                    .await;
                    drop(call);
                    if let Some(result) = result {
                        assert_eq!(result.expect("a reply"), text, "another's reply");
                    }
                }
            })
        });
        for call in join_all(calls.collect::<Vec<_>>()).await {
            call.expect("all were right");
        }
        assert_eq!(echoed(&wire, "end").await.expect("it lives"), "end");
        assert!(wire.is_clean() && wire.is_usable());
        let heard = heard.lock();
        assert!(heard.iter().all(|line| line.starts_with("ECHO ")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_behind_a_full_socket_never_reaches_the_server_once_it_timed_out() {
    let (wire, mut theirs, _task) = plain(10);
    let first = {
        let wire = Arc::clone(&wire);
        tokio::spawn(async move { echoed(&wire, &"x".repeat(50)).await })
    };
    sleep(ms(100)).await;
    let second = echoed(&wire, "second").await.expect_err("nobody reads");
    assert_eq!((second.fault, second.unsent), (Fault::Timeout, true));
    let first = first.await.expect("no panic").expect_err("nobody reads");
    assert_eq!((first.fault, first.unsent), (Fault::Timeout, false));
    // The rest of the first one follows, and nothing else.
    let third = echoed(&wire, "third");
    let mut third = pin!(third);
    assert!(third.as_mut().now_or_never().is_none());
    let mut seen = Vec::new();
    while timeout(ms(50), theirs.read_buf(&mut seen)).await.is_ok() {}
    let text = String::from_utf8(seen).expect("text");
    assert!(text.contains("third") && !text.contains("second"), "{text}");
    theirs
        .write_all(b"$1\r\nx\r\n$5\r\nthird\r\n")
        .await
        .unwrap();
    assert_eq!(third.await.expect("the late reply was another's"), "third");
}

#[tokio::test(start_paused = true)]
async fn deadlines_hold_whatever_the_timer_was_set_to() {
    let (wire, _theirs, _task) = plain(1 << 16);
    let began = tokio::time::Instant::now();
    let cmd = echo("a");
    let limits = [900, 20, 400, 5, 5000, 21];
    let calls = limits.map(|limit| {
        let (wire, cmd) = (&wire, &cmd);
        async move {
            let failed = ask(wire, Request::One(cmd), Some(ms(limit))).await;
            let took = began.elapsed();
            assert_eq!(failed.expect_err("silence").fault, Fault::Timeout);
            assert!(
                took >= ms(limit) && took <= ms(limit + 3),
                "{limit}: {took:?}"
            );
        }
    });
    join_all(calls).await;
}

#[tokio::test(start_paused = true)]
async fn a_late_reply_goes_to_nobody() {
    let (wire, mut theirs, _task) = plain(1 << 16);
    let timed_out = echoed(&wire, "a").await.expect_err("silence");
    assert_eq!((timed_out.fault, timed_out.unsent), (Fault::Timeout, false));
    let mut call = pin!(echoed(&wire, "b"));
    assert!(call.as_mut().now_or_never().is_none());
    theirs.write_all(b"$1\r\na\r\n").await.unwrap();
    sleep(ms(1)).await;
    assert!(call.as_mut().now_or_never().is_none(), "not its reply");
    theirs.write_all(b"$1\r\nb\r\n").await.unwrap();
    assert_eq!(call.await.expect("its own"), "b");
}

/// A connection cut after each byte of a reply, and of a request.
#[tokio::test(start_paused = true)]
async fn a_cut_connection_says_what_was_sent() {
    let whole = echo("abc").get_packed_command().len();
    for taken in 0..=whole {
        let (wire, mut theirs, _task) = plain(taken.max(1));
        let call = echoed(&wire, "abc");
        let mut call = pin!(call);
        assert!(call.as_mut().now_or_never().is_none());
        if taken == 0 {
            drop(theirs);
        } else {
            // The pipe holds so much, and nobody reads.
            sleep(ms(1)).await;
            theirs.shutdown().await.unwrap();
        }
        let lost = call.await.expect_err("it was cut");
        assert_eq!(lost.fault, Fault::Lost, "{taken}");
        assert_eq!(lost.unsent, taken < whole, "{taken} of {whole}");
    }
    let reply = b"$3\r\nabc\r\n";
    for n in 0..reply.len() {
        let (wire, mut theirs, _task) = plain(1 << 16);
        let mut call = pin!(echoed(&wire, "abc"));
        assert!(call.as_mut().now_or_never().is_none());
        sleep(ms(1)).await;
        theirs.write_all(&reply[..n]).await.unwrap();
        drop(theirs);
        let lost = call.await.expect_err("it was cut");
        assert_eq!((lost.fault, lost.unsent), (Fault::Lost, false), "{n}");
        let later = echoed(&wire, "d").await.expect_err("it is over");
        assert_eq!((later.fault, later.unsent), (Fault::Lost, true), "{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_nobody_asked_for_end_the_connection_at_once() {
    for stray in [&b"+OK\r\n"[..], b"$5\r\nab", b"x", b">1\r\n+x\r\n"] {
        let (wire, mut theirs, _task) = plain(1 << 16);
        sleep(ms(1)).await;
        theirs.write_all(stray).await.unwrap();
        sleep(ms(1)).await;
        assert!(wire.is_dead(), "{stray:?}");
        let later = echoed(&wire, "a").await.expect_err("it is over");
        assert!(later.unsent, "{stray:?}");
    }
    // Behind the reply to a command, too.
    let (wire, mut theirs, _task) = plain(1 << 16);
    let mut call = pin!(echoed(&wire, "a"));
    assert!(call.as_mut().now_or_never().is_none());
    sleep(ms(1)).await;
    theirs.write_all(b"$1\r\na\r\n+OK\r\n").await.unwrap();
    assert_eq!(call.await.expect("its own"), "a");
    assert!(wire.is_dead());
}

#[tokio::test(start_paused = true)]
async fn pushes_go_to_their_sink_and_confirmations_to_both() {
    let heard = Arc::<Mutex<Vec<PushInfo>>>::default();
    let notes = Arc::clone(&heard);
    let sink: PushSink = Arc::new(move |push| notes.lock().push(push));
    let (wire, mut theirs, task) = connected(1 << 16, Pushes::Expected(sink), false);
    let mut subscribe = redis::cmd("SUBSCRIBE");
    subscribe.arg("c");
    let mut call = pin!(ask(&wire, Request::One(&subscribe), Some(LIMIT)));
    assert!(call.as_mut().now_or_never().is_none());
    sleep(ms(1)).await;
    for byte in
        b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\n1\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
    {
        theirs.write_all(&[*byte]).await.unwrap();
        sleep(ms(1)).await;
    }
    assert!(matches!(call.await, Ok(Reply::One(Value::Push { .. }))));
    let mut call = pin!(echoed(&wire, "a"));
    assert!(call.as_mut().now_or_never().is_none());
    sleep(ms(1)).await;
    theirs
        .write_all(
            b">3\r\n+message\r\n$1\r\nc\r\n$1\r\n2\r\n$1\r\na\r\n>2\r\n+subscribe\r\n$1\r\nd\r\n",
        )
        .await
        .unwrap();
    assert_eq!(call.await.expect("no push"), "a");
    drop(theirs);
    task.await.expect("it ends");
    let kinds: Vec<_> = heard.lock().iter().map(|push| push.kind.clone()).collect();
    use PushKind::{Disconnection, Message, Subscribe};
    assert_eq!(kinds, [Message, Message, Subscribe, Disconnection]);
}

#[tokio::test(start_paused = true)]
async fn a_token_goes_along_once_a_second() {
    let (wire, theirs, _task) = connected(1 << 16, Pushes::Never, true);
    let heard = Arc::<Mutex<Vec<String>>>::default();
    tokio::spawn(serve(theirs, 100, Arc::clone(&heard)));
    for n in 0..350 {
        let text = format!("t{n}");
        assert_eq!(echoed(&wire, &text).await.expect("a reply"), text);
        sleep(ms(10)).await;
    }
    let tokens = heard
        .lock()
        .iter()
        .filter(|l| l.contains("fluster-"))
        .count();
    assert!((2..=4).contains(&tokens), "{tokens} tokens in 3.5 s");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_told_when_the_task_is_ended() {
    let (wire, _theirs, task) = plain(20);
    let calls = (0..3).map(|n| {
        let wire = Arc::clone(&wire);
        tokio::spawn(async move { echoed(&wire, &format!("{n}")).await })
    });
    let calls: Vec<_> = calls.collect();
    sleep(ms(1)).await;
    task.abort();
    let mut unsent = Vec::new();
    for call in join_all(calls).await {
        let lost = call.expect("no panic").expect_err("it is over");
        assert_eq!(lost.fault, Fault::Lost);
        unsent.push(lost.unsent);
    }
    // Less than one whole command has left.
    assert_eq!(unsent, [true, true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_reply_beyond_the_limit_ends_the_connection() {
    for head in ["$9999999\r\n", "*9999999\r\n"] {
        let (wire, mut theirs, _task) = plain(1 << 16);
        let mut call = pin!(echoed(&wire, "a"));
        assert!(call.as_mut().now_or_never().is_none());
        sleep(ms(1)).await;
        theirs.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(call.await.expect_err(head).fault, Fault::Flood);
    }
    // All replies of a pipeline are one answer.
    let (wire, mut theirs, _task) = plain(1 << 22);
    let mut pipeline = Pipeline::new();
    for _ in 0..4 {
        pipeline.cmd("GET").arg("k");
    }
    let mut call = pin!(ask(&wire, Request::Many(&pipeline), Some(LIMIT)));
    assert!(call.as_mut().now_or_never().is_none());
    sleep(ms(1)).await;
    let value = format!("$500000\r\n{}\r\n", "v".repeat(500_000));
    theirs.write_all(value.repeat(4).as_bytes()).await.unwrap();
    assert_eq!(
        call.await.map(drop).expect_err("too much").fault,
        Fault::Flood
    );
}
