use std::task::Waker;
use std::time::{Duration, Instant};

use super::*;

const BOUNDS: Bounds = Bounds {
    calls: 100,
    bytes: 1 << 20,
};

fn packed_as(whole: usize, decisive: usize, first_command: usize) -> Packed {
    Packed {
        whole,
        decisive,
        first_command,
    }
}

fn packed(whole: usize, decisive: usize) -> Packed {
    packed_as(whole, decisive, decisive)
}

fn written(out: &mut Vec<u8>, text: &str, decisive: usize) -> Packed {
    out.extend_from_slice(text.as_bytes());
    packed(text.len(), decisive)
}

struct Rig {
    queue: Queue,
    now: Instant,
    wakers: Vec<Waker>,
    /// What has left.
    wire: Vec<u8>,
}

impl Rig {
    fn new() -> Self {
        let mut queue = Queue::new(BOUNDS);
        queue.setup_done();
        Self {
            queue,
            now: Instant::now(),
            wakers: Vec::new(),
            wire: Vec::new(),
        }
    }

    fn ask(&self, taking: Taking) -> Ask {
        Ask {
            deadline: Some(self.now + Duration::from_millis(500)),
            purpose: Purpose::User,
            taking,
        }
    }

    fn submit(&mut self, text: &str) -> Place {
        let ask = self.ask(Taking::One);
        self.put(ask, text, text.len())
    }

    fn put(&mut self, ask: Ask, text: &str, decisive: usize) -> Place {
        let write = |out: &mut Vec<u8>| written(out, text, decisive);
        let caller = &mut Some(Waker::noop().clone());
        let put = self.queue.submit(ask, caller, text.len(), write);
        put.expect("a place").0
    }

    fn large(&mut self, text: &str) -> Place {
        let ask = self.ask(Taking::One);
        let caller = &mut Some(Waker::noop().clone());
        let bytes = text.as_bytes().to_vec();
        let packed = packed(text.len(), text.len());
        let put = self.queue.submit_packed(ask, caller, bytes, packed);
        put.expect("a place").0
    }

    /// The socket takes so many bytes of what waits.
    fn write(&mut self, mut most: usize) {
        while most > 0 {
            let (Some(mut chunk), _) = self.queue.claim(Vec::new()) else {
                return;
            };
            let n = most.min(chunk.rest().len());
            self.wire.extend_from_slice(&chunk.rest()[..n]);
            chunk.took(n);
            most -= n;
            self.queue.give_back(chunk);
        }
    }

    fn answer(&mut self, n: i64) -> Result<Heard, Unfit> {
        self.queue.answer(Value::Int(n), &mut self.wakers)
    }

    fn drop_call(&mut self, place: Place) {
        let _ = self.queue.cancel(place);
    }

    fn look(&mut self, place: Place) -> Option<Result<Answer, Failure>> {
        match self.queue.look(place, Waker::noop()) {
            Looked::Over(result) => Some(result),
            Looked::Waits | Looked::ByAnother => None,
        }
    }

    fn sent(&self) -> &str {
        std::str::from_utf8(&self.wire).expect("text")
    }
}

fn one(n: i64) -> Option<Result<Answer, Failure>> {
    Some(Ok(Answer::One(Value::Int(n))))
}

fn lost() -> Ended {
    Ended::eof()
}

#[test]
fn replies_come_in_the_order_of_the_commands() {
    let mut rig = Rig::new();
    let places: Vec<_> = (0..5).map(|n| rig.submit(&format!("<{n}>"))).collect();
    rig.write(usize::MAX);
    assert_eq!(rig.sent(), "<0><1><2><3><4>");
    for n in 0..5 {
        assert_eq!(rig.answer(n), Ok(Heard::Whole));
    }
    for (n, place) in places.into_iter().enumerate() {
        assert_eq!(rig.look(place), one(n as i64));
    }
    assert_eq!((rig.queue.callers(), rig.queue.depth()), (0, 0));
}

#[test]
fn what_is_dropped_before_it_is_claimed_never_leaves() {
    // Each subset of five calls is dropped, after each number of bytes was written.
    for dropped in 0_u32..32 {
        for written in 0..=20 {
            let mut rig = Rig::new();
            let texts = ["<a>", "<bbbb>", "<c>", "<dd>", "<e>"];
            let places: Vec<_> = texts
                .iter()
                .enumerate()
                .map(|(n, text)| match n {
                    1 => rig.large(text),
                    _ => rig.submit(text),
                })
                .collect();
            rig.write(written);
            let mut expected = String::new();
            let mut at = 0;
            let mut left = Vec::new();
            for (n, text) in texts.iter().enumerate() {
                let is_dropped = dropped & (1 << n) != 0;
                let has_begun = at < written;
                at += text.len();
                if is_dropped {
                    rig.drop_call(places[n]);
                }
                if !is_dropped || has_begun {
                    expected.push_str(text);
                    left.push((n, is_dropped));
                }
            }
            let late = rig.submit("<late>");
            rig.write(usize::MAX);
            expected.push_str("<late>");
            let what = format!("dropped {dropped:05b} after {written} bytes");
            assert_eq!(rig.sent(), expected, "{what}");
            // Whoever is left gets its own reply, and holes are skipped.
            for (n, _) in &left {
                assert_eq!(rig.answer(*n as i64), Ok(Heard::Whole), "{what}");
            }
            assert_eq!(rig.answer(99), Ok(Heard::Whole), "{what}");
            for (n, is_dropped) in left {
                if !is_dropped {
                    assert_eq!(rig.look(places[n]), one(n as i64), "{what}");
                }
            }
            assert_eq!(rig.look(late), one(99), "{what}");
            assert_eq!(rig.answer(0), Err(Unfit::Stray), "{what}");
            assert_eq!(rig.queue.callers(), 0, "{what}");
        }
    }
}

impl Rig {
    fn transaction(&mut self, text: &str, decisive: usize, first_command: usize) -> Place {
        let ask = self.ask(Taking::many(1, true));
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(text.as_bytes());
            packed_as(text.len(), decisive, first_command)
        };
        let caller = &mut Some(Waker::noop().clone());
        let put = self.queue.submit(ask, caller, text.len(), write);
        put.expect("a place").0
    }

    /// A transaction on this connection, from its `MULTI` to its `EXEC`.
    fn transacts(&mut self, replies: [Value; 3]) -> Option<Result<Answer, Failure>> {
        let place = self.transaction("<multi--------><c><x>", 21, 18);
        self.write(usize::MAX);
        for value in replies {
            self.queue.answer(value, &mut self.wakers).expect("its own");
        }
        self.wire.clear();
        self.look(place)
    }
}

fn error(line: &str) -> Value {
    redis::parse_redis_value(line.as_bytes()).expect("an error")
}

#[test]
fn a_transaction_was_not_sent_without_its_exec_where_the_server_takes_multi() {
    let queued = || Value::SimpleString("QUEUED".into());
    for written in 0..=21 {
        for takes_multi in [None, Some(true), Some(false)] {
            let mut rig = Rig::new();
            match takes_multi {
                Some(true) => {
                    let done = rig.transacts([Value::Okay, queued(), Value::Array(Vec::new())]);
                    assert!(matches!(done, Some(Ok(Answer::Many(_)))), "{done:?}");
                }
                Some(false) => {
                    rig.transacts([Value::Okay, queued(), Value::Array(Vec::new())]);
                    let no = || error("-NOPERM no multi\r\n");
                    let done = rig.transacts([no(), no(), error("-ERR EXEC without MULTI\r\n")]);
                    assert!(matches!(done, Some(Ok(Answer::Aborted(_)))), "{done:?}");
                }
                None => {}
            }
            let place = rig.transaction("<multi--------><c><x>", 21, 18);
            rig.write(written);
            rig.queue.end(lost(), &mut rig.wakers);
            let unsent = match takes_multi {
                Some(true) => written < 21,
                _ => written < 18,
            };
            let told = Some(Err(Failure::Ended { unsent }));
            assert_eq!(rig.look(place), told, "{written} {takes_multi:?}");
        }
    }
}

#[test]
fn a_transaction_without_its_multi_is_told_as_what_it_was() {
    let exec = || error("-ERR EXEC without MULTI\r\n");
    let mut rig = Rig::new();
    let done = rig.transacts([error("-BUSY a script\r\n"), Value::Okay, exec()]);
    let Some(Ok(Answer::Unwrapped(refusal))) = done else {
        panic!("{done:?}");
    };
    assert_eq!(refusal.code(), "BUSY");
    // Nothing of it was executed, and it may be repeated.
    let busy = || error("-BUSY a script\r\n");
    let done = rig.transacts([busy(), busy(), exec()]);
    assert!(matches!(done, Some(Ok(Answer::Aborted(_)))), "{done:?}");
}

#[test]
fn a_call_of_which_no_whole_command_left_was_not_sent() {
    // A command, a pipeline of two, a transaction, cut after each number of bytes.
    for written in 0..=24 {
        let mut rig = Rig::new();
        rig.queue.takes_multi = true;
        let a = rig.submit("<a>");
        let ask = rig.ask(Taking::many(2, false));
        let b = rig.put(ask, "<b1><b2>", 4);
        let ask = rig.ask(Taking::many(1, true));
        let c = rig.put(ask, "<m><c><x>", 9);
        let d = rig.submit("<d>");
        rig.write(written);
        rig.queue.end(lost(), &mut rig.wakers);
        let mut unsent = |place| match rig.look(place) {
            Some(Err(Failure::Ended { unsent })) => unsent,
            other => panic!("{other:?}"),
        };
        assert_eq!(unsent(a), written < 3, "a command, {written}");
        assert_eq!(unsent(b), written < 7, "a pipeline's first, {written}");
        assert_eq!(unsent(c), written < 20, "an EXEC, {written}");
        assert_eq!(unsent(d), written < 23, "the last one, {written}");
    }
}

#[test]
fn a_time_out_takes_back_what_has_not_begun_to_leave() {
    let mut rig = Rig::new();
    let (a, b) = (rig.submit("<a>"), rig.submit("<b>"));
    rig.write(4);
    let c = rig.submit("<c>");
    let late = rig.now + Duration::from_secs(1);
    assert_eq!(rig.queue.expire(late, &mut rig.wakers), None);
    assert_eq!(rig.wakers.len(), 3);
    for (place, unsent) in [(a, false), (b, false), (c, true)] {
        assert_eq!(rig.look(place), Some(Err(Failure::Timeout { unsent })));
    }
    rig.write(usize::MAX);
    assert_eq!(rig.sent(), "<a><b>", "half a command is finished");
    // Their replies are thrown away.
    assert_eq!(rig.answer(1), Ok(Heard::Whole));
    assert_eq!(rig.answer(2), Ok(Heard::Whole));
    assert_eq!(rig.answer(3), Err(Unfit::Stray));
}

#[test]
fn what_answers_nobody_is_stray() {
    let mut rig = Rig::new();
    assert_eq!(rig.answer(1), Err(Unfit::Stray), "nobody asked");
    let mut rig = Rig::new();
    rig.submit("<a>");
    assert_eq!(rig.answer(1), Err(Unfit::Stray), "not a byte of it left");
    let mut rig = Rig::new();
    rig.submit("<a>");
    rig.write(2);
    assert_eq!(rig.answer(1), Err(Unfit::Stray), "it is not whole");
    let mut rig = Rig::new();
    let ask = rig.ask(Taking::many(2, false));
    rig.put(ask, "<1><2>", 3);
    rig.write(4);
    assert_eq!(rig.answer(1), Ok(Heard::Part));
    assert_eq!(rig.answer(2), Err(Unfit::Stray), "the second is not whole");
}

#[test]
fn a_refusal_in_the_middle_of_a_command_reaches_its_caller() {
    let mut rig = Rig::new();
    let a = rig.submit("<a>");
    rig.write(2);
    let error = redis::parse_redis_value(b"-ERR Protocol error\r\n").expect("an error");
    let heard = rig.queue.answer(error.clone(), &mut rig.wakers);
    assert_eq!(heard, Err(Unfit::Halfway));
    assert_eq!(rig.look(a), Some(Ok(Answer::One(error))));
}

#[test]
fn pipelines_and_transactions_take_what_is_theirs() {
    let mut rig = Rig::new();
    let ask = rig.ask(Taking::many(2, false));
    let pipeline = rig.put(ask, "<1><2>", 3);
    let ask = rig.ask(Taking::many(2, true));
    let refused = rig.put(ask, "<multi--------><1><2><x>", 24);
    let ask = rig.ask(Taking::many(0, true));
    let empty = rig.put(ask, "<multi--------><x>", 18);
    rig.write(usize::MAX);
    let oom = error("-OOM no\r\n");
    for value in [
        Value::Int(1),
        Value::Int(2),
        Value::Okay,
        Value::SimpleString("QUEUED".into()),
        oom.clone(),
        error("-EXECABORT no\r\n"),
        Value::Okay,
        Value::Array(vec![]),
    ] {
        rig.queue
            .answer(value, &mut rig.wakers)
            .expect("somebody's");
    }
    let both = Answer::Many(vec![Value::Int(1), Value::Int(2)]);
    assert_eq!(rig.look(pipeline), Some(Ok(both)));
    let Some(Ok(Answer::Aborted(inside))) = rig.look(refused) else {
        panic!("it was refused");
    };
    assert_eq!((inside.len(), inside[0].0), (1, 1));
    let nothing = Answer::Many(vec![Value::Array(vec![])]);
    assert_eq!(rig.look(empty), Some(Ok(nothing)));
}

#[test]
fn a_token_is_answered_by_itself_alone() {
    let put = |rig: &mut Rig| {
        let a = rig.submit("<a>");
        rig.queue.token(7, |out| written(out, "<token>", 7));
        rig.submit("<b>");
        rig.write(usize::MAX);
        assert_eq!(rig.answer(1), Ok(Heard::Whole));
        assert_eq!(rig.look(a), one(1));
    };
    let mut rig = Rig::new();
    put(&mut rig);
    assert!(!rig.queue.has_no_token());
    let token = Value::BulkString(token_text(7).into_bytes());
    assert_eq!(rig.queue.answer(token, &mut rig.wakers), Ok(Heard::Whole));
    assert!(rig.queue.has_no_token());
    assert_eq!(rig.answer(2), Ok(Heard::Whole));
    let mut rig = Rig::new();
    put(&mut rig);
    assert_eq!(rig.answer(2), Err(Unfit::Shifted));
    let mut rig = Rig::new();
    put(&mut rig);
    let error = redis::parse_redis_value(b"-LOADING\r\n").expect("an error");
    let heard = rig.queue.answer(error.clone(), &mut rig.wakers);
    assert_eq!(heard, Ok(Heard::Token(error)));
}

#[test]
fn what_waits_is_bounded_and_what_was_given_up_is_no_load() {
    let mut rig = Rig::new();
    let places: Vec<_> = (0..BOUNDS.calls).map(|_| rig.submit("<>")).collect();
    let full = |rig: &mut Rig, bytes: usize| {
        let ask = rig.ask(Taking::One);
        let caller = &mut Some(Waker::noop().clone());
        let own = vec![b'x'; bytes];
        // As a call does that is packed outside the lock.
        let room = rig.queue.room_for(bytes);
        let put = |()| {
            rig.queue
                .submit_packed(ask, caller, own, packed(bytes, bytes))
        };
        room.and_then(put).err()
    };
    assert_eq!(full(&mut rig, 1), Some(NoPlace::Full));
    let gone: Vec<_> = places.iter().step_by(8).collect();
    let told = gone.iter().filter(|place| rig.queue.cancel(***place).room);
    assert_eq!(told.count(), 1, "who found none is told, once");
    for _ in gone {
        assert_eq!(full(&mut rig, 1), None);
    }
    assert_eq!(full(&mut rig, 1), Some(NoPlace::Full));
    let (chunk, room) = rig.queue.claim(Vec::new());
    assert!(chunk.is_some() && room);
    assert_eq!(full(&mut rig, 1), None, "what was written is no load");
    let mut rig = Rig::new();
    let bytes = BOUNDS.bytes as usize;
    assert_eq!(full(&mut rig, 2 * bytes), None, "alone");
    assert_eq!(full(&mut rig, 1), Some(NoPlace::Full));
    rig.write(2 * bytes - 10);
    assert_eq!(full(&mut rig, bytes - 10), None);
    assert_eq!(full(&mut rig, 1), Some(NoPlace::Full));
}

#[test]
fn the_driver_is_woken_when_it_rests_or_its_timer_would_come_too_late() {
    let mut rig = Rig::new();
    let wake = |rig: &mut Rig, millis: u64| {
        let ask = Ask {
            deadline: Some(rig.now + Duration::from_millis(millis)),
            ..rig.ask(Taking::One)
        };
        let caller = &mut Some(Waker::noop().clone());
        let put = rig
            .queue
            .submit(ask, caller, 3, |out| written(out, "<a>", 3));
        put.expect("a place").1.is_some()
    };
    rig.queue.armed(Some(rig.now + Duration::from_millis(500)));
    rig.queue.rest(Waker::noop(), true);
    assert!(wake(&mut rig, 900), "it rests");
    assert!(!wake(&mut rig, 900), "once");
    rig.queue.rest(Waker::noop(), false);
    assert!(!wake(&mut rig, 900), "it waits for the socket");
    assert!(wake(&mut rig, 400), "it is woken for an earlier deadline");
    let early = rig.queue.rest(Waker::noop(), false);
    assert_eq!(early, Some(rig.now + Duration::from_millis(400)));
}

#[test]
fn only_a_question_of_the_pools_leaves_a_connection_clean() {
    let mut rig = Rig::new();
    let question = Ask {
        purpose: Purpose::Question,
        ..rig.ask(Taking::One)
    };
    let place = rig.put(question, "<p>", 3);
    assert!(rig.queue.is_clean());
    rig.write(usize::MAX);
    rig.drop_call(place);
    assert!(!rig.queue.is_clean(), "its answer is outstanding");
    assert_eq!(rig.answer(1), Ok(Heard::Whole));
    assert!(rig.queue.is_clean());
    let call = rig.submit("<a>");
    assert!(!rig.queue.is_clean());
    rig.drop_call(call);
    rig.write(usize::MAX);
    assert!(rig.queue.is_clean(), "it never left");
}
