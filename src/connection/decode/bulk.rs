//! A string whose bytes are still coming.

use bytes::BufMut;
use bytes::buf::Limit;

use super::garbage::Garbage;

/// As long as so much is missing, it is read straight to where it belongs; less than that comes together with
/// what follows it.
const LENT: usize = 16 << 10;

/// The least by which memory grows for what was not believed.
const STEP: usize = 32 << 10;

#[derive(Debug)]
pub(super) struct Bulk {
    /// The byte of its type.
    pub(super) kind: u8,
    bytes: Vec<u8>,
    /// How long it will be with its CR LF.
    whole: usize,
}

impl Bulk {
    /// Of `whole` bytes with its CR LF, `believed` of which are reserved.
    pub(super) fn new(kind: u8, whole: usize, believed: usize) -> Self {
        Self {
            kind,
            bytes: Vec::with_capacity(whole.min(believed)),
            whole,
        }
    }

    pub(super) fn missing(&self) -> usize {
        self.whole - self.bytes.len()
    }

    /// Takes what it lacks, and says how much that was.
    pub(super) fn take(&mut self, bytes: &mut &[u8]) -> usize {
        let (own, rest) = bytes.split_at(self.missing().min(bytes.len()));
        self.reserve(own.len());
        self.bytes.extend_from_slice(own);
        *bytes = rest;
        own.len()
    }

    pub(super) fn room(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        if self.missing() < LENT {
            return None;
        }
        self.reserve(1);
        let spare = self.bytes.capacity() - self.bytes.len();
        let room = spare.min(self.missing());
        Some((&mut self.bytes).limit(room))
    }

    /// Makes room for `least` bytes: beyond what was believed, by as much as has come, and never beyond its end.
    fn reserve(&mut self, least: usize) {
        if self.bytes.capacity() - self.bytes.len() < least {
            let more = self.bytes.len().max(STEP).max(least);
            self.bytes.reserve_exact(more.min(self.missing()));
        }
    }

    /// The string; all of it has come.
    pub(super) fn whole(self) -> Result<Vec<u8>, Garbage> {
        let mut bytes = self.bytes;
        let len = without_end(&bytes)?.len();
        bytes.truncate(len);
        Ok(bytes)
    }
}

/// A string without its CR LF.
#[inline]
pub(super) fn without_end(bytes: &[u8]) -> Result<&[u8], Garbage> {
    match bytes {
        [string @ .., b'\r', b'\n'] => Ok(string),
        _ => {
            let end = &bytes[bytes.len().saturating_sub(2)..];
            Err(Garbage::new("a string that is longer than announced", end))
        }
    }
}
