//! What waits to be written is bounded, and who finds no room waits.

use super::*;
use crate::connection::encode::LARGE_ONES;

#[tokio::test(start_paused = true)]
async fn who_finds_no_room_waits_for_it_until_the_deadline() {
    let (wire, theirs, _task) = plain(64);
    let large = "x".repeat(900_000);
    let first = {
        let (wire, large) = (Arc::clone(&wire), large.clone());
        tokio::spawn(async move {
            let cmd = echo(&large);
            let reply = ask(&wire, Request::One(&cmd), Some(ms(5000))).await;
            reply.is_ok()
        })
    };
    sleep(ms(1)).await;
    let full = echoed(&wire, &large).await.expect_err("no room");
    assert_eq!((full.fault, full.unsent), (Fault::Saturated, true));
    let second = {
        let wire = Arc::clone(&wire);
        tokio::spawn(async move {
            let cmd = echo(&"y".repeat(1 << 19));
            ask(&wire, Request::One(&cmd), Some(ms(5000))).await.is_ok()
        })
    };
    sleep(ms(1)).await;
    tokio::spawn(serve(theirs, 1 << 16, Arc::default()));
    assert!(first.await.expect("no panic"));
    assert!(second.await.expect("no panic"), "there was room again");
}

/// Sends something of this size, whose first bytes are all that leaves: nobody reads.
async fn sized(wire: Arc<Wire>, bytes: usize, limit: u64) -> Result<(), LinkError> {
    let cmd = echo(&"x".repeat(bytes));
    let reply = ask(&wire, Request::One(&cmd), Some(ms(limit))).await;
    reply.map(drop)
}

#[tokio::test(start_paused = true)]
async fn the_room_of_what_has_timed_out_is_for_those_who_wait_for_it() {
    let (wire, _theirs, _task) = plain(64);
    let begun = tokio::spawn(sized(Arc::clone(&wire), 1_000, 5_000));
    sleep(ms(1)).await;
    let waits = tokio::spawn(sized(Arc::clone(&wire), 900_000, 100));
    sleep(ms(1)).await;
    let came = tokio::time::Instant::now();
    let failed = sized(Arc::clone(&wire), 900_000, 1_000).await;
    let failed = failed.expect_err("nobody reads");
    let first = waits.await.expect("no panic").expect_err("nobody reads");
    assert_eq!((first.fault, first.unsent), (Fault::Timeout, true));
    // It had a place since then, and waited for its answer.
    assert_eq!((failed.fault, failed.unsent), (Fault::Timeout, true));
    assert!(came.elapsed() >= ms(1_000));
    begun.abort();
}

#[tokio::test(start_paused = true)]
async fn a_large_request_that_finds_no_room_is_not_packed_in_vain() {
    let (wire, mut theirs, _task) = plain(1 << 14);
    let first = tokio::spawn(sized(Arc::clone(&wire), 1_000_000, 60_000));
    sleep(ms(1)).await;
    let before = LARGE_ONES.get();
    let waiting = (0..10).map(|_| tokio::spawn(sized(Arc::clone(&wire), 900_000, 50_000)));
    let waiting: Vec<_> = waiting.collect();
    sleep(ms(1)).await;
    assert_eq!(LARGE_ONES.get(), before, "there was no room for any");
    // Each chunk that is written wakes all who wait.
    let mut seen = Vec::new();
    while timeout(ms(50), theirs.read_buf(&mut seen)).await.is_ok() {
        seen.clear();
    }
    assert_eq!(LARGE_ONES.get() - before, 10, "each was packed once");
    for call in waiting.into_iter().chain([first]) {
        call.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn small_requests_count_as_the_bytes_that_they_have() {
    let (wire, theirs, _task) = plain(64);
    // All but some thousand bytes of the bound.
    let large = "x".repeat(BOUNDS.bytes as usize - 4096);
    let mut calls: Vec<_> = std::iter::once(large)
        .chain((0..50).map(|n| format!("small {n}")))
        .map(|text| {
            let wire = Arc::clone(&wire);
            tokio::spawn(async move {
                let cmd = echo(&text);
                ask(&wire, Request::One(&cmd), Some(ms(5000))).await
            })
        })
        .collect();
    sleep(ms(1)).await;
    assert_eq!(wire.queue().depth(), 51, "each has its place");
    // What is too much for the rest of the bound has none.
    let full = echoed(&wire, &"y".repeat(4096)).await.expect_err("no room");
    assert_eq!((full.fault, full.unsent), (Fault::Saturated, true));
    tokio::spawn(serve(theirs, 1 << 16, Arc::default()));
    for call in calls.drain(..) {
        assert!(call.await.expect("no panic").is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_larger_than_the_bound_goes_alone() {
    let (wire, theirs, _task) = plain(64);
    let large = "x".repeat(3 * BOUNDS.bytes as usize);
    let first = {
        let wire = Arc::clone(&wire);
        tokio::spawn(async move {
            // Its answer is short.
            let cmd = echo(&large).arg("done").clone();
            ask(&wire, Request::One(&cmd), Some(ms(5000))).await.is_ok()
        })
    };
    sleep(ms(1)).await;
    let second = {
        let wire = Arc::clone(&wire);
        tokio::spawn(async move {
            let cmd = echo("small");
            ask(&wire, Request::One(&cmd), Some(ms(5000))).await.is_ok()
        })
    };
    sleep(ms(1)).await;
    assert_eq!(wire.queue().depth(), 1, "nobody stands behind it");
    tokio::spawn(serve(theirs, 1 << 16, Arc::default()));
    assert!(first.await.expect("no panic"), "it went");
    assert!(second.await.expect("no panic"), "and the next one after it");
}
