//! proxenos's own settings: its method and its variables, as a rule.

use std::ffi::OsString;

use fluster::BuildError;
use fluster::placement::{Proxenos, ProxenosHash};

use crate::fault::Fault;
use crate::text::excerpt;

/// The rule by -H and the environment, which `var` reads; -H comes first.
///
/// A variable that is empty is none, and one that the method does not use is not looked at, as there.
pub fn rule(
    method: Option<&str>,
    var: impl Fn(&str) -> Option<OsString>,
) -> Result<Proxenos, Fault> {
    let var = |name: &str| var(name).filter(|value| !value.is_empty());
    let method = match (method, var("PROXENOS_PRF")) {
        (Some(text), _) => parse(text).map_err(|e| e.about("-H"))?,
        (None, Some(text)) => {
            parse(&text.to_string_lossy()).map_err(|e| e.about("PROXENOS_PRF"))?
        }
        (None, None) => ProxenosHash::default(),
    };
    let mut rule = Proxenos::new(method);
    let wide = matches!(method, ProxenosHash::Mmh3_64 | ProxenosHash::Mmh3_128);
    if let Some(seed) = var("PROXENOS_MMH_SEED")
        && (wide || method == ProxenosHash::Mmh3_32)
    {
        rule = rule.seed(seed_from(&seed)?);
    }
    if let Some(optimize) = var("PROXENOS_MMH_OPTIMIZE")
        && wide
    {
        rule = rule.optimize_x86(is_x86(&optimize)?);
    }
    if let Some(key) = var("PROXENOS_SIPHASH_KEY")
        && method == ProxenosHash::SipHash
    {
        rule = rule.secret(key_from(key.as_encoded_bytes())?);
    }
    Ok(rule)
}

fn parse(text: &str) -> Result<ProxenosHash, Fault> {
    text.to_uppercase().parse().map_err(|e| match e {
        BuildError::Option { why, .. } => Fault::usage(why),
        e => Fault::from(e),
    })
}

fn seed_from(text: &OsString) -> Result<u32, Fault> {
    let number = text.to_str().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| {
        let text = excerpt(text.as_encoded_bytes());
        Fault::usage(format!(
            "PROXENOS_MMH_SEED: \"{text}\" is not a whole number from 0 to {}",
            u32::MAX
        ))
    })
}

/// `auto` is the machine's word, and all that fluster runs beside have 64 bits.
fn is_x86(text: &OsString) -> Result<bool, Fault> {
    match &*text.to_string_lossy().to_lowercase() {
        "auto" | "x64" => Ok(false),
        "x86" => Ok(true),
        _ => {
            let text = excerpt(text.as_encoded_bytes());
            Err(Fault::usage(format!(
                "PROXENOS_MMH_OPTIMIZE: \"{text}\" is not known: write auto, x64 or x86"
            )))
        }
    }
}

/// The key's bytes as they are, or their digits, which are too long to be meant as bytes. It is a secret: not repeated.
fn key_from(bytes: &[u8]) -> Result<[u8; 16], Fault> {
    if let Ok(key) = bytes.try_into() {
        return Ok(key);
    }
    let digits = bytes.len() == 32 && bytes.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(bytes).ok().filter(|_| digits);
    let number = text.and_then(|text| u128::from_str_radix(text, 16).ok());
    number.map(u128::to_be_bytes).ok_or_else(|| {
        Fault::usage("PROXENOS_SIPHASH_KEY: it is neither 16 bytes nor 32 hexadecimal digits")
    })
}
