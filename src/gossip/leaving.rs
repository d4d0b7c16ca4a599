//! Leaving, as it happens: each step has a limit, and none stops the next.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::builder::Hook;
use super::events::GossipEvent;
use super::leave::{AGAIN, HOOK, LeaveReport};
use super::shared::{LeaveStep, Leaving, Shared};
use crate::clock;
use crate::error::text::one_line;

/// Whoever waits for the end of leaving hears of it, however it comes.
struct Promise(Arc<Shared>);

impl Drop for Promise {
    fn drop(&mut self) {
        let broken = || LeaveReport {
            errors: vec!["the runtime ended before this instance had left".to_owned()],
            ..LeaveReport::default()
        };
        self.0.left.send_if_modified(|left| {
            let is_broken = left.is_none();
            left.get_or_insert_with(broken);
            is_broken
        });
    }
}

/// All steps, in their order. Dropped, also before it is polled, it says so in the report.
pub(crate) fn leave(shared: Arc<Shared>, leaving: Leaving) -> impl Future<Output = ()> + Send {
    let promise = Promise(shared);
    async move { go(&promise.0, leaving).await }
}

async fn go(shared: &Shared, leaving: Leaving) {
    let began = clock::now();
    let mut report = LeaveReport::default();
    report.others = step(shared, LeaveStep::Begin, &mut report).await;
    sleep(leaving.drain).await;
    call(leaving.before, "before", &mut report).await;
    report.told = step(shared, LeaveStep::Tell, &mut report).await;
    report.out_after = clock::since(began);
    sleep(AGAIN).await;
    step(shared, LeaveStep::Tell, &mut report).await;
    step(shared, LeaveStep::End, &mut report).await;
    sleep(leaving.linger).await;
    call(leaving.after, "after", &mut report).await;
    report.lasted = clock::since(began);
    metrics::gauge!("fluster_gossip_leave_seconds", "cluster" => shared.cluster.clone())
        .set(report.lasted.as_secs_f64());
    super::meter::log(&shared.cluster, &GossipEvent::Left);
    shared.tell(GossipEvent::Left);
    shared.left.send_replace(Some(report));
}

async fn step(shared: &Shared, step: LeaveStep, report: &mut LeaveReport) -> usize {
    let (done, answer) = oneshot::channel();
    shared.wish(|wishes| wishes.leave.push((step, done)));
    // Without a driver there is nobody to leave.
    match timeout(HOOK, answer).await {
        Ok(Ok(told)) => told,
        Ok(Err(_)) | Err(_) => {
            let why = format!("{step:?}: the instance did not do it within {HOOK:?}");
            report.errors.push(why);
            0
        }
    }
}

async fn call(hooks: Vec<Hook>, which: &str, report: &mut LeaveReport) {
    for (n, hook) in hooks.into_iter().enumerate() {
        // The call itself may panic, too.
        let called = AssertUnwindSafe(async move { hook().await }).catch_unwind();
        let why = match timeout(HOOK, called).await {
            Ok(Ok(Ok(()))) => continue,
            Ok(Ok(Err(why))) => why,
            Ok(Err(_)) => "it panicked".to_owned(),
            Err(_) => format!("it did not end within {HOOK:?}"),
        };
        report
            .errors
            .push(one_line(format!("hook {n} {which} leaving: {why}")));
    }
}
