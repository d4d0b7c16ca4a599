//! RULE strings: `NAME[:PARAM=VALUE,...]`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::build_error::BuildError;

use super::super::ring::DEFAULT_POINTS;
use super::super::tags::HashTags;
use super::{MAX_POINTS_PER_NODE, Placement, Rule};

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
            why,
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
                format!(
                    "hash_tags={value} is not known: write `redis` or `off`, or the two signs around the tag"
                )
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
        "\"{name}\" is no rule: write `ring`, `rendezvous`, `modulo`, `fluster-py` or `fastring`, or with \
         feature `compat` also `go-redis`, `proxenos`, `redis-array`, `redis-rb`, `ringpop` or `twemproxy`"
    )
}

/// A number of points per node, or per unit of weight.
pub(in crate::placement) fn points_from(param: &str, value: &str) -> Result<NonZeroU32, String> {
    value
        .parse::<NonZeroU32>()
        .ok()
        .filter(|points| u64::from(points.get()) <= MAX_POINTS_PER_NODE)
        .ok_or_else(|| {
            format!("{param}={value} is not a whole number from 1 to {MAX_POINTS_PER_NODE}")
        })
}

/// The `PARAM=VALUE` pairs of a RULE; a rule takes what it knows, and what is left is an error.
#[derive(Default)]
pub(in crate::placement) struct Params<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Params<'a> {
    fn split(rule: &str, params: &'a str) -> Result<Self, String> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        let mut rest = Some(params);
        while let Some(text) = rest {
            let param;
            (param, rest) = cut(text);
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

    pub(in crate::placement) fn take(&mut self, name: &str) -> Option<&'a str> {
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

/// The first parameter, and what follows its comma. The two characters of `hash_tags` may be commas.
fn cut(params: &str) -> (&str, Option<&str>) {
    let tags = params.strip_prefix("hash_tags=").map(str::as_bytes);
    let from = match tags {
        Some([_, _]) => return (params, None),
        Some([x, y, b',', ..]) if x.is_ascii() && y.is_ascii() => "hash_tags=XY".len(),
        _ => 0,
    };
    match params[from..].find(',') {
        Some(at) => (&params[..from + at], Some(&params[from + at + 1..])),
        None => (params, None),
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
mod tests;
