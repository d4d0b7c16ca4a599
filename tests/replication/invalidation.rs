//! Within a process nothing that began before an invalidation writes after it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fluster::FlusterCluster;
use fluster::cache::Cache;
use fluster::replication::{HedgeAfter, Quorum, ReadFrom};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::metrics::recorded;
use super::{bring_back, key_on, lose, ms, patient};
use crate::faults::proxy::{Fault, Proxy};
use crate::support::{Fake, Server, Warnings, bulk, eventually, fleet};
use crate::workload::SOON;

const HOUR: Duration = Duration::from_secs(3600);

type Text = Cache<String>;
type Got = Result<String, Arc<String>>;

/// Computes `value` once it may; says how often a computation began.
struct Slow {
    began: Arc<AtomicUsize>,
    go: Arc<Notify>,
}

impl Slow {
    fn new() -> Self {
        Self {
            began: Arc::default(),
            go: Arc::default(),
        }
    }

    fn get(&self, cache: &Text, value: &str) -> JoinHandle<Got> {
        let (cache, value) = (cache.clone(), value.to_owned());
        let (began, go) = (Arc::clone(&self.began), Arc::clone(&self.go));
        tokio::spawn(async move {
            let compute = async || {
                began.fetch_add(1, SeqCst);
                go.notified().await;
                Ok::<_, String>(value)
            };
            cache.get_or_compute("k", HOUR, compute).await
        })
    }

    async fn begun(&self, times: usize) {
        eventually(SOON, || self.began.load(SeqCst) == times).await;
    }
}

#[tokio::test]
async fn a_delete_ends_the_computation_under_way() {
    let servers: [Server; 1] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let cache: Text = cluster.cache("t:").raw().unwrap();
    // Another cache of the same values, as another part of the program would have it.
    let other: Text = cluster.cache("t:").raw().unwrap();
    for deletes in [&cache, &other] {
        let slow = Slow::new();
        let old = slow.get(&cache, "old");
        slow.begun(1).await;
        assert!(deletes.delete("k").await.is_complete());
        // Who comes now waits for nobody that began before.
        let fresh = cache.get_or_compute("k", HOUR, async || Ok::<_, String>("new".to_owned()));
        let fresh = tokio::time::timeout(SOON, fresh).await;
        assert_eq!(fresh.expect("it does not wait").unwrap(), "new");
        slow.go.notify_one();
        assert_eq!(old.await.unwrap().unwrap(), "old", "it asked before");
        assert_eq!(cache.get("k").await.unwrap().as_deref(), Some("new"));
        let _ = cache.delete("k").await;

        let old = slow.get(&cache, "old");
        slow.begun(2).await;
        let _ = deletes.delete("k").await;
        slow.go.notify_one();
        assert_eq!(old.await.unwrap().unwrap(), "old");
        assert_eq!(servers[0].raw(["EXISTS", "t:k"]), "0", "it is not written");
    }
}

#[tokio::test]
async fn a_set_ends_the_computation_under_way() {
    let servers: [Server; 1] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let cache: Text = cluster.cache("t:").raw().unwrap();
    let new = "new".to_owned();
    for many in [false, true] {
        let slow = Slow::new();
        let old = slow.get(&cache, "old");
        slow.begun(1).await;
        match many {
            false => drop(cache.set("k", &new, HOUR).await.unwrap()),
            true => drop(cache.set_many([("k", new.clone())], HOUR).await),
        }
        slow.go.notify_one();
        assert_eq!(old.await.unwrap().unwrap(), "old", "it asked before");
        tokio::time::sleep(ms(50)).await;
        assert_eq!(cache.get("k").await.unwrap().as_deref(), Some("new"));
        let _ = cache.delete("k").await;
    }
}

/// The write waits for a connection, and so does the delete; whichever is sent first, nothing stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_still_on_its_way_does_not_outlive_a_delete() {
    let servers: [Server; 2] = fleet();
    for round in 0..20 {
        let proxy = Proxy::start(&servers[1]);
        let cluster = FlusterCluster::builder()
            .urls([servers[0].url(), proxy.url()])
            .response_timeout(Duration::from_secs(5))
            .connect_timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let cache: Text = cluster.cache("t:").replicas(2).raw().unwrap();
        proxy.set(Fault::Delay(ms(50)));
        let key = format!("k{round}");
        let acks = cache.set(&key, &"old".to_owned(), HOUR).await.unwrap();
        let late = acks.pending().len();
        let deletion = cache.delete(&key).await;
        assert!(deletion.is_complete(), "{deletion:?}");
        assert_eq!(late, 1, "the connection to it was still being made");
        proxy.set(Fault::Pass);
        let gone = || {
            servers
                .iter()
                .all(|s| s.raw(["EXISTS", &format!("t:{key}")]) == "0")
        };
        eventually(SOON, gone).await;
        tokio::time::sleep(ms(20)).await;
        assert!(gone(), "round {round}");
    }
}

type Store = Arc<Mutex<HashMap<String, String>>>;

/// What two connections can do to each other: what was sent first lands last.
fn late_landing() -> (Fake, Store, Arc<Mutex<bool>>) {
    let store = Store::default();
    let (kept, slow) = (Arc::clone(&store), Arc::<Mutex<bool>>::default());
    let (late, held) = (Mutex::new(None), Arc::clone(&slow));
    let fake = Fake::start(move |words| {
        let mut kept = kept.lock().unwrap();
        let reply = match words[0].to_uppercase().as_str() {
            "SET" => {
                *late.lock().unwrap() = Some((words[1].clone(), words[2].clone()));
                drop(kept);
                // Until the test lets it answer.
                drop(held.lock().unwrap());
                "+OK\r\n".to_owned()
            }
            "DEL" => {
                let had = kept.remove(&words[1]).is_some();
                kept.extend(late.lock().unwrap().take());
                format!(":{}\r\n", u8::from(had))
            }
            "EVAL" => {
                let same = kept.get(&words[3]) == Some(&words[4]);
                if same {
                    kept.remove(&words[3]);
                }
                format!(":{}\r\n", u8::from(same))
            }
            "GET" => kept.get(&words[1]).map_or("$-1\r\n".into(), |v| bulk(v)),
            _ => Fake::answer("7.0.15", words),
        };
        Some(reply)
    });
    (fake, store, slow)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lands_after_an_invalidation_is_taken_back_also_when_its_writer_is_gone() {
    for dropped in [false, true] {
        let (fake, store, slow) = late_landing();
        let cluster = FlusterCluster::builder()
            .urls([fake.url()])
            .response_timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let cache: Text = cluster.cache("t:").raw().unwrap();
        assert_eq!(cache.get("k").await.unwrap(), None);
        let held = tokio::task::block_in_place(|| slow.lock().unwrap());
        let writer = {
            let cache = cache.clone();
            tokio::spawn(async move {
                let old = async || Ok::<_, String>("old".to_owned());
                cache.get_or_compute("k", HOUR, old).await
            })
        };
        tokio::task::block_in_place(|| {
            while fake.count("SET") == 0 {
                std::thread::sleep(ms(1));
            }
        });
        let deletion = {
            let cache = cache.clone();
            tokio::spawn(async move { cache.delete("k").await })
        };
        // The delete has begun, and its `DEL` stands behind the write.
        std::thread::sleep(ms(100));
        if dropped {
            writer.abort();
            std::thread::sleep(ms(100));
        }
        drop(held);
        assert!(deletion.await.unwrap().is_complete());
        assert_eq!(writer.await.is_ok(), !dropped);
        eventually(SOON, || fake.count("EVAL") > 0).await;
        eventually(SOON, || store.lock().unwrap().is_empty()).await;
    }
}

#[tokio::test]
async fn a_repair_that_began_before_a_delete_does_not_bring_the_value_back() {
    for hedged in [false, true] {
        let servers: [Server; 3] = fleet();
        let proxy = Proxy::start(&servers[1]);
        let cluster = FlusterCluster::builder()
            .urls([servers[0].url(), proxy.url(), servers[2].url()])
            .response_timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let from = match hedged {
            true => ReadFrom::Hedged {
                after: HedgeAfter::Fixed(Duration::from_secs(5)),
            },
            false => ReadFrom::FirstAvailable,
        };
        let cache: Text = cluster
            .cache("")
            .replicas(2)
            .quorum(Quorum::All)
            .read_from(from)
            .raw()
            .unwrap();
        let wanted = [servers[0].name().to_owned(), proxy.name()];
        let key = (0..10_000)
            .map(|i| format!("key:{i}"))
            .find(|key| {
                let nodes = cluster.replicas(key, 2).unwrap();
                nodes.nodes().map(ToString::to_string).eq(wanted.clone())
            })
            .unwrap();
        cache.set(&key, &"old".to_owned(), HOUR).await.unwrap();
        lose(&cluster, &servers[0]).await;
        bring_back(&cluster, &servers[0]).await;
        assert_eq!(servers[0].raw(["EXISTS", &key]), "0", "it came back empty");
        let gets = || {
            let stats = servers[1].raw(["INFO", "commandstats"]);
            let of = |line: &str| line.strip_prefix("cmdstat_pttl:calls=").map(str::to_owned);
            stats.lines().find_map(of).is_some()
        };
        assert!(!gets());
        proxy.set(Fault::Delay(ms(300)));
        assert!(cache.get(&key).await.unwrap().is_some());
        // The repair has read the old value; its answer is still on the way.
        eventually(SOON, gets).await;
        assert!(cache.delete(&key).await.is_complete());
        tokio::time::sleep(ms(400)).await;
        for server in &servers {
            assert_eq!(server.raw(["EXISTS", &key]), "0", "hedged: {hedged}");
        }
    }
}

/// Each of them waits with its own computation, and only one may run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_waiters_have_one_heir() {
    const WAITERS: usize = 20_000;
    let servers: [Server; 1] = fleet();
    let cluster = FlusterCluster::builder()
        .urls([servers[0].url()])
        .response_timeout(Duration::from_secs(60))
        .build()
        .unwrap();
    let cache: Text = cluster.cache("t:").raw().unwrap();
    for heirs_die in [0, 3] {
        let _ = cache.delete("k").await;
        let (began, waiting) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let leads = Arc::new(AtomicUsize::new(0));
        let call = |me: usize| {
            let (cache, began, waiting) = (cache.clone(), Arc::clone(&began), Arc::clone(&waiting));
            let leads = Arc::clone(&leads);
            async move {
                waiting.fetch_add(1, SeqCst);
                let compute = async || {
                    leads.store(me, SeqCst);
                    let n = began.fetch_add(1, SeqCst);
                    if n <= heirs_die {
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, String>(format!("of {n}"))
                };
                cache.get_or_compute("k", HOUR, compute).await
            }
        };
        let mut tasks = vec![tokio::spawn(call(0))];
        eventually(SOON, || began.load(SeqCst) == 1).await;
        for me in 1..=WAITERS {
            tasks.push(tokio::spawn(call(me)));
        }
        eventually(Duration::from_secs(60), || {
            waiting.load(SeqCst) == WAITERS + 1
        })
        .await;
        // All of them have missed and wait; a GET takes its time.
        eventually(Duration::from_secs(60), || {
            servers[0]
                .raw(["INFO", "commandstats"])
                .lines()
                .any(|line| {
                    let calls = line.strip_prefix("cmdstat_get:calls=");
                    calls.is_some_and(|c| {
                        let digits = c.split(',').next().unwrap_or_default();
                        digits.parse::<usize>().unwrap_or_default() > WAITERS
                    })
                })
        })
        .await;
        tokio::time::sleep(ms(200)).await;
        tasks[0].abort();
        for dead in 1..=heirs_die {
            eventually(Duration::from_secs(60), || began.load(SeqCst) == dead + 1).await;
            tokio::time::sleep(ms(100)).await;
            assert_eq!(began.load(SeqCst), dead + 1, "one heir at a time");
            tasks[leads.load(SeqCst)].abort();
        }
        let mut values = 0;
        for task in tasks {
            if let Ok(value) = task.await {
                assert_eq!(value.unwrap(), format!("of {}", heirs_die + 1));
                values += 1;
            }
        }
        assert_eq!(values, WAITERS - heirs_die);
        assert_eq!(began.load(SeqCst), heirs_die + 2, "one computes, for all");
        servers[0].raw(["CONFIG", "RESETSTAT"]);
    }
}

/// A time to live that no server takes must not mean that nothing is cached, and nobody told.
#[test]
fn a_time_to_live_that_cannot_be_is_bounded_and_said() {
    let servers: [Server; 1] = fleet();
    let warnings = Warnings::default();
    warnings.during(|| {
        recorded(async |_| {
            let cluster = patient(&servers).build().unwrap();
            let cache: Text = cluster.cache("odd:").raw().unwrap();
            for ttl in [Duration::MAX, Duration::from_secs(101 * 365 * 86_400)] {
                let _ = cache.delete("k").await;
                let made = cache.get_or_compute("k", ttl, async || Ok::<_, String>("v".to_owned()));
                assert_eq!(made.await.unwrap(), "v");
                let kept: u64 = servers[0].raw(["TTL", "odd:k"]).parse().unwrap();
                assert!(kept > 99 * 365 * 86_400, "{kept}");
            }
            for ttl in [Duration::ZERO, Duration::from_nanos(1)] {
                let made = cache.get_or_compute("z", ttl, async || Ok::<_, String>("v".to_owned()));
                assert_eq!(made.await.unwrap(), "v");
            }
        })
    });
    let said = warnings.with(&["odd:", "time to live"]);
    assert_eq!(said.len(), 1, "{said:?}");
}

/// A computed value that cannot be kept is computed again each time: that is to be known.
#[test]
fn values_that_cannot_be_kept_are_counted_and_said_once() {
    let servers: [Server; 1] = fleet();
    let warnings = Warnings::default();
    let seen = warnings.during(|| {
        recorded(async |_| {
            let cluster = patient(&servers).build().unwrap();
            let cache: Text = cluster.cache("full:").raw().unwrap();
            servers[0].raw(["CONFIG", "SET", "min-replicas-to-write", "1"]);
            for _ in 0..5 {
                let made =
                    cache.get_or_compute("k", HOUR, async || Ok::<_, String>("v".to_owned()));
                assert_eq!(made.await.unwrap(), "v");
            }
        })
    });
    assert_eq!(seen.get("fluster_cache_unkept_total{cache=full:}"), 5.0);
    let said = warnings.with(&["full:", "NOREPLICAS"]);
    assert_eq!(said.len(), 1, "{said:?}");
}

/// What a repair puts on a stand-in is capped as any other write there.
#[tokio::test]
async fn a_repair_of_a_stand_in_keeps_its_cap() {
    let servers: [Server; 3] = fleet();
    let cluster = patient(&servers).build().unwrap();
    let cache: Text = cluster
        .cache("")
        .replicas(2)
        .quorum(Quorum::All)
        .raw()
        .unwrap();
    let key = key_on(&cluster, [&servers[1], &servers[2]]);
    cache.set(&key, &"v".to_owned(), HOUR).await.unwrap();
    // The third one has been out; now it stands in for the second, behind the first.
    lose(&cluster, &servers[0]).await;
    bring_back(&cluster, &servers[0]).await;
    lose(&cluster, &servers[1]).await;
    let stands_in = cluster.replicas(&key, 2).unwrap();
    let at = stands_in.nodes().position(|n| *n == *servers[0].name());
    assert!(stands_in.has_stand_in() && at == Some(1), "{stands_in:?}");
    let majority: Text = cluster
        .cache("")
        .replicas(2)
        .read_from(ReadFrom::majority(|_, _| std::cmp::Ordering::Equal))
        .raw()
        .unwrap();
    assert_eq!(majority.get(&key).await.unwrap().as_deref(), Some("v"));
    eventually(SOON, || servers[0].raw(["GET", &key]) == "v").await;
    let ttl: i64 = servers[0].raw(["TTL", &key]).parse().unwrap();
    assert!((1..=60).contains(&ttl), "{ttl}");
}
