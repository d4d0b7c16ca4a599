//! The parameters of a RULE.

use std::num::NonZeroU32;

use crate::build_error::told;

use super::rule::MAX_POINTS_PER_NODE;

/// A number of points per node, or per unit of weight.
pub(in crate::placement) fn points_from(param: &str, value: &str) -> Result<NonZeroU32, String> {
    value
        .parse::<NonZeroU32>()
        .ok()
        .filter(|points| u64::from(points.get()) <= MAX_POINTS_PER_NODE)
        .ok_or_else(|| {
            format!(
                "{param}={} is not a whole number from 1 to {MAX_POINTS_PER_NODE}",
                told(value)
            )
        })
}

/// The `PARAM=VALUE` pairs of a RULE; a rule takes what it knows, and what is left is an error.
#[derive(Default)]
pub(in crate::placement) struct Params<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Params<'a> {
    pub(super) fn split(rule: &str, params: &'a str) -> Result<Self, String> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        let mut rest = Some(params);
        while let Some(text) = rest {
            let param;
            (param, rest) = cut(text);
            let Some((name, value)) = param.split_once('=') else {
                return Err(format!(
                    "\"{}\" in \"{}\" is not of the form PARAM=VALUE",
                    told(param),
                    told(rule)
                ));
            };
            if pairs.iter().any(|&(other, _)| other == name) {
                return Err(format!("\"{}\" gives `{}` twice", told(rule), told(name)));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    pub(in crate::placement) fn take(&mut self, name: &str) -> Option<&'a str> {
        let at = self.0.iter().position(|&(other, _)| other == name)?;
        Some(self.0.swap_remove(at).1)
    }

    pub(super) fn finish(self, rule: &str) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("rule `{rule}` has no parameter `{}`", told(name))),
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
