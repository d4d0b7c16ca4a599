//! The keys of a table: known ones, each given once.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, Visitor};

use super::value::MILLIS;

/// Reads the next key of a table, where those of `known` may be, and those of times with `_ms` at their end.
pub(super) struct Key<'a> {
    pub(super) known: &'static [&'static str],
    pub(super) times: &'a [&'static str],
    /// The names that were given so far.
    pub(super) seen: &'a mut BTreeSet<String>,
}

/// A key: as it was given, and the name of the option.
pub(super) struct Given {
    pub(super) key: String,
    pub(super) name: String,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Given;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Given, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an option")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Given, E> {
        let time = key.strip_suffix(MILLIS);
        let time = time.filter(|name| self.times.contains(name));
        let name = time.unwrap_or(key);
        if !self.known.contains(&name) {
            return Err(E::unknown_field(key, self.known));
        }
        if !self.seen.insert(name.to_owned()) {
            let text =
                format_args!("`{name}` is given twice: once is enough, with or without `{MILLIS}`");
            return Err(E::custom(text));
        }
        Ok(Given {
            key: key.to_owned(),
            name: name.to_owned(),
        })
    }
}
