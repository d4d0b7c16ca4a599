//! Leaving, as it happens: each step has a limit, and none stops the next.

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

/// All steps, in their order.
pub(crate) async fn leave(shared: Arc<Shared>, leaving: Leaving) {
    let began = clock::now();
    let mut report = LeaveReport {
        others: step(&shared, LeaveStep::Begin).await,
        ..LeaveReport::default()
    };
    sleep(leaving.drain).await;
    call(leaving.before, "before", &mut report).await;
    report.told = step(&shared, LeaveStep::Tell).await;
    report.out_after = clock::since(began);
    sleep(AGAIN).await;
    step(&shared, LeaveStep::Tell).await;
    step(&shared, LeaveStep::End).await;
    sleep(leaving.linger).await;
    call(leaving.after, "after", &mut report).await;
    report.lasted = clock::since(began);
    metrics::gauge!("fluster_gossip_leave_seconds", "cluster" => shared.cluster.clone())
        .set(report.lasted.as_secs_f64());
    super::meter::log(&shared.cluster, &GossipEvent::Left);
    shared.tell(GossipEvent::Left);
    shared.left.send_replace(Some(report));
}

async fn step(shared: &Shared, step: LeaveStep) -> usize {
    let (done, answer) = oneshot::channel();
    shared.wish(|wishes| wishes.leave.push((step, done)));
    // Without a driver there is nobody to leave.
    timeout(HOOK, answer)
        .await
        .ok()
        .and_then(Result::ok)
        .unwrap_or_default()
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
