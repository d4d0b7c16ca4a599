//! A node falls silent: what it costs a single client, which nobody warns.

use std::time::{Duration, Instant};

use fluster::{FlusterCluster, NodeState};
use redis::{AsyncCommands, Cmd};

use crate::faults::rig::Lateness;
use crate::support::{Server, eventually_some, fleet, urls};
use crate::workload::{SOON, key};

/// How long an answer is waited for, and a connection: longer than by default, so that a busy machine does not
/// decide.
const T: Duration = Duration::from_secs(1);

/// How the client asks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Write,
    Read,
    Client,
    Exclusive,
}

async fn ask(cluster: &FlusterCluster, way: Way, key: &str) -> Result<(), String> {
    let words = |e: &dyn std::fmt::Display| e.to_string();
    match way {
        Way::Write => {
            let set = Cmd::set(key, "v");
            cluster
                .run_with_key::<()>(key, &set)
                .await
                .map_err(|e| words(&e))
        }
        Way::Read => {
            let read = cluster
                .run_with_key::<Option<String>>(key, &Cmd::get(key))
                .await;
            read.map(drop).map_err(|e| words(&e))
        }
        Way::Client => {
            let mut client = cluster.get_client(key).map_err(|e| words(&e))?;
            let read = client.get::<_, Option<String>>(key).await;
            read.map(drop).map_err(|e| words(&e))
        }
        Way::Exclusive => {
            let client = cluster.get_client(key).map_err(|e| words(&e))?;
            let mut own = client.dedicated().await.map_err(|e| words(&e))?;
            let read = own.get::<_, Option<String>>(key).await;
            read.map(drop).map_err(|e| words(&e))
        }
    }
}

fn timed_out(error: &str) -> bool {
    error.contains("no reply within")
}

fn cluster_of(servers: &[Server]) -> FlusterCluster {
    FlusterCluster::builder()
        .urls(urls(servers))
        .response_timeout(T)
        .connect_timeout(T)
        .deadline(3 * T)
        .build()
        .unwrap()
}

fn key_at(cluster: &FlusterCluster, server: &Server) -> String {
    let mut keys = (0..).map(key);
    keys.find(|key| cluster.get_node(key).unwrap() == *server.name())
        .unwrap()
}

/// All the time that calls took until ten in a row were answered, and the errors among them.
async fn until_served(cluster: &FlusterCluster, way: Way, key: &str) -> (Duration, Vec<String>) {
    let (mut waited, mut errors, mut good) = (Duration::ZERO, Vec::new(), 0);
    let began = Instant::now();
    while good < 10 {
        assert!(began.elapsed() < SOON, "{way:?}: {errors:?}");
        let asked = Instant::now();
        let answer = ask(cluster, way, key).await;
        waited += asked.elapsed();
        good += 1;
        if let Err(e) = answer {
            good = 0;
            errors.push(e);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (waited, errors)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_falls_silent_costs_one_client_one_time_out_and_not_a_dial_as_well() {
    for way in [Way::Write, Way::Read, Way::Client, Way::Exclusive] {
        // Where this process stands still, a dial gets all of its time.
        let mut tries = 0;
        while !is_waited_for_once(way).await {
            tries += 1;
            assert!(tries < 10, "{way:?}: this machine is too busy to tell");
        }
    }
}

/// `false` when this process was too late to tell.
async fn is_waited_for_once(way: Way) -> bool {
    let servers: [Server; 3] = fleet();
    let cluster = cluster_of(&servers);
    let key = key_at(&cluster, &servers[0]);
    ask(&cluster, way, &key).await.expect("all is well");

    let lateness = Lateness::watch();
    servers[0].stop();
    let (waited, errors) = until_served(&cluster, way, &key).await;
    let late = lateness.end().await;
    println!(
        "{way:?}: {waited:?} in calls, {} errors, {late:?} late",
        errors.len()
    );
    assert!(waited >= T, "{way:?}: it was silent: {waited:?}");
    if late > T / 20 {
        return false;
    }
    assert!(
        waited < T.mul_f64(1.6),
        "{way:?}: {waited:?} in calls, {errors:?}"
    );
    let lost = errors.iter().filter(|e| timed_out(e)).count();
    match way {
        Way::Write => assert_eq!(errors.len(), 1, "the one that was on its way: {errors:?}"),
        Way::Read => assert!(errors.is_empty(), "{errors:?}"),
        Way::Client | Way::Exclusive => assert_eq!(lost, 1, "{errors:?}"),
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_slow_once_stays_in_and_gets_its_calls_back() {
    let servers: [Server; 3] = fleet();
    let cluster = cluster_of(&servers);
    let key = key_at(&cluster, &servers[0]);
    ask(&cluster, Way::Write, &key).await.expect("all is well");

    servers[0].stop();
    let error = ask(&cluster, Way::Write, &key)
        .await
        .expect_err("it is silent");
    assert!(timed_out(&error), "{error}");
    // The dial that tells is under way: whoever does not wait for its end is answered elsewhere.
    let (next, ()) = tokio::join!(ask(&cluster, Way::Write, &key), async {
        tokio::time::sleep(T / 2).await;
        servers[0].cont();
    });
    next.expect("by one or the other");
    servers[0].raw(["DEL", &key]);
    eventually_some(SOON, async || {
        let again = ask(&cluster, Way::Write, &key).await;
        again.expect("there is no other trouble");
        servers[0].get(&key)
    })
    .await;
    let node = &cluster.status().nodes[0];
    assert_eq!((node.ejections, node.state), (0, NodeState::Up));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_node_is_waited_for_as_long_as_a_dial_takes() {
    let server = Server::start();
    let cluster = cluster_of(std::slice::from_ref(&server));
    ask(&cluster, Way::Write, "k").await.expect("all is well");
    server.stop();
    ask(&cluster, Way::Write, "k")
        .await
        .expect_err("it is silent");
    let (next, ()) = tokio::join!(ask(&cluster, Way::Write, "k"), async {
        tokio::time::sleep(T / 2).await;
        server.cont();
    });
    next.expect("nobody else could answer");
}
