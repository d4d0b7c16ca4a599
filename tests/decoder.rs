//! What the decoder of replies holds, and how often it asks for memory; counted by an allocator, so a binary of
//! its own. It has the decoder's own unit tests in it once more.

#![allow(
    dead_code,
    unreachable_pub,
    unsafe_code,
    reason = "the decoder is mounted alone, without who uses it; an allocator is unsafe to implement"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to panic")]
#![allow(missing_docs, reason = "tests are named as the sentences they prove")]

#[path = "../src/connection"]
mod connection {
    pub(crate) mod decode;
    pub(crate) mod redis_rs;
}
#[path = "../src/error"]
mod error {
    pub(crate) mod text;
}
mod counting;

use bytes::BufMut;
use redis::Value;

use self::connection::decode::{DecodeLimits, Decoder, Frame};
use self::counting::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a piece of work made: allocations, bytes held at most, bytes held at its end.
fn measured<T>(work: impl FnOnce() -> T) -> (T, u64, usize, usize) {
    counting::forget_peak();
    let before = counting::mine();
    let result = work();
    let after = counting::mine();
    let held = |bytes: i64| usize::try_from(bytes - before.live).unwrap_or(0);
    (
        result,
        after.made - before.made,
        held(after.peak),
        held(after.live),
    )
}

fn decoder() -> Decoder {
    Decoder::new(DecodeLimits::default())
}

/// All frames of the pieces, to the first garbage.
fn frames<'a>(decoder: &mut Decoder, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Frame> {
    let mut frames = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.read(&mut piece) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}

/// Twice what came, of which each line may be a value, and a mebibyte that is believed; a stack and a message.
fn allowed(stream: &[u8]) -> usize {
    let lines = stream.iter().filter(|byte| **byte == b'\n').count();
    2 * (stream.len() + lines * size_of::<Value>()) + (1 << 20) + (32 << 10)
}

fn check(stream: &[u8]) {
    for size in [1, 1_400, 16 << 10] {
        let (held, _, peak, _) = measured(|| {
            let mut decoder = decoder();
            let frames = frames(&mut decoder, stream.chunks(size));
            (decoder, frames)
        });
        let allowed = allowed(stream);
        let first = stream[..stream.len().min(40)].escape_ascii();
        assert!(
            peak <= allowed,
            "{peak} bytes for {} of {first} in pieces of {size}, {allowed} are allowed",
            stream.len()
        );
        drop(held);
    }
}

fn bulks(many: usize, len: usize) -> Vec<u8> {
    let one = [
        format!("${len}\r\n").into_bytes(),
        vec![b'x'; len],
        b"\r\n".to_vec(),
    ]
    .concat();
    one.repeat(many)
}

#[test]
fn what_is_only_announced_takes_a_mebibyte_at_most() {
    for announced in [
        &b"$1000000\r\n"[..],
        b"$536870912\r\nabc",
        b"=500000000\r\ntxt:",
        b"*10000000\r\n",
        b"*1000000000\r\n",
        b"%9000000\r\n:1\r\n",
        b"~19000000\r\n",
        b">19000000\r\n+message\r\n",
        b"|9000000\r\n",
        b"$99999999999\r\n",
    ] {
        check(announced);
    }
    // Each level announces as much as it may, and so does a string in the innermost.
    for levels in [1, 2, 20, 127, 128, 1_000, 100_000] {
        check(&b"*100000\r\n".repeat(levels));
        check(&b"%50000\r\n+k\r\n".repeat(levels));
        check(&[b"*100000\r\n".repeat(levels), b"$400000000\r\nabc".to_vec()].concat());
        check(&b"*1\r\n".repeat(levels));
    }
}

#[test]
fn what_comes_is_held_once() {
    check(&vec![b'+'; 1_000_000]);
    check(&[b"+".to_vec(), vec![b'x'; 1_000_000]].concat());
    check(&[b"*10000\r\n".to_vec(), bulks(10_000, 64)].concat());
    check(&[b"*1000000\r\n".to_vec(), b":1\r\n".repeat(300_000)].concat());
    check(&[b"%500000\r\n".to_vec(), b":1\r\n".repeat(300_000)].concat());
    check(&[b"*100000\r\n".to_vec(), b"-X\r\n".repeat(50_000)].concat());
    check(
        &[
            b"*100000\r\n".to_vec(),
            b"*2\r\n:1\r\n*1\r\n_\r\n".repeat(20_000),
        ]
        .concat(),
    );
    check(&b"|1\r\n+k\r\n+v\r\n".repeat(50_000));
    check(&bulks(3, 3_000_000));
    check(&bulks(1, 5_000_000)[..4_000_000]);
}

#[test]
fn random_and_damaged_bytes_are_held_once() {
    let mut state = 7_u64;
    let mut random = move |below: usize| {
        // Knuth's: the same in every run.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let alphabet = b"+-:$*%~>#,(!=|_\r\n0123456789";
    let valid = [
        b"*3\r\n$5\r\nhello\r\n%1\r\n+k\r\n*2\r\n:1\r\n:2\r\n-ERR no\r\n".to_vec(),
        b"|1\r\n+ttl\r\n:3\r\n~2\r\n#t\r\n,1.5\r\n".to_vec(),
        b">3\r\n+message\r\n$1\r\nc\r\n$2\r\nhi\r\n".to_vec(),
        [b"*20\r\n".to_vec(), bulks(20, 100)].concat(),
    ];
    for round in 0..3_000 {
        let mut stream = match round % 2 {
            0 => (0..random(300))
                .map(|_| alphabet[random(alphabet.len())])
                .collect(),
            _ => valid[random(valid.len())].repeat(1 + random(20)),
        };
        for _ in 0..random(4) {
            let at = random(stream.len() + 1);
            stream.splice(at..at, [alphabet[random(alphabet.len())]]);
        }
        check(&stream);
    }
}

#[test]
fn a_reply_costs_what_is_in_it() {
    let mut decoder = decoder();
    let one = bulks(1, 64);
    let (frame, made, peak, _) = measured(|| decoder.read(&mut &*one));
    assert!(matches!(
        frame,
        Ok(Some(Frame::Reply(Value::BulkString(_))))
    ));
    assert_eq!((made, peak), (1, 64), "the string");

    for line in [
        "+OK\r\n", ":1\r\n", "_\r\n", "$-1\r\n", "#t\r\n", ",1.5\r\n",
    ] {
        let (frame, made, ..) = measured(|| decoder.read(&mut line.as_bytes()));
        assert!(matches!(frame, Ok(Some(_))), "{line:?}");
        assert_eq!(made, 0, "{line:?}");
    }

    let array = [b"*10000\r\n".to_vec(), bulks(10_000, 64)].concat();
    let (_, made, ..) = measured(|| decoder.read(&mut &*array));
    let (most, least) = (10_000 + 10, 10_000);
    assert!(
        (least..most).contains(&made),
        "{made} allocations for 10000 strings"
    );
    let (read, made, ..) = measured(|| frames(&mut decoder, array.chunks(1_400)).len());
    let most = most + 2 * array.len() as u64 / 1_400;
    assert!(
        read == 1 && made < most,
        "{made} allocations, one per cut more"
    );
    let ((), _, _, held) = measured(|| drop(self::decoder()));
    assert_eq!(held, 0);
}

#[test]
fn a_large_string_is_held_once_and_exactly() {
    const LEN: usize = 20_000_000;
    let stream = bulks(1, LEN);
    let (frames, made, peak, held) = measured(|| {
        let (mut decoder, mut at, mut frames) = (decoder(), 0, Vec::new());
        while at < stream.len() {
            let mut piece: &[u8] = &[];
            if let Some(mut room) = decoder.room() {
                let len = room.remaining_mut().min(200_000).min(stream.len() - at);
                room.put_slice(&stream[at..at + len]);
                at += len;
            } else {
                let len = (16 << 10).min(stream.len() - at);
                piece = &stream[at..at + len];
                at += len;
            }
            frames.extend(decoder.read(&mut piece).unwrap());
        }
        frames
    });
    assert_eq!(frames.len(), 1);
    assert!(
        peak < LEN + 1_000 && held < LEN + 1_000,
        "{peak}, {held} bytes"
    );
    assert!(made < 12, "{made} allocations");
}

#[test]
fn nothing_is_held_between_replies() {
    let mut decoder = decoder();
    let streams = [
        [b"+".to_vec(), vec![b'x'; 60_000], b"\r\n".to_vec()].concat(),
        [b"*1\r\n".repeat(128), b":1\r\n".to_vec()].concat(),
        bulks(1, 1_000_000),
    ];
    let ((), _, _, held) = measured(|| {
        for stream in &streams {
            assert_eq!(frames(&mut decoder, stream.chunks(1_400)).len(), 1);
        }
    });
    assert!(held <= 2_048, "{held} bytes");
}
