//! Something between us and a server breaks: rows 9 to 15, and the name that moves to another server.
//!
//! Each scenario runs in a network of its own, with its servers on islands one hop away, and is
//! skipped, loudly, where the machine does not allow that: see [`in_a_network`].

use std::time::{Duration, Instant};

use fluster::{ErrorKind, Event, FlusterCluster, Node, Outcome, Reason};

use super::aside::{Dials, T, status_of};
use super::rig::{Kind, Load, Record, SOON, Scene, ms, pass, slack};
use crate::support::{
    Dns, Island, Net, Server, eventually, eventually_some, in_a_network, test_name, urls,
};

/// Three islands with a server each; the first one is at fault.
struct Site {
    islands: [Island; 3],
    servers: [Server; 3],
}

impl Site {
    fn new(net: &Net) -> Self {
        let islands = std::array::from_fn(|_| net.island());
        let servers = std::array::from_fn(|i: usize| {
            let islands: &[Island; 3] = &islands;
            Server::builder().on(&islands[i]).start()
        });
        Self { islands, servers }
    }

    fn cluster(&self) -> FlusterCluster {
        FlusterCluster::from_urls(urls(&self.servers)).unwrap()
    }

    async fn scene(&self, title: &'static str) -> Scene {
        Scene::begin(title, self.cluster()).await
    }
}

/// One ECHO through the cluster, noted.
async fn ask(cluster: &FlusterCluster, key: &str, record: &mut Record) -> (Duration, bool) {
    let mut echo = redis::cmd("ECHO");
    echo.arg(key);
    let began = Instant::now();
    let result = cluster.run_with_key::<String>(key, &echo).await;
    let took = began.elapsed();
    let result = result.map_err(redis::RedisError::from);
    record.note(began, None, &result);
    if let Ok(text) = &result {
        assert_eq!(text, key, "somebody else's reply");
    }
    (took, result.is_ok())
}

/// The highest CLIENT ID that the server has given so far.
fn newest_client(server: &Server) -> u64 {
    let mut raw = server.connect().expect("over its Unix socket");
    let id = raw.call(["CLIENT", "ID"]).expect("CLIENT ID").to_string();
    id.parse().expect("a number")
}

/// The ids of the connections that came over the network.
fn clients_over_tcp(server: &Server) -> Vec<u64> {
    let lines = server.clients();
    let over_tcp = lines.iter().filter(|line| line.contains("addr=10.77."));
    over_tcp
        .map(|line| {
            let id = line.strip_prefix("id=").and_then(|l| l.split(' ').next());
            id.and_then(|id| id.parse().ok()).expect("id=number")
        })
        .collect()
}

/// Nobody says no, nobody says anything: the first call pays the connect time-out once.
#[test]
fn syn_blackhole() {
    in_a_network(test_name!("syn_blackhole"), async |net| {
        let site = Site::new(&net);
        let scene = site.scene("9 syn_blackhole").await;
        let title = scene.name();
        let node = site.servers[0].name();
        // A cluster that has never reached the node: no success of a moment ago speaks for it.
        let fresh = site.cluster();
        let key = scene.key_of(&node);
        let mut record = Record::default();
        scene.strike(|| site.islands[0].black_hole());
        let budget = Dials::count(&fresh, &node);
        let (first, served) = ask(&fresh, &key, &mut record).await;
        assert!(served, "{title}: the stand-in serves");
        assert!(
            first >= T && first <= slack(T + ms(50)),
            "{title}: the first call took {first:?}"
        );
        // The verdict on a time-out waits 50 ms for the watchdog.
        eventually(slack(ms(100)), || fresh.status().active() == 2).await;
        let status = fresh.status();
        assert_eq!(status.node(&node).unwrap().reason, Some(Reason::Timeout));
        for _ in 0..20 {
            let (took, served) = ask(&fresh, &key, &mut record).await;
            assert!(served && took <= slack(ms(20)), "{title}: {took:?}");
        }
        budget.first_second(title).await;
        assert!(site.islands[0].heal() > 0, "{title}: nothing was dropped");
        let healed = Instant::now();
        eventually(SOON, || fresh.status().active() == 3).await;
        assert!(
            healed.elapsed() <= slack(ms(5_200)),
            "{title}: back after {:?}",
            healed.elapsed()
        );
        fresh.shutdown(T).await;
        scene.finish(record, &site.servers).await;
    });
}

/// The network swallows everything for `time`, under load and with exclusive connections open.
async fn established_blackhole(net: Net, title: &'static str, time: Duration) {
    let site = Site::new(&net);
    let scene = site.scene(title).await;
    let node = site.servers[0].name();
    let client = scene.cluster.get_client(scene.key_of(&node)).unwrap();
    let mut own = Vec::new();
    for _ in 0..4 {
        own.push(client.dedicated().await.unwrap());
    }
    // Idle, and warm.
    drop(own);
    let load = scene.load();
    pass(ms(300)).await;
    let before = newest_client(&site.servers[0]);
    let strike = scene.strike(|| site.islands[0].black_hole());
    let out = scene.out(&node, strike.began).await;
    let mut budget = scene.budget(&node);
    budget.first_second(title).await;
    pass(time.saturating_sub(strike.ended.elapsed())).await;
    budget.rest(title);
    assert!(site.islands[0].heal() > 0, "{title}: nothing was dropped");
    let healed = Instant::now();
    let back = scene.back(&node, healed).await;
    pass(ms(200)).await;
    // Whoever is on the server's list and was there before the fault: the server has not heard of
    // their end. None of them may be one that we still talk to.
    let mut lane = scene.cluster.get_client(scene.key_of(&node)).unwrap();
    let mut own = lane.dedicated().await.unwrap();
    let mut id = redis::cmd("CLIENT");
    id.arg("ID");
    for used in [
        id.query_async::<u64>(&mut lane).await.unwrap(),
        id.query_async::<u64>(&mut own).await.unwrap(),
    ] {
        assert!(used > before, "{title}: an old socket is used again");
    }
    drop(own);
    let record = scene.end(load, &site.servers).await;
    record.only_calls_of(title, &node, strike.began, out);
    assert!(
        out - strike.ended <= slack(T + ms(150)),
        "{title}: out after {:?}",
        out - strike.ended
    );
    assert!(
        back - healed <= slack(ms(5_200)),
        "{title}: back after {:?}",
        back - healed
    );
}

/// A blackhole of 2 s; the row's 20 s are in the long form.
#[test]
fn established_blackhole_20s() {
    in_a_network(test_name!("established_blackhole_20s"), async |net| {
        established_blackhole(net, "10 established_blackhole_20s", ms(1_500)).await;
    });
}

#[test]
#[ignore = "takes 25 s: make soak"]
fn long_established_blackhole_20s() {
    in_a_network(test_name!("long_established_blackhole_20s"), async |net| {
        established_blackhole(net, "10 established_blackhole_20s", ms(20_000)).await;
    });
}

/// What the kernel will do with an idle connection: the timer of each socket to `port` and the time
/// until it fires, in hundredths of a second.
fn timers(port: u16) -> Vec<(u8, u64)> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").expect("/proc/self/net/tcp");
    let lines = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let to = u16::from_str_radix(fields[2].split_once(':')?.1, 16).ok()?;
        let (timer, when) = fields[5].split_once(':')?;
        // Established ones.
        (to == port && fields[3] == "01").then_some((timer, when))
    });
    lines
        .map(|(timer, when)| {
            let hex = |text| u64::from_str_radix(text, 16).expect("a number");
            (hex(timer) as u8, hex(when))
        })
        .collect()
}

/// The row's physics takes 35 s: here only that every connection has its keepalive timer, of 15 s.
#[test]
fn half_open_idle() {
    in_a_network(test_name!("half_open_idle"), async |net| {
        let site = Site::new(&net);
        let scene = site.scene("11 half_open_idle").await;
        let own = scene.cluster.get_client("k").unwrap().dedicated().await;
        pass(ms(300)).await;
        let timers = timers(6379);
        assert_eq!(timers.len(), 4, "three lanes and an exclusive connection");
        for (timer, when) in timers {
            assert_eq!(timer, 2, "the keepalive timer runs");
            assert!((1..=1_500).contains(&when), "it fires in {when}0 ms");
        }
        drop(own);
        scene.finish(Record::default(), &site.servers).await;
    });
}

/// The link dies while everything is idle. The next caller, 30 s later, must not find out the hard
/// way: heartbeat or keepalive have found out before.
#[test]
#[ignore = "takes 40 s: make soak"]
fn long_half_open_idle() {
    in_a_network(test_name!("long_half_open_idle"), async |net| {
        let site = Site::new(&net);
        let scene = site.scene("11 half_open_idle").await;
        let title = scene.name();
        let node = site.servers[0].name();
        let key = scene.key_of(&node);
        let old = super::rig::sockets_to(&[6379]);
        let strike = scene.strike(|| site.islands[0].black_hole());
        // The lane of the dead link goes, whoever finds out first.
        eventually(Duration::from_secs(36), || {
            let here = timers(6379).len();
            here < old || !status_of(&scene.cluster, &node).connected
        })
        .await;
        let gone = strike.ended.elapsed();
        assert!(
            gone <= Duration::from_secs(35),
            "{title}: gone after {gone:?}"
        );
        let mut record = Record::default();
        let (took, served) = ask(&scene.cluster, &key, &mut record).await;
        assert!(served && took <= slack(T + ms(50)), "{title}: {took:?}");
        assert!(site.islands[0].heal() > 0, "{title}: nothing was dropped");
        scene.active(3).await;
        scene.finish(record, &site.servers).await;
    });
}

/// "Host unreachable" is redis-rs' `RetryImmediately`; for us it is proof, and the end of dialling.
#[test]
fn icmp_unreachable() {
    in_a_network(test_name!("icmp_unreachable"), async |net| {
        let site = Site::new(&net);
        let scene = site.scene("12 icmp_unreachable").await;
        let title = scene.name();
        let node = site.servers[0].name();
        let fresh = site.cluster();
        let key = scene.key_of(&node);
        let load = scene.load();
        pass(ms(300)).await;
        let mut budget = scene.budget(&node);
        let strike = scene.strike(|| site.islands[0].reject());

        // Who never had a connection is told at once.
        let of_fresh = Dials::count(&fresh, &node);
        let began = Instant::now();
        let mut client = fresh.get_client(&key).unwrap();
        let mut ping = redis::cmd("PING");
        ping.arg("x");
        let e = ping.query_async::<String>(&mut client).await;
        let e = e.expect_err("there is no way to the host");
        let e = fluster::Error::from_redis(&e).expect("an error of ours");
        assert_eq!(
            (e.kind(), e.outcome()),
            (ErrorKind::Connect, Outcome::NotSent),
            "{title}: {e}"
        );
        assert!(
            began.elapsed() <= slack(ms(50)),
            "{title}: {:?}",
            began.elapsed()
        );
        let status = fresh.status();
        let status = status.node(&node).unwrap();
        assert_eq!(
            (status.admits, status.reason),
            (false, Some(Reason::Unreachable)),
            "{title}: one such answer is proof"
        );
        let busy = Load::start(&fresh, Kind::Run);

        // An established connection sees silence: the kernel goes on trying. The time-outs of many
        // callers, or the first one's replacement dial, which sees the truth: either may be first.
        let out = scene.out(&node, strike.began).await;
        let reason = status_of(&scene.cluster, &node).reason;
        assert!(
            matches!(reason, Some(Reason::Unreachable | Reason::Timeout)),
            "{title}: {reason:?}"
        );
        of_fresh.first_second(title).await;
        budget.first_second(title).await;
        let fresh_record = busy.stop().await;
        assert_eq!(
            fresh_record.failed().count(),
            0,
            "{:?}",
            fresh_record.kinds()
        );
        budget.rest(title);
        assert!(site.islands[0].heal() > 0, "{title}: nothing was rejected");
        let healed = Instant::now();
        let back = scene.back(&node, healed).await;
        fresh.shutdown(T).await;
        let record = scene.end(load, &site.servers).await;
        record.only_calls_of(title, &node, strike.began, out);
        assert!(
            out - strike.ended <= slack(T + ms(50)),
            "{title}: out after {:?}",
            out - strike.ended
        );
        assert!(
            back - healed <= slack(ms(5_200)),
            "{title}: back after {:?}",
            back - healed
        );
    });
}

/// Our own network is gone. That is no node's fault: nobody's back-off grows, and all are back soon.
#[test]
fn net_down_all() {
    in_a_network(test_name!("net_down_all"), async |net| {
        let site = Site::new(&net);
        let scene = site.scene("13 net_down_all").await;
        let title = scene.name();
        let load = scene.load();
        pass(ms(300)).await;
        let mut budgets: Vec<_> = site
            .servers
            .iter()
            .map(|s| scene.budget(&s.name()))
            .collect();
        let strike = scene.strike(|| net.cut_off());
        // Everybody fails at once, and not by a refusal: that is suspicion, not proof, so one or
        // another node stays in; what is sent there is refused by our own kernel.
        pass(T + ms(250)).await;
        let counted = Instant::now();
        // Whoever was first to fail could not know yet that it was not alone.
        let levels = |scene: &Scene| -> Vec<u32> {
            let status = scene.cluster.status();
            status.nodes.iter().map(|n| n.level).collect()
        };
        let first = levels(&scene);
        let before: Vec<_> = budgets.iter().map(super::rig::Budget::spent).collect();
        pass(ms(1_000)).await;
        let seconds = counted.elapsed().as_secs_f64();
        for (budget, before) in budgets.iter_mut().zip(before) {
            let (dials, probes) = budget.spent();
            let spent = (dials - before.0 + probes - before.1) as f64;
            assert!(
                spent <= (10.0 * seconds).ceil(),
                "{title}: {spent} dials in {seconds} s"
            );
        }
        assert_eq!(levels(&scene), first, "{title}: a level rises");
        assert!(first.iter().sum::<u32>() <= 3, "{title}: levels {first:?}");
        net.reconnect();
        let healed = Instant::now();
        scene.active(3).await;
        let back = healed.elapsed();
        let record = scene.end(load, &site.servers).await;
        assert!(record.failed().count() > 0, "{title}: nothing was cut off");
        // What was on its way when the connections died had been sent.
        let late = record
            .failed()
            .filter(|c| c.began > counted && c.began < healed);
        for call in late {
            let (kind, outcome) = call.failure.expect("it failed");
            assert!(
                outcome == Outcome::NotSent || kind == ErrorKind::ClusterEmpty,
                "{title}: {call:?}"
            );
        }
        let served =
            |c: &super::rig::Call| !c.failed() && c.began > strike.ended && c.ended < healed;
        assert!(
            !record.calls.iter().any(served),
            "{title}: a route was left"
        );
        assert!(back <= slack(ms(1_500)), "{title}: back after {back:?}");
    });
}

/// The node behind the name `a.test` and two others, by their addresses.
fn named(site: &Site) -> FlusterCluster {
    FlusterCluster::builder()
        .node(Node::new("redis://a.test").unwrap().name("a"))
        .urls(urls(&site.servers[1..]))
        .build()
        .unwrap()
}

/// The longest that a look at tokio's blocking pool takes within `time`.
async fn blocking_pool(time: Duration) -> Duration {
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    while began.elapsed() < time {
        let asked = Instant::now();
        tokio::task::spawn_blocking(|| ()).await.expect("it runs");
        longest = longest.max(asked.elapsed());
        pass(ms(20)).await;
    }
    longest
}

/// Names stop resolving, at once or in silence: whoever was found stays found, and the machine's other
/// work on tokio's blocking threads goes on.
#[test]
fn dns_nxdomain_and_silent() {
    in_a_network(test_name!("dns_nxdomain_and_silent"), async |net| {
        let site = Site::new(&net);
        let dns = Dns::start(&net);
        dns.set("a.test", &[site.islands[0].address()]);
        let scene = Scene::begin("14 dns_nxdomain and dns_silent", named(&site)).await;
        let title = scene.name();
        let load = scene.load();
        pass(ms(300)).await;
        assert!(dns.asked() > 0, "{title}: our resolver was not asked");

        scene.strike(|| dns.clear());
        // The connections are lost as well: the last good address is dialled.
        site.servers[0].raw(["CLIENT", "KILL", "TYPE", "normal"]);
        pass(ms(500)).await;
        assert!(
            status_of(&scene.cluster, "a").admits,
            "{title}: its last address is good"
        );
        // A name that never resolved: the reason says so, others serve.
        let lost = |n: usize| {
            Node::new(format!("redis://lost{n}.test"))
                .unwrap()
                .name(format!("lost{n}"))
        };
        let unknown = FlusterCluster::builder()
            .node(lost(0))
            .urls(urls(&site.servers[1..]))
            .build()
            .unwrap();
        let mut record = Record::default();
        for n in 0..200 {
            let (took, served) = ask(&unknown, &format!("k{n}"), &mut record).await;
            assert!(served && took <= slack(ms(50)), "{title}: {took:?}");
        }
        unknown.shutdown(T).await;

        // Forty names whose look-ups each hang for 10 s, under load, on a runtime that has 8 threads
        // for all blocking work.
        dns.silent(true);
        let small = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(8)
            .enable_all()
            .build()
            .unwrap();
        let many = FlusterCluster::builder()
            .urls(urls(&site.servers[1..]))
            .runtime(small.handle().clone());
        let many = (0..40).fold(many, |b, n| b.node(lost(n))).build().unwrap();
        let before = dns.asked();
        let other_work = small.spawn(blocking_pool(ms(1_500)));
        let of_many = Load::start(&many, Kind::Echo);
        let longest = other_work.await.unwrap();
        assert!(dns.asked() > before, "{title}: nobody asked");
        let many_record = of_many.stop().await;
        assert!(many_record.wrong.is_empty(), "{:?}", many_record.wrong);
        assert!(
            many_record.longest() <= ms(1_500) + slack(ms(50)),
            "{title}: {:?}",
            many_record.longest()
        );
        many.shutdown(T).await;
        small.shutdown_background();
        assert!(
            longest <= slack(ms(50)),
            "{title}: the blocking pool waited {longest:?}"
        );
        assert!(
            status_of(&scene.cluster, "a").admits,
            "{title}: its last address is good"
        );
        let ejections = scene.ejections();
        let record = scene.end(load, &site.servers).await;
        assert_eq!(ejections, 0, "{title}: running nodes are not affected");
        // The calls under way on the connections that were killed.
        assert!(
            record.failed().all(|c| c.is_at("a")),
            "{title}: {:?}",
            record.kinds()
        );
    });
}

/// A name with two addresses is one node: all connections lead to the same server, whatever the order
/// of the answers, from every process.
#[test]
fn dns_two_addresses() {
    in_a_network(test_name!("dns_two_addresses"), async |net| {
        let site = Site::new(&net);
        let dns = Dns::start(&net);
        dns.set(
            "a.test",
            &[site.islands[0].address(), site.islands[1].address()],
        );
        let scene = Scene::begin("15 dns_two_addresses", site.cluster()).await;
        let title = scene.name();
        let mut record = Record::default();
        scene.strike(|| ());
        for (server, name) in site.servers.iter().zip(["first", "second", "third"]) {
            server.raw(["SET", "who", name]);
        }
        let mut served = [0, 0];
        for _ in 0..20 {
            let cluster = FlusterCluster::from_urls(["redis://a.test"]).unwrap();
            let client = cluster.get_client("who").unwrap();
            let mut all = Vec::new();
            for _ in 0..10 {
                let began = Instant::now();
                let mut own = client.dedicated().await.unwrap();
                let who = redis::cmd("GET")
                    .arg("who")
                    .query_async::<String>(&mut own)
                    .await;
                record.note(began, None, &who);
                match who.unwrap().as_str() {
                    "first" => served[0] += 1,
                    _ => served[1] += 1,
                }
                all.push(own);
            }
            drop(all);
            cluster.shutdown(T).await;
        }
        assert!(dns.asked() >= 20, "{title}: our resolver was not asked");
        assert_eq!(served, [200, 0], "{title}: the lowest address, always");
        scene.finish(record, &site.servers).await;
    });
}

/// A managed failover: the old server dies, its name leads to a new one. The next dial follows.
#[test]
fn dns_moves() {
    in_a_network(test_name!("dns_moves"), async |net| {
        let site = Site::new(&net);
        let island = net.island();
        let heir = Server::builder().on(&island).start();
        let dns = Dns::start(&net);
        dns.set("a.test", &[site.islands[0].address()]);
        let mut scene = Scene::begin("+ dns_moves", named(&site)).await;
        // The new server has none of the old one's data.
        scene.limits.ids = false;
        let title = scene.name();
        let load = scene.load();
        pass(ms(300)).await;
        heir.raw(["SET", "who", "heir"]);
        let strike = scene.strike(|| {
            dns.set("a.test", &[island.address()]);
            // It does not even refuse.
            site.islands[0].black_hole();
        });
        // The first connection that is given up is enough: it need not go out for that.
        let is_moved =
            |e: &Event| matches!(e, Event::AddressChanged { node , .. } if *node == *"a");
        let moved = eventually_some(SOON, async || {
            let events = scene.events();
            events.iter().find(|(_, e)| is_moved(e)).map(|(at, _)| *at)
        })
        .await;
        let key = scene.key_of("a");
        let mut client = scene.cluster.get_client(&key).unwrap();
        let who: String = redis::cmd("GET")
            .arg("who")
            .query_async(&mut client)
            .await
            .unwrap();
        assert_eq!(who, "heir", "{title}");
        assert!(site.islands[0].hits() > 0, "{title}: nothing was dropped");
        assert!(
            !clients_over_tcp(&heir).is_empty(),
            "{title}: {:?} {:?} {:?}",
            heir.clients(),
            status_of(&scene.cluster, "a"),
            scene.events(),
        );
        pass(ms(300)).await;
        assert!(status_of(&scene.cluster, "a").admits, "{title}");
        let record = scene.end(load, &site.servers).await;
        // Those under way at the old server take their time.
        record.only_calls_of(title, "a", strike.began, moved + 2 * T);
        let took = moved - strike.began;
        assert!(took <= slack(2 * T), "{title}: followed after {took:?}");
    });
}
