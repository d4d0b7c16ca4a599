//! The values of a configuration: each as its file format has it, or as a text, which is all that an environment
//! variable can be. What cannot be read is named by its key.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Deserializer;
use serde::de::value::{Error as Why, StrDeserializer};
use serde::de::{self, Deserialize, DeserializeSeed, IntoDeserializer as _, Unexpected, Visitor};

use crate::cluster::options::{Failover, Refusals, SlowNodes};
use crate::node::client_name;
use crate::placement::{HashTags, Placement};
use crate::recovery::choices::{OnReturn, OnUnknown};

/// What ends the key of a time that is a whole number of milliseconds.
pub(super) const MILLIS: &str = "_ms";

/// What an option may be.
pub(super) trait Setting: Sized {
    /// In words, after "expected".
    const VALUES: &'static str;
    /// Whether there is a second key, for whole milliseconds.
    const IS_TIME: bool = false;

    fn from_whole(_: u64) -> Option<Self> {
        None
    }

    fn from_float(_: f64) -> Option<Self> {
        None
    }

    fn from_bool(_: bool) -> Option<Self> {
        None
    }

    /// `Err` with what is wrong, when that says more than what it may be.
    fn from_text(text: &str) -> Result<Self, Option<String>>;

    /// As it is written in a configuration.
    #[cfg(test)]
    fn shown(&self) -> String;
}

fn read<T: std::str::FromStr>(text: &str) -> Result<T, Option<String>> {
    text.trim().parse().map_err(|_| None)
}

macro_rules! wholes {
    ($($type:ty),+) => {$(
        impl Setting for $type {
            const VALUES: &'static str = "a whole number";

            fn from_whole(n: u64) -> Option<Self> {
                // What is too much is for `build` to say, in its own words.
                Some(Self::try_from(n).unwrap_or(Self::MAX))
            }

            fn from_text(text: &str) -> Result<Self, Option<String>> {
                read::<u64>(text).map(|n| Self::try_from(n).unwrap_or(Self::MAX))
            }

            #[cfg(test)]
            fn shown(&self) -> String {
                self.to_string()
            }
        }
    )+};
}
wholes!(u32, u64, usize);

impl Setting for f64 {
    const VALUES: &'static str = "a number";

    fn from_whole(n: u64) -> Option<Self> {
        Some(n as Self)
    }

    fn from_float(n: f64) -> Option<Self> {
        Some(n)
    }

    fn from_text(text: &str) -> Result<Self, Option<String>> {
        read(text)
    }

    #[cfg(test)]
    fn shown(&self) -> String {
        format!("{self:?}")
    }
}

impl Setting for bool {
    const VALUES: &'static str = "`true` or `false`";

    fn from_bool(yes: bool) -> Option<Self> {
        Some(yes)
    }

    fn from_text(text: &str) -> Result<Self, Option<String>> {
        read(text)
    }

    #[cfg(test)]
    fn shown(&self) -> String {
        self.to_string()
    }
}

/// The one text that is an option: what servers call us.
impl Setting for String {
    const VALUES: &'static str = "a name without spaces";

    fn from_text(text: &str) -> Result<Self, Option<String>> {
        match client_name::refusal(text) {
            Some(why) => Err(Some(why.to_owned())),
            None => Ok(text.to_owned()),
        }
    }

    #[cfg(test)]
    fn shown(&self) -> String {
        self.clone()
    }
}

impl Setting for Duration {
    const VALUES: &'static str = "a time with its unit, such as \"200ms\", \"5s\" or \"10m\"";
    const IS_TIME: bool = true;

    fn from_text(text: &str) -> Result<Self, Option<String>> {
        time(text.trim()).ok_or(None)
    }

    #[cfg(test)]
    fn shown(&self) -> String {
        format!("{self:?}")
    }
}

/// A number and its unit.
fn time(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(unit);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim_start() {
        "ms" => number / 1e3,
        "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => return None,
    };
    // What is too long is for `build` to say.
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// What has a name of its own.
macro_rules! words {
    ($($type:ty: $values:expr;)+) => {$(
        impl Setting for $type {
            const VALUES: &'static str = $values;

            fn from_text(text: &str) -> Result<Self, Option<String>> {
                let text: StrDeserializer<'_, Why> = text.into_deserializer();
                Self::deserialize(text).map_err(|e| Some(e.to_string()))
            }

            #[cfg(test)]
            fn shown(&self) -> String {
                let text = serde_json::to_string(self).expect("a word");
                text.trim_matches('"').to_owned()
            }
        }
    )+};
}
words! {
    Placement: "the name of a placement, such as `ring`";
    HashTags: HashTags::WRITTEN;
    Failover: "`never`, `if-safe` or `always`";
    Refusals: "`return` or `next-candidate`";
    SlowNodes: "`report` or `suspect`";
    OnReturn: "`serve` or `invalidate`";
    OnUnknown: "`serve`, `flush` or `stay-out`";
}

/// A value of the type, for an option.
pub(super) struct Value<'a, T> {
    /// The key as it was given.
    key: &'a str,
    in_millis: bool,
    kind: PhantomData<T>,
}

impl<'a, T: Setting> Value<'a, T> {
    pub(super) fn of(key: &'a str) -> Self {
        Self {
            key,
            in_millis: T::IS_TIME && key.ends_with(MILLIS),
            kind: PhantomData,
        }
    }
}

impl<'de, T: Setting> DeserializeSeed<'de> for Value<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T: Setting> Visitor<'_> for Value<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, in_millis, .. } = self;
        match in_millis {
            true => write!(f, "`{key}` to be whole milliseconds, 0 or more"),
            false => write!(f, "`{key}` to be {}", T::VALUES),
        }
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<T, E> {
        let value = match self.in_millis {
            true => T::from_text(&format!("{n}ms")).ok(),
            false => T::from_whole(n),
        };
        value.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(n), &self))
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<T, E> {
        match u64::try_from(n) {
            Ok(n) => self.visit_u64(n),
            // A number that may have a sign is read as one.
            Err(_) => T::from_float(n as f64)
                .ok_or_else(|| E::invalid_value(Unexpected::Signed(n), &self)),
        }
    }

    fn visit_f64<E: de::Error>(self, n: f64) -> Result<T, E> {
        T::from_float(n).ok_or_else(|| E::invalid_value(Unexpected::Float(n), &self))
    }

    fn visit_bool<E: de::Error>(self, yes: bool) -> Result<T, E> {
        T::from_bool(yes).ok_or_else(|| E::invalid_value(Unexpected::Bool(yes), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let value = match self.in_millis {
            true => read::<u64>(text).and_then(|n| T::from_text(&format!("{n}ms"))),
            false => T::from_text(text),
        };
        value.map_err(|why| match why {
            Some(why) => E::custom(format_args!("`{}`: {why}", self.key)),
            None => E::invalid_value(Unexpected::Str(text), &self),
        })
    }
}
