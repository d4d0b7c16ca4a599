//! What a consumer writes to the log, and what it leaves to those who know better.

use redis::AsyncCommands;

use super::heard::listening;
use super::rig::{SOON, cluster_of, ms, next};
use crate::support::{eventually, eventually_some, fleet};

#[test]
fn a_node_that_dies_is_one_warning_and_the_last_one_an_error() {
    let heard = listening(|heard| async move {
        let servers = fleet::<2>();
        let mut cluster = cluster_of(&servers);
        let queue = cluster.queue("quiet");
        let consumers = ["a", "b", "c"].map(|name| queue.consumer("g", name).unwrap());
        for consumer in &consumers {
            queue.push("x").await.unwrap();
            drop(consumer.pop(ms(300)).await);
        }
        servers[0].kill();
        eventually(SOON, || cluster.status().active() == 1).await;
        tokio::time::sleep(ms(1_500)).await;
        let lines = heard.with(&["WARN", &servers[0].name()]);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        servers[1].kill();
        eventually_some(SOON, async || {
            let _: Result<(), _> = cluster.set("k", 1).await;
            (cluster.status().active() == 0).then_some(())
        })
        .await;
        tokio::time::sleep(ms(1_500)).await;
        let lines = heard.with(&["WARN"]);
        assert_eq!(lines.len(), 2, "{lines:#?}");
        let lines = heard.with(&["ERROR"]);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains("the last node went out"), "{lines:#?}");
        servers.iter().for_each(|s| s.restart());
        eventually(SOON, || cluster.status().active() == 2).await;
        queue.push("y").await.unwrap();
        let job = eventually_some(SOON, async || {
            futures_util::future::select_all(consumers.iter().map(|c| Box::pin(c.pop(ms(300)))))
                .await
                .0
                .ok()
                .flatten()
        })
        .await;
        drop(job.ack().await);
    });
    assert_eq!(
        heard.with(&["INFO", "a first node is back"]).len(),
        1,
        "{:#?}",
        heard.with(&["INFO"])
    );
}

#[test]
fn a_server_that_may_evict_jobs_is_told_once() {
    for (policy, lines) in [("allkeys-lru", 1), ("volatile-lru", 0), ("noeviction", 0)] {
        let heard = listening(|heard| async move {
            let servers = fleet::<1>();
            servers[0].raw(["CONFIG", "SET", "maxmemory-policy", policy]);
            let cluster = cluster_of(&servers);
            for n in 0..20 {
                cluster.queue("evicted").push(n.to_string()).await.unwrap();
            }
            let consumer = cluster.queue("evicted").consumer("g", "w").unwrap();
            next(&consumer).await.ack().await.unwrap();
            let warned = eventually_some(ms(1_500), async || {
                let warned = heard.with(&["WARN", "allkeys-lru"]).len();
                (warned > 0 || lines == 0).then_some(warned)
            })
            .await;
            assert_eq!(warned, lines);
            tokio::time::sleep(ms(500)).await;
        });
        assert_eq!(
            heard.with(&["WARN", "evict"]).len(),
            lines,
            "{policy}: {:?}",
            heard.with(&["WARN"])
        );
    }
}

#[test]
fn a_producer_alone_is_told_too_also_where_config_is_refused() {
    let heard = listening(|heard| async move {
        let servers = fleet::<1>();
        servers[0].raw(["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]);
        servers[0].raw([
            "ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-config",
        ]);
        let url = servers[0].url().replace("redis://", "redis://app:pw@");
        let cluster = fluster::FlusterCluster::from_urls([url]).unwrap();
        cluster.queue("evicted").push("x").await.unwrap();
        eventually(SOON, || heard.with(&["WARN", "allkeys-random"]).len() == 1).await;
    });
    assert_eq!(
        heard.with(&["WARN"]).len(),
        1,
        "{:?}",
        heard.with(&["WARN"])
    );
}
