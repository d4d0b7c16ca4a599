//! Sources that are broken or hostile: what they say is bounded, what they do ends nothing.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use fluster::discovery::{
    self, Discovery, DiscoveryErrorKind, EmptyPolicy, Endpoint, Follow, NextSnapshot, Snapshot,
};
use futures_util::StreamExt;
use tokio::time::sleep;

use super::follow::{cluster, ms, ports, told};
use super::logs::Logs;

/// So many servers, each of this weight.
fn many(count: u32, weight: u32) -> Snapshot {
    let all = (0..count).map(|n| {
        let [_, a, b, c] = n.to_be_bytes();
        let mut endpoint = Endpoint::new(format!("10.{a}.{b}.{c}"), 7000);
        endpoint.weight = weight;
        endpoint
    });
    all.collect()
}

#[tokio::test(start_paused = true)]
async fn a_list_with_more_nodes_than_are_applied_changes_nothing() {
    let (teller, source) = told();
    let cluster = cluster();
    let following = cluster.follow(source).unwrap();
    teller.say(&[2, 3]);
    following.ready().await;
    teller.says.send(Ok(many(4_097, 1))).unwrap();
    sleep(ms(20_000)).await;
    assert_eq!(ports(&cluster), [2, 3]);
    let error = following.last_error().expect("it is refused");
    assert_eq!(error.kind(), DiscoveryErrorKind::Invalid);
    let text = error.to_string();
    assert!(
        text.contains("4097") && text.contains("4096") && text.contains("max_nodes"),
        "{text}"
    );
    teller.say(&[2, 3, 4]);
    sleep(ms(40_000)).await;
    assert_eq!(ports(&cluster), [2, 3, 4]);
    assert!(following.last_error().is_none());
    // Another limit.
    let (teller, source) = told();
    let follow = Follow::new().max_nodes(2);
    let following = cluster.follow_with(source, follow.clone()).unwrap();
    teller.say(&[5, 6, 7]);
    sleep(ms(20_000)).await;
    assert_eq!(ports(&cluster), [2, 3, 4]);
    assert!(following.last_error().is_some());
    assert!(follow.nodes(&many(3, 1)).is_empty(), "nor at the beginning");
    assert_eq!(follow.nodes(&many(2, 1)).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_asks_for_more_points_than_are_applied_changes_nothing() {
    let (teller, source) = told();
    let cluster = cluster();
    let following = cluster.follow(source).unwrap();
    teller.say(&[2, 3]);
    following.ready().await;
    // 1000 × 256 × 128 points: a table of a gigabyte.
    teller.says.send(Ok(many(1_000, 256))).unwrap();
    sleep(ms(20_000)).await;
    assert_eq!(ports(&cluster), [2, 3]);
    let text = following.last_error().expect("it is refused").to_string();
    assert!(
        text.contains("32768000") && text.contains("4000000") && text.contains("max_points"),
        "{text}"
    );
    assert!(
        Follow::new().nodes(&many(1_000, 256)).is_empty(),
        "nor at the beginning"
    );
    // The same list is fine where a node has no points.
    let equal = Follow::new().equal_weights();
    let (teller, source) = told();
    let following = cluster.follow_with(source, equal).unwrap();
    teller.says.send(Ok(many(1_000, 256))).unwrap();
    following.ready().await;
    assert_eq!(ports(&cluster).len(), 1_000);
    let (teller, source) = told();
    let few = Follow::new().max_points(3 * 128);
    let following = cluster.follow_with(source, few).unwrap();
    teller.say(&[2, 3, 4, 5]);
    sleep(ms(20_000)).await;
    assert!(following.last_error().is_some());
    teller.say(&[2, 3, 4]);
    sleep(ms(40_000)).await;
    assert_eq!(ports(&cluster), [2, 3, 4]);
}

/// A source that panics in its first calls, in each of its ways.
struct Panics {
    calls: &'static AtomicUsize,
}

impl Discovery for Panics {
    fn source(&self) -> String {
        "panics".into()
    }

    fn next(&mut self) -> NextSnapshot<'_> {
        let n = self.calls.fetch_add(1, Relaxed);
        assert!(n != 0, "before it\nis polled");
        Box::pin(async move {
            sleep(ms(10)).await;
            assert!(n != 1, "while it waits: {}", "x".repeat(10_000));
            if n > 2 {
                sleep(Duration::from_secs(5)).await;
            }
            Ok(
                [Endpoint::new("127.0.0.1", 2), Endpoint::new("127.0.0.1", 3)]
                    .into_iter()
                    .collect(),
            )
        })
    }

    fn refresh(&mut self) {
        assert!(self.calls.load(Relaxed) > 1, "when it is told to");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_is_an_error_and_is_asked_again() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let cluster = cluster();
    let following = cluster.follow(Panics { calls: &CALLS }).unwrap();
    sleep(ms(100)).await;
    let error = following.last_error().expect("it is noticed");
    assert_eq!(error.kind().as_str(), "panicked", "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with("panics: it panicked: ") && text.len() < 400,
        "{text}"
    );
    assert!(!text.contains('\n'));
    sleep(ms(5_000)).await;
    assert!(following.is_running());
    assert_eq!(ports(&cluster), [2, 3], "asked again");
    assert!(following.last_error().is_none());

    static OTHER: AtomicUsize = AtomicUsize::new(0);
    let error = discovery::once(&mut Panics { calls: &OTHER }, ms(1_000))
        .await
        .unwrap_err();
    assert_eq!(error.kind().as_str(), "panicked");
    let mut all = Box::pin(discovery::snapshots(Panics { calls: &OTHER }));
    let mut results = Vec::new();
    for _ in 0..3 {
        results.push(all.next().await.expect("it never ends").is_ok());
    }
    assert_eq!(results.last(), Some(&true), "{results:?}");
}

#[tokio::test(start_paused = true)]
async fn a_function_for_nodes_that_panics_leaves_the_nodes_as_they_are() {
    let (teller, source) = told();
    let cluster = cluster();
    let follow = Follow::new().map(|e| match e.port {
        7 => panic!("seven"),
        _ => e.to_node(),
    });
    let following = cluster.follow_with(source, follow).unwrap();
    teller.say(&[2, 3]);
    following.ready().await;
    teller.say(&[2, 3, 7]);
    sleep(ms(1_000)).await;
    assert_eq!(ports(&cluster), [2, 3]);
    let text = following.last_error().expect("it is noticed").to_string();
    assert!(text.contains("seven"), "{text}");
    teller.say(&[2, 3, 4]);
    sleep(ms(1_000)).await;
    assert_eq!(ports(&cluster), [2, 3, 4]);
    assert!(following.is_running());
}

#[test]
fn what_lasts_is_warned_about_once() {
    let logs = Logs::of(true, |logs| async move {
        let (teller, source) = told();
        let cluster = cluster();
        let follow = Follow::new().empty(EmptyPolicy::KeepLast);
        let following = cluster.follow_with(source, follow).unwrap();
        teller.say(&[2, 3, 4, 5]);
        following.ready().await;
        for port in [2, 3, 4, 5, 2, 3] {
            teller.say(&[port]);
            sleep(ms(100)).await;
        }
        assert_eq!(
            logs.warnings("more than half").len(),
            1,
            "{:?}",
            logs.lines()
        );
        teller.say(&[2, 3, 4, 5]);
        for _ in 0..10 {
            teller.say(&[]);
            sleep(ms(100)).await;
        }
        assert_eq!(logs.warnings("no endpoint").len(), 1, "{:?}", logs.lines());
        // Another episode is worth another line.
        teller.say(&[2, 3, 4, 5]);
        teller.say(&[]);
        teller.say(&[2, 3, 4, 5]);
        teller.say(&[2]);
        sleep(ms(100)).await;
        assert_eq!(logs.warnings("no endpoint").len(), 2);
        assert_eq!(logs.warnings("more than half").len(), 2);
    });
    assert!(!logs.lines().is_empty());
}

#[test]
fn a_hundred_endpoints_that_become_no_nodes_are_one_line() {
    let logs = Logs::of(true, |_| async {
        let (teller, source) = told();
        let cluster = cluster();
        let following = cluster.follow(source).unwrap();
        let odd = |n: u16| {
            let mut all: Vec<_> = (0..100)
                .map(|i| Endpoint::new(format!("h {i}\n"), 1))
                .collect();
            all.push(Endpoint::new("127.0.0.1", n));
            all.into_iter().collect::<Snapshot>()
        };
        teller.says.send(Ok(odd(2))).unwrap();
        following.ready().await;
        assert_eq!(ports(&cluster), [2]);
        for n in [3, 2, 3, 2] {
            teller.says.send(Ok(odd(n))).unwrap();
            sleep(ms(1_000)).await;
        }
    });
    let lines = logs.warnings("left out");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("100"), "{lines:?}");
}

#[test]
fn names_hosts_and_labels_of_a_registry_make_no_line_of_their_own() {
    let of = |id: &str, host: &str| {
        let mut endpoint = Endpoint::new(host, 7000);
        endpoint.id = id.into();
        endpoint
    };
    let long = "n".repeat(100_000);
    let host = "h".repeat(7 << 20);
    let bad = [
        of("a\nb", "h"),
        of("a\u{1b}[31m", "h"),
        of("a\u{202e}b", "h"),
        of("a\u{200b}b", "h"),
        of("a\u{feff}b", "h"),
        of("a\u{2028}b", "h"),
        of(&long, "h"),
        of("a b", "h"),
        of("x1", &host),
        of("x2", "h%41"),
        of("x3", "h\u{202e}"),
        of("x4", "h%0a"),
    ];
    let labelled = |key: &str, value: &str| {
        let mut endpoint = of("labelled", "h");
        endpoint.meta.insert(key.into(), value.into());
        endpoint.meta.insert("zone".into(), "west".into());
        endpoint
    };
    let logs = Logs::of(true, |_| async move {
        for endpoint in bad {
            let shown = endpoint.id.chars().take(10).collect::<String>();
            let found = [endpoint].into_iter().collect();
            let nodes = Follow::new().nodes(&found);
            assert!(nodes.is_empty(), "{shown:?} becomes a node");
        }
        for (key, value) in [
            ("a\nb", "v"),
            ("k", "a\u{1b}[31m"),
            ("k", "a\u{202e}"),
            ("k", long.as_str()),
            (long.as_str(), "v"),
        ] {
            let node = labelled(key, value).to_node().unwrap();
            let cluster = fluster::FlusterCluster::builder()
                .node(node)
                .build()
                .unwrap();
            let status = cluster.status();
            let labels = &status.node("labelled").unwrap().labels;
            assert_eq!(labels.len(), 1, "{labels:.300?}");
            assert_eq!(labels["zone"], "west");
        }
    });
    let lines = logs.lines();
    assert!(lines.len() >= 12, "{lines:?}");
    for line in lines {
        let odd = |c: char| c.is_control() || ('\u{200b}'..='\u{202e}').contains(&c);
        assert!(
            line.chars().count() < 800 && !line.contains(odd),
            "{line:.900?}"
        );
    }
}
