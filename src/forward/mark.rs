//! The mark of a request that another instance sent. Pure: time and nonces are arguments.
//!
//! `fluster-forwarded: v1;from;to;t;nonce;ring;for;mac`: who sent it to whom, when (milliseconds of the wall clock), the
//! ring that the sender sees, and the owner that `to` stands in for. The MAC is over all of it, the cluster's name, the
//! method, the target and the keys, so that a mark is of no use for any other request. Names are percent-encoded.

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::hash::xxh3_64;
use crate::sealed::{Keyring, NONCE, TAG};

/// The header that a mark stands in.
pub(crate) const HEADER: &str = "fluster-forwarded";

const VERSION: &str = "v1";
/// So old a mark may be, or so far ahead.
pub(crate) const TOLERANCE: u64 = 30_000;
/// Longer ones are none of ours: two names of 64 bytes, three times as long when encoded, and the rest.
const LONGEST: usize = 1024;
/// What stands where there is nothing.
const NONE: &str = "-";
/// What must not stand in a field as it is.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b';').add(b'%').add(b'-');

/// What a mark says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark<'a> {
    pub(crate) from: Cow<'a, str>,
    pub(crate) to: Cow<'a, str>,
    /// Milliseconds of the wall clock.
    pub(crate) at: u64,
    pub(crate) nonce: [u8; NONCE],
    pub(crate) ring: Option<u64>,
    pub(crate) stands_in_for: Option<Cow<'a, str>>,
}

/// The request that a mark is bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// The cluster's name.
    pub(crate) scope: &'a str,
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) keys: &'a [&'a [u8]],
}

/// Why a mark is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    Malformed,
    /// For another instance.
    Foreign,
    Expired,
    /// By none of our keys, or of another request.
    Forged,
    Replayed,
}

impl Invalid {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Foreign => "foreign",
            Self::Expired => "expired",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
        }
    }
}

/// A mark that is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unbelieved<'a> {
    pub(crate) why: Invalid,
    /// What it says. Only what is forged may be anybody's word.
    pub(crate) whose: Option<Box<Mark<'a>>>,
}

impl<'a> Mark<'a> {
    /// The mark as it stands in the header. Without keys anybody can make one.
    pub(crate) fn seal(&self, request: Request<'_>, keyring: Option<&Keyring>) -> String {
        // As long as one with short names is.
        let mut text = String::with_capacity(192);
        text.push_str(VERSION);
        for name in [&self.from, &self.to] {
            text.push(';');
            escape(&mut text, name);
        }
        // A string can always be written to.
        let _ = write!(text, ";{};", self.at);
        hex(&mut text, &self.nonce);
        text.push(';');
        match self.ring {
            Some(ring) => hex(&mut text, &ring.to_be_bytes()),
            None => text.push_str(NONE),
        }
        text.push(';');
        match &self.stands_in_for {
            Some(owner) => escape(&mut text, owner),
            None => text.push_str(NONE),
        }
        text.push(';');
        match keyring {
            Some(keyring) => {
                let (id, tag) = keyring.tag(|write| self.bound(request, write));
                hex(&mut text, &[id]);
                hex(&mut text, &tag);
            }
            None => hex(&mut text, &self.sum(request)),
        }
        text
    }

    /// The mark that the header's value is, when it is one for `me` and this request and did not come before.
    pub(crate) fn open(
        value: &'a [u8],
        me: &str,
        request: Request<'_>,
        keyring: Option<&Keyring>,
        wall: u64,
    ) -> Result<Self, Unbelieved<'a>> {
        let Some((mark, mac)) = Self::parse(value) else {
            let why = Invalid::Malformed;
            return Err(Unbelieved { why, whose: None });
        };
        let is_ours = match keyring {
            Some(keyring) => match bytes::<{ 1 + TAG }>(mac) {
                Some([id, tag @ ..]) => {
                    keyring.is_tag(id, &tag, |write| mark.bound(request, write))
                }
                None => false,
            },
            None => bytes(mac) == Some(mark.sum(request)),
        };
        // First of all: what the rest says is a member's word then.
        let why = if !is_ours {
            Invalid::Forged
        } else if mark.to != me {
            Invalid::Foreign
        } else if wall.abs_diff(mark.at) > TOLERANCE {
            Invalid::Expired
        } else {
            return Ok(mark);
        };
        let whose = Some(Box::new(mark));
        Err(Unbelieved { why, whose })
    }

    fn parse(value: &'a [u8]) -> Option<(Self, &'a str)> {
        let text = std::str::from_utf8(value).ok()?;
        if text.len() > LONGEST {
            return None;
        }
        let mut fields = text.split(';');
        let mut field = || fields.next();
        let [VERSION, from, to, at, nonce, ring, owner, mac] = [
            field()?,
            field()?,
            field()?,
            field()?,
            field()?,
            field()?,
            field()?,
            field()?,
        ] else {
            return None;
        };
        if fields.next().is_some() {
            return None;
        }
        let name = |text| percent_decode_str(text).decode_utf8().ok();
        let mark = Self {
            from: name(from)?,
            to: name(to)?,
            at: at.parse().ok()?,
            nonce: bytes(nonce)?,
            ring: match ring {
                NONE => None,
                ring => Some(u64::from_be_bytes(bytes(ring)?)),
            },
            stands_in_for: match owner {
                NONE => None,
                owner => Some(name(owner)?),
            },
        };
        Some((mark, mac))
    }

    /// What the MAC is over, part by part. Each with its length, so that no two requests are the same bytes.
    fn bound(&self, request: Request<'_>, write: &mut dyn FnMut(&[u8])) {
        // Many small parts cost more than their bytes.
        let mut all = Gathered {
            bytes: [0; GATHERED],
            len: 0,
            write,
        };
        let mut part = |bytes: &[u8]| {
            all.add(&(bytes.len() as u64).to_le_bytes());
            all.add(bytes);
        };
        part(b"fluster-forward-v1");
        part(request.scope.as_bytes());
        part(self.from.as_bytes());
        part(self.to.as_bytes());
        part(&self.at.to_le_bytes());
        part(&self.nonce);
        part(
            self.ring
                .map(u64::to_le_bytes)
                .as_ref()
                .map_or(&[], |ring| &ring[..]),
        );
        // None is another thing than a name of no bytes.
        part(&[u8::from(self.stands_in_for.is_some())]);
        part(self.stands_in_for.as_deref().unwrap_or_default().as_bytes());
        part(request.method.as_bytes());
        part(request.target.as_bytes());
        part(&(request.keys.len() as u64).to_le_bytes());
        for key in request.keys {
            part(key);
        }
        all.flush();
    }

    /// What stands in place of the MAC where there are no keys: it finds what was changed by accident.
    fn sum(&self, request: Request<'_>) -> [u8; 8] {
        let mut bound = Vec::with_capacity(256);
        self.bound(request, &mut |bytes| bound.extend_from_slice(bytes));
        xxh3_64(&bound).to_be_bytes()
    }
}

/// A usual mark and its request.
const GATHERED: usize = 320;

/// Bytes that are written together.
struct Gathered<'a> {
    bytes: [u8; GATHERED],
    len: usize,
    write: &'a mut dyn FnMut(&[u8]),
}

impl Gathered<'_> {
    fn add(&mut self, bytes: &[u8]) {
        if self.len + bytes.len() > GATHERED {
            self.flush();
        }
        match self.bytes.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            // Longer than all the room there is.
            None => (self.write)(bytes),
        }
    }

    fn flush(&mut self) {
        (self.write)(&self.bytes[..self.len]);
        self.len = 0;
    }
}

fn escape(text: &mut String, name: &str) {
    text.extend(utf8_percent_encode(name, ESCAPED));
}

fn hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 2 * NONCE];
    for part in bytes.chunks(NONCE) {
        let (pairs, _) = digits.as_chunks_mut();
        for ([high, low], byte) in pairs.iter_mut().zip(part) {
            *high = DIGITS[usize::from(byte >> 4)];
            *low = DIGITS[usize::from(byte & 15)];
        }
        // They are ASCII.
        text.push_str(std::str::from_utf8(&digits[..2 * part.len()]).unwrap_or_default());
    }
}

fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = digits.as_bytes().as_chunks() else {
        return None;
    };
    let pairs: &[[u8; 2]; N] = pairs.try_into().ok()?;
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
