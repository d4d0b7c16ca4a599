//! RULE strings: `NAME[:PARAM=VALUE,...]`.

use std::fmt;
use std::str::FromStr;

use crate::build_error::{BuildError, told};

use super::super::params::{Params, points_from};
use super::super::ring::DEFAULT_POINTS;
use super::super::tags::HashTags;
use super::{Placement, Rule};

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut params = self.params();
        if self.tags.canonical() != self.default_tags() {
            params.push(("hash_tags", self.tags.canonical().to_string()));
        }
        f.write_str(self.name())?;
        for (at, (name, value)) in params.into_iter().enumerate() {
            let separator = if at == 0 { ':' } else { ',' };
            write!(f, "{separator}{name}={value}")?;
        }
        Ok(())
    }
}

/// The rules of feature `compat`, for those who do not have it.
#[cfg(not(feature = "compat"))]
const ELSEWHERE: [&str; 6] = [
    "go-redis",
    "proxenos",
    "redis-array",
    "redis-rb",
    "ringpop",
    "twemproxy",
];

impl Placement {
    /// The NAME of the RULE. Our own rules without hash tags have the names of the libraries that they are
    /// then the placement of.
    pub(super) fn name(&self) -> &'static str {
        let plain = self.tags == HashTags::Off;
        match &self.rule {
            Rule::Ring { .. } if plain => "fastring",
            Rule::Ring { .. } => "ring",
            Rule::Rendezvous => "rendezvous",
            Rule::Modulo if plain => "fluster-py",
            Rule::Modulo => "modulo",
            #[cfg(feature = "compat")]
            Rule::Preset(preset) => preset.name(),
        }
    }

    fn default_tags(&self) -> HashTags {
        match &self.rule {
            Rule::Ring { .. } | Rule::Modulo if self.tags == HashTags::Off => HashTags::Off,
            Rule::Ring { .. } | Rule::Rendezvous | Rule::Modulo => HashTags::Redis,
            #[cfg(feature = "compat")]
            Rule::Preset(preset) => preset.tags(),
        }
    }

    fn params(&self) -> Vec<(&'static str, String)> {
        match &self.rule {
            Rule::Ring { points } if points.get() != DEFAULT_POINTS => {
                let plain = self.tags == HashTags::Off;
                let name = if plain { "virtual_nodes" } else { "points" };
                vec![(name, points.to_string())]
            }
            Rule::Ring { .. } | Rule::Rendezvous | Rule::Modulo => Vec::new(),
            #[cfg(feature = "compat")]
            Rule::Preset(preset) => preset.params(),
        }
    }
}

impl FromStr for Placement {
    type Err = BuildError;

    /// Reads a RULE string.
    fn from_str(text: &str) -> Result<Self, BuildError> {
        Self::parse(text).map_err(|why| BuildError::Option {
            name: "placement",
            // No rule has these: of a URL the pieces would show what the whole does not.
            why: match text.contains(['@', '/']) {
                true => unknown(text),
                false => why,
            },
        })
    }
}

impl Placement {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, mut params) = match text.split_once(':') {
            Some((name, params)) => (name, Params::split(text, params)?),
            None => (text, Params::default()),
        };
        let placement = Self::rule(name, &mut params)?;
        let placement = match params.take("hash_tags") {
            None => placement,
            Some(value) => placement.hash_tags(HashTags::read(value).ok_or_else(|| {
                let known = HashTags::WRITTEN;
                format!("hash_tags={} is not known: write {known}", told(value))
            })?),
        };
        params.finish(name)?;
        Ok(placement)
    }

    fn rule(name: &str, params: &mut Params<'_>) -> Result<Self, String> {
        let points = |param, value: Option<&str>| match value {
            None => Ok(Self::ring()),
            Some(value) => points_from(param, value).map(Self::ring_with_points),
        };
        Ok(match name {
            "ring" => points("points", params.take("points"))?,
            "fastring" => {
                points("virtual_nodes", params.take("virtual_nodes"))?.hash_tags(HashTags::Off)
            }
            "rendezvous" => Self::rendezvous(),
            "modulo" => Self::modulo(),
            "fluster-py" => Self::fluster_py(),
            _ => return Self::elsewhere(name, params),
        })
    }

    #[cfg(feature = "compat")]
    fn elsewhere(name: &str, params: &mut Params<'_>) -> Result<Self, String> {
        match super::super::compat::Preset::read(name, params) {
            Some(preset) => preset.map(Self::preset),
            None => Err(unknown(name)),
        }
    }

    #[cfg(not(feature = "compat"))]
    fn elsewhere(name: &str, _: &mut Params<'_>) -> Result<Self, String> {
        Err(if ELSEWHERE.contains(&name) {
            format!("rule `{name}` needs the feature `compat`: build fluster with it")
        } else {
            unknown(name)
        })
    }
}

fn unknown(name: &str) -> String {
    format!(
        "\"{}\" is no rule: write `ring`, `rendezvous`, `modulo`, `fluster-py` or `fastring`, or with \
         feature `compat` also `go-redis`, `proxenos`, `redis-array`, `redis-rb`, `ringpop` or `twemproxy`",
        told(name)
    )
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
mod tests;
