//! A near cache beside real servers: what others write is seen, and what is old is not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fluster::cache::{Cache, Near, NearStatus};
use fluster::replication::ReadFrom;
use fluster::{BuildError, FlusterCluster};

use crate::support::{Server, Warnings, eventually, fleet, urls};
use crate::workload::SOON;

const LONG: Duration = Duration::from_secs(600);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An application's cluster; each has connections of its own, as if it were another process.
fn cluster(servers: &[Server]) -> FlusterCluster {
    FlusterCluster::builder()
        .urls(urls(servers))
        .response_timeout(Duration::from_secs(5))
        .build()
        .unwrap()
}

fn near(cluster: &FlusterCluster, near: Near) -> Cache<String> {
    cluster.cache("p:").near(near).raw().unwrap()
}

fn plain(cluster: &FlusterCluster) -> Cache<String> {
    cluster.cache("p:").raw().unwrap()
}

fn status(cache: &Cache<String>) -> NearStatus {
    cache.near_status().expect("it is a near cache")
}

/// Reads until this process answers, with this value.
async fn is_kept(cache: &Cache<String>, key: &str, value: &str) {
    let until = Instant::now() + SOON;
    loop {
        let before = status(cache).hits;
        let read = cache.get(key).await.unwrap();
        // What another one wrote takes its way first.
        if status(cache).hits > before && read.as_deref() == Some(value) {
            return;
        }
        assert!(Instant::now() < until, "{:?}", status(cache));
        tokio::time::sleep(ms(1)).await;
    }
}

/// Reads until the value is this one.
async fn becomes(cache: &Cache<String>, key: &str, value: Option<&str>) {
    let until = Instant::now() + SOON;
    while cache.get(key).await.unwrap().as_deref() != value {
        assert!(Instant::now() < until, "{key} is not {value:?}");
        tokio::time::sleep(ms(1)).await;
    }
}

async fn set(cache: &Cache<String>, key: &str, value: &str) {
    cache.set(key, &value.to_owned(), LONG).await.unwrap();
}

#[tokio::test]
async fn what_another_process_writes_and_deletes_is_seen() {
    let servers: [Server; 2] = fleet();
    let (here, there) = (cluster(&servers), cluster(&servers));
    let (here, there) = (near(&here, Near::default()), plain(&there));
    for key in ["a", "b", "c", "d", "e", "f"] {
        set(&there, key, "1").await;
        is_kept(&here, key, "1").await;
        set(&there, key, "2").await;
        becomes(&here, key, Some("2")).await;
        is_kept(&here, key, "2").await;
        assert!(there.delete(key).await.existed());
        becomes(&here, key, None).await;
    }
    let is = status(&here);
    assert!(is.told >= 12 && is.stored >= 12, "{is:?}");
    assert!(is.nodes.iter().all(|node| node.state == "on"), "{is:?}");
}

#[tokio::test]
async fn own_writes_are_seen_by_the_next_read() {
    let servers: [Server; 2] = fleet();
    let one = cluster(&servers);
    let (cache, other) = (near(&one, Near::default()), plain(&one));
    set(&cache, "k", "0").await;
    for i in 1..200 {
        is_kept(&cache, "k", &(i - 1).to_string()).await;
        let value = i.to_string();
        match i % 3 {
            0 => set(&cache, "k", &value).await,
            // Another cache of the same keys in this process.
            1 => set(&other, "k", &value).await,
            _ => {
                let pairs = [("k", value.clone()), ("l", value.clone())];
                assert!(cache.set_many(pairs, LONG).await.iter().all(Result::is_ok));
            }
        }
        assert_eq!(cache.get("k").await.unwrap(), Some(value));
    }
    let _ = cache.delete("k").await;
    assert_eq!(cache.get("k").await.unwrap(), None);
    let made = cache.get_or_compute("k", LONG, || async { Ok::<_, ()>("made".to_owned()) });
    assert_eq!(made.await, Ok("made".to_owned()));
    is_kept(&cache, "k", "made").await;
    let many = cache.get_many(["k", "l", "none"]).await;
    let many: Vec<_> = many.into_iter().map(Result::unwrap).collect();
    assert_eq!(many[0].as_deref(), Some("made"));
    assert!(many[1].is_some() && many[2].is_none(), "{many:?}");
}

#[tokio::test]
async fn a_flush_a_lost_connection_and_a_time_to_live_leave_nothing_behind() {
    let [server] = fleet();
    let servers = [server];
    let (here, there) = (cluster(&servers), cluster(&servers));
    let (here, there) = (near(&here, Near::default()), plain(&there));
    set(&there, "k", "1").await;
    is_kept(&here, "k", "1").await;
    servers[0].raw(["FLUSHALL"]);
    becomes(&here, "k", None).await;

    for i in 0..10 {
        let value = i.to_string();
        set(&there, "k", &value).await;
        is_kept(&here, "k", &value).await;
        let written = format!("{value}!");
        servers[0].raw(["CLIENT", "KILL", "TYPE", "NORMAL"]);
        servers[0].raw(["SET", "p:k", &written]);
        becomes(&here, "k", Some(&written)).await;
    }

    there.set("short", &"1".to_owned(), ms(300)).await.unwrap();
    let end = Instant::now() + ms(300);
    while let Some(read) = here.get("short").await.unwrap() {
        assert_eq!(read, "1");
        // The read began before this look: a busy machine may have stopped it in between.
        assert!(Instant::now() < end + SOON, "it has expired");
    }
    let began = Instant::now();
    assert!(began > end - ms(300), "it was there at first");
}

#[tokio::test]
async fn a_server_that_stands_still_is_not_answered_for() {
    let [server] = fleet();
    let servers = [server];
    let here = cluster(&servers);
    let silence = ms(200);
    let here = near(&here, Near::default().max_silence(silence));
    set(&here, "k", "1").await;
    is_kept(&here, "k", "1").await;
    servers[0].stop();
    let stopped = Instant::now();
    let until = stopped + SOON;
    loop {
        let began = Instant::now();
        let before = status(&here).hits;
        let read = tokio::time::timeout(ms(50), here.get("k")).await;
        let was_hit = read.is_ok() && status(&here).hits > before;
        if !was_hit {
            break;
        }
        assert!(
            began <= stopped + silence,
            "a hit {:?} later",
            began - stopped
        );
        assert!(began < until);
        tokio::time::sleep(ms(1)).await;
    }
    servers[0].cont();
    is_kept(&here, "k", "1").await;
}

#[test]
fn a_server_that_does_not_tell_is_asked_each_time_and_said_once() {
    let server = Server::start();
    server.raw([
        "ACL",
        "SETUSER",
        "app",
        "on",
        ">secret",
        "~*",
        "+@all",
        "-client|tracking",
    ]);
    let url = server.url().replace("redis://", "redis://app:secret@");
    let warnings = Warnings::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    warnings.during(|| {
        runtime.block_on(async {
            let cluster = FlusterCluster::from_urls([url]).unwrap();
            let cache = near(&cluster, Near::default());
            set(&cache, "k", "1").await;
            let until = Instant::now() + SOON;
            while status(&cache).nodes[0].state != "refused" {
                assert_eq!(cache.get("k").await.unwrap().as_deref(), Some("1"));
                assert!(Instant::now() < until, "{:?}", status(&cache));
                tokio::time::sleep(ms(1)).await;
            }
            for _ in 0..100 {
                assert_eq!(cache.get("k").await.unwrap().as_deref(), Some("1"));
            }
            assert_eq!(status(&cache).hits, 0);
        });
    });
    let said = warnings.with(&["client|tracking", &server.name()]);
    assert_eq!(said.len(), 1, "{said:?}");
}

#[tokio::test]
async fn nothing_is_dialled_for_a_cache_that_keeps_nothing() {
    let [server] = fleet();
    let servers = [server];
    let cluster = cluster(&servers);
    let cache = plain(&cluster);
    set(&cache, "k", "1").await;
    assert_eq!(cache.get("k").await.unwrap().as_deref(), Some("1"));
    assert!(cache.near_status().is_none());
    let clients = servers[0].clients();
    let tracking = clients.iter().filter(|line| line.contains("flags=t"));
    assert_eq!(tracking.count(), 0, "{clients:?}");
    let near = near(&cluster, Near::default());
    is_kept(&near, "k", "1").await;
    let clients = servers[0].clients();
    let tracking = clients.iter().filter(|line| line.contains("flags=t"));
    assert_eq!(tracking.count(), 1, "{clients:?}");
}

#[tokio::test]
async fn what_is_not_there_is_kept_when_that_was_asked_for() {
    let servers: [Server; 2] = fleet();
    let (here, there) = (cluster(&servers), cluster(&servers));
    let (cache, there) = (near(&here, Near::default().negative(true)), plain(&there));
    let until = Instant::now() + SOON;
    while status(&cache).hits == 0 {
        assert_eq!(cache.get("k").await.unwrap(), None);
        assert!(Instant::now() < until, "{:?}", status(&cache));
        tokio::time::sleep(ms(1)).await;
    }
    set(&there, "k", "1").await;
    becomes(&cache, "k", Some("1")).await;
}

/// How many `GET`s the server has executed.
fn gets(server: &Server) -> u64 {
    let info = server.raw(["INFO", "commandstats"]);
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_get:calls="));
    let calls = line.and_then(|line| line.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

#[tokio::test]
async fn many_readers_of_a_key_that_is_not_kept_ask_once_at_a_time() {
    let [server] = fleet();
    let servers = [server];
    let cluster = cluster(&servers);
    let cache = near(&cluster, Near::default());
    set(&cache, "warm", "1").await;
    is_kept(&cache, "warm", "1").await;
    set(&cache, "k", "1").await;
    let before = gets(&servers[0]);
    let readers = (0..200).map(|_| cache.get("k"));
    let reads = futures_util::future::join_all(readers).await;
    assert!(
        reads
            .into_iter()
            .all(|read| read.unwrap().as_deref() == Some("1"))
    );
    let asked = gets(&servers[0]) - before;
    assert!(asked <= 1, "{asked} reads at the server");
}

#[tokio::test]
async fn a_loop_over_hits_hears_what_changes() {
    let [server] = fleet();
    let servers = [server];
    let cluster = cluster(&servers);
    let cache = near(
        &cluster,
        Near::default().max_silence(Duration::from_secs(60)),
    );
    set(&cache, "k", "1").await;
    is_kept(&cache, "k", "1").await;
    servers[0].raw(["SET", "p:k", "2"]);
    let written = Instant::now();
    // Nothing here waits for anything, and there is one thread.
    while cache.get("k").await.unwrap().as_deref() != Some("2") {
        assert!(written.elapsed() < SOON, "{:?}", status(&cache));
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let cluster = FlusterCluster::from_urls(["redis://127.0.0.1:1"]).unwrap();
    let why = |near: Near| match cluster.cache("p:").near(near).raw::<String>() {
        Err(BuildError::Option {
            name: "near", why, ..
        }) => why,
        other => panic!("{other:?}"),
    };
    assert!(why(Near::default().capacity(0)).contains("capacity"));
    assert!(why(Near::default().max_silence(ms(1))).contains("max_silence"));
    assert!(why(Near::default().max_age(ms(1))).contains("max_age"));
    let majority = cluster.cache("p:").near(Near::default());
    let majority = majority.read_from(ReadFrom::majority(|_, _| std::cmp::Ordering::Equal));
    assert!(majority.raw::<String>().is_err());
}

/// Versions are written, connections killed, the server emptied and stopped; no read has a version that was replaced
/// `max_silence` before it began. `NEAR_SECONDS` and `NEAR_SEED` say how long, and what.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_no_read_is_older_than_was_promised() {
    let number = |name: &str, otherwise| {
        let given = std::env::var(name).ok();
        given.and_then(|n| n.parse().ok()).unwrap_or(otherwise)
    };
    let (seconds, seed) = (number("NEAR_SECONDS", 10), number("NEAR_SEED", 1));
    let [server] = fleet();
    let servers = Arc::new([server]);
    let (here, there) = (cluster(&*servers), cluster(&*servers));
    let silence = ms(200);
    let cache = near(&here, Near::default().max_silence(silence));
    let is_over = Arc::new(AtomicBool::new(false));
    // Of each key: what was written, and when that was known.
    type Written = Arc<Vec<Mutex<Vec<(u64, Instant)>>>>;
    let written: Written = Arc::new((0..4).map(|_| Mutex::default()).collect());
    let writer = {
        let (written, is_over, there) = (Arc::clone(&written), Arc::clone(&is_over), there.clone());
        tokio::spawn(async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut version = 0_u64;
            while !is_over.load(SeqCst) {
                version += 1;
                let key = rng.usize(..4);
                let mut set = redis::cmd("SET");
                set.arg(format!("p:{key}")).arg(format!("{version:020}"));
                if rng.u8(..4) == 0 {
                    set.arg("PX").arg(rng.u64(1..100));
                }
                let done: Result<(), _> = there.run(&set).await;
                if done.is_ok() {
                    written[key].lock().unwrap().push((version, Instant::now()));
                }
                tokio::time::sleep(Duration::from_micros(rng.u64(..5000))).await;
            }
        })
    };
    let faults = {
        let (servers, is_over) = (Arc::clone(&servers), Arc::clone(&is_over));
        tokio::task::spawn_blocking(move || {
            let mut rng = fastrand::Rng::with_seed(seed + 1);
            while !is_over.load(SeqCst) {
                std::thread::sleep(ms(rng.u64(50..400)));
                match rng.u8(..4) {
                    0 => drop(servers[0].raw(["FLUSHALL"])),
                    1 => drop(servers[0].raw(["CLIENT", "KILL", "TYPE", "NORMAL"])),
                    2 => {
                        servers[0].stop();
                        std::thread::sleep(ms(rng.u64(50..600)));
                        servers[0].cont();
                    }
                    _ => {}
                }
            }
        })
    };
    let reads = Arc::new(AtomicU64::new(0));
    let readers = (0..4_u64).map(|reader| {
        let (cache, written, is_over) = (cache.clone(), Arc::clone(&written), Arc::clone(&is_over));
        let reads = Arc::clone(&reads);
        tokio::spawn(async move {
            let mut rng = fastrand::Rng::with_seed(seed + 10 + reader);
            let mut old = Vec::new();
            while !is_over.load(SeqCst) {
                let key = rng.usize(..4);
                let began = Instant::now();
                let Ok(Some(read)) = cache.get(key.to_string()).await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let version: u64 = read.parse().unwrap();
                reads.fetch_add(1, SeqCst);
                let newer = {
                    let written = written[key].lock().unwrap();
                    let known = written.iter().rev();
                    let newer = known.take_while(|(number, _)| *number > version);
                    newer
                        .copied()
                        .filter(|(_, at)| *at + silence < began)
                        .last()
                };
                if let Some((number, at)) = newer {
                    old.push((version, number, began - at));
                }
                if rng.u8(..16) == 0 {
                    tokio::time::sleep(Duration::from_micros(rng.u64(..2000))).await;
                } else {
                    tokio::task::yield_now().await;
                }
            }
            old
        })
    });
    let readers: Vec<_> = readers.collect();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    is_over.store(true, SeqCst);
    faults.await.unwrap();
    servers[0].cont();
    writer.await.unwrap();
    let mut old = Vec::new();
    for reader in readers {
        old.extend(reader.await.unwrap());
    }
    let is = status(&cache);
    println!(
        "{} reads, {} hits, {} told, {} overtaken",
        reads.load(SeqCst),
        is.hits,
        is.told,
        is.overtaken
    );
    assert_eq!(
        old,
        [],
        "version read, version written, and how long before; seed {seed}"
    );
    assert!(is.hits > 100 && is.told > 20, "{is:?}");
}

/// How old what is read is, where nothing is broken: printed, and bounded by the promise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_seen_within_milliseconds() {
    let [server] = fleet();
    let servers = [server];
    let (here, there) = (cluster(&servers), cluster(&servers));
    let (here, there) = (near(&here, Near::default()), plain(&there));
    let mut took = Vec::new();
    for i in 0..200 {
        let (old, new) = (format!("{i}"), format!("{i}!"));
        set(&there, "k", &old).await;
        is_kept(&here, "k", &old).await;
        set(&there, "k", &new).await;
        let written = Instant::now();
        while here.get("k").await.unwrap().as_deref() != Some(&*new) {
            assert!(written.elapsed() < SOON);
        }
        took.push(written.elapsed());
    }
    took.sort_unstable();
    println!(
        "p50 {:?}, p99 {:?}, max {:?}",
        took[100], took[197], took[199]
    );
    // On a busy machine, too: far less than silence would take.
    assert!(took[100] < ms(500), "{:?}", took[100]);
    eventually(SOON, || status(&here).nodes[0].proven.is_some()).await;
}
