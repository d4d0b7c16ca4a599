//! A short name for a placement, to see that two processes agree.

use std::fmt;
use std::hash::Hasher;

use twox_hash::XxHash3_64;

use crate::hash::xxh3_64;

use super::points::Points;
use super::tags::HashTags;

/// A placement in 64 bits: rule, hash tags, and the nodes' names and weights as far as the rule looks.
///
/// Two processes with one fingerprint give every key the same candidates; with two, some keys differ. It
/// is the same in every process, on every platform and in every release. Addresses and credentials
/// do not enter it (but for proxenos, which places by address), nor does the order of the nodes unless the
/// rule goes by it, or a point that two nodes share is decided by it.
///
/// ```
/// use fluster::placement::{Member, Placement};
///
/// let one = Placement::ring().fingerprint(&[Member::new("a"), Member::new("b")])?;
/// let other = Placement::ring().fingerprint(&[Member::new("b"), Member::new("a")])?;
/// assert_eq!(one, other);
/// assert_eq!(one.to_string().len(), 16);
/// # Ok::<(), fluster::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint as a number. [Example](crate::guide::by_example#placement-without-redis).
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

/// Sixteen hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A string of sixteen hexadecimal digits: JSON's numbers do not reach that far everywhere.
#[cfg(feature = "serde")]
impl serde::Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Takes in what decides a placement. Every change of what is fed changes all fingerprints.
pub(super) struct Feed<'n> {
    hash: XxHash3_64,
    /// In configuration order.
    names: &'n [Box<str>],
}

impl<'n> Feed<'n> {
    pub(super) fn new(names: &'n [Box<str>], tags: HashTags) -> Self {
        let mut feed = Self {
            hash: XxHash3_64::new(),
            names,
        };
        feed.text("fluster placement 1");
        feed.text(&tags.canonical().to_string());
        // Also the nodes that get no keys: the same set is asked for.
        feed.by_name(std::iter::repeat_n(0, names.len()));
        feed
    }

    pub(super) fn finish(self) -> Fingerprint {
        Fingerprint(self.hash.finish())
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.hash.write(text.as_bytes());
    }

    pub(super) fn number(&mut self, number: u64) {
        self.hash.write(&number.to_le_bytes());
    }

    /// All nodes, each with its number, by name.
    pub(super) fn by_name(&mut self, numbers: impl IntoIterator<Item = u64>) {
        let mut nodes: Vec<_> = self.names.iter().zip(numbers).collect();
        nodes.sort_unstable();
        self.all(&nodes);
    }

    /// All nodes, each with its number, in configuration order.
    pub(super) fn in_order(&mut self, numbers: impl IntoIterator<Item = u64>) {
        let nodes: Vec<_> = self.names.iter().zip(numbers).collect();
        self.all(&nodes);
    }

    fn all<N: AsRef<str>>(&mut self, nodes: &[(N, u64)]) {
        self.number(nodes.len() as u64);
        for (name, number) in nodes {
            self.text(name.as_ref());
            self.number(*number);
        }
    }

    /// A ring: every point with the name of its node. Where two nodes share a value, their order enters
    /// too, for it decides.
    pub(super) fn points(&mut self, points: &Points) {
        let names: Vec<u64> = self
            .names
            .iter()
            .map(|name| xxh3_64(name.as_bytes()))
            .collect();
        self.number(points.len() as u64);
        for (value, node) in points.iter() {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&value.to_le_bytes());
            bytes[8..].copy_from_slice(&names[node as usize].to_le_bytes());
            self.hash.write(&bytes);
        }
    }
}

/// Weights that place alike, in lowest terms.
pub(super) fn reduced(weights: impl Iterator<Item = u32> + Clone) -> impl Iterator<Item = u64> {
    let greatest = weights.clone().fold(0, gcd).max(1);
    weights.map(move |weight| u64::from(weight / greatest))
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
