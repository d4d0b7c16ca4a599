//! Keys that are read, and written now and then.

use std::time::Duration;

use fluster::FlusterCluster;
use redis::{Cmd, RedisError};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::Tasks;
use crate::export::{announce, saw};
use crate::settings::Settings;

/// One try, and two more when that is safe.
const TRIES: usize = 3;
/// What a service leaves behind goes away by itself.
const TTL_SECONDS: u64 = 600;

/// Starts `TASKS` tasks that do `RATE` operations per second together, one of ten a write.
pub fn start(
    tasks: &mut Tasks,
    cluster: &FlusterCluster,
    settings: &Settings,
    stop: &CancellationToken,
) {
    announce("read");
    announce("write");
    let period = Duration::from_secs(1) * settings.tasks / settings.rate;
    for _ in 0..settings.tasks {
        let (cluster, keys, stop) = (cluster.clone(), settings.keys, stop.clone());
        tasks.spawn(async move {
            // Not all in step.
            tokio::time::sleep(period.mul_f64(fastrand::f64())).await;
            let mut tick = pace(period);
            while stop.run_until_cancelled(tick.tick()).await.is_some() {
                let key = format!("demo:key:{}", fastrand::u32(..keys));
                if fastrand::u8(..10) == 0 {
                    write(&cluster, &key).await;
                } else {
                    read(&cluster, &key).await;
                }
            }
            Ok(())
        });
    }
}

/// One tick per period; what was missed is not made up for, so an outage is not followed by a burst.
pub fn pace(period: Duration) -> tokio::time::Interval {
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// `run` finds the key's node by itself, and goes on to the next one when that is safe, as it is for a read.
async fn read(cluster: &FlusterCluster, key: &str) {
    let value = cluster.run::<Option<String>>(&Cmd::get(key)).await;
    saw("read", &value);
    if let Ok(None) = value {
        write(cluster, key).await;
    }
}

/// A client is pinned to its node; whoever writes through one decides about trying again.
async fn write(cluster: &FlusterCluster, key: &str) {
    let result = set(cluster, key).await;
    saw("write", &result);
}

async fn set(cluster: &FlusterCluster, key: &str) -> Result<(), RedisError> {
    let set = Cmd::set_ex(key, format!("the value of {key}"), TTL_SECONDS);
    let mut tries = 0;
    loop {
        tries += 1;
        let mut client = cluster.get_client(key)?;
        match set.query_async(&mut client).await {
            // Not executed, certainly: the stand-in may have it.
            Err(e) if tries < TRIES && is_safe_to_repeat(&e) => {}
            result => return result,
        }
    }
}

fn is_safe_to_repeat(e: &RedisError) -> bool {
    fluster::Error::from_redis(e).is_some_and(|e| e.outcome().is_safe_to_repeat())
}
