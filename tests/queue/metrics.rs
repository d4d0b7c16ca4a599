//! The metrics of a queue, by the names that the guide promises.

use std::time::Duration;

use super::rig::{SOON, cluster_of, ms, next};
use crate::observability::Recorded;
use crate::support::{Server, eventually, fleet};

#[test]
fn a_queue_counts_what_it_does_per_node() {
    let seen = Recorded::default();
    // One thread, so that the tasks of the consumer meet the same recorder.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let servers: [Server; 2] = fleet();
    metrics::with_local_recorder(&seen, || runtime.block_on(work(&servers, &seen)));
    let sum = |name: &str, more: &str| -> f64 {
        let of = |s: &Server| seen.get(&format!("{name}{{queue=metrics,node={}{more}}}", s.name()));
        servers.iter().map(of).sum()
    };
    assert_eq!(sum("fluster_queue_pushed_total", ",result=ok"), 6.0);
    assert_eq!(sum("fluster_queue_pushed_total", ",result=full"), 2.0);
    assert_eq!(sum("fluster_queue_delivered_total", ""), 6.0);
    assert_eq!(sum("fluster_queue_redelivered_total", ""), 1.0);
    assert_eq!(sum("fluster_queue_acked_total", ""), 4.0);
    assert_eq!(sum("fluster_queue_dead_total", ""), 1.0);
}

async fn work(servers: &[Server], seen: &Recorded) {
    let cluster = cluster_of(servers);
    let queue = cluster.queue("metrics");
    for n in 0..4 {
        queue.push(n.to_string()).await.unwrap();
    }
    queue.clone().max_len(2).push("full").await.unwrap_err();
    let key = |s: &Server| format!("fluster_queue_depth{{queue=metrics,node={}}}", s.name());
    queue
        .push_at(Duration::from_secs(3_600), "later")
        .await
        .unwrap();
    let consumer = queue.consumer("g", "w").unwrap();
    // Two or three on each, one of them for later.
    eventually(SOON, || {
        servers.iter().map(|s| seen.get(&key(s))).sum::<f64>() == 5.0
    })
    .await;
    assert!(next(&consumer).await.nack(Duration::ZERO).await.unwrap());
    for _ in 0..4 {
        assert!(next(&consumer).await.ack().await.unwrap());
    }
    assert!(consumer.pop(ms(10)).await.unwrap().is_none());
    queue.push("bad").await.unwrap();
    assert!(next(&consumer).await.reject("bad").await.unwrap());
    consumer.close().await;
}
