//! A node that just came back is not overrun.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use fluster::{Client, DedicatedClient, Error, FlusterCluster, NodeState, Penalty};
use redis::AsyncCommands;
use tokio::task::JoinHandle;

use crate::support::{Fake, eventually};
use crate::workload::SOON;

const LOADING: u8 = 0;
const WELL: u8 = 1;
/// Nobody gets through the set-up of a connection.
const SLOW: u8 = 2;

fn eight(client: &Client) -> Vec<JoinHandle<Result<DedicatedClient, Error>>> {
    let one = || {
        let client = client.clone();
        tokio::spawn(async move { client.dedicated().await })
    };
    (0..8).map(|_| one()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_probation_gets_two_dials_at_once_and_four_when_it_is_over() {
    let mood = Arc::new(AtomicU8::new(LOADING));
    let waiting = Arc::new(AtomicUsize::new(0));
    let (its_mood, its_waiting) = (Arc::clone(&mood), Arc::clone(&waiting));
    let fake = Fake::start(move |words| {
        let is_set_up = !["PING", "INFO", "GET"].contains(&&*words[0].to_uppercase());
        match its_mood.load(SeqCst) {
            LOADING => return Some("-LOADING soon\r\n".to_owned()),
            SLOW if is_set_up => {
                its_waiting.fetch_add(1, SeqCst);
                while its_mood.load(SeqCst) == SLOW {
                    thread::sleep(Duration::from_millis(5));
                }
                its_waiting.fetch_sub(1, SeqCst);
            }
            _ => {}
        }
        Some(Fake::answer("7.0.15", words))
    });
    let cluster = FlusterCluster::builder()
        .urls([fake.url()])
        .connect_timeout(SOON)
        .deadline(SOON)
        .penalty(Penalty::default().probation(3 * SOON))
        .build()
        .unwrap();
    let mut client = cluster.get_client("k").unwrap();
    let state = || cluster.status().nodes[0].state;
    // Its end is nobody's business here.
    let _ = client.get::<_, Option<String>>("k").await;
    assert!(!state().admits(), "it said that it is loading");
    mood.store(WELL, SeqCst);
    eventually(SOON, || state() == NodeState::Probation).await;

    let mut held = Vec::new();
    for (is, most) in [(NodeState::Probation, 2), (NodeState::Up, 4)] {
        if is == NodeState::Up {
            for _ in 0..100 {
                let _: Option<String> = client.get("k").await.unwrap();
            }
        }
        assert_eq!(state(), is);
        mood.store(SLOW, SeqCst);
        let dialling = eight(&client);
        eventually(SOON, || waiting.load(SeqCst) == most).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(
            waiting.load(SeqCst),
            most,
            "dials at once, while it is {is}"
        );
        mood.store(WELL, SeqCst);
        for one in dialling {
            held.push(one.await.unwrap().expect("a connection, in its turn"));
        }
    }
    assert_eq!(held.len(), 16);
}
