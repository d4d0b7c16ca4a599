//! The table `[penalty]`: a preset, and what is to differ from it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::de::{self, DeserializeSeed, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::key::Key;
use super::value::{Setting, Value};
use crate::health::penalty_box::{Penalty, parameters};

/// The rules that everything else is set on.
#[derive(Clone, Copy, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "kebab-case")]
pub(super) enum Preset {
    #[default]
    Default,
    FlusterPy,
}

impl Setting for Preset {
    const VALUES: &'static str = "`default` or `fluster-py`";

    fn from_text(text: &str) -> Result<Self, Option<String>> {
        match text {
            "default" => Ok(Self::Default),
            "fluster-py" => Ok(Self::FlusterPy),
            _ => Err(None),
        }
    }

    #[cfg(test)]
    fn shown(&self) -> String {
        "default".to_owned()
    }
}

/// A key for each parameter of the list.
macro_rules! parts {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty;)+) => {
        /// What was given.
        #[derive(Default)]
        pub(super) struct Parts {
            preset: Option<Preset>,
            $($name: Option<$type>,)+
        }

        impl Parts {
            const KEYS: &'static [&'static str] = &["preset", $(stringify!($name),)+];
            pub(super) const FLAT: &'static [&'static str] =
                &["penalty_preset", $(concat!("penalty_", stringify!($name)),)+];

            pub(super) fn times() -> Vec<&'static str> {
                let all = [$((stringify!($name), <$type as Setting>::IS_TIME),)+];
                all.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect()
            }

            pub(super) fn flat_times() -> Vec<&'static str> {
                let all = [$((concat!("penalty_", stringify!($name)), <$type as Setting>::IS_TIME),)+];
                all.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect()
            }

            /// Reads the value of the parameter `name`, which was called `key`.
            pub(super) fn read<'de, A: MapAccess<'de>>(
                &mut self,
                name: &str,
                key: &str,
                map: &mut A,
            ) -> Result<(), A::Error> {
                match name {
                    $(stringify!($name) => set(&mut self.$name, key, map),)+
                    _ => set(&mut self.preset, key, map),
                }
            }

            /// The rules; `None` when nothing was said of them.
            pub(super) fn penalty(self) -> Option<Penalty> {
                let mut is_set = self.preset.is_some();
                let mut penalty = match self.preset.unwrap_or_default() {
                    Preset::Default => Penalty::default(),
                    Preset::FlusterPy => Penalty::fluster_py(),
                };
                $(if let Some(value) = self.$name {
                    penalty = penalty.$name(value);
                    is_set = true;
                })+
                is_set.then_some(penalty)
            }
        }
    };
}
parameters!(parts);

fn set<'de, T: Setting, A: MapAccess<'de>>(
    field: &mut Option<T>,
    key: &str,
    map: &mut A,
) -> Result<(), A::Error> {
    let value = map.next_value_seed(Value::of(key))?;
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(de::Error::custom(format_args!(
            "`{key}` is given twice: in the table `penalty`, and beside it"
        ))),
    }
}

/// The table, or the name of a preset.
pub(super) struct Table<'a>(pub(super) &'a mut Parts);

impl<'de> DeserializeSeed<'de> for Table<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Table<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`penalty` to be a table of its parameters, or {}",
            Preset::VALUES
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        match Preset::from_text(text) {
            Ok(preset) => self.0.preset = Some(preset),
            Err(_) => return Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut seen, times) = (BTreeSet::new(), Parts::times());
        loop {
            let key = Key {
                known: Parts::KEYS,
                times: &times,
                seen: &mut seen,
            };
            let Some(given) = map.next_key_seed(key)? else {
                return Ok(());
            };
            self.0.read(&given.name, &given.key, &mut map)?;
        }
    }
}
