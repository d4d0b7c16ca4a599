//! RULE strings: `NAME[:PARAM=VALUE,...]`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::error::BuildError;

use super::super::ring::DEFAULT_POINTS;
use super::super::tags::HashTags;
use super::{MAX_POINTS_PER_NODE, Placement, Rule};

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = ':';
        match self.rule {
            Rule::Ring { points } => {
                f.write_str("ring")?;
                if points.get() != DEFAULT_POINTS {
                    write!(f, ":points={points}")?;
                    separator = ',';
                }
            }
            Rule::Rendezvous => f.write_str("rendezvous")?,
            // The rule without tags has a name of its own.
            Rule::Modulo if self.tags == HashTags::Off => return f.write_str("fluster-py"),
            Rule::Modulo => f.write_str("modulo")?,
        }
        if self.tags != HashTags::Redis {
            write!(f, "{separator}hash_tags={}", self.tags)?;
        }
        Ok(())
    }
}

impl FromStr for Placement {
    type Err = BuildError;

    /// Reads a RULE string.
    fn from_str(text: &str) -> Result<Self, BuildError> {
        Self::parse(text).map_err(|why| BuildError::Option {
            name: "placement",
            why,
        })
    }
}

impl Placement {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, params) = match text.split_once(':') {
            Some((name, params)) => (name, Params::split(text, params)?),
            None => (text, Params::default()),
        };
        let mut params = params;
        let placement = match name {
            "ring" => match params.take("points") {
                None => Self::ring(),
                Some(value) => Self::ring_with_points(points_from(value)?),
            },
            "rendezvous" => Self::rendezvous(),
            "modulo" => Self::modulo(),
            "fluster-py" => Self::fluster_py(),
            _ => {
                return Err(format!(
                    "\"{name}\" is no rule: write `ring`, `rendezvous`, `modulo` or `fluster-py`"
                ));
            }
        };
        let placement = match params.take("hash_tags") {
            None => placement,
            Some("redis") => placement.hash_tags(HashTags::Redis),
            Some("off") => placement.hash_tags(HashTags::Off),
            Some(value) => {
                return Err(format!(
                    "hash_tags={value} is not known: write `redis` or `off`"
                ));
            }
        };
        params.finish(name)?;
        Ok(placement)
    }
}

fn points_from(value: &str) -> Result<NonZeroU32, String> {
    value
        .parse::<NonZeroU32>()
        .ok()
        .filter(|points| u64::from(points.get()) <= MAX_POINTS_PER_NODE)
        .ok_or_else(|| {
            format!("points={value} is not a whole number from 1 to {MAX_POINTS_PER_NODE}")
        })
}

/// The `PARAM=VALUE` pairs of a RULE; a rule takes what it knows, and what is left is an error.
#[derive(Default)]
struct Params<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Params<'a> {
    fn split(rule: &str, params: &'a str) -> Result<Self, String> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for param in params.split(',') {
            let Some((name, value)) = param.split_once('=') else {
                return Err(format!(
                    "\"{param}\" in \"{rule}\" is not of the form PARAM=VALUE"
                ));
            };
            if pairs.iter().any(|&(other, _)| other == name) {
                return Err(format!("\"{rule}\" gives `{name}` twice"));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    fn take(&mut self, name: &str) -> Option<&'a str> {
        let at = self.0.iter().position(|&(other, _)| other == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn finish(self, rule: &str) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("rule `{rule}` has no parameter `{name}`")),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Placement {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Placement {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_survives_its_string() {
        for text in [
            "ring",
            "ring:points=1",
            "ring:points=65535,hash_tags=off",
            "ring:hash_tags=off",
            "rendezvous",
            "rendezvous:hash_tags=off",
            "modulo",
            "fluster-py",
        ] {
            let placement: Placement = text.parse().expect("a RULE");
            assert_eq!(placement.to_string(), text);
        }
    }

    #[test]
    fn defaults_are_left_out_of_the_string() {
        for (text, short) in [
            ("ring:points=128", "ring"),
            ("ring:hash_tags=redis,points=128", "ring"),
            ("modulo:hash_tags=off", "fluster-py"),
            ("fluster-py:hash_tags=redis", "modulo"),
        ] {
            assert_eq!(
                text.parse::<Placement>().expect("a RULE").to_string(),
                short,
                "{text}"
            );
        }
    }

    #[test]
    fn a_bad_rule_is_refused_by_the_name_of_its_fault() {
        for (text, fault) in [
            ("", "\"\" is no rule"),
            ("Ring", "\"Ring\" is no rule"),
            ("ketama", "\"ketama\" is no rule"),
            ("ring:", "PARAM=VALUE"),
            ("ring:points", "\"points\" in \"ring:points\""),
            ("ring:points=", "points= is not a whole number"),
            ("ring:points=0", "points=0"),
            ("ring:points=-1", "points=-1"),
            ("ring:points=1e3", "points=1e3"),
            ("ring:points=65536", "points=65536"),
            ("ring:points=1,points=2", "`points` twice"),
            ("ring:point=1", "no parameter `point`"),
            ("modulo:points=1", "rule `modulo` has no parameter `points`"),
            ("modulo:hash_tags=on", "hash_tags=on"),
        ] {
            let error = text.parse::<Placement>().expect_err(text).to_string();
            assert!(
                error.contains(fault) && error.contains("placement"),
                "{text}: {error}"
            );
        }
    }
}
