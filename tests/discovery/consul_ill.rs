//! What a healthy Consul agent never does.

use std::time::{Duration, Instant};

use fluster::FlusterCluster;
use fluster::discovery::{self, Consul, Discovery, DiscoveryErrorKind};

use super::scripted::{Asked, Reply, Scripted, answer};
use crate::support::PortClaim;
use crate::workload::SOON;

/// A recorded answer of a real agent, as its `X-Consul-Index` says.
const TWO: &str = include_str!("../fixtures/consul/health.json");
const ONE: &str = include_str!("../fixtures/consul/block.json");

fn ok(index: &str, body: &str) -> Reply {
    answer("200 OK", &format!("X-Consul-Index: {index}\r\n"), body)
}

fn source(server: &Scripted) -> Consul {
    Consul::new(server.url(), "redis").unwrap()
}

/// The index that a request waits for; `None` when it asks for an answer at once.
fn index(asked: &Asked) -> Option<String> {
    let line = asked.head.lines().next()?;
    let (_, rest) = line.split_once("index=")?;
    Some(rest.chars().take_while(char::is_ascii_digit).collect())
}

#[tokio::test]
async fn recorded_answers_follow_each_other_by_their_index() {
    let recorded = |headers: &str| {
        let line = headers
            .lines()
            .find_map(|l| l.strip_prefix("X-Consul-Index: "));
        line.expect("an index").to_owned()
    };
    let first = recorded(include_str!("../fixtures/consul/health.headers"));
    let second = recorded(include_str!("../fixtures/consul/block.headers"));
    let server = Scripted::start(move |n, _| match n {
        0 => ok(&first, TWO),
        1 => ok(&second, ONE),
        _ => Reply::Hang,
    });
    let mut source = source(&server);
    assert_eq!(source.next().await.unwrap().len(), 2);
    let left = source.next().await.unwrap();
    assert_eq!(left.endpoints()[0].id, "vm/redis-1");
    drop(tokio::time::timeout(Duration::from_millis(500), source.next()).await);
    let asked: Vec<_> = server.asked().iter().map(index).collect();
    assert_eq!(asked, [None, Some("14".into()), Some("15".into())]);
    let line = server.asked()[1].head.lines().next().unwrap().to_owned();
    assert_eq!(
        line,
        "GET /v1/health/service/redis?passing=1&index=14&wait=55000ms HTTP/1.1"
    );
}

#[tokio::test]
async fn neither_data_nor_index_are_taken_from_an_error() {
    let server = Scripted::start(|n, _| match n {
        1 => answer("500 Internal Server Error", "X-Consul-Index: 99\r\n", "[]"),
        2 => answer(
            "301 Moved",
            "X-Consul-Index: 99\r\nLocation: /elsewhere\r\n",
            "[]",
        ),
        _ => ok("14", TWO),
    });
    let mut source = source(&server);
    assert_eq!(source.next().await.unwrap().len(), 2);
    let error = source.next().await.unwrap_err();
    assert_eq!(error.kind(), DiscoveryErrorKind::Unavailable);
    assert!(
        error.to_string().contains("500 Internal Server Error: []"),
        "{error}"
    );
    assert_eq!(
        source.next().await.unwrap_err().kind(),
        DiscoveryErrorKind::Invalid
    );
    assert_eq!(source.next().await.unwrap().len(), 2);
    let asked: Vec<_> = server.asked().iter().map(index).collect();
    assert_eq!(asked, [None, Some("14".into()), None, None]);
}

#[tokio::test]
async fn an_index_that_goes_back_starts_again() {
    let server = Scripted::start(|n, _| match n {
        0 => ok("14", TWO),
        1 => ok("3", ONE),
        _ => ok("4", TWO),
    });
    let mut source = source(&server);
    for wanted in [2, 1, 2, 2] {
        assert_eq!(source.next().await.unwrap().len(), wanted);
    }
    let asked: Vec<_> = server.asked().iter().map(index).collect();
    assert_eq!(asked, [None, Some("14".into()), None, Some("4".into())]);
}

#[tokio::test]
async fn an_agent_that_never_waits_is_not_asked_in_a_storm() {
    for (index, most) in [("14", 6), ("0", 1)] {
        let server = Scripted::start(move |_, _| ok(index, TWO));
        let cluster = FlusterCluster::from_urls(["redis://127.0.0.1:1"]).unwrap();
        let following = cluster.follow(source(&server)).unwrap();
        following.ready().await;
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let asked = server.asked().len();
        assert!(
            (1..=most).contains(&asked),
            "index {index}: {asked} in a second"
        );
    }
}

#[tokio::test]
async fn garbage_hugeness_silence_and_a_cut_are_errors_with_a_name_and_an_end() {
    let cut = || {
        let head = format!(
            "HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: {}\r\n\r\n",
            TWO.len()
        );
        Reply::SendAndClose(format!("{head}{}", &TWO[..TWO.len() / 2]).into_bytes())
    };
    type Script = fn() -> Reply;
    use DiscoveryErrorKind::{Invalid, TimedOut, Unreachable};
    let cases: [(&str, Script, DiscoveryErrorKind); 9] = [
        ("html", || ok("7", "<html>busy\n</html>"), Invalid),
        ("half", || ok("7", &TWO[..100]), Invalid),
        ("another thing", || ok("7", "{\"Node\": 1}"), Invalid),
        (
            "no HTTP",
            || Reply::SendAndClose(b"-ERR unknown command 'GET'\r\n".to_vec()),
            Invalid,
        ),
        ("noise", || Reply::SendForEver(vec![0xff; 10]), Invalid),
        (
            "huge, as it says",
            || {
                Reply::SendForEver(
                    b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 99999999999\r\n\r\n["
                        .to_vec(),
                )
            },
            Invalid,
        ),
        (
            "huge, until it ends",
            || Reply::SendForEver(b"HTTP/1.1 200 OK\r\n\r\n[".to_vec()),
            Invalid,
        ),
        ("silent", || Reply::Hang, TimedOut),
        (
            "silent in its answer",
            || Reply::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[".to_vec()),
            TimedOut,
        ),
    ];
    let deadline = Duration::from_millis(1_500);
    let one = async |what: &str, server: Scripted, kind| {
        let began = Instant::now();
        let error = discovery::once(&mut source(&server), deadline)
            .await
            .unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{what}: {text}");
        assert!(
            text.starts_with("consul:redis") && !text.contains('\n') && text.len() < 400,
            "{what}: {text}"
        );
        assert!(began.elapsed() < SOON, "{what}");
    };
    for (what, script, kind) in cases {
        one(what, Scripted::start(move |_, _| script()), kind).await;
    }
    one("cut", Scripted::start(move |_, _| cut()), Unreachable).await;
    one(
        "hung up",
        Scripted::start(|_, _| Reply::SendAndClose(Vec::new())),
        Unreachable,
    )
    .await;
    // Nobody there at all.
    let free = PortClaim::new();
    let mut source = Consul::new(format!("http://127.0.0.1:{}", free.port()), "redis").unwrap();
    let error = discovery::once(&mut source, deadline).await.unwrap_err();
    assert!(
        error.is_connection_error() && error.to_string().contains("cannot connect"),
        "{error}"
    );
}

#[tokio::test]
async fn a_hang_ends_by_itself_and_the_next_question_is_asked_afresh() {
    let server = Scripted::start(|n, _| match n {
        0 => ok("14", TWO),
        1 => Reply::Hang,
        _ => ok("15", ONE),
    });
    let mut source = source(&server).wait(Duration::from_secs(1));
    source.next().await.unwrap();
    let began = Instant::now();
    let error = source.next().await.unwrap_err();
    assert_eq!(error.kind(), DiscoveryErrorKind::TimedOut);
    // What it may wait, a sixteenth of that, and 5 s.
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(6_000) && took < SOON,
        "{took:?}"
    );
    assert_eq!(source.next().await.unwrap().len(), 1);
    assert_eq!(index(&server.asked()[2]), None);
}

#[tokio::test]
async fn the_token_is_sent_and_shown_nowhere() {
    const SECRET: &str = "hunter2-hunter2";
    let server = Scripted::start(|_, asked| {
        assert!(
            asked
                .head
                .contains(&format!("x-consul-token: {SECRET}\r\n")),
            "{}",
            asked.head
        );
        answer("403 Forbidden", "", &format!("no such token: {SECRET}"))
    });
    let mut source = source(&server).token(SECRET).unwrap();
    let error = discovery::once(&mut source, SOON).await.unwrap_err();
    assert_eq!(error.kind(), DiscoveryErrorKind::Denied);
    let shown = format!("{error} {error:?} {source:?} {}", source.source());
    assert!(
        !shown.contains("hunter2") && shown.contains("<redacted>"),
        "{shown}"
    );
    let error = Consul::new(server.url(), "redis")
        .unwrap()
        .token("hunter2\n")
        .unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_question_that_is_dropped_loses_nothing() {
    let server = Scripted::start(|n, _| match n {
        1 => Reply::Hang,
        _ => ok("14", TWO),
    });
    let mut source = source(&server);
    source.next().await.unwrap();
    drop(tokio::time::timeout(Duration::from_millis(400), source.next()).await);
    assert_eq!(source.next().await.unwrap().len(), 2);
    assert_eq!(
        index(&server.asked()[2]),
        None,
        "what has happened meanwhile is read at once"
    );
}

#[tokio::test]
async fn heads_without_end_are_an_error_long_before_the_deadline() {
    for flood in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n",
    ] {
        let flood = flood.repeat(1_000);
        let server = Scripted::start(move |_, _| Reply::Flood(flood.clone().into_bytes()));
        let mut source = source(&server);
        let error = discovery::once(&mut source, Duration::from_secs(4)).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), DiscoveryErrorKind::Invalid, "{error}");
        assert!(
            server.flooded() < 16 << 20,
            "{} bytes were read",
            server.flooded()
        );
    }
}

#[tokio::test]
async fn an_index_at_the_end_of_numbers_is_one_like_any_other() {
    let server = Scripted::start(|n, _| match n {
        0 => ok("18446744073709551615", TWO),
        1 => ok("18446744073709551616", ONE),
        _ => ok("7", TWO),
    });
    let mut source = source(&server);
    for wanted in [2, 1, 2] {
        assert_eq!(source.next().await.unwrap().len(), wanted);
    }
}

#[tokio::test]
async fn a_huge_value_where_none_belongs_is_one_short_line() {
    let body = format!(
        "[{{\"Node\": {{\"Node\": \"n\"}}, \"Service\": {{\"Service\": \"s\", \"Port\": \"{}\"}}}}]",
        "a\u{202e}".repeat(1 << 20)
    );
    let server = Scripted::start(move |_, _| ok("7", &body));
    let error = discovery::once(&mut source(&server), SOON)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), DiscoveryErrorKind::Invalid);
    let text = error.to_string();
    assert!(
        text.chars().count() <= 400 && !text.contains('\u{202e}'),
        "{text:.500}"
    );
}

#[tokio::test]
async fn the_token_is_not_shown_where_the_answer_is_cut() {
    const SECRET: &str = "hunter2\"hunter2";
    for before in 90..130 {
        let said = format!("{} {SECRET:?} and more", "x".repeat(before));
        let server = Scripted::start(move |_, _| answer("403 Forbidden", "", &said));
        let mut source = source(&server).token(SECRET).unwrap();
        let text = discovery::once(&mut source, SOON)
            .await
            .unwrap_err()
            .to_string();
        assert!(!text.contains("hunt"), "{before}: {text}");
    }
}

#[tokio::test]
async fn many_services_are_bounded_together() {
    let server = Scripted::start(|_, asked| match asked.head.contains("/catalog/services") {
        true => {
            let names: Vec<_> = (0..9_000).map(|n| format!("\"s{n}\": []")).collect();
            ok("7", &format!("{{{}}}", names.join(",")))
        }
        false => ok("7", TWO),
    });
    let mut source = Consul::all_services(server.url()).unwrap();
    let error = discovery::once(&mut source, SOON).await.unwrap_err();
    assert_eq!(error.kind(), DiscoveryErrorKind::Invalid, "{error}");
    assert!(
        server.asked().len() < 10,
        "before the first of them is asked"
    );
}
