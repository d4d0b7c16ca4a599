//! How late this process itself is, for what cannot be judged without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How late this process itself is: the most by which a sleep was too long.
pub struct Lateness {
    ends: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Duration>,
}

impl Lateness {
    pub fn watch() -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ends);
        let task = tokio::spawn(async move {
            let mut most = Duration::ZERO;
            while !until.load(Relaxed) {
                let began = Instant::now();
                super::pass(super::ms(5)).await;
                most = most.max(began.elapsed().saturating_sub(super::ms(5)));
            }
            most
        });
        Self { ends, task }
    }

    pub async fn end(self) -> Duration {
        self.ends.store(true, Relaxed);
        self.task.await.expect("it only sleeps")
    }
}
