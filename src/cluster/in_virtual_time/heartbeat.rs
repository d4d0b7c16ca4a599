//! Nodes that serve and that nobody has asked for a while.

use super::*;

const A: &str = "10.0.0.1:6379";
const B: &str = "10.0.0.2:6379";

#[tokio::test(start_paused = true)]
async fn a_used_node_is_asked_for_a_sign_of_life_each_quarter_of_a_minute_and_an_unused_one_never()
{
    let world = World::served(&["a", "b"]);
    world.call("a").await.expect("an answer");
    world.until(s(180)).await;
    // A wait is 12 to 18 s, looked at each second.
    let beats = world.network.heard(A, "PING");
    assert!(
        (180 / 19..=180 / 12).contains(&beats),
        "{beats} in three minutes"
    );
    assert_eq!(world.network.connections(A), 1, "on the lane that there is");
    assert_eq!(world.network.connections(B), 0, "nobody uses it");
}

#[tokio::test(start_paused = true)]
async fn a_busy_node_is_not_asked() {
    let world = World::served(&["a", "b"]);
    for n in 0..60 {
        world.until(n * s(2)).await;
        world.call("a").await.expect("an answer");
    }
    assert_eq!(world.network.heard(A, "GET"), 60);
    assert_eq!(world.network.heard(A, "PING"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_forgotten_is_replaced_and_says_nothing_of_the_node() {
    let mut world = World::served(&["a", "b"]);
    world.call("a").await.expect("an answer");
    world.network.forget(A);
    world.until(s(30)).await;
    assert!(!world.backend("a").lane().has_live(), "it was silent");
    assert_eq!(world.network.connections(A), 2, "a second opinion");
    assert_eq!(world.network.heard(A, "PING"), 1, "which was a good one");
    assert_eq!((world.is("a"), world.told().len()), ((NodeState::Up, 0), 0));
    let began = clock::now();
    world.call("a").await.expect("an answer");
    assert!(clock::since(began) <= STEP, "no caller waits for it");
    assert_eq!(world.network.connections(A), 3);
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_that_nobody_asks_is_suspected_and_no_more() {
    let mut world = World::served(&["a", "b"]);
    world.call("a").await.expect("an answer");
    world.network.serve(A, Manner::Stopped);
    world.until(s(120)).await;
    assert_eq!(
        world.network.connections(A),
        2,
        "one second opinion, and nobody is in need"
    );
    assert_eq!(world.is("a"), (NodeState::Up, 0), "one strike");
    assert_eq!(world.told(), [""; 0]);
    // Whoever needs it is told within a dial's time, and the node is out.
    let began = clock::now();
    let error = world.call("a").await.expect_err("it is silent");
    assert!(clock::since(began) <= ms(502), "{error}");
    assert_eq!(world.is("a"), (NodeState::Down, 1));
    world.network.serve(A, Manner::Well);
    sleep(s(2)).await;
    world.call("a").await.expect("it is back");
    assert_eq!(world.told(), ["down a timeout", "up a"]);
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_connection_is_asked_while_it_is_idle_and_closed_in_time() {
    let world = World::served_with(&["a", "b"], |builder| builder.idle_timeout(s(60)));
    let client = world.cluster.get_client_of_node("a");
    let client = client.expect("it is there");
    drop(client.dedicated().await.expect("a connection"));
    let open = || world.cluster.status().nodes[0].dedicated;
    world.until(s(59)).await;
    assert_eq!(open(), 1);
    let beats = world.network.heard(A, "PING");
    assert!((59 / 19..=59 / 12).contains(&beats), "{beats} in a minute");
    world.until(s(62)).await;
    assert_eq!(open(), 0, "no question keeps it in use");
}
