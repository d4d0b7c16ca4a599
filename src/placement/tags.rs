//! The part of a key that is hashed.

use std::fmt;
use std::str::FromStr;

use crate::build_error::{BuildError, told};

/// Which part of a key decides its placement, so that an application can force keys together.
///
/// Cluster and [`Table`](super::Table) apply it before hashing; [`HashRing`](super::HashRing)
/// never does, as fastring.
///
/// ```
/// use fluster::placement::HashTags;
///
/// assert_eq!(HashTags::Redis.tagged(b"cart:{user:7}:items"), b"user:7");
/// assert_eq!(HashTags::Off.tagged(b"cart:{user:7}:items"), b"cart:{user:7}:items");
/// assert_eq!("redis".parse(), Ok(HashTags::Redis));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HashTags {
    /// Redis Cluster's rule: what stands between the first `{` and the first `}` after it, unless
    /// that is empty; otherwise the whole key.
    ///
    /// Source: "Hash tags" in the [Redis Cluster specification].
    ///
    /// [Redis Cluster specification]: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    #[default]
    Redis,
    /// The whole key, always.
    Off,
    /// What stands between the first of one ASCII character and the first of another after it, unless that
    /// is empty: `hash_tag` of twemproxy. `{` and `}` make the rule of [`HashTags::Redis`].
    Between(u8, u8),
    /// What stands between `{` at the start of the key, or of a line in it, and the next `}` in that line,
    /// at least one character: the regular expression `^\{(.+?)\}` of redis-rb.
    RedisRb,
    /// What stands between the first `{` and the next `}`, both before any NUL byte; it may be empty:
    /// the rule of phpredis's `RedisArray`.
    RedisArray,
}

impl HashTags {
    /// What can be written for one, in words.
    pub(crate) const WRITTEN: &'static str =
        "`redis`, `off`, `redis-rb` or `redis-array`, or the two signs around the tag, as in `[]`";

    /// The part of `key` that is hashed.
    ///
    /// ```
    /// use fluster::placement::HashTags;
    ///
    /// assert_eq!(HashTags::Redis.tagged(b"{}{x}"), b"{}{x}"); // only the first brace is tried
    /// assert_eq!(HashTags::Redis.tagged(b"{{x}}"), b"{x");
    /// ```
    #[inline]
    #[must_use]
    pub fn tagged<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        match self {
            Self::Redis if has_open_brace(key) => between_braces(key).unwrap_or(key),
            Self::Redis | Self::Off => key,
            _ => self.tagged_elsewhere(key),
        }
    }

    /// The rules of other libraries, apart from ours: every lookup of every rule passes through `tagged`.
    #[inline(never)]
    fn tagged_elsewhere<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        match self {
            Self::Redis | Self::Off => key,
            Self::Between(open, close) => between(key, *open, *close)
                .filter(|tag| !tag.is_empty())
                .unwrap_or(key),
            Self::RedisRb => in_line(key).unwrap_or(key),
            Self::RedisArray => {
                let text = key.split(|&b| b == 0).next().unwrap_or(key);
                between(text, b'{', b'}').unwrap_or(key)
            }
        }
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        match *text.as_bytes() {
            [open, close] if text.bytes().all(|b| b.is_ascii_punctuation()) => {
                Some(Self::Between(open, close).canonical())
            }
            _ => [Self::Redis, Self::Off, Self::RedisRb, Self::RedisArray]
                .into_iter()
                .find(|tags| tags.to_string() == text),
        }
    }

    /// The same rule under one name: two that are equal here pick the same part of every key.
    pub(super) fn canonical(self) -> Self {
        match self {
            Self::Between(b'{', b'}') => Self::Redis,
            tags => tags,
        }
    }
}

#[cold]
fn between_braces(key: &[u8]) -> Option<&[u8]> {
    between(key, b'{', b'}').filter(|tag| !tag.is_empty())
}

/// What stands between the first `open` and the first `close` after it.
fn between(key: &[u8], open: u8, close: u8) -> Option<&[u8]> {
    let after = &key[key.iter().position(|&b| b == open)? + 1..];
    Some(&after[..after.iter().position(|&b| b == close)?])
}

/// The first line that starts with a tag of at least one byte has it.
fn in_line(key: &[u8]) -> Option<&[u8]> {
    key.split(|&b| b == b'\n').find_map(|line| {
        let after = line.strip_prefix(b"{")?;
        // A brace right behind the first is the tag's first byte.
        let close = 1 + after.get(1..)?.iter().position(|&b| b == b'}')?;
        Some(&after[..close])
    })
}

/// Whether `key` has a `{`, eight bytes at a time.
///
/// Almost no key has one, and looking byte by byte would cost as much as hashing it.
#[inline]
fn has_open_brace(key: &[u8]) -> bool {
    let Some(last) = key.last_chunk::<8>() else {
        return key.contains(&b'{');
    };
    // The last word overlaps the one before it, which spares a loop over the left-over bytes.
    let (words, _) = key.as_chunks::<8>();
    words
        .iter()
        .chain([last])
        .any(|&word| word_has_open_brace(word))
}

/// The classic zero-byte test, on the bytes that differ from `{`.
#[inline]
fn word_has_open_brace(word: [u8; 8]) -> bool {
    let differs = u64::from_ne_bytes(word) ^ u64::from_ne_bytes([b'{'; 8]);
    let ones = u64::from_ne_bytes([0x01; 8]);
    let tops = u64::from_ne_bytes([0x80; 8]);
    differs.wrapping_sub(ones) & !differs & tops != 0
}

impl fmt::Display for HashTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::Redis => "redis",
            Self::Off => "off",
            Self::RedisRb => "redis-rb",
            Self::RedisArray => "redis-array",
            Self::Between(open, close) => {
                return write!(f, "{}{}", char::from(open), char::from(close));
            }
        })
    }
}

impl FromStr for HashTags {
    type Err = BuildError;

    /// Reads `redis`, `off`, `redis-rb`, `redis-array`, or the two characters of
    /// [`HashTags::Between`], which must be punctuation here.
    fn from_str(text: &str) -> Result<Self, BuildError> {
        Self::read(text).ok_or_else(|| BuildError::Option {
            name: "hash_tags",
            why: format!("\"{}\" is not known: write {}", told(text), Self::WRITTEN),
        })
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for HashTags {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for HashTags {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_tag_is_what_redis_cluster_hashes() {
        let cases: [(&str, &str); 14] = [
            ("", ""),
            ("{", "{"),
            ("}", "}"),
            ("{}", "{}"),
            ("plain", "plain"),
            ("{user1000}.following", "user1000"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("}{a}", "a"),
            ("a}b{c", "a}b{c"),
            ("{a", "{a"),
            ("0123456789abcdef{tag}0123456789abcdef", "tag"),
            ("0123456789abcdef{", "0123456789abcdef{"),
        ];
        for (key, tag) in cases {
            assert_eq!(
                HashTags::Redis.tagged(key.as_bytes()),
                tag.as_bytes(),
                "key {key:?}"
            );
            assert_eq!(
                HashTags::Off.tagged(key.as_bytes()),
                key.as_bytes(),
                "key {key:?}"
            );
        }
    }

    #[test]
    fn other_libraries_have_other_tags() {
        let pair = HashTags::Between(b'$', b'$');
        let braces = HashTags::Between(b'{', b'}');
        let cases: [(HashTags, &str, &str); 20] = [
            (pair, "a$b$c", "b"),
            (pair, "a$$b$", "a$$b$"),
            (pair, "a$b", "a$b"),
            (braces, "{}{x}", "{}{x}"),
            (braces, "}{x}", "x"),
            (HashTags::RedisRb, "{a}b", "a"),
            (HashTags::RedisRb, "b{a}", "b{a}"),
            (HashTags::RedisRb, "{}}x", "}"),
            (HashTags::RedisRb, "{}", "{}"),
            (HashTags::RedisRb, "{", "{"),
            (HashTags::RedisRb, "{}a}", "}a"),
            (HashTags::RedisRb, "b\n{a}", "a"),
            (HashTags::RedisRb, "{a\n}", "{a\n}"),
            (HashTags::RedisRb, "{a\n{b}c}", "b"),
            (HashTags::RedisArray, "b{a}c", "a"),
            (HashTags::RedisArray, "b{}c", ""),
            (HashTags::RedisArray, "b{a", "b{a"),
            (HashTags::RedisArray, "b\0{a}", "b\0{a}"),
            (HashTags::RedisArray, "{a\0}", "{a\0}"),
            (HashTags::RedisArray, "{a}\0", "a"),
        ];
        for (tags, key, tag) in cases {
            let tagged = tags.tagged(key.as_bytes());
            assert_eq!(tagged, tag.as_bytes(), "{tags} of {key:?}");
        }
    }

    #[test]
    fn tags_survive_their_text() {
        for text in [
            "redis",
            "off",
            "redis-rb",
            "redis-array",
            "$$",
            "[]",
            ",;",
            "==",
        ] {
            assert_eq!(
                text.parse::<HashTags>().map(|tags| tags.to_string()),
                Ok(text.to_owned())
            );
        }
        assert_eq!("{}".parse(), Ok(HashTags::Redis), "the same rule");
        for text in ["", "x", "xyz", "é", "on", "$ ", "\t\t", "Redis"] {
            assert!(text.parse::<HashTags>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_wrong_name_is_refused_with_the_right_ones() {
        let error = "on".parse::<HashTags>().expect_err("`on` is no rule");
        assert!(
            error
                .to_string()
                .contains("`redis`, `off`, `redis-rb` or `redis-array`"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn a_brace_is_found_wherever_it_stands(
            mut key in prop::collection::vec(prop_oneof![Just(b'z'), Just(b'|'), Just(b'}'), Just(0xfb), any::<u8>()], 0..40),
            at in any::<prop::sample::Index>(),
        ) {
            prop_assert_eq!(has_open_brace(&key), key.contains(&b'{'));
            if !key.is_empty() {
                let at = at.index(key.len());
                key[at] = b'{';
                prop_assert!(has_open_brace(&key));
            }
        }
    }
}
