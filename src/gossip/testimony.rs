//! What an instance says of the nodes that it shares with others, and how that travels: in items beside its record.
//!
//! A scope's evidence is cut into parts of 64 nodes, each in an item of its own; an item that says nothing any more stays
//! as an empty one. The words on drains are in other items, which every instance keeps and says again, so that they
//! outlive whoever said them first.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::error::text::refuse_name;
use crate::fleet::{Evidence, ITEM, ITEMS, Said, Stamp, Word};

/// The items of evidence, all scopes of an instance together.
pub(crate) const TESTIMONIES: RangeInclusive<u8> = 2..=1 + ITEMS as u8;
/// Those of words on drains.
pub(crate) const DRAINS: RangeInclusive<u8> = 18..=19;
/// Words that one of them has room for.
const WORDS: usize = 32;
pub(crate) const LONGEST_SCOPE: usize = 64;

/// One part of what an instance says of the nodes of one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Testimony {
    /// Empty: nothing is said.
    pub(crate) scope: Box<str>,
    pub(crate) fingerprint: u64,
    pub(crate) nodes: Vec<(u64, Said)>,
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    scope: &'a str,
    fingerprint: [u8; 8],
    nodes: Vec<([u8; 8], u8)>,
}

#[derive(Serialize, Deserialize)]
struct Words {
    words: Vec<([u8; 8], u64, [u8; 8], bool)>,
}

impl Testimony {
    /// What a body says; `None` when it breaks a rule of ours.
    pub(crate) fn of(body: &[u8]) -> Option<Self> {
        let (body, _later) = postcard::take_from_bytes::<Body<'_>>(body).ok()?;
        if body.nodes.len() > ITEM || (!body.scope.is_empty() && check_scope(body.scope).is_err()) {
            return None;
        }
        let node = |(node, said): &([u8; 8], u8)| (u64::from_le_bytes(*node), Said::of_code(*said));
        Some(Self {
            scope: body.scope.into(),
            fingerprint: u64::from_le_bytes(body.fingerprint),
            nodes: body.nodes.iter().map(node).collect(),
        })
    }
}

/// The body of an item that says nothing.
pub(crate) fn nothing() -> Vec<u8> {
    encode("", 0, &[])
}

/// The bodies of all parts of a scope's evidence, one at least.
pub(crate) fn bodies(scope: &str, evidence: &Evidence) -> Vec<Vec<u8>> {
    let nodes: Vec<_> = evidence
        .nodes
        .iter()
        .map(|(node, said)| (*node, *said))
        .collect();
    match nodes.is_empty() {
        true => vec![encode(scope, evidence.fingerprint, &[])],
        false => nodes
            .chunks(ITEM)
            .map(|part| encode(scope, evidence.fingerprint, part))
            .collect(),
    }
}

fn encode(scope: &str, fingerprint: u64, nodes: &[(u64, Said)]) -> Vec<u8> {
    let body = Body {
        scope,
        fingerprint: fingerprint.to_le_bytes(),
        nodes: nodes
            .iter()
            .map(|(node, said)| (node.to_le_bytes(), said.code()))
            .collect(),
    };
    // Into a vector nothing can fail.
    postcard::to_allocvec(&body).unwrap_or_default()
}

/// The bodies of all words on drains, one for each item that there is.
pub(crate) fn drain_bodies(words: impl Iterator<Item = (u64, Word)>) -> Vec<Vec<u8>> {
    let words: Vec<_> = words
        .map(|(key, word)| {
            let Stamp { at, by } = word.stamp;
            (key.to_le_bytes(), at, by.to_le_bytes(), word.on)
        })
        .collect();
    let body = |words: &[_]| {
        let words = words.to_vec();
        postcard::to_allocvec(&Words { words }).unwrap_or_default()
    };
    let mut parts = words.chunks(WORDS);
    DRAINS
        .map(|_| body(parts.next().unwrap_or_default()))
        .collect()
}

/// The words of one item; `None` when it breaks a rule of ours.
pub(crate) fn drains_of(body: &[u8]) -> Option<Vec<(u64, Word)>> {
    let (body, _later) = postcard::take_from_bytes::<Words>(body).ok()?;
    let word = |(key, at, by, on): ([u8; 8], u64, [u8; 8], bool)| {
        let by = u64::from_le_bytes(by);
        (
            u64::from_le_bytes(key),
            Word {
                stamp: Stamp { at, by },
                on,
            },
        )
    };
    (body.words.len() <= WORDS).then(|| body.words.into_iter().map(word).collect())
}

/// Whether a scope can have this name.
pub(crate) fn check_scope(scope: &str) -> Result<(), String> {
    match refuse_name(scope) {
        _ if scope.len() > LONGEST_SCOPE => {
            let length = scope.len();
            Err(format!(
                "it has {length} bytes, and {LONGEST_SCOPE} are allowed"
            ))
        }
        Some(why) => Err(format!("it {why}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::fleet::Drains;
    use crate::gossip::identity::Id;
    use crate::gossip::record::{Head, LARGEST_ITEM};

    #[test]
    fn evidence_survives_the_wire_and_the_largest_fits_an_item() {
        let scope = "s".repeat(LONGEST_SCOPE);
        let node = |node: u64| (node.wrapping_mul(u64::MAX / 7), Said::Down(None));
        let evidence = Evidence::new(u64::MAX, (1..=1_500).map(node), ITEMS);
        let bodies = bodies(&scope, &evidence);
        assert_eq!(bodies.len(), ITEMS);
        let owner = Id::new(SocketAddr::from(([255; 16], 65_535)), u64::MAX);
        let mut heard = Vec::new();
        for (body, kind) in bodies.iter().zip(TESTIMONIES) {
            let item = Head::item(kind, owner, u64::MAX, body).expect("it fits");
            assert!(item.len() <= LARGEST_ITEM, "{}", item.len());
            let part = Testimony::of(body).expect("it is one");
            assert_eq!((&*part.scope, part.fingerprint), (&*scope, u64::MAX));
            heard.extend(part.nodes);
        }
        assert_eq!(heard, evidence.nodes.into_iter().collect::<Vec<_>>());
        let nothing = Testimony::of(&nothing()).expect("it is one");
        assert!(nothing.scope.is_empty() && nothing.nodes.is_empty());
    }

    #[test]
    fn words_on_drains_survive_the_wire_and_all_of_them_fit() {
        let mut drains = Drains::default();
        for key in 0..64 {
            assert_eq!(drains.say(key, true, 1 << 48, u64::MAX), Ok(true));
        }
        let owner = Id::new(SocketAddr::from(([255; 16], 65_535)), u64::MAX);
        let bodies = drain_bodies(drains.words());
        let mut heard = Vec::new();
        for (body, kind) in bodies.iter().zip(DRAINS) {
            assert!(
                Head::item(kind, owner, u64::MAX, body).is_some(),
                "{}",
                body.len()
            );
            heard.extend(drains_of(body).expect("words"));
        }
        assert_eq!(heard, drains.words().collect::<Vec<_>>());
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        let many: Vec<_> = (0..65).map(|node| (node, Said::Prepared)).collect();
        assert!(Testimony::of(&encode("redis", 1, &many)).is_none());
        assert!(Testimony::of(&encode("a\u{1b}[2J", 1, &[])).is_none());
        assert!(Testimony::of(&encode(&"s".repeat(65), 1, &[])).is_none());
        assert!(Testimony::of(&[255; 30]).is_none() && drains_of(&[255; 30]).is_none());
        let words = Words {
            words: vec![([0; 8], 0, [0; 8], true); 33],
        };
        assert!(drains_of(&postcard::to_allocvec(&words).expect("it fits")).is_none());
        assert!(check_scope("").is_err() && check_scope("redis").is_ok());
    }
}
