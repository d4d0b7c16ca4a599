//! Jobs over a queue: most are done, some take a second try, a few are hopeless.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fluster::FlusterCluster;
use fluster::queue::{Consumer, Delivery, Queue};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Tasks;
use crate::export::{announce, saw};
use crate::settings::Settings;
use crate::traffic::pace;

/// Jobs under way at once.
const WORKERS: usize = 16;
/// How long a hopeless job stays among the dead letters, for whoever wants to look at it.
const DEAD_FOR: Duration = Duration::from_secs(600);

/// Starts who pushes `JOBS_RATE` jobs per second, who does them, and who clears the dead letters away.
///
/// # Errors
///
/// Outside a tokio runtime.
pub fn start(
    tasks: &mut Tasks,
    cluster: &FlusterCluster,
    settings: &Settings,
    stop: &CancellationToken,
) -> Result<(), Box<dyn Error>> {
    announce("push");
    announce("ack");
    // Bounded: without consumers a queue would fill the servers.
    let queue = cluster
        .queue("demo")
        .max_len(100_000)
        .visibility(Duration::from_secs(10));
    let consumer = queue.consumer("workers", "demo")?;
    let period = Duration::from_secs(1) / settings.jobs_rate;
    tasks.spawn(push(queue.clone(), period, stop.clone()));
    tasks.spawn(work(consumer, stop.clone()));
    tasks.spawn(clear(queue, stop.clone()));
    Ok(())
}

type Ended = Result<(), Box<dyn Error + Send + Sync>>;

async fn push(queue: Queue, period: Duration, stop: CancellationToken) -> Ended {
    let mut tick = pace(period);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let job = b"resize cat.png";
        let pushed = if fastrand::u8(..10) == 0 {
            queue.push_at(Duration::from_secs(3), job).await
        } else {
            queue.push(job).await
        };
        saw("push", &pushed);
        if let Err(e) = pushed {
            tracing::debug!("not pushed: {e}");
        }
    }
    Ok(())
}

async fn work(consumer: Consumer, stop: CancellationToken) -> Ended {
    let (mut under_way, places) = (JoinSet::new(), Arc::new(Semaphore::new(WORKERS)));
    let next = async || {
        let place = Arc::clone(&places).acquire_owned().await?;
        Ok::<_, Box<dyn Error + Send + Sync>>((place, consumer.pop(Duration::from_secs(1)).await))
    };
    while let Some(next) = stop.run_until_cancelled(next()).await {
        let (place, popped) = next?;
        match popped {
            Ok(Some(job)) => {
                under_way.spawn(async move {
                    handle(job).await;
                    drop(place);
                });
            }
            Ok(None) => {}
            // The consumer goes on by itself, with pauses.
            Err(e) => tracing::debug!("no job: {e}"),
        }
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
    consumer.close().await;
    Ok(())
}

async fn handle(job: Delivery) {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(5..50))).await;
    let settled = match fastrand::u8(..100) {
        0 => {
            job.reject("the demo gives up on one of a hundred jobs")
                .await
        }
        1..5 => job.nack(Duration::from_secs(1)).await,
        _ => {
            let acked = job.ack().await;
            saw("ack", &acked);
            acked
        }
    };
    if let Err(e) = settled {
        // Its node is out: the job comes again, from there, when its lease has ended.
        tracing::debug!("not settled: {e}");
    }
}

async fn clear(queue: Queue, stop: CancellationToken) -> Ended {
    let dead = queue.dead();
    let mut tick = pace(Duration::from_secs(10));
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let now = SystemTime::now();
        for letter in dead.list(1000).await.unwrap_or_default() {
            let age = now.duration_since(letter.since()).unwrap_or_default();
            if age > DEAD_FOR
                && let Err(e) = dead.discard(&letter).await
            {
                tracing::debug!("a dead letter stays: {e}");
            }
        }
    }
    Ok(())
}
