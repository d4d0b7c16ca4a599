//! Calls from threads that have no runtime.

use std::time::Duration;

use fluster::FlusterCluster;
use redis::{AsyncCommands, Value};
use tokio::runtime::Runtime;

use super::walk::{Held, no_panic, on_a_plain_thread, walk};
use super::{ms, one_thread, within};
use crate::support::{Server, fleet, urls};

#[test]
fn with_a_runtime_given_every_public_function_works_on_a_plain_thread() {
    let servers: [Server; 2] = fleet();
    let background = Runtime::new().unwrap();
    let cluster = FlusterCluster::builder()
        .urls(urls(&servers))
        .runtime(background.handle().clone())
        .build()
        .unwrap();
    let walked = walk(&cluster, Held::default());
    no_panic(&walked, 55);
    let failed: Vec<_> = walked.iter().filter(|(_, end)| end.is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn without_a_runtime_every_public_function_says_what_to_do() {
    let servers: [Server; 2] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let walked = walk(&cluster, Held::default());
    no_panic(&walked, 38);
    for (name, end) in &walked {
        // These need no server, and so no runtime.
        let harmless = ["Events::next", "Cache::get_or_compute", "shutdown"].contains(name);
        match end {
            Ok(()) => assert!(harmless, "{name} did something"),
            Err(e) => assert!(e.contains("no tokio runtime"), "{name}: {e}"),
        }
    }
}

#[test]
fn a_cluster_that_has_its_connections_elsewhere_panics_on_no_plain_thread() {
    let servers: [Server; 2] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let elsewhere = Runtime::new().unwrap();
    let held = elsewhere.block_on(async {
        let _: () = redis::Cmd::set("k", 1)
            .query_async(&mut cluster.clone())
            .await
            .unwrap();
        let queue = cluster.queue("q");
        let consumer = queue.consumer("g", "w").unwrap();
        let mut jobs = Vec::new();
        for n in 0..4 {
            queue.push(format!("{n}")).await.unwrap();
            jobs.push(
                consumer
                    .pop(Duration::from_secs(10))
                    .await
                    .unwrap()
                    .unwrap(),
            );
        }
        Held {
            own: Some(cluster.get_client("k").unwrap().dedicated().await.unwrap()),
            consumer: Some(consumer),
            jobs,
            news: Some(cluster.subscribe(["c"]).await.unwrap()),
            #[cfg(feature = "discovery")]
            following: {
                let source = fluster::discovery::Static::from_urls(urls(&servers)).unwrap();
                Some(cluster.follow(source).unwrap())
            },
        }
    });
    no_panic(&walk(&cluster, held), 50);
}

#[test]
fn a_runtime_that_was_given_and_has_ended_is_an_error_and_no_panic() {
    let servers: [Server; 2] = fleet();
    for used in [true, false] {
        let background = Runtime::new().unwrap();
        let cluster = FlusterCluster::builder()
            .urls(urls(&servers))
            .runtime(background.handle().clone())
            .build()
            .unwrap();
        if used {
            for client in cluster.clients().rounds(1) {
                let mut client = client.unwrap();
                on_a_plain_thread(client.set::<_, _, ()>("k", 1)).unwrap();
            }
        }
        background.shutdown_timeout(Duration::from_secs(5));
        let client = cluster.get_client("k").unwrap();
        for here in [false, true] {
            let all = async {
                let get = redis::Cmd::get("k");
                let asked = cluster.run::<Value>(&get).await;
                assert!(asked.is_err(), "{asked:?}");
                assert!(client.dedicated().await.is_err());
                if let Ok(consumer) = cluster.queue("q").consumer("g", "w") {
                    assert!(!matches!(consumer.pop(ms(20)).await, Ok(Some(_))));
                }
            };
            match here {
                true => one_thread().block_on(all),
                false => on_a_plain_thread(all),
            }
        }
        on_a_plain_thread(cluster.shutdown(ms(20)));
    }
}

#[test]
fn waiting_for_a_node_needs_a_timer_and_says_so() {
    let server = Server::start();
    let background = Runtime::new().unwrap();
    for given in [true, false] {
        let mut builder = FlusterCluster::builder()
            .urls([server.url()])
            .wait_for_node(Duration::from_secs(20));
        if given {
            builder = builder.runtime(background.handle().clone());
        }
        let cluster = builder.build().unwrap();
        let get = redis::Cmd::get("k");
        let _: Value = background.block_on(cluster.run(&get)).unwrap();
        server.kill();
        // The node goes out where a runtime is.
        assert!(within(
            ms(20_000),
            || drop(
                background.block_on(
                    cluster
                        .with_deadline(ms(100))
                        .get_client("k")
                        .unwrap()
                        .get::<_, Value>("k")
                )
            ),
            || cluster.status().active() == 0
        ));
        let restart = std::thread::scope(|threads| {
            let back = threads.spawn(|| {
                std::thread::sleep(ms(200));
                server.restart();
            });
            let got = on_a_plain_thread(cluster.run::<Value>(&get));
            back.join().unwrap();
            got
        });
        assert_eq!(restart.is_ok(), given, "{restart:?}");
    }
}
