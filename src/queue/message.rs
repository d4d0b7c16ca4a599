//! A message: its identity, its parts, its place on a node.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::str::FromStr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The identity of a message: 128 random bits, given by the producer, the same however often and wherever
/// the message is delivered.
///
/// Prints as 32 hexadecimal digits, and parses from them.
///
/// ```
/// use fluster::queue::MessageId;
///
/// let id: MessageId = "0123456789abcdef0123456789abcdef".parse()?;
/// assert_eq!(id.to_string(), "0123456789abcdef0123456789abcdef");
/// assert_ne!(MessageId::random(), MessageId::random());
/// # Ok::<(), std::num::ParseIntError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(u128);

/// Two keys from the operating system, and a counter: SipHash of the counter under a key that nobody else
/// has. A generator with 64 bits of state would meet itself after some 2^32 messages.
static SOURCE: LazyLock<(RandomState, RandomState)> =
    LazyLock::new(|| (RandomState::new(), RandomState::new()));
static NEXT: AtomicU64 = AtomicU64::new(0);

impl MessageId {
    /// A new identity. [Example](crate::guide::by_example#a-queue).
    #[must_use]
    pub fn random() -> Self {
        let n = NEXT.fetch_add(1, Relaxed);
        let half = |keys: &RandomState, salt: u64| {
            let mut hasher = keys.build_hasher();
            hasher.write_u64(n);
            hasher.write_u64(salt);
            u128::from(hasher.finish())
        };
        Self(half(&SOURCE.0, 0) << 64 | half(&SOURCE.1, 1))
    }

    /// The identity as a number. [Example](crate::guide::by_example#a-queue).
    #[must_use]
    pub fn as_u128(self) -> u128 {
        self.0
    }
}

impl From<u128> for MessageId {
    fn from(id: u128) -> Self {
        Self(id)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MessageId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

/// What a stream of a node calls one entry; in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EntryId(u64, u64);

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

impl EntryId {
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (ms, seq) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(Self(ms.parse().ok()?, seq.parse().ok()?))
    }
}

/// Which of a group's two streams on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Which {
    /// The one that producers write to.
    Stream,
    /// The one of what is delivered again.
    Again,
}

impl Which {
    /// How scripts call it.
    pub(crate) fn letter(self) -> &'static str {
        match self {
            Self::Stream => "s",
            Self::Again => "a",
        }
    }
}

/// Where a delivery comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) which: Which,
    pub(crate) entry: EntryId,
}

/// What a delivery holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: MessageId,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Vec<u8>,
    /// How often it was started before, as far as that is known.
    pub(crate) attempts: u32,
    /// A lease of it expired: whoever had it may have died of it.
    pub(crate) suspect: bool,
}

impl Message {
    /// Reads the fields of an entry; `None` for one that no queue has written.
    pub(crate) fn from_fields(
        fields: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Option<Self> {
        let (mut id, mut key, mut payload, mut attempts) = (None, None, None, 0);
        let mut suspect = false;
        for (name, value) in fields {
            match &*name {
                b"i" => id = std::str::from_utf8(&value).ok()?.parse().ok(),
                b"k" => key = Some(value),
                b"p" => payload = Some(value),
                b"s" => suspect = true,
                b"a" => attempts = std::str::from_utf8(&value).ok()?.parse().ok()?,
                _ => {}
            }
        }
        Some(Self {
            id: id?,
            key,
            payload: payload?,
            attempts,
            suspect,
        })
    }

    /// What it takes to keep it.
    pub(crate) fn bytes(&self) -> usize {
        self.payload.len() + self.key.as_ref().map_or(0, Vec::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn ids_differ_also_between_threads() {
        let many = || (0..10_000).map(|_| MessageId::random()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(many)).collect();
        let mut all = HashSet::new();
        for thread in threads {
            all.extend(thread.join().unwrap());
        }
        assert_eq!(all.len(), 40_000);
        let ones: u32 = all.iter().map(|id| id.as_u128().count_ones()).sum();
        let mean = f64::from(ones) / 40_000.0;
        assert!((63.0..65.0).contains(&mean), "{mean} of 128 bits are set");
    }

    fn fields(list: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        list.iter()
            .map(|(n, v)| ((*n).into(), (*v).into()))
            .collect()
    }

    #[test]
    fn an_entry_is_a_message_or_nothing() {
        let id = "000000000000000000000000000000ff";
        let message = Message::from_fields(fields(&[("i", id), ("p", "x")])).unwrap();
        assert_eq!(message.id, MessageId::from(255));
        assert_eq!((message.attempts, message.suspect), (0, false));
        assert_eq!(message.key, None);
        let suspect = Message::from_fields(fields(&[("i", id), ("s", "1"), ("p", "x")])).unwrap();
        assert!(suspect.suspect);
        let all = fields(&[("i", id), ("a", "3"), ("k", ""), ("p", ""), ("new", "y")]);
        let message = Message::from_fields(all).unwrap();
        assert_eq!((message.attempts, message.key), (3, Some(Vec::new())));
        for bad in [
            &[("i", id)][..],
            &[("p", "x")],
            &[("i", "no number"), ("p", "x")],
            &[("i", id), ("p", "x"), ("a", "-1")],
            &[],
        ] {
            assert_eq!(Message::from_fields(fields(bad)), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn ids_are_read_as_they_are_written(id: u128, ms: u64, seq: u64) {
            let id = MessageId::from(id);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(id.to_string().len(), 32);
            let entry = EntryId(ms, seq);
            prop_assert_eq!(EntryId::parse(entry.to_string().as_bytes()), Some(entry));
        }

        #[test]
        fn no_bytes_break_the_reading(text: Vec<u8>, name: Vec<u8>) {
            let _ = EntryId::parse(&text);
            let _ = Message::from_fields([(name, text.clone()), (b"a".to_vec(), text)]);
        }
    }
}
