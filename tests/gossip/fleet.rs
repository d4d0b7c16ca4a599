//! Instances that share the health of real servers, each of which it reaches by proxies of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use fluster::gossip::{Act, Decision, Effect, Fleet, FleetEvent, NoQuorum, Operator, SharedHealth};
use fluster::testing::{Fault, Proxy, Server};
use fluster::{BuildError, Error, ErrorKind, Event, FlusterCluster, Node, Outcome, Penalty};

use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// One instance: its cluster, and the way to each server.
struct One {
    gossip: Gossip,
    cluster: FlusterCluster,
    proxies: Vec<Proxy>,
    health: Option<SharedHealth>,
}

impl One {
    async fn start(
        key: &Keyring,
        n: usize,
        known: &[SocketAddr],
        servers: &[Server],
        fleet: Fleet,
    ) -> Self {
        let gossip = builder(key, n, known).start().await.unwrap();
        let proxies: Vec<_> = servers.iter().map(Proxy::start).collect();
        let nodes = NAMES.iter().zip(&proxies);
        let nodes = nodes.map(|(name, proxy)| Node::new(proxy.url()).unwrap().name(*name));
        let cluster = FlusterCluster::builder()
            .nodes(nodes)
            // What is lost here is refused. On a machine that others use, a server that has no time for half a second is
            // silent for all, and then it is no minority that finds it out.
            .response_timeout(LONG)
            .connect_timeout(LONG)
            .penalty(Penalty::default().probe_timeout(LONG))
            .build()
            .unwrap();
        let health = Some(cluster.share_health(&gossip, fleet).unwrap());
        Self {
            gossip,
            cluster,
            proxies,
            health,
        }
    }

    /// Whom the key is sent to.
    fn node_of(&self, key: &str) -> Option<String> {
        self.cluster.get_node(key).ok().map(|node| node.to_string())
    }

    async fn get(&self, key: &str) -> Result<Option<String>, Error> {
        self.cluster.run(redis::cmd("GET").arg(key)).await
    }

    fn health(&self) -> &SharedHealth {
        self.health.as_ref().expect("it is shared")
    }

    fn is(&self, node: &str) -> (Decision, Effect, usize) {
        let opinions = self.health().opinions();
        let opinion = opinions.iter().find(|o| o.node == *node);
        opinion.map_or((Decision::Undecided, Effect::Out, 0), |o| {
            (o.decision, o.effective, o.down)
        })
    }
}

struct World {
    key: Keyring,
    servers: Vec<Server>,
    all: Vec<One>,
    /// A key of each node.
    keys: Vec<String>,
}

impl World {
    async fn new(n: usize, fleet: &Fleet) -> Self {
        let key = Keyring::generate();
        let servers: Vec<_> = NAMES.iter().map(|_| Server::start()).collect();
        let mut all: Vec<One> = Vec::new();
        for i in 0..n {
            let known: Vec<_> = all
                .iter()
                .take(3)
                .map(|one| one.gossip.whoami().address)
                .collect();
            all.push(One::start(&key, i, &known, &servers, fleet.clone()).await);
        }
        for one in &all {
            one.gossip.wait_ready(n, LONG).await.unwrap();
        }
        let keys = NAMES.iter().map(|name| {
            let mut keys = (0..).map(|n| format!("key:{n}"));
            keys.find(|key| all[0].node_of(key).as_deref() == Some(*name))
                .unwrap()
        });
        let keys = keys.collect();
        let world = Self {
            key,
            servers,
            all,
            keys,
        };
        let know_all = |one: &One| {
            let opinions = one.health().opinions();
            opinions.len() == 3
                && opinions
                    .iter()
                    .all(|o| o.live == n && (o.decision == Decision::Up || n == 1))
        };
        until("everybody hears everybody", || {
            world.all.iter().all(know_all)
        })
        .await;
        world
    }

    /// Whether the key of this node goes to this one, or to another one, at all instances.
    fn all_at(&self, node: usize, is_there: bool) -> bool {
        let key = &self.keys[node];
        let at = |one: &One| one.node_of(key).as_deref() == Some(NAMES[node]);
        self.all.iter().all(|one| at(one) == is_there)
    }

    /// Where the key of this node goes, over all instances.
    fn places(&self, node: usize) -> BTreeSet<Option<String>> {
        self.all
            .iter()
            .map(|one| one.node_of(&self.keys[node]))
            .collect()
    }

    fn nodes(&self, instances: std::ops::Range<usize>, node: usize, fault: Fault) {
        for one in &self.all[instances] {
            one.proxies[node].set(fault);
            if fault == Fault::Refuse {
                one.proxies[node].reset_all();
            }
        }
    }

    /// Samples where the node's key goes, for so long: how many samples were taken elsewhere than at the node, and in how
    /// many instances did not agree.
    async fn sample(&self, node: usize, lasts: Duration) -> (usize, usize) {
        let (began, mut elsewhere, mut apart) = (Instant::now(), 0, 0);
        while began.elapsed() < lasts {
            let places = self.places(node);
            apart += usize::from(places.len() > 1);
            elsewhere +=
                usize::from(!places.contains(&Some(NAMES[node].to_owned())) || places.len() > 1);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (elsewhere, apart)
    }
}

/// Calls with keys of all nodes every 20 ms, until it is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start(one: &One, keys: &[String]) -> (Self, Arc<AtomicU64>) {
        let (goes_on, good) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let (cluster, keys) = (one.cluster.clone(), keys.to_vec());
        let (on, count) = (Arc::clone(&goes_on), Arc::clone(&good));
        tokio::spawn(async move {
            while on.load(SeqCst) {
                for key in &keys {
                    let got: Result<Option<String>, Error> =
                        cluster.run(redis::cmd("GET").arg(key)).await;
                    count.fetch_add(u64::from(got.is_ok()), SeqCst);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        (Self(goes_on), good)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_what_one_of_five_cannot_reach_moves_no_key_and_its_calls_fail_unsent() {
    let world = World::new(5, &Fleet::agreed()).await;
    let busy: Vec<_> = world
        .all
        .iter()
        .map(|one| Busy::start(one, &world.keys))
        .collect();
    let mut events = world.all[0].cluster.events();
    world.nodes(0..1, 0, Fault::Refuse);
    until("it is out for the one", || {
        world.all[0].is("a").1 == Effect::Kept
    })
    .await;
    let (elsewhere, apart) = world.sample(0, Duration::from_secs(4)).await;
    assert_eq!(
        (elsewhere, apart),
        (0, 0),
        "the key stayed where it is, everywhere"
    );
    let error = world.all[0].get(&world.keys[0]).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::UnreachableHere, Outcome::NotSent)
    );
    assert!(error.retry_after().is_some());
    for one in &world.all[1..] {
        one.get(&world.keys[0]).await.unwrap();
        assert_eq!(one.is("a"), (Decision::Up, Effect::Serves, 1));
    }
    let status = world.all[0].cluster.status();
    assert!(status.node("a").unwrap().kept && status.active() == 2);
    // What is bound to no key goes to those that can be called.
    let rounds = world.all[0].cluster.clients().rounds(2);
    let names: BTreeSet<_> = rounds
        .map(|client| client.unwrap().node().to_string())
        .collect();
    assert_eq!(names, ["b".to_owned(), "c".to_owned()].into());
    assert_eq!(
        world.all[0]
            .cluster
            .fan_out(&redis::cmd("DBSIZE"))
            .await
            .len(),
        2
    );
    world.nodes(0..1, 0, Fault::Pass);
    until("it is back", || world.all[0].is("a").1 == Effect::Serves).await;
    world.all[0].get(&world.keys[0]).await.unwrap();
    let mut kept = Vec::new();
    while let Some(Some(event)) = events.next().now_or_never() {
        if let Event::NodeKept { node, kept: is, .. } = event {
            kept.push((node.to_string(), is));
        }
    }
    let kept: Vec<_> = kept.iter().map(|(node, is)| (node.as_str(), *is)).collect();
    assert_eq!(kept, [("a", true), ("a", false)]);
    drop(busy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c_two_of_five_move_nothing_and_three_move_the_node_for_all_and_back() {
    let world = World::new(5, &Fleet::agreed()).await;
    let busy: Vec<_> = world
        .all
        .iter()
        .map(|one| Busy::start(one, &world.keys))
        .collect();
    world.nodes(0..2, 0, Fault::Refuse);
    until("both say so", || world.all[4].is("a").2 == 2).await;
    assert_eq!(world.sample(0, Duration::from_secs(4)).await, (0, 0));
    // C2: the third.
    let mut events = world.all[4].health().events();
    world.nodes(2..3, 0, Fault::Refuse);
    let took = until("out for all", || world.all_at(0, false)).await;
    println!("C2: out for all after {took:?}");
    assert_eq!(world.places(0).len(), 1, "one stand-in");
    for one in &world.all {
        one.get(&world.keys[0]).await.unwrap();
    }
    until("held", || world.all[4].is("a").1 == Effect::Held).await;
    assert!(world.all[4].cluster.status().node("a").unwrap().held);
    world.nodes(0..3, 0, Fault::Pass);
    let took = until("back for all", || world.all_at(0, true)).await;
    println!("C2: back for all after {took:?}");
    let mut decided = Vec::new();
    while let Some(Some(event)) = events.next().now_or_never() {
        if let FleetEvent::Decided { node, decision, .. } = event {
            decided.push((node.to_string(), decision));
        }
    }
    let first = ("a".to_owned(), Decision::Out);
    assert!(
        decided.contains(&first) && decided.iter().all(|(node, _)| node == "a"),
        "{decided:?}"
    );
    drop(busy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_a_server_that_dies_is_out_for_idle_instances_too_with_either_policy() {
    for fleet in [Fleet::advisory(), Fleet::agreed()] {
        let world = World::new(5, &fleet).await;
        let (busy, good) = Busy::start(&world.all[0], &world.keys);
        for one in &world.all {
            one.get(&world.keys[0]).await.unwrap();
        }
        // Whoever heard it less than two seconds ago asks nothing.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        world.servers[0].kill();
        world.nodes(0..5, 0, Fault::Refuse);
        let took = until("out for all", || world.all_at(0, false)).await;
        println!("A, {fleet:?}: out for all after {took:?}");
        assert_eq!(world.places(0).len(), 1, "one stand-in");
        let before = good.load(SeqCst);
        until("calls go on", || good.load(SeqCst) > before + 10).await;
        world.servers[0].restart();
        world.nodes(0..5, 0, Fault::Pass);
        let took = until("back for all", || world.all_at(0, true)).await;
        println!("A, {fleet:?}: back for all after {took:?}");
        drop(busy);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_holds_at_all_instances_outlives_who_said_it_and_is_undone_by_anybody() {
    let mut world = World::new(3, &Fleet::advisory()).await;
    world.all[0].health().drain("b").unwrap();
    until("drained at all", || {
        world.all.iter().all(|one| one.is("b").1 == Effect::Drained)
    })
    .await;
    assert!(world.all_at(1, false));
    assert!(
        world
            .all
            .iter()
            .all(|one| one.cluster.status().node("b").unwrap().drained)
    );
    let opinions = world.all[2].health().opinions();
    assert_eq!(opinions[1].drained_by.as_deref(), Some("i0"));
    // Its author goes without a word.
    let gone = world.all.remove(0);
    let address = gone.gossip.whoami().address;
    drop(gone);
    let is_down = |one: &One| {
        let view = one.gossip.view();
        view.at(address)
            .is_some_and(|m| m.state == MemberState::Down)
    };
    until("it is known to be down", || world.all.iter().all(is_down)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.all.iter().all(|one| one.is("b").1 == Effect::Drained));
    let known: Vec<_> = world
        .all
        .iter()
        .map(|one| one.gossip.whoami().address)
        .collect();
    world
        .all
        .push(One::start(&world.key, 7, &known, &world.servers, Fleet::advisory()).await);
    until("a new one hears of it", || {
        world.all[2].is("b").1 == Effect::Drained
    })
    .await;
    world.all[2].health().restore("b").unwrap();
    until("restored at all", || world.all_at(1, true)).await;

    // By an operator, over the port of any of them.
    let operator = Operator::new("test", Some(world.key.clone()));
    assert!(
        operator
            .act(known[0], Act::drain_node("redis", "c", true))
            .await
            .unwrap()
    );
    until("drained at all", || world.all_at(2, false)).await;
    assert!(
        !operator
            .act(known[1], Act::drain_node("redis", "c", true))
            .await
            .unwrap()
    );
    assert!(
        !operator
            .act(known[1], Act::drain_node("other", "c", true))
            .await
            .unwrap()
    );
    assert!(
        !operator
            .act(known[1], Act::drain_node("redis", "x", true))
            .await
            .unwrap()
    );
    let nodes = operator.nodes(known[1]).await.unwrap();
    let told: Vec<_> = nodes
        .iter()
        .map(|n| (n.node.as_str(), n.effective.as_str()))
        .collect();
    assert_eq!(told, [("a", "serves"), ("b", "serves"), ("c", "drained")]);
    let unknown = world.all[0].health().drain("x").unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_that_is_lost_while_a_node_is_held_lifts_the_hold() {
    let mut world = World::new(3, &Fleet::agreed()).await;
    let (busy, _) = Busy::start(&world.all[0], &world.keys);
    // Two of three cannot reach it: the third one holds it.
    world.nodes(0..2, 0, Fault::Refuse);
    for one in &world.all[..2] {
        // The first two find out by themselves.
        let _ = one.get(&world.keys[0]).await;
    }
    until("held", || world.all[2].is("a").1 == Effect::Held).await;
    let third = world.all.remove(2);
    let One {
        gossip,
        cluster,
        proxies,
        health,
    } = third;
    drop(gossip);
    let status = || cluster.status().node("a").unwrap().clone();
    until("it is let go", || !status().held).await;
    until("it serves", || status().admits).await;
    let error = health.as_ref().unwrap().drain("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    // It can be shared again.
    drop(health);
    let gossip = builder(&world.key, 2, &[]).start().await.unwrap();
    let _again = cluster.share_health(&gossip, Fleet::agreed()).unwrap();
    drop((busy, proxies));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_shared_is_refused_and_the_end_of_the_handle_lifts_everything() {
    let mut world = World::new(1, &Fleet::agreed()).await;
    let one = &mut world.all[0];
    let refused = |name: &'static str, result: Result<SharedHealth, BuildError>| match result {
        Err(BuildError::Option { name: is, .. }) => assert_eq!(is, name),
        other => panic!("{other:?}"),
    };
    let share = |fleet| one.cluster.share_health(&one.gossip, fleet);
    refused("fleet", share(Fleet::agreed().scope("other")));
    refused("jurors", share(Fleet::agreed().jurors(2)));
    refused("max_out", share(Fleet::agreed().max_out(0.0)));
    refused("max_out", share(Fleet::agreed().max_out(f64::NAN)));
    refused(
        "hold_up",
        share(Fleet::agreed().hold_up(Duration::from_secs(61))),
    );
    refused("scope", share(Fleet::agreed().scope("")));
    refused("scope", share(Fleet::agreed().scope("a\n")));
    // Two clusters of one application: each has its scope.
    let other = FlusterCluster::from_urls([world.servers[0].url()]).unwrap();
    refused("scope", other.share_health(&one.gossip, Fleet::agreed()));
    let fleet = Fleet::agreed().scope("other").no_quorum(NoQuorum::Refuse);
    let second = other.share_health(&one.gossip, fleet).unwrap();
    until("it is looked at", || !second.opinions().is_empty()).await;
    assert_eq!(
        second.opinions()[0].decision,
        Decision::Undecided,
        "one alone decides for itself"
    );
    let _: u64 = other.run(&redis::cmd("DBSIZE")).await.unwrap();
    let mut events = second.events();
    one.health().drain("a").unwrap();
    until("drained", || one.is("a").1 == Effect::Drained).await;
    assert_eq!(
        second.opinions()[0].effective,
        Effect::Serves,
        "of another scope"
    );
    one.health = None;
    assert!(
        one.cluster
            .status()
            .nodes
            .iter()
            .all(|node| node.admits && !node.drained)
    );
    drop(second);
    assert!(
        tokio::time::timeout(LONG, async { while events.next().await.is_some() {} })
            .await
            .is_ok()
    );
    other.shutdown(Duration::from_secs(5)).await;
    let closed = other.share_health(&one.gossip, Fleet::agreed().scope("other"));
    assert!(matches!(closed, Err(BuildError::Closed)), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_names_for_the_same_servers_are_told() {
    let world = World::new(2, &Fleet::advisory()).await;
    let mut events = world.all[0].health().events();
    let known = [world.all[0].gossip.whoami().address];
    let gossip = builder(&world.key, 8, &known).start().await.unwrap();
    let cluster = FlusterCluster::from_urls(world.servers.iter().map(Server::url)).unwrap();
    let _health = cluster.share_health(&gossip, Fleet::advisory()).unwrap();
    let told = async {
        loop {
            if let Some(FleetEvent::TopologyDiverged {
                instance, ring_id, ..
            }) = events.next().await
            {
                return (instance, ring_id);
            }
        }
    };
    let (instance, ring_id) = tokio::time::timeout(LONG, told).await.unwrap();
    assert_eq!((instance, &*ring_id), (gossip.whoami().address, "i8"));
    assert_eq!(
        world.all[0].cluster.status().nodes.len(),
        3,
        "nothing is taken over"
    );
}
