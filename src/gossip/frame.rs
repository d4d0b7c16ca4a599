//! A datagram: sealed, or in plaintext for those who said so.
//!
//! Sealed: `[1][key id][nonce 24][ciphertext][tag 16]`, with the cluster's name authenticated beside it. Plaintext:
//! `[0][XXH3 of the cluster's name 8][..]`. Inside: type, sender, counter, payload.

use serde::{Deserialize, Serialize};

use super::identity::Id;
use super::replay::Replays;
use crate::hash::xxh3_64;
use crate::sealed::{Keyring, NONCE, TAG};

/// The largest datagram: it passes every network without being cut.
pub(crate) const LARGEST: usize = 1_200;
/// What the frame costs around a payload, at most: the seal, the type, an IPv6 sender, a counter.
pub(crate) const AROUND: usize = 2 + NONCE + TAG + 1 + 30 + 10;
/// What a payload may have.
pub(crate) const PAYLOAD: usize = LARGEST - AROUND;

const PLAIN: u8 = 0;
const SEALED: u8 = 1;
const PLAIN_HEAD: usize = 1 + 8;
const SEALED_HEAD: usize = 2 + NONCE;
const AAD: &[u8] = b"fluster-gossip-v1";

/// What a frame is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The membership protocol itself.
    Swim = 0,
    /// Asks whether two instances know the same.
    Ask = 1,
    /// What one of them knows.
    List = 2,
    /// Its sender goes, and says so.
    Leave = 3,
    /// Somebody who is down is to be forgotten.
    Forget = 4,
    /// An operator's question, or its answer.
    Admin = 5,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Swim,
        Self::Ask,
        Self::List,
        Self::Leave,
        Self::Forget,
        Self::Admin,
    ];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// As in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Swim => "swim",
            Self::Ask => "ask",
            Self::List => "list",
            Self::Leave => "leave",
            Self::Forget => "forget",
            Self::Admin => "admin",
        }
    }
}

/// Why a datagram is not listened to. Nobody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Refusal {
    /// No key of ours opens it: a stranger's, damaged, or of another cluster with other keys.
    Key,
    /// It was seen before, or is of an earlier start of its sender.
    Replay,
    /// It is too short or too long to be one of ours.
    Size,
    /// It opens and makes no sense.
    Parse,
    /// It is of another cluster, or sealed where ours is not, or the other way round.
    Cluster,
    /// An operator's question to another instance, or to us by an address that we do not know to be ours.
    Elsewhere,
}

impl Refusal {
    pub(crate) const ALL: [Self; 6] = [
        Self::Key,
        Self::Replay,
        Self::Size,
        Self::Parse,
        Self::Cluster,
        Self::Elsewhere,
    ];

    /// The reason as it appears in metrics: `key`, `replay`, `size`, `parse`, `cluster`, `elsewhere`. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Replay => "replay",
            Self::Size => "size",
            Self::Parse => "parse",
            Self::Cluster => "cluster",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// How frames of this cluster are closed and opened.
#[derive(Clone, Debug)]
pub(crate) struct Seal {
    /// None: plaintext, by the application's word.
    ring: Option<Keyring>,
    aad: Vec<u8>,
    name: [u8; 8],
}

/// A frame that was opened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) sender: Id,
    pub(crate) payload: Vec<u8>,
    counter: u64,
}

#[derive(Serialize, Deserialize)]
struct Head {
    kind: u8,
    sender: Id,
    counter: u64,
}

impl Seal {
    pub(crate) fn new(cluster: &str, ring: Option<Keyring>) -> Self {
        Self {
            ring,
            aad: [AAD, cluster.as_bytes()].concat(),
            name: xxh3_64(cluster.as_bytes()).to_le_bytes(),
        }
    }

    pub(crate) fn set_keyring(&mut self, ring: Keyring) {
        self.ring = Some(ring);
    }

    pub(crate) fn ring(&self) -> Option<&Keyring> {
        self.ring.as_ref()
    }

    /// A datagram; `None` when the payload is too long for one.
    pub(crate) fn close(
        &self,
        kind: Kind,
        sender: Id,
        counter: u64,
        payload: &[u8],
        nonce: &[u8; NONCE],
    ) -> Option<Vec<u8>> {
        let head = Head {
            kind: kind as u8,
            sender,
            counter,
        };
        let mut inside = postcard::to_allocvec(&head).ok()?;
        inside.extend(payload);
        let datagram = match &self.ring {
            Some(ring) => {
                let (id, sealed) = ring.seal(nonce, &self.aad, &inside);
                [&[SEALED, id], &nonce[..], &sealed].concat()
            }
            None => [&[PLAIN], &self.name[..], &inside].concat(),
        };
        (datagram.len() <= LARGEST).then_some(datagram)
    }

    /// What a datagram holds, if it is one of ours.
    pub(crate) fn open(&self, datagram: &[u8]) -> Result<Frame, Refusal> {
        if datagram.len() > LARGEST {
            return Err(Refusal::Size);
        }
        let opened;
        let inside = match (datagram.first(), &self.ring) {
            (Some(&SEALED), Some(ring)) => {
                let rest = datagram.get(SEALED_HEAD..).ok_or(Refusal::Size)?;
                if rest.len() <= TAG {
                    return Err(Refusal::Size);
                }
                let nonce = datagram[2..SEALED_HEAD].try_into();
                let nonce = nonce.map_err(|_| Refusal::Size)?;
                opened = ring.open(datagram[1], nonce, &self.aad, rest);
                opened.as_deref().ok_or(Refusal::Key)?
            }
            (Some(&PLAIN), None) => {
                let rest = datagram.get(PLAIN_HEAD..).ok_or(Refusal::Size)?;
                if datagram[1..PLAIN_HEAD] != self.name {
                    return Err(Refusal::Cluster);
                }
                rest
            }
            (Some(&(SEALED | PLAIN)), _) => return Err(Refusal::Cluster),
            (Some(_), _) => return Err(Refusal::Parse),
            (None, _) => return Err(Refusal::Size),
        };
        let (head, payload) =
            postcard::take_from_bytes::<Head>(inside).map_err(|_| Refusal::Parse)?;
        let kind = Kind::of(head.kind).ok_or(Refusal::Parse)?;
        let sender = Id::new(head.sender.addr, head.sender.generation);
        if kind != Kind::Admin && !sender.is_reachable() {
            return Err(Refusal::Parse);
        }
        Ok(Frame {
            kind,
            sender,
            payload: payload.to_vec(),
            counter: head.counter,
        })
    }
}

impl Frame {
    /// Whether it comes for the first time. Operators' questions are told apart by their id and time (`Desk`), acts
    /// by their ticket.
    pub(crate) fn is_new(&self, replays: &mut Replays) -> bool {
        self.kind == Kind::Admin || replays.is_new(self.sender, self.counter)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn sender() -> Id {
        Id::new(SocketAddr::from(([10, 0, 0, 1], 7_946)), 1_700_000_000_000)
    }

    fn sealed(cluster: &str, key: u8) -> Seal {
        Seal::new(cluster, Some(Keyring::from_bytes([key; 32])))
    }

    fn close(seal: &Seal, payload: &[u8]) -> Vec<u8> {
        let closed = seal.close(Kind::Ask, sender(), 7, payload, &[9; NONCE]);
        closed.expect("it fits")
    }

    #[test]
    fn a_frame_opens_as_it_was_closed_and_nowhere_else() {
        let (ours, plain) = (sealed("limiter", 1), Seal::new("limiter", None));
        for seal in [&ours, &plain] {
            let frame = seal.open(&close(seal, b"what")).expect("ours");
            assert_eq!(
                (frame.kind, frame.sender, frame.counter),
                (Kind::Ask, sender(), 7)
            );
            assert_eq!(frame.payload, b"what");
        }
        let frame = close(&ours, b"what");
        assert_eq!(frame.len(), 42 + 4 + 1 + 13 + 1, "what a frame costs");
        assert_eq!(sealed("limiter", 2).open(&frame), Err(Refusal::Key));
        assert_eq!(sealed("other", 1).open(&frame), Err(Refusal::Key));
        assert_eq!(plain.open(&frame), Err(Refusal::Cluster));
        assert_eq!(ours.open(&close(&plain, b"")), Err(Refusal::Cluster));
        let other = Seal::new("other", None);
        assert_eq!(other.open(&close(&plain, b"")), Err(Refusal::Cluster));
    }

    #[test]
    fn what_is_cut_or_too_long_is_refused_by_its_size_before_it_is_opened() {
        let seal = sealed("limiter", 1);
        let frame = close(&seal, b"what");
        for length in 0..frame.len() {
            let refused = seal.open(&frame[..length]).expect_err("cut");
            let expected = if length <= SEALED_HEAD + TAG {
                Refusal::Size
            } else {
                Refusal::Key
            };
            assert_eq!(refused, expected, "{length} bytes");
        }
        assert_eq!(seal.open(&[1; LARGEST + 1]), Err(Refusal::Size));
        assert_eq!(seal.open(&[2; 100]), Err(Refusal::Parse));
        assert_eq!(
            seal.close(Kind::Ask, sender(), 7, &[0; LARGEST], &[9; NONCE]),
            None
        );
        let widest = Id::new("[ffff::1]:65535".parse().expect("an address"), u64::MAX);
        let full = seal.close(Kind::Swim, widest, u64::MAX, &[0; PAYLOAD], &[9; NONCE]);
        assert!(full.is_some(), "a full payload fits whoever sends it");
    }

    #[test]
    fn a_sender_that_nobody_can_answer_is_nonsense() {
        let seal = Seal::new("limiter", None);
        for addr in [
            "0.0.0.0:1",
            "10.0.0.1:0",
            "255.255.255.255:1",
            "224.0.0.1:1",
            "[::]:1",
            "[ff02::1]:1",
        ] {
            let id = Id::new(addr.parse().expect("an address"), 1);
            let frame = seal
                .close(Kind::Swim, id, 1, b"", &[0; NONCE])
                .expect("it fits");
            assert_eq!(seal.open(&frame), Err(Refusal::Parse), "{addr}");
        }
    }
}
