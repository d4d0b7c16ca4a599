//! What a healthy etcd never does, to those who watch it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fluster::FlusterCluster;
use fluster::discovery::{self, Discovery, DiscoveryErrorKind, Etcd};
use serde_json::json;

use super::etcd::{PREFIX, range, watch};
use super::logs::Logs;
use super::scripted::{Reply, Scripted, answer};
use crate::support::eventually;
use crate::workload::SOON;

fn source(server: &Scripted) -> Etcd {
    Etcd::new(server.url(), PREFIX).unwrap()
}

#[tokio::test]
async fn a_revision_at_the_end_of_numbers_is_an_error_and_the_following_goes_on() {
    let server = Scripted::start(|n, asked| match asked.head.contains("/watch") {
        true => Reply::Send(watch("")),
        false if n < 2 => range(u64::MAX, &["a"]),
        false => range(7, &["a", "b"]),
    });
    let cluster = FlusterCluster::from_urls(["redis://127.0.0.1:1"]).unwrap();
    let following = cluster.follow(source(&server)).unwrap();
    eventually(SOON, || following.last_error().is_some()).await;
    let error = following.last_error().unwrap();
    assert_eq!(error.kind(), DiscoveryErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("revision"), "{error}");
    eventually(SOON, || cluster.status().nodes.len() == 2).await;
    assert!(following.is_running());
}

#[tokio::test]
async fn a_flood_of_lines_ends_the_watch() {
    // Without an end in sight, and nothing in it that matters.
    for line in ["\n", "{\"result\":{}}\n"] {
        let chunk = {
            let text = line.repeat(20_000);
            format!("{:x}\r\n{text}\r\n", text.len())
        };
        let server = Scripted::start(move |n, asked| match (asked.head.contains("/watch"), n) {
            (true, 1) => Reply::SendThenFlood(watch(""), chunk.clone().into_bytes()),
            (true, _) => Reply::Send(watch("")),
            (false, 0) => range(7, &["a"]),
            (false, _) => range(8, &["a", "b"]),
        });
        let mut source = source(&server);
        assert_eq!(source.next().await.unwrap().len(), 1);
        let next = tokio::time::timeout(Duration::from_secs(10), source.next());
        let next = next.await.expect("long before its silence would be");
        assert_eq!(next.unwrap().len(), 2);
        assert!(server.flooded() < 64 << 20, "{} bytes", server.flooded());
    }
}

#[tokio::test]
async fn many_changes_at_once_are_few_readings() {
    let events = "{\"result\":{\"events\":[{}]}}\n".repeat(500);
    let server = Scripted::start(move |n, asked| match (asked.head.contains("/watch"), n) {
        (true, _) => Reply::Send(watch(&events)),
        (false, _) => range(7, &["a"]),
    });
    let mut source = source(&server);
    source.next().await.unwrap();
    let mut readings = 0;
    let quiet = Duration::from_millis(1_500);
    while tokio::time::timeout(quiet, source.next()).await.is_ok() {
        readings += 1;
        assert!(readings < 10, "500 changes came in a few pieces");
    }
    assert!(readings > 0);
}

fn kvs(values: &[(&str, &str)]) -> Reply {
    let kvs: Vec<_> = values
        .iter()
        .map(|(id, value)| json!({ "key": STANDARD.encode(format!("{PREFIX}{id}")), "value": STANDARD.encode(value) }))
        .collect();
    let text = json!({ "header": { "revision": "7" }, "kvs": kvs }).to_string();
    answer("200 OK", "", &text)
}

#[test]
fn what_is_left_out_is_said_once_with_its_true_reason_and_no_secret() {
    let logs = Logs::of(false, |_| async {
        let server = Scripted::start(|_, asked| match asked.head.contains("/watch") {
            true => Reply::Send(watch("{\"result\":{\"events\":[{}]}}\n")),
            false => kvs(&[
                (
                    "null",
                    r#"{"host": "h", "port": 1, "weight": null, "tags": null, "meta": null}"#,
                ),
                ("bad", r#"{"host": "h", "port": "hunter2"}"#),
                ("url", "redis://u:hunter2@h:1"),
            ]),
        });
        let mut source = source(&server);
        for _ in 0..3 {
            let found = discovery::once(&mut source, SOON).await.unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!(found.endpoints()[0].id, "null");
        }
    });
    let lines = logs.warnings("");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("2") && lines[0].contains("bad"),
        "{lines:?}"
    );
    assert!(!lines[0].contains("hunter2"), "{lines:?}");
}
