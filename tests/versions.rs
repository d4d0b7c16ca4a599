//! What a server is too old for is said at the first connection, and nothing else changes.

use std::time::Duration;

use fluster::FlusterCluster;
use redis::AsyncCommands;

use crate::support::{Fake, Server, Warnings, eventually, fleet, urls};
use crate::workload::SOON;

/// Runs it on one thread, where its warnings are heard.
fn warned<F: Future<Output = ()>>(run: impl FnOnce(Warnings) -> F) -> Warnings {
    let warnings = Warnings::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    warnings.during(|| runtime.block_on(run(warnings.clone())));
    warnings
}

fn capped(url: &str) -> FlusterCluster {
    FlusterCluster::builder()
        .urls([url])
        .stand_in_ttl(Duration::from_secs(30))
        .response_timeout(Duration::from_secs(5))
        .build()
        .unwrap()
}

async fn get(cluster: &FlusterCluster) {
    let value: Option<String> = cluster.clone().get("k").await.unwrap();
    assert_eq!(value, None);
}

#[test]
fn what_a_server_is_too_old_for_is_said_once_with_its_name_and_version() {
    let old = Fake::of_version("6.0.16");
    let node = old.url().trim_start_matches("redis://").to_owned();
    let warnings = warned(async |warnings| {
        let cluster = capped(&old.url());
        get(&cluster).await;
        eventually(SOON, || !warnings.with(&["too old"]).is_empty()).await;
        let said = warnings.with(&["too old", &node, "6.0.16"]);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("`stand_in_ttl` (Redis 7.0)"), "{said:?}");
        assert!(!said[0].contains("queues"), "nobody has one: {said:?}");
        // A queue is made later: that is said then, once.
        for _ in 0..3 {
            drop(cluster.queue("jobs"));
            get(&cluster).await;
        }
        let said = warnings.with(&["too old", &node, "queues (Redis 6.2)"]);
        assert_eq!(said.len(), 1, "{said:?}");
    });
    assert_eq!(warnings.with(&["too old"]).len(), 2);
    assert_eq!(
        old.count("INFO"),
        1,
        "asked once, whatever is dialled later"
    );
}

#[test]
fn of_a_server_that_is_new_enough_nothing_is_said() {
    let servers: [Server; 2] = fleet();
    let warnings = warned(async |_| {
        let cluster = FlusterCluster::builder()
            .urls(urls(&servers))
            .stand_in_ttl(Duration::from_secs(30))
            .build()
            .unwrap();
        drop(cluster.queue("jobs"));
        let asked = || {
            servers
                .iter()
                .all(|s| s.raw(["INFO", "commandstats"]).contains("cmdstat_info"))
        };
        for key in 0..100 {
            let _: Option<String> = cluster.clone().get(key).await.unwrap();
        }
        // The look itself is an INFO too, so this only waits a little.
        eventually(SOON, asked).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    });
    assert!(warnings.with(&[]).is_empty(), "{:?}", warnings.with(&[]));
}

#[test]
fn a_server_that_does_not_say_is_asked_once_and_nothing_changes() {
    let refusals = [
        "-NOPERM this user has no permissions to run the 'info' command\r\n",
        "-ERR unknown command 'INFO'\r\n",
        "$-1\r\n",
        "$7\r\n# Empty\r\n",
    ];
    for refusal in refusals {
        let server = Fake::start(move |words| match words[0].to_uppercase().as_str() {
            "INFO" => Some(refusal.to_owned()),
            // The connection ends, and another one is made.
            "DEL" => None,
            _ => Some(Fake::answer("6.0.16", words)),
        });
        let warnings = warned(async |_| {
            let cluster = capped(&server.url());
            for _ in 0..3 {
                get(&cluster).await;
                eventually(SOON, || server.count("INFO") == 1).await;
                cluster.clone().del::<_, ()>("k").await.unwrap_err();
                get(&cluster).await;
            }
            assert_eq!(cluster.status().active(), 1);
            assert_eq!(cluster.status().nodes[0].ejections, 0);
        });
        assert_eq!(server.count("INFO"), 1, "{refusal:?}");
        assert!(warnings.with(&[]).is_empty(), "{:?}", warnings.with(&[]));
    }
}

/// Some proxies hang up on what they do not know; callers hardly notice, and it ends.
#[test]
fn a_peer_that_hangs_up_over_the_question_is_not_asked_for_ever() {
    let server = Fake::start(|words| match words[0].to_uppercase().as_str() {
        "INFO" => None,
        _ => Some(Fake::answer("6.0.16", words)),
    });
    warned(async |_| {
        let cluster = capped(&server.url());
        for _ in 0..200 {
            // A call that was on its way when the peer hung up fails.
            let _: redis::RedisResult<Option<String>> = cluster.clone().get("k").await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(server.count("INFO"), 2);
        for _ in 0..20 {
            get(&cluster).await;
        }
    });
}
