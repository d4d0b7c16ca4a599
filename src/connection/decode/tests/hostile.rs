//! What no Redis sends, or not so much of it.

use super::{decoder, frames};
use crate::connection::decode::{DecodeLimits, Decoder, Frame, Garbage};

/// What comes of it, at once and byte by byte.
fn garbage(limits: DecodeLimits, bytes: &[u8]) -> [Garbage; 2] {
    [bytes.len(), 1].map(|size| {
        let read = frames(&mut Decoder::new(limits), bytes.chunks(size));
        read.expect_err(&bytes[..bytes.len().min(60)].escape_ascii().to_string())
    })
}

fn refused(limits: DecodeLimits, bytes: &[u8], why: &str) {
    for garbage in garbage(limits, bytes) {
        let text = garbage.to_string();
        assert!(text.contains(why), "{text:?} does not say {why:?}");
        assert!(text.len() < 200, "{text}");
    }
}

fn taken(limits: DecodeLimits, bytes: &[u8]) {
    for size in [bytes.len(), 1] {
        let read = frames(&mut Decoder::new(limits), bytes.chunks(size));
        assert_eq!(read.map(|frames| frames.len()), Ok(1));
    }
}

const DEFAULT: fn() -> DecodeLimits = DecodeLimits::default;

#[test]
fn what_is_not_resp_is_garbage_by_name() {
    for (bytes, why) in [
        ("HTTP/1.1 400 Bad Request\r\n", "nothing of RESP begins so"),
        ("\r\n", "nothing of RESP begins so"),
        ("\n", "nothing of RESP begins so"),
        ("*1\r\nx\r\n", "nothing of RESP begins so"),
        (":\r\n", "an integer"),
        (":x\r\n", "an integer"),
        (":9223372036854775808\r\n", "an integer"),
        (",x\r\n", "a double"),
        (",\r\n", "a double"),
        ("(1x\r\n", "a big number"),
        ("(\r\n", "a big number"),
        ("#x\r\n", "a boolean"),
        ("#\r\n", "a boolean"),
        ("_x\r\n", "a null"),
        ("$\r\n", "a length"),
        ("$-2\r\n", "a length"),
        ("$1x\r\n", "a length"),
        ("$-9223372036854775808\r\n", "a length"),
        ("$99999999999999999999\r\n", "a length"),
        ("*-2\r\n", "a length"),
        ("*\r\n", "a length"),
        ("%-1\r\n", "a length"),
        ("~-1\r\n", "a length"),
        (">-1\r\n", "a length"),
        ("|-1\r\n", "a length"),
        ("=-1\r\n", "a length"),
        ("!-1\r\n", "a length"),
        ("%9223372036854775807\r\n", "a length"),
        ("$?\r\n;4\r\nHell\r\n;0\r\n", "a streamed string"),
        ("*?\r\n:1\r\n.\r\n", "a streamed aggregate"),
        ("%?\r\n", "a streamed aggregate"),
        ("$1\r\nabc", "longer than announced"),
        ("$1\r\na\n\r", "longer than announced"),
        ("=3\r\nabc\r\n", "without a format"),
        ("=0\r\n\r\n", "without a format"),
        (">0\r\n", "a push without a name"),
        (">1\r\n:1\r\n", "a push without a name"),
        (">1\r\n$1\r\n\u{e4}\r\n", "longer than announced"),
        ("*1\r\n>1\r\n+a\r\n", "a push inside a reply"),
        (">2\r\n+a\r\n>1\r\n+b\r\n", "a push inside a reply"),
        ("|1\r\n+a\r\n>1\r\n+b\r\n", "a push inside a reply"),
    ] {
        refused(DEFAULT(), bytes.as_bytes(), why);
    }
}

#[test]
fn what_speaks_another_language_is_garbage_at_its_first_byte() {
    for byte in 0..=255_u8 {
        let read = frames(&mut decoder(), [&[byte][..]]);
        let is_type = b"+-:$*_#,(!=%~>|".contains(&byte);
        assert_eq!(
            read,
            if is_type {
                Ok(vec![])
            } else {
                Err(Garbage::no_resp(&[byte]))
            }
        );
    }
}

#[test]
fn more_than_the_limit_is_refused_when_it_is_announced() {
    for bytes in [
        "$536870913\r\n",
        "$99999999999\r\n",
        "=99999999999\r\n",
        "*1000000000\r\n",
        "%1000000000\r\n",
        "|1000000000\r\n",
        ">1000000000\r\n",
        "*19000000\r\n*19000000\r\n",
    ] {
        for garbage in garbage(DEFAULT(), bytes.as_bytes()) {
            assert!(garbage.is_flood(), "{bytes:?}: {garbage}");
        }
    }
    let higher = DEFAULT().reply(4 << 30);
    let read = frames(&mut Decoder::new(higher), [&b"$536870913\r\n"[..]]);
    assert_eq!(read, Ok(vec![]), "it is announced, and has still to come");
}

#[test]
fn a_limit_is_what_just_passes() {
    let limits = DecodeLimits {
        nesting: 3,
        line: 5,
        bulk: 9,
        reply: 1_000,
    };
    taken(limits, b"+12345\r\n");
    refused(limits, b"+123456\r\n", "a line of more than 5 bytes");
    refused(limits, b"+1234567890", "a line of more than 5 bytes");
    refused(limits, b"!6\r\nERR ab\r\n", "a line of more than 5 bytes");
    taken(limits, b"$9\r\n123456789\r\n");
    refused(limits, b"$10\r\n1234567890\r\n", "more than 9 bytes");
    taken(limits, b"*1\r\n%1\r\n:1\r\n*1\r\n:1\r\n");
    refused(limits, b"*1\r\n*1\r\n*1\r\n*0\r\n", "nested deeper than 3");
    refused(limits, b"|1\r\n|1\r\n|1\r\n|0\r\n", "nested deeper than 3");
}

#[test]
fn a_reply_is_limited_as_a_whole_on_the_wire_and_in_memory() {
    let size = size_of::<redis::Value>();
    let limits = |reply| DecodeLimits { reply, ..DEFAULT() };
    let two = b"*2\r\n$100\r\n".to_vec();
    let string = [vec![b'x'; 100], b"\r\n".to_vec()].concat();
    let two = [two, string.clone(), b"$100\r\n".to_vec(), string].concat();
    assert!(two.len() > 2 * size);
    taken(limits(two.len()), &two);
    refused(limits(two.len() - 1), &two, "a reply of more than");
    let many = [b"*50\r\n".to_vec(), b"_\r\n".repeat(50)].concat();
    taken(limits(50 * size), &many);
    refused(limits(50 * size - 1), &many, "a reply of more than");
    let lines = [
        b"*10\r\n".to_vec(),
        b"+0123456789012345678901234567890123456789012345678901234567890123456789\r\n".repeat(10),
    ]
    .concat();
    assert!(
        lines.len() > 10 * size,
        "its values are not what is too much"
    );
    taken(limits(lines.len()), &lines);
    refused(limits(lines.len() - 1), &lines, "a reply of more than");
    // Each for itself, and attributes count.
    let mut decoder = Decoder::new(limits(two.len()));
    for _ in 0..10 {
        assert_eq!(frames(&mut decoder, [&*two]).map(|f| f.len()), Ok(1));
    }
    refused(
        limits(1_000),
        &b"|1\r\n+a\r\n+b\r\n".repeat(100),
        "a reply of more than",
    );
    let push = [&b">2\r\n+a\r\n$900\r\n"[..], &[b'x'; 900], b"\r\n"].concat();
    taken(limits(1_000), &push);
    refused(limits(900), &push, "a reply of more than");
}

#[test]
fn limits_that_are_raised_hold_for_what_is_half_read() {
    let reply = [
        &b"*2\r\n$100\r\n"[..],
        &[b'x'; 100],
        b"\r\n$200\r\n",
        &[b'y'; 200],
        b"\r\n",
    ]
    .concat();
    let (a, b) = reply.split_at(50);
    for (most, is_taken) in [(150, false), (400, true)] {
        let mut decoder = Decoder::new(DEFAULT().reply(150));
        assert_eq!(frames(&mut decoder, [a]), Ok(vec![]));
        decoder.set_limits(DEFAULT().reply(most));
        assert_eq!(frames(&mut decoder, [b]).is_ok(), is_taken, "{most} bytes");
    }
}

#[test]
fn what_has_no_end_is_refused_early() {
    for kind in b"+-:$*_#,(!=%~>|" {
        let mut decoder = decoder();
        let mut came = 0;
        let mut piece = vec![*kind];
        while frames(&mut decoder, [&*piece]).is_ok() {
            came += piece.len();
            piece = vec![b'1'; 1_000];
            assert!(came < 70_000, "an endless line of {}", char::from(*kind));
        }
    }
    refused(
        DEFAULT(),
        &b"*1\r\n".repeat(100_000),
        "nested deeper than 128",
    );
    refused(
        DEFAULT(),
        &b"|1\r\n".repeat(100_000),
        "nested deeper than 128",
    );
    refused(
        DEFAULT(),
        &b"%1\r\n+k\r\n".repeat(100_000),
        "nested deeper than 128",
    );
    taken(
        DEFAULT(),
        &[b"*1\r\n".repeat(128), b":1\r\n".to_vec()].concat(),
    );
}

#[test]
fn attributes_without_a_reply_hold_no_memory() {
    let mut decoder = decoder();
    let attribute = b"|1\r\n+key\r\n*2\r\n$5\r\nvalue\r\n:1\r\n".repeat(1_000);
    for _ in 0..100 {
        assert_eq!(frames(&mut decoder, [&*attribute]), Ok(vec![]));
    }
    assert!(
        decoder.is_amid(),
        "a peer that hangs up now has cut a reply"
    );
    let read = frames(&mut decoder, [&b"+OK\r\n"[..]]);
    assert_eq!(read, Ok(vec![Frame::Reply(redis::Value::Okay)]));
}

#[test]
fn garbage_shows_what_came_in_a_few_escaped_characters() {
    let [whole, _] = garbage(DEFAULT(), b"\x1b[2J\xff<html>\r\n");
    assert_eq!(
        whole.to_string(),
        r#"nothing of RESP begins so: "\u{1b}[2J\xff<html>""#
    );
    let endless = [b"+".to_vec(), vec![b'x'; 100_000]].concat();
    for garbage in garbage(DEFAULT(), &endless) {
        assert!(garbage.to_string().ends_with("xxx...\""), "{garbage}");
        assert!(garbage.said().len() <= 256);
    }
}
