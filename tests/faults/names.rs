//! A node's name leads elsewhere: at once, late, to each other's servers, or nobody says where.

use std::time::{Duration, Instant};

use fluster::{Event, FlusterCluster, Node};
use redis::AsyncCommands;

use super::rig::{SOON, ms, pass, slack};
use crate::support::{
    Dns, Island, Net, Server, eventually, eventually_some, in_a_network, test_name,
};

/// What a name that is watched closely needs: look-ups come each second.
const CLOSELY: Duration = Duration::from_secs(5);

/// Two servers behind two names, each of which says which one it is.
struct Town {
    islands: [Island; 2],
    servers: [Server; 2],
    dns: Dns,
    cluster: FlusterCluster,
}

const NAMES: [&str; 2] = ["a", "b"];

impl Town {
    async fn new(net: &Net) -> Self {
        let islands = [net.island(), net.island()];
        let servers = std::array::from_fn(|n| Server::builder().on(&islands[n]).start());
        let dns = Dns::start(net);
        let node = |name: &str| {
            Node::new(format!("redis://{name}.test"))
                .unwrap()
                .name(name)
        };
        let cluster = FlusterCluster::builder()
            .node(node("a"))
            .node(node("b"))
            .build()
            .unwrap();
        let town = Self {
            islands,
            servers,
            dns,
            cluster,
        };
        town.leads(0, 0);
        town.leads(1, 1);
        for n in [0, 1] {
            town.is(n, NAMES[n]);
            assert_eq!(town.who(n).await, NAMES[n]);
        }
        town
    }

    /// Name `n` leads to this island.
    fn leads(&self, n: usize, island: usize) {
        let name = format!("{}.test", NAMES[n]);
        self.dns.set(&name, &[self.islands[island].address()]);
    }

    /// The server on this island is the one that the name means.
    fn is(&self, island: usize, name: &str) {
        self.servers[island].raw(["SET", "who", name]);
    }

    fn key_of(&self, n: usize) -> String {
        (0..)
            .map(|k| format!("own:{k}"))
            .find(|key| self.cluster.get_node(key).is_ok_and(|is| is == *NAMES[n]))
            .expect("there is no end of keys")
    }

    /// Who serves the keys of node `n`.
    async fn who(&self, n: usize) -> String {
        eventually_some(SOON, async || {
            let mut client = self.cluster.get_client(self.key_of(n)).unwrap();
            client.get("who").await.ok()
        })
        .await
    }

    /// All connections to this server end.
    async fn lose(&self, island: usize) {
        self.servers[island].raw(["CLIENT", "KILL", "TYPE", "normal"]);
        // The client has seen it: no command is in flight whose fate would be unknown.
        pass(ms(100)).await;
    }
}

fn watch(cluster: &FlusterCluster) -> impl AsyncFnMut(fn(&Event) -> bool) -> Event {
    let mut events = cluster.events();
    async move |is_it| {
        let wanted = async {
            loop {
                let event = events.next().await.expect("the cluster lives");
                if is_it(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(SOON, wanted).await.expect("the event")
    }
}

/// A connection ends, and its name has led elsewhere for a moment: not one command goes to the old server.
#[test]
fn a_lost_connection_is_looked_up_before_the_redial() {
    let name = test_name!("a_lost_connection_is_looked_up_before_the_redial");
    in_a_network(name, async |net| {
        let town = Town::new(&net).await;
        let mut client = town.cluster.get_client(town.key_of(0)).unwrap();
        let mut own = client.dedicated().await.unwrap();
        town.is(1, "heir");
        town.leads(0, 1);
        town.lose(0).await;
        let who: String = client.get("who").await.unwrap();
        assert_eq!(who, "heir");
        // One that was borrowed before has no next user, alive or not.
        let _: Result<String, _> = own.get("who").await;
        drop(own);
        let who: String = client.dedicated().await.unwrap().get("who").await.unwrap();
        assert_eq!(who, "heir");
        assert_eq!(town.cluster.status().active(), 2, "nobody went out");
    });
}

/// A pod dies, and its name leads to the new one only seconds later.
#[test]
fn a_name_that_moves_while_its_node_is_out_is_followed_by_the_probes() {
    let name = test_name!("a_name_that_moves_while_its_node_is_out_is_followed_by_the_probes");
    in_a_network(name, async |net| {
        let town = Town::new(&net).await;
        town.servers[0].kill();
        let _: Result<String, _> = town
            .cluster
            .get_client(town.key_of(0))
            .unwrap()
            .get("who")
            .await;
        eventually(SOON, || town.cluster.status().active() == 1).await;
        // The look-up at the moment it went out has its answer, and it is the old one.
        pass(ms(2_000)).await;
        town.is(1, "heir");
        town.leads(0, 1);
        let moved = Instant::now();
        eventually(SOON, || town.cluster.status().active() == 2).await;
        let took = moved.elapsed();
        assert_eq!(town.who(0).await, "heir");
        assert!(took <= slack(ms(10_000)), "back {took:?} after it moved");
    });
}

/// Two pods exchange their addresses; the names follow when all connections are made anew already.
#[test]
fn two_nodes_whose_servers_change_places_are_sorted_out_within_seconds() {
    let name = test_name!("two_nodes_whose_servers_change_places_are_sorted_out_within_seconds");
    in_a_network(name, async |net| {
        let town = Town::new(&net).await;
        let mut own = town
            .cluster
            .get_client(town.key_of(0))
            .unwrap()
            .dedicated()
            .await
            .unwrap();
        town.is(0, "b");
        town.is(1, "a");
        town.lose(0).await;
        town.lose(1).await;
        assert_eq!(town.who(0).await, "b", "nobody can know yet");
        assert_eq!(town.who(1).await, "a");
        drop(own.get::<_, String>("who").await);
        town.leads(0, 1);
        town.leads(1, 0);
        let moved = Instant::now();
        for n in [0, 1] {
            eventually_some(SOON, async || (town.who(n).await == NAMES[n]).then_some(())).await;
        }
        let took = moved.elapsed();
        assert!(took <= slack(CLOSELY), "{took:?}");
        // Exclusive connections, too, those that were made at the wrong server included.
        for n in [0, 1] {
            let client = town.cluster.get_client(town.key_of(n)).unwrap();
            let who: String = client.dedicated().await.unwrap().get("who").await.unwrap();
            assert_eq!(who, NAMES[n]);
        }
    });
}

/// The resolver falls silent, and connections are lost over and over: no call pays more than a moment, and the
/// resolver is not asked by each of them.
#[test]
fn a_silent_resolver_delays_no_redial_and_is_not_stormed() {
    let name = test_name!("a_silent_resolver_delays_no_redial_and_is_not_stormed");
    in_a_network(name, async |net| {
        let town = Town::new(&net).await;
        town.dns.silent(true);
        let asked = town.dns.asked();
        for _ in 0..20 {
            town.lose(0).await;
            let began = Instant::now();
            let mut client = town.cluster.get_client(town.key_of(0)).unwrap();
            let who: String = client.get("who").await.unwrap();
            let took = began.elapsed();
            assert_eq!(who, "a");
            assert!(took <= slack(ms(150)), "{took:?}");
        }
        // One look-up at a time per node, of two questions, each asked again after 5 s.
        let asked = town.dns.asked() - asked;
        assert!((1..=16).contains(&asked), "{asked} questions");
        assert_eq!(town.cluster.status().active(), 2);
    });
}

/// One name leads to the server of the other: that is told, with both names, and cured when the name is right.
#[test]
fn two_nodes_that_lead_to_one_server_are_told_of() {
    let name = test_name!("two_nodes_that_lead_to_one_server_are_told_of");
    in_a_network(name, async |net| {
        let town = Town::new(&net).await;
        // Two servers they were, for longer than one that restarts could look like two.
        pass(ms(1_500)).await;
        let mut event = watch(&town.cluster);
        town.leads(1, 0);
        town.lose(1).await;
        assert_eq!(town.who(1).await, "a", "the wrong server");
        let told = event(|e| matches!(e, Event::SameServer { .. })).await;
        let Event::SameServer { node, other, .. } = told else {
            unreachable!()
        };
        assert!(node == *"b" && other == *"a", "{node} {other}");
        town.leads(1, 1);
        let began = Instant::now();
        eventually_some(SOON, async || (town.who(1).await == "b").then_some(())).await;
        assert!(began.elapsed() <= slack(CLOSELY), "{:?}", began.elapsed());
        event(|e| matches!(e, Event::AddressChanged { node , .. } if *node == *"b")).await;
    });
}

/// Two databases of one server are no exchange, also when it restarts and is reached by one node long before the
/// other; and its id is not asked for again.
#[tokio::test]
async fn two_databases_of_one_server_are_no_exchange() {
    let server = Server::start();
    let url = server.url();
    let cluster = FlusterCluster::builder()
        .node(Node::new(format!("{url}/0")).unwrap().name("a"))
        .node(Node::new(format!("{url}/1")).unwrap().name("b"))
        .build()
        .unwrap();
    let mut events = cluster.events();
    let everywhere = async || {
        for n in 0..50 {
            let key = format!("k{n}");
            let mut client = cluster.get_client(&key).unwrap();
            // At the moment of the restart it may fail.
            drop(client.get::<_, Option<String>>(&key).await);
        }
    };
    everywhere().await;
    pass(ms(1_500)).await;
    server.restart();
    eventually_some(SOON, async || {
        everywhere().await;
        let status = cluster.status();
        (status.nodes.iter().all(|n| n.connected)).then_some(())
    })
    .await;
    pass(ms(300)).await;
    let stats = server.raw(["INFO", "commandstats"]);
    assert!(!stats.contains("cmdstat_info:"), "asked again: {stats}");
    cluster.shutdown(ms(100)).await;
    drop(cluster);
    while let Some(event) = events.next().await {
        assert!(!matches!(event, Event::SameServer { .. }), "{event:?}");
    }
}

/// Each refusal is a line in the server's ACL LOG: one is enough, however often the node is connected anew.
#[tokio::test]
async fn a_server_that_refuses_info_is_asked_once() {
    let server = Server::start();
    server.raw(["ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-info"]);
    let url = server.url().replacen("redis://", "redis://app:pw@", 1);
    let cluster = FlusterCluster::from_urls([url]).unwrap();
    let mut client = cluster.get_client("k").unwrap();
    for _ in 0..5 {
        eventually_some(SOON, async || client.set::<_, _, ()>("k", 1).await.ok()).await;
        pass(ms(100)).await;
        server.raw(["CLIENT", "KILL", "TYPE", "normal"]);
        pass(ms(100)).await;
    }
    let log = server.raw(["ACL", "LOG"]);
    assert_eq!(log.matches("reason").count(), 1, "{log}");
    assert!(log.contains("info"), "{log}");
}
