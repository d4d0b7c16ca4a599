//! The mark of a request that another instance sent. Pure: time and nonces are arguments.
//!
//! `fluster-forwarded: v1;from;to;t;nonce;ring;for;mac`: who sent it to whom, when (milliseconds of the wall clock), the
//! ring that the sender sees, and the owner that `to` stands in for. The MAC is over all of it, the cluster's name, the
//! method, the target and the keys, so that a mark is of no use for any other request. Names are percent-encoded.

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
pub(crate) struct Mark {
    pub(crate) from: String,
    pub(crate) to: String,
    /// Milliseconds of the wall clock.
    pub(crate) at: u64,
    pub(crate) nonce: [u8; NONCE],
    pub(crate) ring: Option<u64>,
    pub(crate) stands_in_for: Option<String>,
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

impl Mark {
    /// The mark as it stands in the header. Without keys anybody can make one.
    pub(crate) fn seal(&self, request: Request<'_>, keyring: Option<&Keyring>) -> String {
        let mut text = format!(
            "{VERSION};{};{};{};",
            escaped(&self.from),
            escaped(&self.to),
            self.at
        );
        hex(&mut text, &self.nonce);
        text.push(';');
        match self.ring {
            Some(ring) => hex(&mut text, &ring.to_be_bytes()),
            None => text.push_str(NONE),
        }
        text.push(';');
        match &self.stands_in_for {
            Some(owner) => text.push_str(&escaped(owner)),
            None => text.push_str(NONE),
        }
        text.push(';');
        let bound = self.bound(request);
        match keyring {
            Some(keyring) => {
                let (id, tag) = keyring.seal(&self.nonce, &bound, b"");
                hex(&mut text, &[id]);
                hex(&mut text, &tag);
            }
            None => hex(&mut text, &xxh3_64(&bound).to_be_bytes()),
        }
        text
    }

    /// The mark that the header's value is, when it is one for `me` and this request and did not come before.
    pub(crate) fn open(
        value: &[u8],
        me: &str,
        request: Request<'_>,
        keyring: Option<&Keyring>,
        wall: u64,
    ) -> Result<Self, Invalid> {
        let (mark, mac) = Self::parse(value).ok_or(Invalid::Malformed)?;
        if mark.to != me {
            return Err(Invalid::Foreign);
        }
        if wall.abs_diff(mark.at) > TOLERANCE {
            return Err(Invalid::Expired);
        }
        let bound = mark.bound(request);
        let is_ours = match (keyring, &mac[..]) {
            (Some(keyring), [id, tag @ ..]) if tag.len() == TAG => {
                keyring.open(*id, &mark.nonce, &bound, tag).is_some()
            }
            (None, sum) => *sum == xxh3_64(&bound).to_be_bytes(),
            (Some(_), _) => false,
        };
        if is_ours {
            Ok(mark)
        } else {
            Err(Invalid::Forged)
        }
    }

    fn parse(value: &[u8]) -> Option<(Self, Vec<u8>)> {
        let text = std::str::from_utf8(value).ok()?;
        if text.len() > LONGEST {
            return None;
        }
        let fields: Vec<_> = text.split(';').collect();
        let [VERSION, from, to, at, nonce, ring, owner, mac] = fields[..] else {
            return None;
        };
        let name = |text| {
            percent_decode_str(text)
                .decode_utf8()
                .ok()
                .map(String::from)
        };
        let mark = Self {
            from: name(from)?,
            to: name(to)?,
            at: at.parse().ok()?,
            nonce: bytes(nonce)?.try_into().ok()?,
            ring: match ring {
                NONE => None,
                ring => Some(u64::from_be_bytes(bytes(ring)?.try_into().ok()?)),
            },
            stands_in_for: match owner {
                NONE => None,
                owner => Some(name(owner)?),
            },
        };
        Some((mark, bytes(mac)?))
    }

    /// What the MAC is over. Each part with its length, so that no two requests are the same bytes.
    fn bound(&self, request: Request<'_>) -> Vec<u8> {
        let mut bound = Vec::with_capacity(256);
        let mut part = |bytes: &[u8]| {
            bound.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            bound.extend_from_slice(bytes);
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
        bound
    }
}

fn escaped(name: &str) -> String {
    utf8_percent_encode(name, ESCAPED).to_string()
}

fn hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // A string can always be written to.
        let _ = write!(text, "{byte:02x}");
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_700_000_000_000;

    fn mark() -> Mark {
        Mark {
            from: "limiter-0".to_owned(),
            to: "a;b-%\u{f6}".to_owned(),
            at: NOW,
            nonce: [7; NONCE],
            ring: Some(0x0102_0304_0506_0708),
            stands_in_for: None,
        }
    }

    fn keyring(byte: u8) -> Keyring {
        Keyring::from_bytes([byte; 32])
    }

    const REQUEST: Request<'_> = Request {
        scope: "limiter",
        method: "POST",
        target: "/limit/1?x",
        keys: &[b"1"],
    };

    #[test]
    fn a_mark_is_what_was_sealed() {
        for stands_in_for in [None, Some("-".to_owned()), Some(String::new())] {
            for ring in [None, Some(0)] {
                for keyring in [None, Some(keyring(1))] {
                    let mark = Mark {
                        ring,
                        stands_in_for: stands_in_for.clone(),
                        ..mark()
                    };
                    let text = mark.seal(REQUEST, keyring.as_ref());
                    assert!(text.is_ascii() && !text.contains(' '), "{text}");
                    let open = |text: &str| {
                        Mark::open(text.as_bytes(), &mark.to, REQUEST, keyring.as_ref(), NOW)
                    };
                    assert_eq!(open(&text).as_ref(), Ok(&mark));
                }
            }
        }
        let rotated = keyring(2).also(keyring(1));
        let text = mark().seal(REQUEST, Some(&keyring(1)));
        assert!(Mark::open(text.as_bytes(), &mark().to, REQUEST, Some(&rotated), NOW).is_ok());
    }

    #[test]
    fn a_mark_is_good_for_its_instance_time_and_request_alone() {
        let ours = keyring(1);
        let text = mark().seal(REQUEST, Some(&ours));
        let open = |to: &str, request, keyring: Option<&Keyring>, wall| {
            Mark::open(text.as_bytes(), to, request, keyring, wall).map(|_| ())
        };
        let me = mark().to;
        assert_eq!(
            open("limiter-0", REQUEST, Some(&ours), NOW),
            Err(Invalid::Foreign)
        );
        for (wall, is_valid) in [
            (NOW - TOLERANCE, true),
            (NOW + TOLERANCE, true),
            (NOW - TOLERANCE - 1, false),
            (NOW + TOLERANCE + 1, false),
            (0, false),
            (u64::MAX, false),
        ] {
            let expected = if is_valid {
                Ok(())
            } else {
                Err(Invalid::Expired)
            };
            assert_eq!(open(&me, REQUEST, Some(&ours), wall), expected);
        }
        for request in [
            Request {
                scope: "other",
                ..REQUEST
            },
            Request {
                method: "GET",
                ..REQUEST
            },
            Request {
                target: "/limit/2?x",
                ..REQUEST
            },
            Request {
                keys: &[b"2"],
                ..REQUEST
            },
            Request {
                keys: &[],
                ..REQUEST
            },
            Request {
                keys: &[b"1", b""],
                ..REQUEST
            },
        ] {
            assert_eq!(
                open(&me, request, Some(&ours), NOW),
                Err(Invalid::Forged),
                "{request:?}"
            );
        }
        assert_eq!(
            open(&me, REQUEST, Some(&keyring(2)), NOW),
            Err(Invalid::Forged)
        );
        assert_eq!(
            open(&me, REQUEST, None, NOW),
            Err(Invalid::Forged),
            "plaintext"
        );
        let plain = mark().seal(REQUEST, None);
        assert_eq!(
            Mark::open(plain.as_bytes(), &me, REQUEST, Some(&ours), NOW),
            Err(Invalid::Forged)
        );
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let ours = keyring(1);
        let text = mark().seal(REQUEST, Some(&ours)).into_bytes();
        for at in 0..text.len() {
            for other in [b'0', b'1', b'a', b';', b'%', b'-', 0, 0xff] {
                let mut bad = text.clone();
                if bad[at] == other {
                    continue;
                }
                bad[at] = other;
                let opened = Mark::open(&bad, &mark().to, REQUEST, Some(&ours), NOW);
                assert!(opened.is_err(), "{}", String::from_utf8_lossy(&bad));
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_mark_or_none(value in proptest::collection::vec(any::<u8>(), 0..1500)) {
            let opened = Mark::open(&value, "a", REQUEST, Some(&keyring(1)), NOW);
            prop_assert!(opened.is_err());
        }

        #[test]
        fn fields_of_any_text_are_a_mark_or_none(fields in proptest::collection::vec("[0-9a-fv;%-]{0,50}", 8)) {
            let value = format!("v1;{}", fields.join(";"));
            prop_assert!(Mark::open(value.as_bytes(), "a", REQUEST, Some(&keyring(1)), NOW).is_err());
        }

        #[test]
        fn any_names_and_keys_come_through(from in ".{0,64}", to in ".{0,40}", key in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mark = Mark { from, to, ..mark() };
            let keys: [&[u8]; 1] = [&key];
            let request = Request { keys: &keys, ..REQUEST };
            let text = mark.seal(request, Some(&keyring(1)));
            if text.len() <= LONGEST {
                prop_assert_eq!(Mark::open(text.as_bytes(), &mark.to, request, Some(&keyring(1)), NOW), Ok(mark));
            }
        }
    }
}
