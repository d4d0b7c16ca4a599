//! Strings that are read to where they belong, and how often a byte is looked at.

use bytes::BufMut;
use redis::Value;

use super::{decoder, frames};
use crate::connection::decode::{BELIEVED, Decoder, Frame};

fn some_bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn as_bulk(string: &[u8]) -> Vec<u8> {
    let mut bytes = format!("${}\r\n", string.len()).into_bytes();
    bytes.extend_from_slice(string);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Reads as a driver does, so many bytes at once at most: into the room that is lent, or through a buffer.
fn driven(decoder: &mut Decoder, mut stream: &[u8], buffer: usize, most: usize) -> Vec<Frame> {
    let mut all = Vec::new();
    while !stream.is_empty() {
        let mut came: &[u8] = &[];
        if let Some(mut room) = decoder.room() {
            assert!(
                room.has_remaining_mut(),
                "room of nothing looks like an end"
            );
            let len = room.remaining_mut().min(most).min(stream.len());
            room.put_slice(&stream[..len]);
            stream = &stream[len..];
        } else {
            (came, stream) = stream.split_at(buffer.min(most).min(stream.len()));
        }
        all.extend(frames(decoder, [came]).expect("RESP"));
    }
    all
}

#[test]
fn a_large_string_is_read_into_its_own_memory_whatever_stands_around_it() {
    for len in [
        16_000, 16_382, 16_384, 32_767, 32_768, 40_000, 100_000, 1_000_000, 3_000_000,
    ] {
        let string = some_bytes(len);
        let stream = [b"+a\r\n".to_vec(), as_bulk(&string), b":1\r\n".to_vec()].concat();
        for buffer in [100, 16 << 10] {
            for most in [1_400, 16 << 10, usize::MAX] {
                let read = driven(&mut decoder(), &stream, buffer, most);
                let [_, Frame::Reply(Value::BulkString(bytes)), last] = &*read else {
                    panic!("{} frames", read.len());
                };
                assert!(*bytes == string, "{len} bytes, {buffer}, {most}");
                assert_eq!(*last, Frame::Reply(Value::Int(1)));
                let spare = bytes.capacity() - len;
                assert!(spare <= 2, "{spare} bytes too many for {len}");
            }
        }
    }
}

#[test]
fn each_byte_of_a_string_is_where_it_was_sent_however_it_was_cut() {
    let string = some_bytes(33_000);
    let stream = as_bulk(&string);
    let cuts = (0..30).chain(stream.len() - 30..stream.len());
    for cut in cuts.chain((16_300..16_700).step_by(7)) {
        let (a, b) = stream.split_at(cut);
        let mut decoder = decoder();
        assert_eq!(frames(&mut decoder, [a]).expect("RESP"), []);
        let read = driven(&mut decoder, b, 16 << 10, usize::MAX);
        assert!(
            read == [Frame::Reply(Value::BulkString(string.clone()))],
            "{cut}"
        );
    }
}

#[test]
fn the_room_of_a_string_ends_where_it_does() {
    let mut decoder = decoder();
    let head = b"$100000\r\nabc";
    assert!(
        decoder.room().is_none(),
        "nothing is lent when nothing is announced"
    );
    assert_eq!(frames(&mut decoder, [&head[..]]).expect("RESP"), []);
    let room = decoder.room().expect("it lacks much");
    assert_eq!(room.remaining_mut(), 100_000 + 2 - 3);
    // Of what is not believed only a part is lent; what is nearly whole comes with what follows it.
    let mut decoder = super::decoder();
    assert_eq!(
        frames(&mut decoder, [&b"$400000000\r\n"[..]]).expect("RESP"),
        []
    );
    assert_eq!(
        decoder.room().expect("it lacks much").remaining_mut(),
        BELIEVED
    );
    assert_eq!(
        frames(&mut decoder, [&*vec![0; BELIEVED]]).expect("RESP"),
        []
    );
    assert_eq!(
        decoder.room().expect("it lacks much").remaining_mut(),
        BELIEVED
    );
    let mut decoder = super::decoder();
    assert_eq!(frames(&mut decoder, [&b"$1000\r\n"[..]]).expect("RESP"), []);
    assert!(decoder.room().is_none());
}

#[test]
fn no_byte_is_looked_at_twice() {
    let bulks: Vec<u8> = (0..10_000)
        .flat_map(|i| as_bulk(&some_bytes(i % 100)))
        .collect();
    let array = [b"*10000\r\n".to_vec(), bulks].concat();
    let line = [b"+".to_vec(), vec![b'x'; 60_000], b"\r\n".to_vec()].concat();
    let deep = [b"*1\r\n".repeat(127), b":1\r\n".to_vec()].concat();
    let map = [b"%5000\r\n".to_vec(), b":1\r\n".repeat(10_000)].concat();
    for stream in [array, line, as_bulk(&some_bytes(300_000)), deep, map] {
        for size in [1, 7, 1_400, stream.len()] {
            let mut decoder = decoder();
            let read = frames(&mut decoder, stream.chunks(size)).expect("RESP");
            assert_eq!(read.len(), 1);
            // The rest of a line that was cut is looked at for its end, and then as part of the whole line.
            let most = 2 * stream.len();
            assert!(
                decoder.looked <= most,
                "{} bytes in pieces of {size}",
                decoder.looked
            );
            assert!(decoder.looked >= stream.len(), "it is counted");
        }
    }
}
