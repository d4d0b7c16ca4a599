//! A program without async: four threads share one cluster.
//!
//! `REDIS_URLS=redis://10.0.0.1,redis://10.0.0.2 cargo run --example sync`

use std::error::Error;
use std::thread;
use std::time::Duration;

use fluster::FlusterCluster;
use redis::{FromRedisValue, ToRedisArgs};
use tokio::runtime::{Builder, Runtime};

/// The cluster, and the runtime that its connections live on.
struct Redis {
    cluster: FlusterCluster,
    // Its one thread runs by itself; a `current_thread` runtime would run inside `block_on` alone. It is dropped last.
    runtime: Runtime,
}

impl Redis {
    fn new(urls: &str) -> Result<Self, Box<dyn Error>> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let cluster = FlusterCluster::builder()
            .urls(urls.split(','))
            .runtime(runtime.handle().clone())
            .build()?;
        Ok(Self { cluster, runtime })
    }

    /// Any thread may call, many at once.
    fn call<T: FromRedisValue>(
        &self,
        name: &str,
        args: impl ToRedisArgs,
    ) -> Result<T, fluster::Error> {
        let mut cmd = redis::cmd(name);
        cmd.arg(args);
        self.runtime.block_on(self.cluster.run(&cmd))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let urls = std::env::var("REDIS_URLS").unwrap_or("redis://127.0.0.1:6379".into());
    let redis = Redis::new(&urls)?;
    let _: u64 = redis.call("DEL", &["sync:a", "sync:b"])?;

    thread::scope(|scope| {
        let counters = (0..4).map(|_| {
            scope.spawn(|| {
                (0..50).try_for_each(|_| {
                    redis.call::<u64>("INCR", "sync:a")?;
                    redis.call::<u64>("INCR", "sync:b").map(drop)
                })
            })
        });
        let mut counters = counters.collect::<Vec<_>>().into_iter();
        counters.try_for_each(|counter| counter.join().expect("it does not panic"))
    })?;

    let counts: Vec<u64> = redis.call("MGET", &["sync:a", "sync:b"])?;
    println!("four threads counted {} and {}", counts[0], counts[1]);
    let end = redis.cluster.shutdown(Duration::from_secs(1));
    redis.runtime.block_on(end);
    Ok(())
}
