//! Replies that are in another's place do not stay unseen.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::*;

/// Answers half of those who wait, every 5 ms, so that there is always somebody; after a while it gives one reply so
/// many times.
async fn shifting(mut theirs: DuplexStream, copies: usize, after: Duration) {
    let (began, mut is_done) = (Instant::now(), false);
    let (mut asked, mut waiting) = (Vec::new(), VecDeque::new());
    loop {
        tokio::select! {
            read = theirs.read_buf(&mut asked) => {
                if read.unwrap_or(0) == 0 {
                    return;
                }
            }
            () = sleep(ms(5)) => {
                for said in waiting.drain(..usize::div_ceil(waiting.len(), 2)) {
                    let said: String = said;
                    let shifts = !is_done && began.elapsed() >= after;
                    is_done |= shifts;
                    let reply = format!("${}\r\n{said}\r\n", said.len());
                    let reply = reply.repeat(if shifts { copies } else { 1 });
                    if theirs.write_all(reply.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        }
        while let Some((words, used)) = words(&asked) {
            asked.drain(..used);
            waiting.extend(words.last().cloned());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_reply_too_many_or_too_few_is_seen_within_a_second_and_a_round_trip() {
    const AFTER: u64 = 2_500;
    for copies in [2, 0] {
        let (wire, theirs, _task) = connected(1 << 16, Pushes::Never, true);
        tokio::spawn(shifting(theirs, copies, ms(AFTER)));
        let began = Instant::now();
        let callers = (0..20).map(|n| {
            let wire = Arc::clone(&wire);
            async move {
                while !wire.is_dead() {
                    // What is handed out meanwhile may be wrong: that it does not last is the point.
                    let _ = echoed(&wire, &format!("t{n}")).await;
                }
            }
        });
        let all = timeout(ms(20_000), join_all(callers));
        all.await.expect("the connection ends");
        let took = began.elapsed();
        let late = ms(AFTER)..ms(AFTER + 1_200);
        assert!(late.contains(&took), "{copies} copies: {took:?}");
        let queue = wire.queue();
        let why = queue.ended().expect("it ended").error().to_string();
        assert!(why.contains("do not belong"), "{copies} copies: {why}");
    }
}
