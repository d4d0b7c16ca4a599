//! Each public asynchronous function once, on a thread of no runtime.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use fluster::pubsub::Subscription;
use fluster::queue::{Consumer, Delivery, MessageId};
use fluster::replication::{HedgeAfter, Quorum, ReadFrom};
use fluster::{DedicatedClient, Error, FlusterCluster};
use futures_util::{FutureExt as _, StreamExt};
use redis::{AsyncCommands, ScanOptions, Value};

use super::ms;

/// `block_on` of a thread that has no runtime, as other executors have it.
pub(super) fn on_a_plain_thread<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    assert!(tokio::runtime::Handle::try_current().is_err());
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    let until = Instant::now() + ms(30_000);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
        assert!(Instant::now() < until, "it never ends");
        std::thread::park_timeout(ms(1_000));
    }
}

/// What a walk over the public functions met: the name of each, and its error or panic.
pub(super) type Walked = Vec<(&'static str, Result<(), String>)>;

/// Everything that has to be there before the walk, made where a runtime is.
#[derive(Default)]
pub(super) struct Held {
    pub(super) own: Option<DedicatedClient>,
    pub(super) consumer: Option<Consumer>,
    pub(super) jobs: Vec<Delivery>,
    pub(super) news: Option<Subscription>,
    #[cfg(feature = "discovery")]
    pub(super) following: Option<fluster::discovery::Following>,
}

/// Each public asynchronous function once, each polled on this plain thread.
pub(super) fn walk(cluster: &FlusterCluster, mut held: Held) -> Walked {
    let mut walked = Walked::new();
    macro_rules! step {
        ($name:literal, $future:expr) => {{
            let run = AssertUnwindSafe(|| on_a_plain_thread($future));
            let ended = match catch_unwind(run) {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(e)) => Err(e.to_string()),
                Err(_) => Err("PANIC".to_owned()),
            };
            walked.push(($name, ended));
        }};
    }
    /// One result of many; all of them fail for the same reason.
    fn first<T, E>(all: impl IntoIterator<Item = Result<T, E>>) -> Result<(), E> {
        all.into_iter().next().map_or(Ok(()), |one| one.map(drop))
    }
    let mut client = cluster.get_client("k").unwrap();
    let mut whole = cluster.clone();
    let (get, set) = (redis::Cmd::get("k"), redis::Cmd::set("k", 1));
    let pipe = redis::pipe().get("k").get("l").to_owned();
    let atomic = redis::pipe().atomic().get("k").to_owned();

    step!("Client, one command", client.get::<_, Option<u8>>("k"));
    step!("Client, a pipeline", pipe.query_async::<Value>(&mut client));
    step!("Client::dedicated", async {
        client.dedicated().await.map(drop)
    });
    if held.own.is_none() {
        held.own = on_a_plain_thread(client.dedicated()).ok();
    }
    if let Some(mut own) = held.own.take() {
        step!(
            "DedicatedClient, one command",
            own.get::<_, Option<u8>>("k")
        );
        step!(
            "DedicatedClient, a pipeline",
            pipe.query_async::<Value>(&mut own)
        );
        step!(
            "DedicatedClient, blocking",
            own.blpop::<_, Value>("none", 0.01)
        );
    }
    step!("cluster, one command", whole.get::<_, Option<u8>>("k"));
    step!("cluster, a pipeline", pipe.query_async::<Value>(&mut whole));
    step!(
        "cluster, a transaction",
        atomic.query_async::<Value>(&mut whole)
    );
    step!("run", cluster.run::<Value>(&get));
    step!(
        "run, all nodes",
        cluster.run::<Value>(&redis::cmd("DBSIZE"))
    );
    step!("run_with_key", cluster.run_with_key::<Value>("k", &get));
    step!("get_many", async {
        first(cluster.get_many::<_, Value>(["k", "l"]).await)
    });
    step!("set_many", async {
        first(cluster.set_many([("k", 1), ("l", 2)]).await)
    });
    step!("del_many", async {
        first(cluster.del_many(["k", "l"]).await)
    });
    step!("pipeline", async {
        cluster.pipeline(&pipe).await.and_then(first)
    });
    step!("pipeline, atomic", async {
        cluster.pipeline(&atomic).await.and_then(first)
    });
    step!("fan_out", async {
        first(
            cluster
                .fan_out(&redis::cmd("DBSIZE"))
                .await
                .into_iter()
                .map(|(_, r)| r),
        )
    });
    step!(
        "zrevrange_with_int_score",
        cluster.zrevrange_with_int_score("z", 9, 0)
    );
    let mut in_the_way = 2;
    step!(
        "transaction, after two conflicts",
        cluster.transaction::<Value, _, _, _>(["k"], |own, mut pipe| {
            in_the_way -= 1;
            let (other, disturb) = (cluster.clone(), in_the_way > 0);
            async move {
                if disturb {
                    let incr = redis::Cmd::incr("k", 1);
                    let done = other.run_with_key::<()>("k", &incr).await;
                    done.map_err(redis::RedisError::from)?;
                }
                pipe.get("k");
                Ok((own, pipe))
            }
        })
    );
    let mut scan = cluster.scan(ScanOptions::default());
    step!("Scan::next", async { scan.next().await.transpose() });
    let mut scan = cluster.scan(ScanOptions::default());
    step!("Scan as a stream", async {
        StreamExt::next(&mut scan).await.transpose()
    });
    step!("subscribe", async {
        cluster.subscribe(["c"]).await.map(drop)
    });
    step!("psubscribe", async {
        cluster.psubscribe(["c*"]).await.map(drop)
    });
    if held.news.is_none() {
        held.news = on_a_plain_thread(cluster.subscribe(["c"])).ok();
    }
    if let Some(mut news) = held.news.take() {
        let tell = redis::cmd("PUBLISH").arg("c").arg("x").to_owned();
        step!("Subscription::next", async {
            let told = cluster.run_with_key::<()>("c", &tell).await;
            told?;
            news.next().await.map(drop).ok_or_else(closed)
        });
        step!("Subscription as a stream", async {
            cluster.run_with_key::<()>("c", &tell).await?;
            StreamExt::next(&mut news)
                .await
                .map(drop)
                .ok_or_else(closed)
        });
    }
    let mut events = cluster.events();
    step!("Events::next", async {
        Ok::<_, Error>(events.next().now_or_never())
    });

    let both = cluster.replicas("k", 2).unwrap();
    step!("Replicas::write", both.write(&set, Quorum::All));
    step!(
        "Replicas::read",
        both.read::<Value>(&get, ReadFrom::FirstAvailable)
    );
    let hedged = ReadFrom::Hedged {
        after: HedgeAfter::default(),
    };
    step!("Replicas::read, hedged", both.read::<Value>(&get, hedged));
    let newest = ReadFrom::majority(|_, _| std::cmp::Ordering::Equal);
    step!("Replicas::read, majority", both.read::<Value>(&get, newest));

    let cache = cluster.cache("c:").replicas(2).raw::<String>().unwrap();
    let minute = Duration::from_secs(60);
    step!("Cache::set", cache.set("k", &"v".to_owned(), minute));
    step!("Cache::get", cache.get("k"));
    step!("Cache::get_many", async {
        first(cache.get_many(["k", "l"]).await)
    });
    step!("Cache::set_many", async {
        first(cache.set_many([("k", "v".to_owned())], minute).await)
    });
    step!("Cache::get_or_compute", async {
        // The cache may fail; what was computed is there all the same.
        let made = || async { Ok::<_, Error>("v".to_owned()) };
        cache.get_or_compute("new", minute, made).await
    });
    step!("Cache::delete", async {
        match cache.delete("k").await.is_complete() {
            true => Ok(()),
            false => Err("not everywhere: no tokio runtime"),
        }
    });

    let queue = cluster.queue("q");
    step!("Queue::push", queue.push("a"));
    step!("Queue::push_as", queue.push_as(MessageId::random(), "b"));
    step!("Queue::push_by_key", queue.push_by_key("k", "c"));
    step!("Queue::push_at", queue.push_at(minute, "d"));
    step!("Queue::push_many", async {
        first(queue.push_many(["e", "f"]).await)
    });
    step!("Queue::len", queue.len());
    step!("Queue::is_empty", queue.is_empty());
    step!("Queue::depths", async {
        queue
            .depths()
            .await?
            .into_iter()
            .next()
            .map_or(Ok(()), |(_, d)| d.map(drop))
    });
    step!(
        "Queue::is_first",
        queue.is_first(MessageId::random(), minute)
    );
    step!("Queue::forget_id", queue.forget_id(MessageId::random()));
    if held.consumer.is_none() {
        held.consumer = queue.consumer("g", "w").ok();
        if let Some(consumer) = &held.consumer {
            while held.jobs.len() < 4 {
                let job = on_a_plain_thread(consumer.pop(Duration::from_secs(10)));
                held.jobs.push(job.unwrap().expect("five were pushed"));
            }
        }
    }
    if let Some(consumer) = held.consumer.take() {
        let mut jobs = held.jobs.into_iter();
        let mut job = || jobs.next().unwrap();
        step!("Consumer::pop", consumer.pop(ms(30)));
        let (a, b, c, d) = (job(), job(), job(), job());
        step!("Delivery::extend", a.extend(minute));
        step!("Delivery::ack", a.ack());
        step!("Delivery::nack", b.nack(ms(1)));
        step!("Delivery::reject", c.reject("bad"));
        step!("Consumer::ack_many", async {
            first(consumer.ack_many([&d]).await)
        });
        drop((a, b, c, d));
        step!("Consumer::stream", async {
            // There is one, or there will be none: a stream has no time-out of its own.
            Ok::<_, Error>(consumer.stream().next().now_or_never())
        });
        step!("Consumer::close", async {
            consumer.close().await;
            Ok::<_, Error>(())
        });
    }
    let dead = queue.dead();
    step!("DeadLetters::list", dead.list(9));
    if let Ok(letters) = on_a_plain_thread(dead.list(9)) {
        for letter in letters {
            step!("DeadLetters::retry", dead.retry(&letter));
            step!("DeadLetters::discard", dead.discard(&letter));
        }
    }
    step!("Queue::purge", async {
        queue
            .purge()
            .await?
            .into_iter()
            .next()
            .map_or(Ok(()), |(_, d)| d.map(drop))
    });
    on_a_plain_thread(queue.push_by_key("k", "left")).ok();
    let node = cluster.get_node("k").unwrap();
    step!("Queue::drain", queue.drain(&node, ms(50)));
    #[cfg(feature = "discovery")]
    {
        use fluster::discovery::{Static, once};
        let urls: Vec<_> = cluster
            .status()
            .nodes
            .iter()
            .map(|n| format!("redis://{}", n.name))
            .collect();
        let mut fixed = Static::from_urls(&urls).unwrap();
        if held.following.is_none() {
            held.following = cluster.follow(Static::from_urls(&urls).unwrap()).ok();
        }
        if let Some(following) = held.following.take() {
            step!("Following::ready", async {
                following.ready().await;
                Ok::<_, Error>(())
            });
        }
        // It belongs to no cluster, and so to no runtime but the caller's.
        let alone = catch_unwind(AssertUnwindSafe(|| {
            on_a_plain_thread(once(&mut fixed, minute))
        }));
        let why = alone.expect("no panic").unwrap_err().to_string();
        assert!(why.contains("no tokio runtime"), "{why}");
    }
    step!("shutdown", async {
        cluster.shutdown(ms(20)).await;
        Ok::<_, Error>(())
    });
    walked
}

pub(super) fn closed() -> Error {
    let empty = FlusterCluster::from_urls(["redis://127.0.0.1:1"]).unwrap();
    on_a_plain_thread(empty.run::<Value>(&redis::Cmd::get("k"))).unwrap_err()
}

pub(super) fn no_panic(walked: &Walked, least: usize) {
    let panicked: Vec<_> = walked
        .iter()
        .filter(|(_, end)| matches!(end, Err(e) if e.contains("PANIC")))
        .map(|(name, _)| name)
        .collect();
    assert!(
        panicked.is_empty(),
        "panics on a plain thread: {panicked:?}"
    );
    assert!(
        walked.len() >= least,
        "{} of the public functions",
        walked.len()
    );
}
