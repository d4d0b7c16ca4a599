//! The decoder on every type, cut at every byte, and on what is sent to harm it.

mod hostile;
mod large;

use redis::{PushKind, Value, VerbatimFormat};

use super::*;

/// All frames of the pieces, to the first error.
pub(super) fn frames<'a>(
    decoder: &mut Decoder,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Frame>, Garbage> {
    let mut frames = Vec::new();
    for mut piece in pieces {
        while let Some(frame) = decoder.read(&mut piece)? {
            frames.push(frame);
        }
        assert!(piece.is_empty(), "it takes all that it is given");
    }
    Ok(frames)
}

pub(super) fn decoder() -> Decoder {
    Decoder::new(DecodeLimits::default())
}

fn text(text: &str) -> Value {
    Value::SimpleString(text.into())
}

fn bulk(bytes: impl AsRef<[u8]>) -> Value {
    Value::BulkString(bytes.as_ref().to_vec())
}

/// What redis-rs makes of it.
pub(super) fn of_redis_rs(bytes: impl AsRef<[u8]>) -> Value {
    redis::parse_redis_value(bytes.as_ref()).expect("redis-rs understands it")
}

fn push(kind: PushKind, data: Vec<Value>) -> Frame {
    Frame::Push { kind, data }
}

/// One of each kind, in every form it has.
fn samples() -> Vec<(&'static [u8], Frame)> {
    let replies: Vec<(&[u8], Value)> = vec![
        (b"+OK\r\n", Value::Okay),
        (b"+\r\n", text("")),
        (b"+PONG\r\n", text("PONG")),
        (b"+a\rb\nc\n\r\n", text("a\rb\nc\n")),
        (b"+\xc3\xa4\r\n", text("\u{e4}")),
        (b"+\xff\r\n", bulk(b"\xff")),
        (b"-ERR no\r\n", of_redis_rs(b"-ERR no\r\n")),
        (b"-MOVED 1 h:1\r\n", of_redis_rs(b"-MOVED 1 h:1\r\n")),
        (b"-MYOWN\r\n", of_redis_rs(b"-MYOWN\r\n")),
        (b"-\r\n", of_redis_rs(b"-\r\n")),
        (b"-ERR \xff\r\n", of_redis_rs("-ERR \u{fffd}\r\n")),
        (b":0\r\n", Value::Int(0)),
        (b":-9223372036854775808\r\n", Value::Int(i64::MIN)),
        (b":+7\r\n", Value::Int(7)),
        (b"$-1\r\n", Value::Nil),
        (b"$0\r\n\r\n", bulk(b"")),
        (b"$5\r\n\r\n$1\r\r\n", bulk(b"\r\n$1\r")),
        (
            b"$12\r\nhello\x00world\xff\r\n",
            bulk(b"hello\x00world\xff"),
        ),
        (b"*-1\r\n", Value::Nil),
        (b"*0\r\n", Value::Array(vec![])),
        (
            b"*2\r\n$1\r\na\r\n$-1\r\n",
            Value::Array(vec![bulk("a"), Value::Nil]),
        ),
        (b"_\r\n", Value::Nil),
        (b"#t\r\n", Value::Boolean(true)),
        (b"#f\r\n", Value::Boolean(false)),
        (b",1.5e3\r\n", Value::Double(1500.0)),
        (b",-inf\r\n", Value::Double(f64::NEG_INFINITY)),
        (
            b"(-12345678901234567890\r\n",
            of_redis_rs(b"(-12345678901234567890\r\n"),
        ),
        (
            b"!8\r\nERR a\r\nb\r\n",
            of_redis_rs(b"!8\r\nERR a\r\nb\r\n"),
        ),
        (b"=7\r\ntxt:a:b\r\n", verbatim(VerbatimFormat::Text, "a:b")),
        (b"=4\r\nmkd:\r\n", verbatim(VerbatimFormat::Markdown, "")),
        (
            b"=5\r\nabc:x\r\n",
            verbatim(VerbatimFormat::Unknown("abc".into()), "x"),
        ),
        (
            b"~2\r\n:1\r\n#t\r\n",
            Value::Set(vec![Value::Int(1), Value::Boolean(true)]),
        ),
        (b"~0\r\n", Value::Set(vec![])),
        (b"%0\r\n", Value::Map(vec![])),
        (
            b"%2\r\n+a\r\n%1\r\n:1\r\n*0\r\n~1\r\n_\r\n,0\r\n",
            Value::Map(vec![
                (
                    text("a"),
                    Value::Map(vec![(Value::Int(1), Value::Array(vec![]))]),
                ),
                (Value::Set(vec![Value::Nil]), Value::Double(0.0)),
            ]),
        ),
        (
            b"*3\r\n*1\r\n*1\r\n:7\r\n-ERR no\r\n*1\r\n%1\r\n+k\r\n*1\r\n+v\r\n",
            Value::Array(vec![
                Value::Array(vec![Value::Array(vec![Value::Int(7)])]),
                of_redis_rs(b"-ERR no\r\n"),
                Value::Array(vec![Value::Map(vec![(
                    text("k"),
                    Value::Array(vec![text("v")]),
                )])]),
            ]),
        ),
        // Attributes belong to what follows them, wherever that stands, and are nothing by themselves.
        (b"|1\r\n+ttl\r\n:3\r\n+OK\r\n", Value::Okay),
        (
            b"|0\r\n|1\r\n%1\r\n+a\r\n+b\r\n*1\r\n|1\r\n+c\r\n+d\r\n+e\r\n:1\r\n",
            Value::Int(1),
        ),
        (
            b"*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n|1\r\n+c\r\n+d\r\n*1\r\n|0\r\n:2\r\n",
            Value::Array(vec![Value::Int(1), Value::Array(vec![Value::Int(2)])]),
        ),
        (
            b"%1\r\n|1\r\n+a\r\n+b\r\n+k\r\n|1\r\n+c\r\n+d\r\n+v\r\n",
            Value::Map(vec![(text("k"), text("v"))]),
        ),
    ];
    let pushes = [
        (
            &b">3\r\n+message\r\n$1\r\nc\r\n$2\r\nhi\r\n"[..],
            push(PushKind::Message, vec![bulk("c"), bulk("hi")]),
        ),
        (
            b"|1\r\n+a\r\n+b\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
            push(PushKind::Invalidate, vec![Value::Array(vec![bulk("k")])]),
        ),
        (
            b">1\r\n+new\r\n",
            push(PushKind::Other("new".into()), vec![]),
        ),
    ];
    let replies = replies
        .into_iter()
        .map(|(bytes, value)| (bytes, Frame::Reply(value)));
    replies.chain(pushes).collect()
}

fn verbatim(format: VerbatimFormat, text: &str) -> Value {
    Value::VerbatimString {
        format,
        text: text.into(),
    }
}

#[test]
fn every_type_is_understood_whole_and_cut_in_two_at_every_byte() {
    for (bytes, frame) in samples() {
        for cut in 0..bytes.len() {
            let (a, b) = bytes.split_at(cut);
            let mut decoder = decoder();
            let before = frames(&mut decoder, [a]).expect("RESP");
            assert_eq!(before, [], "{} at {cut}", bytes.escape_ascii());
            assert_eq!(decoder.is_amid(), cut > 0);
            let after = frames(&mut decoder, [b]).expect("RESP");
            assert_eq!(
                after,
                std::slice::from_ref(&frame),
                "{} at {cut}",
                bytes.escape_ascii()
            );
            assert!(!decoder.is_amid());
        }
    }
}

#[test]
fn every_type_is_understood_cut_in_three_wherever_and_byte_by_byte() {
    for (bytes, frame) in samples() {
        for first in 0..bytes.len() {
            for second in first..bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                let read = frames(&mut decoder(), pieces);
                let cuts = format!("{} at {first}, {second}", bytes.escape_ascii());
                assert_eq!(read.expect("RESP"), std::slice::from_ref(&frame), "{cuts}");
            }
        }
        let read = frames(&mut decoder(), bytes.chunks(1)).expect("RESP");
        assert_eq!(read, [frame], "{} byte by byte", bytes.escape_ascii());
    }
}

#[test]
fn frames_come_in_their_order_however_they_are_packed() {
    let samples = samples();
    let all: Vec<u8> = samples
        .iter()
        .flat_map(|(bytes, _)| *bytes)
        .copied()
        .collect();
    let expected: Vec<Frame> = samples.into_iter().map(|(_, frame)| frame).collect();
    for size in (1..40).chain([100, 1_000, all.len()]) {
        let read = frames(&mut decoder(), all.chunks(size)).expect("RESP");
        assert_eq!(read, expected, "in pieces of {size}");
    }
}

#[test]
fn each_null_is_none_and_each_nan_a_number() {
    for null in ["$-1\r\n", "*-1\r\n", "_\r\n"] {
        let read = frames(&mut decoder(), [null.as_bytes()]).expect("RESP");
        assert_eq!(read, [Frame::Reply(Value::Nil)], "{null:?}");
    }
    for (text, is_negative) in [("nan", false), ("-nan", true)] {
        let line = format!(",{text}\r\n");
        let read = frames(&mut decoder(), [line.as_bytes()]).expect("RESP");
        let [Frame::Reply(Value::Double(number))] = read[..] else {
            panic!("{text}: {read:?}");
        };
        assert!(number.is_nan() && number.is_sign_negative() == is_negative);
    }
}

#[test]
fn an_error_of_the_server_is_one_to_redis_rs() {
    for error in [&b"-LOADING dataset\r\n"[..], b"!15\r\nLOADING dataset\r\n"] {
        let mut read = frames(&mut decoder(), [error]).expect("RESP");
        let Some(Frame::Reply(value)) = read.pop() else {
            panic!("{read:?}");
        };
        let error = value.extract_error().expect_err("it is an error");
        assert_eq!(error.kind(), redis::ServerErrorKind::BusyLoading.into());
        assert_eq!(error.detail(), Some("dataset"));
    }
}

#[test]
fn a_long_stack_is_not_kept() {
    let deep = [b"*1\r\n".repeat(100), b":1\r\n".to_vec()].concat();
    let mut decoder = decoder();
    assert_eq!(frames(&mut decoder, [&*deep]).expect("RESP").len(), 1);
    assert!(decoder.open.capacity() <= KEPT);
    assert_eq!(decoder.belief, BELIEVED);
}
