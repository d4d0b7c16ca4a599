//! Instances that know each other, over real sockets.

mod bad_input;
mod child;
mod fleet;
#[cfg(target_os = "linux")]
mod islands;
mod operator;
mod outside;
mod process;
mod proxy;
mod weather;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fluster::discovery::{Endpoint, Static};
use fluster::gossip::{Gossip, GossipBuilder, GossipEvent, Keyring, MemberState};
use futures_util::FutureExt as _;

pub const LONG: Duration = Duration::from_secs(30);

pub fn seeds(addresses: &[SocketAddr]) -> Static {
    Static::new(
        addresses
            .iter()
            .map(|a| Endpoint::new(a.ip().to_string(), a.port())),
    )
}

pub fn builder(key: &Keyring, n: usize, known: &[SocketAddr]) -> GossipBuilder {
    Gossip::builder("test")
        .keyring(key.clone())
        .ring_id(format!("i{n}"))
        .http(format!("http://127.0.0.1:{}", 8000 + n))
        .label("zone", if n.is_multiple_of(2) { "a" } else { "b" })
        .drain(Duration::from_millis(300))
        .linger(Duration::from_millis(300))
        .seeds(seeds(known))
}

pub async fn cluster(key: &Keyring, n: usize) -> Vec<Gossip> {
    let mut all: Vec<Gossip> = Vec::new();
    for i in 0..n {
        let known: Vec<_> = all.iter().take(3).map(|g| g.whoami().address).collect();
        all.push(builder(key, i, &known).start().await.unwrap());
    }
    for gossip in &all {
        gossip.wait_ready(n, LONG).await.unwrap();
    }
    all
}

async fn until(what: &str, holds: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LONG, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

fn fingerprints_are_equal(all: &[Gossip]) -> bool {
    let first = all[0].view().fingerprint();
    first.is_some() && all.iter().all(|g| g.view().fingerprint() == first)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_instances_agree_on_every_key_and_a_crash_moves_its_keys_alone() {
    let mut all = cluster(&Keyring::generate(), 5).await;
    until("one ring", || fingerprints_are_equal(&all)).await;
    let keys: Vec<_> = (0..1_000).map(|n| format!("key:{n}")).collect();
    let owner = |g: &Gossip, key: &String| g.lookup(key).unwrap().ring_id.clone();
    let before: Vec<_> = keys.iter().map(|key| owner(&all[0], key)).collect();
    for gossip in &all {
        let same = keys
            .iter()
            .zip(&before)
            .all(|(key, id)| owner(gossip, key) == *id);
        assert!(same, "{}", gossip.whoami().ring_id);
        let owned = keys.iter().filter(|key| gossip.owns(key)).count();
        assert!((100..320).contains(&owned), "{owned}");
    }
    let member = all[1].lookup(&keys[0]).unwrap();
    assert!(member.labels.contains_key("zone") && member.http.is_some());
    assert_eq!(all[0].lookup_n(&keys[0], 9).len(), 5);
    assert_eq!(all[0].members(|m| &*m.labels["zone"] == "a").len(), 3);

    let mut events = all[0].events();
    let dead = all.pop().unwrap();
    let address = dead.whoami().address;
    drop(dead);
    let gone = |g: &Gossip| {
        g.view()
            .at(address)
            .is_some_and(|m| m.state == MemberState::Down)
    };
    until("all know", || all.iter().all(&gone)).await;
    until("one ring", || fingerprints_are_equal(&all)).await;
    for (key, before) in keys.iter().zip(&before) {
        let now = owner(&all[0], key);
        assert!(
            now == *before || &**before == "i4",
            "only the dead one's keys move"
        );
        assert_ne!(&*now, "i4");
    }
    let (mut down, mut ring) = (0, 0);
    while down == 0 || ring == 0 {
        match tokio::time::timeout(LONG, events.next())
            .await
            .unwrap()
            .unwrap()
        {
            GossipEvent::MemberDown(m) if &*m.ring_id == "i4" => down += 1,
            GossipEvent::RingChanged { moved, removed, .. } if removed.len() == 1 => {
                assert!((0.05..0.45).contains(&moved), "{moved}");
                ring += 1;
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_leaves_is_out_of_all_rings_first_and_says_good_bye() {
    let all = cluster(&Keyring::generate(), 5).await;
    let (called, hooked) = std::sync::mpsc::channel();
    let known: Vec<_> = all.iter().map(|g| g.whoami().address).collect();
    let key = Keyring::generate();
    let stranger = builder(&key, 9, &known).start().await.unwrap();
    let leaver = &all[4];
    let mut events = leaver.events();
    let view = leaver.view();
    let (first, second) = tokio::join!(leaver.leave(), leaver.leave());
    assert_eq!(first, second, "the second call waits for the first");
    assert_eq!((first.others, first.told, first.errors.len()), (4, 3, 0));
    assert!(first.lasted >= Duration::from_millis(600), "{first:?}");
    let address = view.me().address;
    let rest = &all[..4];
    let left = |g: &Gossip| {
        g.view()
            .at(address)
            .is_some_and(|m| m.state == MemberState::Left)
    };
    until("left", || rest.iter().all(left)).await;
    assert!(rest.iter().all(|g| g.view().ring().len() == 4));
    assert_eq!(leaver.whoami().state, MemberState::Left);
    assert!(
        leaver.lookup("k").is_some_and(|m| !m.is_me),
        "lookups go on"
    );
    assert!(leaver.set_label("a", "b").is_err());
    until("it knocked", || all.iter().any(|g| g.status().refused > 0)).await;
    assert_eq!(
        stranger.members(|_| true).len(),
        1,
        "a stranger is alone, however long"
    );
    let strange = stranger.whoami().address;
    assert!(all.iter().all(|g| g.view().at(strange).is_none()));
    while !matches!(events.next().await.unwrap(), GossipEvent::Left) {}
    let report = {
        let sender = called.clone();
        let gossip = builder(&key, 7, &[])
            .before_leave(move || async move {
                sender.send("before").unwrap();
                Err("a\nhook that fails".to_owned())
            })
            .before_leave(|| async { panic!("a hook that panics") })
            .after_leave(move || async move {
                called.send("after").unwrap();
                Ok(())
            })
            .start()
            .await
            .unwrap();
        gossip.leave().await
    };
    assert_eq!(hooked.iter().collect::<Vec<_>>(), ["before", "after"]);
    assert_eq!(report.errors.len(), 2, "{report:?}");
    assert!(report.errors.iter().all(|e| !e.contains('\n')));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_weights_draining_and_the_gate_reach_all() {
    let key = Keyring::generate();
    let all = cluster(&key, 3).await;
    let open = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let gate = std::sync::Arc::clone(&open);
    let known: Vec<_> = all.iter().map(|g| g.whoami().address).collect();
    let gated = builder(&key, 3, &known)
        .ready_gate(move || gate.load(std::sync::atomic::Ordering::SeqCst))
        .start()
        .await
        .unwrap();
    let seen = |g: &Gossip, n: &str| g.members(|m| &*m.ring_id == n).first().cloned();
    until("it is there", || {
        seen(&all[0], "i3").is_some_and(|m| m.phase.as_str() == "draining")
    })
    .await;
    assert_eq!(all[0].view().ring().len(), 3);
    open.store(true, std::sync::atomic::Ordering::SeqCst);
    gated.wait_ready(4, LONG).await.unwrap();
    all[1].set_label("version", "7").unwrap();
    all[1]
        .set_weight(std::num::NonZeroU16::new(3).unwrap())
        .unwrap();
    all[2].set_draining(true);
    until("all see it", || {
        all.iter().all(|g| {
            let of = |n| seen(g, n);
            of("i1").is_some_and(|m| {
                m.weight == 3 && m.labels.get("version").is_some_and(|v| &**v == "7")
            }) && g.view().ring().len() == 3
        })
    })
    .await;
    assert!(all[1].remove_label("version") && !all[1].remove_label("version"));
    all[2].set_draining(false);
    until("it is gone", || {
        let gone = |g: &Gossip| seen(g, "i1").is_some_and(|m| !m.labels.contains_key("version"));
        all.iter().all(|g| gone(g) && g.view().ring().len() == 4)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_changed_at_twenty_under_load_and_nobody_is_lost() {
    let (old, new) = (Keyring::generate(), Keyring::generate());
    let all = cluster(&old, 20).await;
    let mut events: Vec<_> = all.iter().map(Gossip::events).collect();
    let mut load = 0..;
    for ring in [
        old.clone().also(new.clone()),
        new.clone().also(old),
        new.clone(),
    ] {
        for gossip in &all {
            gossip.set_keyring(ring.clone());
            // Something is always under way.
            let n: usize = load.next().unwrap();
            all[n % 20].set_label("load", &n.to_string()).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let known = [all[0].whoami().address];
    let late = builder(&new, 20, &known).start().await.unwrap();
    late.wait_ready(21, LONG).await.unwrap();
    until("all see it", || {
        all.iter().all(|g| g.members(|_| true).len() == 21)
    })
    .await;
    until("the last labels", || {
        let last = |g: &Gossip| {
            let of = |n: &str| g.members(|m| &*m.ring_id == n)[0].labels["load"].clone();
            (0..20).all(|n| *of(&format!("i{n}")) == *(40 + n).to_string())
        };
        all.iter().all(last)
    })
    .await;
    // Numbers are those of the last second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for (gossip, events) in all.iter().zip(&mut events) {
        let status = gossip.status();
        assert_eq!((status.key_ids.len(), status.refused), (1, 0));
        while let Some(Some(event)) = events.next().now_or_never() {
            assert!(!matches!(event, GossipEvent::MemberDown(_)), "{event:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_that_were_started_apart_are_one_when_the_source_lists_both() {
    let dir = crate::support::new_dir("seeds");
    let files = [dir.join("one"), dir.join("two")];
    let key = Keyring::generate();
    let mut all = Vec::new();
    for n in 0..5 {
        let file = &files[n / 3];
        if n % 3 == 0 {
            std::fs::write(file, "").unwrap();
        }
        let source = fluster::discovery::File::new(file);
        let gossip = builder(&key, n, &[]).seeds(source).start().await.unwrap();
        let mut list = std::fs::read_to_string(file).unwrap();
        list += &format!("{}\n", gossip.whoami().address);
        std::fs::write(file, list).unwrap();
        all.push(gossip);
    }
    let sizes = |one: usize, two: usize| {
        let of = |g: &Gossip| g.view().ring().len();
        all[..3].iter().all(|g| of(g) == one) && all[3..].iter().all(|g| of(g) == two)
    };
    until("two clusters", || sizes(3, 2)).await;
    assert_ne!(all[0].view().fingerprint(), all[4].view().fingerprint());
    let both = files.clone().map(|f| std::fs::read_to_string(f).unwrap());
    for file in &files {
        std::fs::write(file, both.concat()).unwrap();
    }
    let took = until("one cluster", || {
        sizes(5, 5) && fingerprints_are_equal(&all)
    })
    .await;
    println!("one after {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_follows_what_members_announce() {
    use fluster::discovery::Discovery as _;

    let all = cluster(&Keyring::generate(), 2).await;
    let mut source = all[0].endpoints(|member| {
        let port = member.labels.get("redis")?.parse().ok()?;
        Some(Endpoint::new("127.0.0.1", port))
    });
    assert!(source.next().await.unwrap().is_empty());
    all[1].set_label("redis", "6379").unwrap();
    let found = tokio::time::timeout(LONG, source.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.endpoints()[0].address(), "127.0.0.1:6379");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_handle_ends_everything() {
    let gossip = builder(&Keyring::generate(), 0, &[]).start().await.unwrap();
    let address = gossip.whoami().address;
    let (mut events, other) = (gossip.events(), gossip.clone());
    drop(gossip);
    assert!(
        tokio::net::UdpSocket::bind(address).await.is_err(),
        "a handle is left"
    );
    drop(other);
    assert!(
        tokio::time::timeout(LONG, async { while events.next().await.is_some() {} })
            .await
            .is_ok()
    );
    let free = || std::net::UdpSocket::bind(address).is_ok();
    until("the port is free", free).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_placement_and_a_ring_id_that_two_have_are_told() {
    let key = Keyring::generate();
    let all = cluster(&key, 2).await;
    let known: Vec<_> = all.iter().map(|g| g.whoami().address).collect();
    let mut events = all[0].events();
    let other = builder(&key, 2, &known)
        .placement(fluster::Placement::rendezvous())
        .start()
        .await
        .unwrap();
    let twin = builder(&key, 1, &known).start().await.unwrap();
    let (mut diverged, mut taken) = (false, false);
    let both = async {
        while !(diverged && taken) {
            match events.next().await.unwrap() {
                GossipEvent::RingDiverged(m) => diverged |= m.address == other.whoami().address,
                GossipEvent::RingIdTaken(m) => taken |= m.address == all[1].whoami().address,
                _ => {}
            }
        }
    };
    tokio::time::timeout(3 * LONG, both).await.unwrap();
    assert!(
        all[0]
            .view()
            .ring()
            .any(|m| m.address == twin.whoami().address)
    );
    assert_eq!(all[0].view().ring().len(), 3);
    until("it is counted", || all[0].status().diverged >= 1).await;
}
