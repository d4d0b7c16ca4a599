//! The bytes that wait to be written, by their offsets in the stream.

use std::collections::VecDeque;

use super::waiter::Waiter;
use crate::connection::encode::Packed;

/// A piece of the stream; whole requests, but for what a socket has already taken of the first one.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    /// So many of them were taken.
    from: usize,
}

impl Chunk {
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.from..]
    }

    pub(crate) fn took(&mut self, n: usize) {
        self.from += n;
    }

    pub(crate) fn is_done(&self) -> bool {
        self.from == self.bytes.len()
    }

    /// The buffer, to be used again.
    pub(crate) fn spent(self) -> Vec<u8> {
        let mut bytes = self.bytes;
        bytes.clear();
        bytes
    }
}

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// In order; `tail` comes last, and is the one that small requests are added to.
    ahead: VecDeque<Chunk>,
    tail: Vec<u8>,
    /// The offset behind all bytes that were ever appended, and not taken back.
    appended: u64,
    /// No byte from here on has left, or is on its way.
    claimed: u64,
}

impl Outgoing {
    pub(super) fn appended(&self) -> u64 {
        self.appended
    }

    pub(super) fn claimed(&self) -> u64 {
        self.claimed
    }

    /// Bytes that nobody has claimed.
    pub(super) fn waits(&self) -> u64 {
        self.appended - self.claimed
    }

    /// Lets `write` add a request; where it begins.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Packed) -> (u64, Packed) {
        let before = self.tail.len();
        let packed = write(&mut self.tail);
        debug_assert_eq!(before + packed.whole, self.tail.len(), "as it says");
        (self.appended_by(self.tail.len() - before), packed)
    }

    /// Adds a request that has its own memory; where it begins.
    pub(super) fn push(&mut self, bytes: Vec<u8>) -> u64 {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            self.ahead.push_back(Chunk {
                bytes: tail,
                from: 0,
            });
        }
        let len = bytes.len();
        self.ahead.push_back(Chunk { bytes, from: 0 });
        self.appended_by(len)
    }

    fn appended_by(&mut self, len: usize) -> u64 {
        let start = self.appended;
        self.appended += len as u64;
        start
    }

    /// The next chunk, which is on its way from now on.
    pub(super) fn claim(&mut self, spent: Vec<u8>) -> Option<Chunk> {
        let chunk = match self.ahead.pop_front() {
            Some(chunk) => chunk,
            None if self.tail.is_empty() => return None,
            None => Chunk {
                bytes: std::mem::replace(&mut self.tail, spent),
                from: 0,
            },
        };
        self.claimed += chunk.rest().len() as u64;
        Some(chunk)
    }

    /// What is left of a chunk is no more on its way.
    pub(super) fn give_back(&mut self, chunk: Chunk) {
        if chunk.is_done() {
            return;
        }
        self.claimed -= chunk.rest().len() as u64;
        self.ahead.push_front(chunk);
    }

    /// Takes out the bytes of dead waiters; these are all that have bytes which are not claimed, in order.
    pub(super) fn cut<'a>(&mut self, mut waiters: impl Iterator<Item = &'a mut Waiter>) {
        let (mut at, mut moved) = (self.claimed, 0);
        let mut close = |bytes: &mut Vec<u8>, begin: usize| {
            let (mut from, mut to) = (begin, begin);
            while from < bytes.len() {
                let Some(waiter) = waiters.next() else {
                    debug_assert!(false, "bytes of nobody");
                    return;
                };
                let length = (waiter.end - at) as usize;
                at = waiter.end;
                if waiter.dead {
                    moved += length as u64;
                } else {
                    if to < from {
                        bytes.copy_within(from..from + length, to);
                    }
                    to += length;
                    // What has begun lies before the first gap.
                    waiter.start -= moved;
                    waiter.decisive -= moved;
                    waiter.end -= moved;
                }
                from += length;
            }
            bytes.truncate(to);
        };
        for chunk in &mut self.ahead {
            close(&mut chunk.bytes, chunk.from);
        }
        close(&mut self.tail, 0);
        self.ahead.retain(|chunk| !chunk.is_done());
        self.appended -= moved;
    }

    /// Nothing more is written.
    pub(super) fn clear(&mut self) {
        self.ahead = VecDeque::new();
        self.tail = Vec::new();
        self.appended = self.claimed;
    }

    pub(super) fn shrink(&mut self) {
        if self.tail.is_empty() {
            self.tail = Vec::new();
        }
        if self.ahead.is_empty() {
            self.ahead = VecDeque::new();
        }
    }
}
