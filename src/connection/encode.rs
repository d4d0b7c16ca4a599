//! From requests to bytes.
//!
//! A small request is packed where it waits to be written, behind those before it; a large one into memory of its
//! own, from which it is written: nobody waits for a lock while a megabyte is copied, and none is copied twice.

use redis::{Arg, Cmd};

use super::followed::Followed;
use super::request::Request;

/// From so many bytes on a request has memory of its own.
pub(crate) const LARGE: usize = 64 << 10;

/// Answered as soon as it is whole.
pub(crate) const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// The digits of the largest cursor.
const CURSOR: usize = 20;

/// How many bytes a request took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    /// All of it.
    pub(crate) whole: usize,
    /// The server has executed nothing of the request before it has so many of its bytes: those of its first
    /// command, or, of a transaction, all, since its `EXEC` comes last.
    pub(crate) decisive: usize,
    /// Where its first command ends (of a transaction, the one behind its `MULTI`): what counts where a `MULTI` may be
    /// refused, since then the commands are executed as they come.
    pub(crate) first_command: usize,
}

/// Writes a request behind what is in `out`.
#[inline]
pub(crate) fn pack(request: Request<'_>, out: &mut Vec<u8>) -> Packed {
    let start = out.len();
    match request {
        Request::One(cmd) => {
            cmd.write_packed_command(out);
            let whole = out.len() - start;
            Packed {
                whole,
                decisive: whole,
                first_command: whole,
            }
        }
        Request::Many(_) => pack_many(request, out),
        Request::Followed(both) => pack_followed(both, out),
    }
}

fn pack_many(request: Request<'_>, out: &mut Vec<u8>) -> Packed {
    let start = out.len();
    let is_transaction = request.is_transaction();
    if is_transaction {
        out.extend_from_slice(MULTI);
    }
    let mut first = None;
    for cmd in request.commands() {
        cmd.write_packed_command(out);
        first.get_or_insert(out.len() - start);
    }
    if is_transaction {
        out.extend_from_slice(EXEC);
    }
    let whole = out.len() - start;
    let first_command = first.unwrap_or(whole);
    Packed {
        whole,
        decisive: if is_transaction { whole } else { first_command },
        first_command,
    }
}

/// What follows a request decides nothing of it.
fn pack_followed(both: &Followed<'_>, out: &mut Vec<u8>) -> Packed {
    let own = pack(both.own(), out);
    let behind = both.behind().bytes();
    out.extend_from_slice(behind);
    Packed {
        whole: own.whole + behind.len(),
        ..own
    }
}

/// A request of `most` bytes in memory of its own.
pub(crate) fn pack_large(request: Request<'_>, most: usize) -> (Vec<u8>, Packed) {
    #[cfg(test)]
    LARGE_ONES.set(LARGE_ONES.get() + 1);
    let mut own = Vec::with_capacity(most);
    let packed = pack(request, &mut own);
    (own, packed)
}

#[cfg(test)]
thread_local! {
    /// How many large requests were packed.
    pub(crate) static LARGE_ONES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How many bytes the request will take: exactly, unless it has a cursor, whose digits only redis-rs sees.
#[inline]
pub(crate) fn most_bytes(request: Request<'_>) -> usize {
    let frame = match request.is_transaction() {
        true => MULTI.len() + EXEC.len(),
        false => 0,
    };
    let behind = match request {
        Request::Followed(both) => both.behind().bytes().len(),
        _ => 0,
    };
    request.commands().map(most_of).sum::<usize>() + frame + behind
}

#[inline]
fn most_of(cmd: &Cmd) -> usize {
    let args = cmd.args_iter();
    let head = 3 + digits(args.len());
    args.fold(head, |sum, arg| {
        let len = match arg {
            Arg::Simple(bytes) => bytes.len(),
            _ => CURSOR,
        };
        sum + 5 + digits(len) + len
    })
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use redis::Pipeline;

    use super::*;
    use crate::connection::followed::Ours;

    fn pipeline(len: usize, is_atomic: bool, value: &[u8]) -> Pipeline {
        let mut pipe = Pipeline::new();
        for i in 0..len {
            pipe.cmd("SET").arg(i).arg(value);
        }
        if is_atomic {
            pipe.atomic();
        }
        pipe
    }

    fn scan() -> Cmd {
        let mut scan = redis::cmd("SCAN");
        scan.cursor_arg(17).arg("COUNT").arg(1);
        scan
    }

    #[test]
    fn a_command_is_packed_behind_what_waits_as_redis_rs_packs_it() {
        let mut get = redis::cmd("GET");
        get.arg(b"\r\n\xff".as_slice()).arg("");
        for cmd in [get, scan(), redis::cmd("PING")] {
            let mut out = b"before".to_vec();
            let packed = pack(Request::One(&cmd), &mut out);
            let own = cmd.get_packed_command();
            assert_eq!(out.strip_prefix(b"before"), Some(&*own));
            assert_eq!((packed.whole, packed.decisive), (own.len(), own.len()));
        }
    }

    #[test]
    fn a_pipeline_may_be_executed_from_its_first_command_on_and_a_transaction_from_its_exec_on() {
        for len in 1..5 {
            for is_atomic in [false, true] {
                let pipe = pipeline(len, is_atomic, b"value");
                let mut out = b"before".to_vec();
                let packed = pack(Request::Many(&pipe), &mut out);
                let own = pipe.get_packed_pipeline();
                assert_eq!(out.strip_prefix(b"before"), Some(&*own));
                assert_eq!(packed.whole, own.len());
                let first = crate::connection::redis_rs::commands(&pipe)
                    .next()
                    .expect("one")
                    .get_packed_command();
                let decisive = if is_atomic { own.len() } else { first.len() };
                assert_eq!(packed.decisive, decisive, "{len} {is_atomic}");
                let first_command = first.len() + if is_atomic { MULTI.len() } else { 0 };
                assert_eq!(packed.first_command, first_command, "{len} {is_atomic}");
            }
        }
    }

    #[test]
    fn what_follows_a_request_comes_behind_it_and_decides_nothing_of_it() {
        let set = pipeline(1, false, b"value");
        let set = crate::connection::redis_rs::commands(&set)
            .next()
            .expect("one");
        let (some, all) = (pipeline(3, false, b"value"), pipeline(3, true, b"value"));
        let notes = pipeline(2, false, b"note");
        let mut behind = Ours::default();
        behind.commands(&notes);
        for own in [Request::One(set), Request::Many(&some), Request::Many(&all)] {
            let both = Followed::new(own, &behind);
            let (mut alone, mut out) = (Vec::new(), Vec::new());
            let wanted = pack(own, &mut alone);
            let packed = pack(Request::Followed(&both), &mut out);
            alone.extend(notes.get_packed_pipeline());
            assert_eq!(out, alone);
            assert_eq!(packed.whole, out.len());
            assert_eq!(packed.decisive, wanted.decisive);
            assert_eq!(packed.first_command, wanted.first_command);
            assert_eq!(most_bytes(Request::Followed(&both)), out.len());
        }
    }

    #[test]
    fn what_is_large_has_memory_of_its_own_and_no_more_than_it_needs() {
        for len in [
            0, 1, 9, 10, 99, 100, 65_000, 65_491, 65_507, 65_536, 1_000_000,
        ] {
            let mut set = redis::cmd("SET");
            set.arg("k").arg(vec![b'x'; len]);
            let own = set.get_packed_command();
            assert_eq!(most_of(&set), own.len(), "{len}");
            let most = most_bytes(Request::One(&set));
            let (bytes, packed) = pack_large(Request::One(&set), most);
            assert_eq!((bytes.capacity(), packed.whole), (own.len(), own.len()));
            assert_eq!(bytes, own);
        }
        for is_atomic in [false, true] {
            let pipe = pipeline(1_000, is_atomic, &[b'x'; 100]);
            let most = most_bytes(Request::Many(&pipe));
            assert!(most >= LARGE);
            let (bytes, packed) = pack_large(Request::Many(&pipe), most);
            assert_eq!(bytes, pipe.get_packed_pipeline());
            assert_eq!((bytes.capacity(), packed.whole), (bytes.len(), bytes.len()));
        }
        let spare = most_of(&scan()) - scan().get_packed_command().len();
        assert!(spare < CURSOR, "{spare} bytes too many for a cursor");
    }
}
