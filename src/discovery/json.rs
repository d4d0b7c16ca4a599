//! How foreign JSON is read: what is `null` is absent, lists have an end, and what is not asked for in
//! the right type is not the end of a whole list.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::endpoint::MOST;

/// Go writes an empty list, a missing map and a pointer to nothing as `null`.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    d: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// A list of as many entries as are read at all; none for `null`.
///
/// One more is an error, before there is memory for it.
#[cfg(feature = "discovery-etcd")]
pub(super) fn at_most<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Listed<T>>::deserialize(d)?.map_or(Vec::new(), |all| all.0))
}

/// A list of as many entries as are read at all.
pub(super) struct Listed<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Listed<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Listed<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MOST} entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while all.len() < MOST {
                    match seq.next_element()? {
                        Some(entry) => all.push(entry),
                        None => return Ok(Listed(all)),
                    }
                }
                match seq.next_element::<IgnoredAny>()? {
                    None => Ok(Listed(all)),
                    Some(_) => Err(A::Error::custom(format!(
                        "a list with more than {MOST} entries"
                    ))),
                }
            }
        }

        d.deserialize_seq(Entries(PhantomData))
    }
}

/// A word, or something that is none.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Plain(serde_json::Number),
    Truth(bool),
    Other(IgnoredAny),
}

impl Word {
    fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Plain(number) => Some(number.to_string()),
            Self::Truth(truth) => Some(truth.to_string()),
            Self::Other(_) => None,
        }
    }
}

/// The words of a list; what is none is left out. None for `null`.
pub(super) fn words<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    struct Words;

    impl<'de> Visitor<'de> for Words {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of words")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(word) = seq.next_element::<Word>()? {
                all.extend(word.into_text());
            }
            Ok(all)
        }
    }

    d.deserialize_any(Words)
}

/// The pairs of a map whose values are words; others are left out. None for `null`.
pub(super) fn texts<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Texts;

    impl<'de> Visitor<'de> for Texts {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of words")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all = BTreeMap::new();
            while let Some((key, word)) = map.next_entry::<String, Word>()? {
                if let Some(text) = word.into_text() {
                    all.insert(key, text);
                }
            }
            Ok(all)
        }
    }

    d.deserialize_any(Texts)
}
