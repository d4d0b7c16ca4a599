//! The decoder beside redis-rs's own parser, on arbitrary and on damaged input. `PROPTEST_CASES` sets how much.

use bytes::BufMut;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use redis::Value;

use super::{DecodeLimits, Decoder, Frame, Garbage};

/// A line of a type, with text that RESP allows there.
fn line(kind: char, text: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    text.prop_map(move |text| format!("{kind}{text}\r\n").into_bytes())
}

fn string(kind: char, bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    bytes.prop_map(move |bytes| {
        let head = format!("{kind}{}\r\n", bytes.len()).into_bytes();
        [head, bytes, b"\r\n".to_vec()].concat()
    })
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![2 => any::<u8>(), 1 => select(b"\r\n$*:".as_slice())];
    prop_oneof![
        9 => vec(byte, 0..40),
        1 => (16_000..40_000_usize).prop_map(|len| (0..len).map(|i| (i % 253) as u8).collect()),
    ]
}

fn any_scalar_of_resp2() -> impl Strategy<Value = Vec<u8>> {
    let error = "(ERR|OOM|MOVED|READONLY|NOSCRIPT|X|)( [ -~]{0,20})?";
    prop_oneof![
        line('+', "OK|[ -~\r]{0,20}|[\u{a0}-\u{24f}]{1,9}".boxed()),
        line('-', error.boxed()),
        line(':', any::<i64>().prop_map(|n| n.to_string())),
        string('$', any_bytes()),
        Just(b"$-1\r\n".to_vec()),
        Just(b"*-1\r\n".to_vec()),
    ]
}

fn any_scalar() -> impl Strategy<Value = Vec<u8>> {
    let double = prop_oneof![
        any::<f64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:e}")),
        select(&["inf", "-inf", "nan", "10", "-0", "1E-5"][..]).prop_map(String::from),
    ];
    let verbatim = "(txt|mkd|abc):[ -~\r\n]{0,30}".prop_map(String::into_bytes);
    let error = "(ERR|SYNTAX)( [ -~\r\n]{0,20})?".prop_map(String::into_bytes);
    prop_oneof![
        3 => any_scalar_of_resp2(),
        1 => Just(b"_\r\n".to_vec()),
        1 => line('#', "t|f".boxed()),
        1 => line(',', double),
        1 => line('(', "-?[0-9]{1,60}".boxed()),
        1 => string('!', error),
        1 => string('=', verbatim),
    ]
}

/// An aggregate of these values, announced as so many times fewer.
fn aggregate(kind: char, values: Vec<Vec<u8>>, each: usize) -> Vec<u8> {
    let head = format!("{kind}{}\r\n", values.len() / each).into_bytes();
    [head, values.concat()].concat()
}

fn pairs(kind: char, pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    let values = pairs.into_iter().flat_map(|(k, v)| [k, v]).collect();
    aggregate(kind, values, 2)
}

fn any_reply_of_resp2() -> impl Strategy<Value = Vec<u8>> {
    any_scalar_of_resp2().prop_recursive(5, 40, 8, |inner| {
        vec(inner, 0..8).prop_map(|values| aggregate('*', values, 1))
    })
}

fn any_reply_of_resp3() -> impl Strategy<Value = Vec<u8>> {
    any_scalar().prop_recursive(5, 40, 8, |inner| {
        let many = || vec(inner.clone(), 0..8);
        let two = || vec((inner.clone(), inner.clone()), 0..4);
        prop_oneof![
            2 => many().prop_map(|values| aggregate('*', values, 1)),
            1 => many().prop_map(|values| aggregate('~', values, 1)),
            2 => two().prop_map(|all| pairs('%', all)),
            1 => (two(), inner.clone()).prop_map(|(all, of)| [pairs('|', all), of].concat()),
        ]
    })
}

fn any_push() -> impl Strategy<Value = Vec<u8>> {
    let name = select(&["message", "invalidate", "sunsubscribe", "another"][..]);
    (name, vec(any_reply_of_resp3(), 0..4), any::<bool>()).prop_map(|(name, mut data, is_line)| {
        let name = match is_line {
            true => format!("+{name}\r\n"),
            false => format!("${}\r\n{name}\r\n", name.len()),
        };
        data.insert(0, name.into_bytes());
        aggregate('>', data, 1)
    })
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => any_reply_of_resp2(),
        6 => any_reply_of_resp3(),
        1 => any_push(),
    ]
}

/// Without the attributes, which we drop.
fn bare(value: Value) -> Value {
    let all = |values: Vec<Value>| values.into_iter().map(bare).collect();
    match value {
        Value::Attribute { data, .. } => bare(*data),
        Value::Array(values) => Value::Array(all(values)),
        Value::Set(values) => Value::Set(all(values)),
        Value::Map(pairs) => {
            Value::Map(pairs.into_iter().map(|(k, v)| (bare(k), bare(v))).collect())
        }
        Value::Push { kind, data } => Value::Push {
            kind,
            data: all(data),
        },
        other => other,
    }
}

/// As text, in which one NaN is like another.
fn shown(value: Value) -> String {
    format!("{value:?}")
}

fn ours(frame: Frame) -> String {
    shown(match frame {
        Frame::Reply(value) => value,
        Frame::Push { kind, data } => Value::Push { kind, data },
    })
}

/// Reads the stream in pieces that end at the cuts, into lent room where there is some.
fn read(stream: &[u8], cuts: &[Index], limits: DecodeLimits) -> (Vec<String>, Option<Garbage>) {
    let mut ends: Vec<usize> = cuts.iter().map(|at| at.index(stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let mut decoder = Decoder::new(limits);
    let (mut frames, mut at) = (Vec::new(), 0);
    for end in ends {
        let mut piece = &stream[at..end];
        at = end;
        loop {
            if let Some(mut room) = decoder.room() {
                let len = room.remaining_mut().min(piece.len());
                room.put_slice(&piece[..len]);
                piece = &piece[len..];
            }
            match decoder.read(&mut piece) {
                Ok(Some(frame)) => frames.push(ours(frame)),
                Ok(None) if piece.is_empty() => break,
                Ok(None) => panic!("it takes all that it is given"),
                Err(garbage) => return (frames, Some(garbage)),
            }
        }
    }
    (frames, None)
}

fn any_cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..12)
}

fn small() -> DecodeLimits {
    DecodeLimits {
        nesting: 4,
        line: 30,
        bulk: 100,
        reply: 2_000,
    }
}

proptest! {
    #[test]
    fn what_redis_rs_reads_is_read_alike_wherever_it_is_cut(
        sent in vec(any_frame(), 1..5), cuts in any_cuts(),
    ) {
        let theirs: Result<Vec<String>, _> = sent
            .iter()
            .map(|bytes| redis::parse_redis_value(bytes).map(|value| shown(bare(value))))
            .collect();
        let theirs = theirs.map_err(|e| TestCaseError::fail(format!("it is not valid: {e}")))?;
        let (frames, garbage) = read(&sent.concat(), &cuts, DecodeLimits::default());
        prop_assert_eq!(garbage, None);
        prop_assert_eq!(frames, theirs);
    }

    #[test]
    fn every_single_cut_gives_the_same(sent in any_frame()) {
        let (whole, _) = read(&sent, &[], DecodeLimits::default());
        prop_assert_eq!(whole.len(), 1);
        // Of a long one only some, or it takes for ever.
        let step = if sent.len() < 1_000 { 1 } else { sent.len() / 60 };
        for cut in (0..sent.len()).step_by(step) {
            let mut decoder = Decoder::new(DecodeLimits::default());
            let (mut a, mut b) = sent.split_at(cut);
            prop_assert_eq!(decoder.read(&mut a), Ok(None));
            let frame = decoder.read(&mut b);
            prop_assert!(matches!(&frame, Ok(Some(_))), "{frame:?} at {cut}");
            prop_assert_eq!(frame.ok().flatten().map(ours), whole.first().cloned());
        }
    }

    #[test]
    fn damaged_replies_are_read_as_redis_rs_reads_them_or_are_garbage(
        sent in vec(any_frame(), 1..4), cuts in any_cuts(),
        damages in vec((any::<Index>(), 0..4_u8, select(b"+-:$*%~>|,#_=!(?\r\n0123459tf".as_slice())), 1..4),
    ) {
        let mut stream = sent.concat();
        for (at, how, byte) in damages {
            let at = at.index(stream.len());
            match how {
                0 => stream[at] = byte,
                1 => stream.insert(at, byte),
                2 => drop(stream.remove(at)),
                _ => stream.truncate(at),
            }
            if stream.is_empty() {
                return Ok(());
            }
        }
        let (frames, garbage) = read(&stream, &cuts, DecodeLimits::default());
        let (again, same) = read(&stream, &[], DecodeLimits::default());
        prop_assert_eq!(&frames, &again, "a cut changes nothing");
        prop_assert_eq!(garbage.is_some(), same.is_some());
        // From the first byte on, redis-rs finds the same value where it finds one.
        if let (Ok(theirs), Some(ours)) = (redis::parse_redis_value(&stream), frames.first()) {
            prop_assert_eq!(ours, &shown(bare(theirs)), "{}", stream.escape_ascii());
        }
    }

    #[test]
    fn any_bytes_are_read_or_are_garbage_in_one_short_line(
        stream in vec(prop_oneof![
            3 => select(b"+-:$*%~>#,(!=|_\r\n0123 ".as_slice()),
            1 => Just(b'\r'),
            1 => Just(b'\n'),
            1 => any::<u8>(),
        ], 0..200), cuts in any_cuts(),
    ) {
        for limits in [DecodeLimits::default(), small()] {
            let (frames, garbage) = read(&stream, &cuts, limits);
            let (again, same) = read(&stream, &[], limits);
            prop_assert_eq!(frames, again);
            prop_assert_eq!(garbage.is_some(), same.is_some());
            if let Some(garbage) = garbage {
                let text = garbage.to_string();
                prop_assert!(text.len() < 400 && !text.contains(char::is_control), "{text}");
            }
        }
    }

    #[test]
    fn small_limits_hold_wherever_it_is_cut(sent in vec(any_frame(), 1..4), cuts in any_cuts()) {
        let stream = sent.concat();
        let (frames, garbage) = read(&stream, &cuts, small());
        let (again, same) = read(&stream, &[], small());
        prop_assert_eq!(frames, again);
        prop_assert_eq!(garbage.map(|g| g.is_flood()), same.map(|g| g.is_flood()));
    }
}
