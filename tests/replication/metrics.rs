//! The metrics of replication and of the cache, by the names that the guide promises.

use std::time::Duration;

use fluster::cache::Cache;
use fluster::replication::{HedgeAfter, Quorum, ReadFrom};

use super::{bring_back, key_on, lose, ms, patient};
use crate::faults::proxy::{Fault, Proxy};
use crate::observability::Recorded;
use crate::support::{Server, eventually, fleet};
use crate::workload::SOON;

const HOUR: Duration = Duration::from_secs(3600);

/// One thread, so that the cluster's tasks meet the same recorder.
pub(super) fn recorded<F: Future<Output = ()>>(work: impl FnOnce(Recorded) -> F) -> Recorded {
    let seen = Recorded::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    metrics::with_local_recorder(&seen, || runtime.block_on(work(seen.clone())));
    seen
}

#[test]
fn hits_misses_repairs_and_quorums_are_counted() {
    let servers: [Server; 3] = fleet();
    let name = servers[0].name();
    let repairs = format!("fluster_read_repairs_total{{node={name}}}");
    let seen = recorded(async |seen| {
        let cluster = patient(&servers).build().unwrap();
        let cache: Cache<String> = cluster
            .cache("")
            .replicas(2)
            .quorum(Quorum::All)
            .raw()
            .unwrap();
        let key = key_on(&cluster, [&servers[0], &servers[1]]);
        assert_eq!(cache.get(&key).await.unwrap(), None);
        cache.set(&key, &"v".to_owned(), HOUR).await.unwrap();
        assert!(cache.get(&key).await.unwrap().is_some());
        lose(&cluster, &servers[0]).await;
        bring_back(&cluster, &servers[0]).await;
        assert!(cache.get(&key).await.unwrap().is_some());
        eventually(SOON, || seen.get(&repairs) == 1.0).await;
        servers[0].raw(["DEL", &key]);
        servers[0].raw(["LPUSH", &key, "a list"]);
        cache.get(&key).await.unwrap_err();
        servers[1].raw(["CONFIG", "SET", "min-replicas-to-write", "1"]);
        cache.set(&key, &"v".to_owned(), HOUR).await.unwrap_err();
    });
    let reads = |result: &str| {
        seen.get(&format!(
            "fluster_cache_reads_total{{cache=,result={result}}}"
        ))
    };
    assert_eq!(
        (reads("hit"), reads("miss"), reads("error")),
        (2.0, 1.0, 1.0)
    );
    let writes = |result: &str| {
        seen.get(&format!(
            "fluster_replicated_writes_total{{result={result}}}"
        ))
    };
    assert_eq!((writes("ok"), writes("failed")), (1.0, 1.0));
}

#[test]
fn hedges_are_counted_by_what_became_of_them() {
    let servers: [Server; 2] = fleet();
    let proxy = Proxy::start(&servers[0]);
    let seen = recorded(async |_| {
        let cluster = fluster::FlusterCluster::builder()
            .urls([proxy.url(), servers[1].url()])
            .response_timeout(Duration::from_secs(5))
            .hedge_budget(0.0001)
            .build()
            .unwrap();
        let mut keys = (0..10_000).map(|i| format!("key:{i}"));
        let key = keys
            .find(|k| cluster.get_node(k).unwrap() == *proxy.name())
            .unwrap();
        let from = ReadFrom::Hedged {
            after: HedgeAfter::Fixed(ms(20)),
        };
        let get = redis::cmd("GET").arg(&key).to_owned();
        let replicas = cluster.replicas(&key, 2).unwrap();
        let read = async || {
            replicas
                .read::<Option<String>>(&get, from.clone())
                .await
                .unwrap()
        };
        read().await;
        proxy.set(Fault::Delay(ms(300)));
        for _ in 0..12 {
            read().await;
        }
    });
    let hedges = |result: &str| seen.get(&format!("fluster_hedges_total{{result={result}}}"));
    assert_eq!(
        hedges("won") + hedges("lost"),
        10.0,
        "what a cluster begins with"
    );
    assert!(hedges("won") >= 8.0, "{}", hedges("won"));
    // On a busy machine the first read may take a hedge too.
    let denied = hedges("denied");
    assert!((2.0..=3.0).contains(&denied), "{denied}");
}
