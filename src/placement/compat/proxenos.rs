//! proxenos: rendezvous hashing by way of CPython's random generator.

mod python;

// Addresses and their text form, without a socket.
use core::net::IpAddr;

use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use siphasher::sip::SipHasher24;

use crate::build_error::{BuildError, told};

use super::super::Member;
use super::super::params::Params;
use super::super::scored::Scores;
use super::super::tags::HashTags;
use super::{Foreign, Recipe, named};

use self::python::{Integer, random_63};

named! {
    /// The hash methods of proxenos.
    pub enum ProxenosHash("method") {
        /// SipHash-2-4, the default.
        #[default]
        SipHash = "SIPHASH",
        /// MD5.
        Md5 = "MD5",
        /// SHA-1.
        Sha1 = "SHA1",
        /// SHA-224.
        Sha224 = "SHA224",
        /// SHA-256.
        Sha256 = "SHA256",
        /// SHA-384.
        Sha384 = "SHA384",
        /// SHA-512.
        Sha512 = "SHA512",
        /// `MurmurHash3`, 32 bits.
        Mmh3_32 = "MMH3_32",
        /// The first half of `MurmurHash3`, 128 bits.
        Mmh3_64 = "MMH3_64",
        /// `MurmurHash3`, 128 bits.
        Mmh3_128 = "MMH3_128",
    }
}

impl ProxenosHash {
    fn is_murmur(self) -> bool {
        matches!(self, Self::Mmh3_32 | Self::Mmh3_64 | Self::Mmh3_128)
    }
}

/// The parameters of [`Placement::proxenos`](crate::placement::Placement::proxenos).
///
/// Parameters that the method does not have are without effect (`seed` and `optimize` belong to the
/// `MMH3` methods, `secret` to `SIPHASH`); in a RULE string they are an error.
///
/// ```
/// use fluster::placement::{Placement, Proxenos, ProxenosHash};
///
/// let rule = Placement::proxenos(Proxenos::new(ProxenosHash::Mmh3_64).seed(42));
/// assert_eq!(rule.to_string(), "proxenos:method=MMH3_64,seed=42");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Proxenos {
    method: ProxenosHash,
    seed: u32,
    secret: Option<Secret>,
    x86: bool,
}

/// What SipHash is keyed with; kept out of `Debug`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Secret([u8; 16]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

impl Proxenos {
    const DEFAULT_SECRET: Secret =
        Secret(0xd906_b07a_8813_15ce_3088_47a8_c4de_69c6_u128.to_be_bytes());

    /// With this hash method. [Example](crate::guide::by_example#other-libraries-placements).
    #[must_use]
    pub fn new(method: ProxenosHash) -> Self {
        Self {
            method,
            ..Self::default()
        }
    }

    /// The seed of the `MMH3` methods. Default: 0. [Example](crate::guide::by_example#other-libraries-placements).
    #[must_use]
    pub fn seed(self, seed: u32) -> Self {
        Self { seed, ..self }
    }

    /// The key of `SIPHASH`. Default: the one in proxenos's source. [Example](crate::guide::by_example#other-libraries-placements).
    #[must_use]
    pub fn secret(self, secret: [u8; 16]) -> Self {
        let secret = Some(Secret(secret)).filter(|&secret| secret != Self::DEFAULT_SECRET);
        Self { secret, ..self }
    }

    /// The variant of `MMH3_64` and `MMH3_128` that is made for 32-bit machines: `optimize=x86`, with
    /// other values. Default: no. [Example](crate::guide::by_example#other-libraries-placements).
    #[must_use]
    pub fn optimize_x86(self, x86: bool) -> Self {
        Self { x86, ..self }
    }

    /// The digest of a key as Python's integer.
    fn digest(&self, key: &[u8]) -> Integer {
        // The readers of a slice cannot fail.
        let wide = || {
            if self.x86 {
                murmur3::murmur3_x86_128(&mut { key }, self.seed).unwrap_or_default()
            } else {
                murmur3::murmur3_x64_128(&mut { key }, self.seed).unwrap_or_default()
            }
        };
        match self.method {
            ProxenosHash::SipHash => {
                let Secret(secret) = self.secret.unwrap_or(Self::DEFAULT_SECRET);
                let hash = SipHasher24::new_with_key(&secret).hash(key);
                // Its bytes, the lowest first, are read with the highest first.
                Integer::from_be_bytes(&hash.to_le_bytes())
            }
            ProxenosHash::Md5 => Integer::from_be_bytes(&Md5::digest(key)),
            ProxenosHash::Sha1 => Integer::from_be_bytes(&Sha1::digest(key)),
            ProxenosHash::Sha224 => Integer::from_be_bytes(&Sha224::digest(key)),
            ProxenosHash::Sha256 => Integer::from_be_bytes(&Sha256::digest(key)),
            ProxenosHash::Sha384 => Integer::from_be_bytes(&Sha384::digest(key)),
            ProxenosHash::Sha512 => Integer::from_be_bytes(&Sha512::digest(key)),
            ProxenosHash::Mmh3_32 => {
                let hash = murmur3::murmur3_32(&mut { key }, self.seed).unwrap_or_default();
                Integer::signed(i64::from(hash as i32))
            }
            ProxenosHash::Mmh3_64 => Integer::signed(wide() as i64),
            ProxenosHash::Mmh3_128 => Integer::from_be_bytes(&wide().to_be_bytes()),
        }
    }
}

/// Source: proxenos 0.0.3 for Python, checked against its own output in `tests/vectors/proxenos.json`.
impl Recipe for Proxenos {
    const NAME: &'static str = "proxenos";
    const TAGS: HashTags = HashTags::Off;

    fn read(params: &mut Params<'_>) -> Result<Self, String> {
        let method = params.take("method").map(ProxenosHash::read).transpose()?;
        let mut rule = Self::new(method.unwrap_or_default());
        let method = rule.method;
        let only = |param: &str, allowed: bool, whose: &str| {
            (!allowed).then_some(()).map_or(Ok(()), |()| {
                Err(format!(
                    "method={method} has no `{param}`, only {whose} has"
                ))
            })
        };
        if let Some(seed) = params.take("seed") {
            only("seed", method.is_murmur(), "MMH3_32, MMH3_64 or MMH3_128")?;
            rule.seed = seed.parse().map_err(|_| {
                let seed = told(seed);
                format!("seed={seed} is not a whole number from 0 to {}", u32::MAX)
            })?;
        }
        if let Some(secret) = params.take("secret") {
            only("secret", method == ProxenosHash::SipHash, "SIPHASH")?;
            // The text is not repeated: it is a secret.
            let bytes = secret_from(secret).ok_or(
                "the value of `secret` is not 32 hexadecimal digits, as in 00010203...0e0f",
            )?;
            rule = rule.secret(bytes);
        }
        if let Some(optimize) = params.take("optimize") {
            let wide = matches!(method, ProxenosHash::Mmh3_64 | ProxenosHash::Mmh3_128);
            only("optimize", wide, "MMH3_64 or MMH3_128")?;
            rule.x86 = match optimize {
                "x86" => true,
                "x64" => false,
                _ => {
                    return Err(format!(
                        "optimize={} is not known: write `x86` or `x64`",
                        told(optimize)
                    ));
                }
            };
        }
        Ok(rule)
    }

    fn params(&self) -> Vec<(&'static str, String)> {
        let (murmur, sip) = (
            self.method.is_murmur(),
            self.method == ProxenosHash::SipHash,
        );
        let mut params = Vec::new();
        if !sip {
            params.push(("method", self.method.to_string()));
        }
        if murmur && self.seed != 0 {
            params.push(("seed", self.seed.to_string()));
        }
        if let Some(Secret(secret)) = self.secret.filter(|_| sip) {
            params.push(("secret", format!("{:032x}", u128::from_be_bytes(secret))));
        }
        if self.x86 && murmur && self.method != ProxenosHash::Mmh3_32 {
            params.push(("optimize", "x86".to_owned()));
        }
        params
    }

    fn build(&self, members: &[Member<'_>]) -> Result<Foreign, BuildError> {
        let address = |member| address_of(member).map(|address| seed_of(&address));
        let nodes = members.iter().map(address).collect::<Result<_, _>>()?;
        Ok(Foreign::Proxenos(Services {
            nodes,
            method: self.clone(),
        }))
    }
}

fn secret_from(hex: &str) -> Option<[u8; 16]> {
    let digits = hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(hex, 16).ok().filter(|_| digits)?;
    Some(number.to_be_bytes())
}

/// The address as proxenos packs it: IPv4 as `::a.b.c.d`, each hexadecimal digit of the port in two bytes.
fn address_of(member: &Member<'_>) -> Result<[u8; 24], BuildError> {
    let refuse = |why: String| BuildError::Node {
        name: member.name.to_owned(),
        why,
    };
    let (host, port) = member
        .address
        .or_else(|| split(member.name))
        .ok_or_else(|| {
            refuse("rule `proxenos` places by IP address and port, and it has none".to_owned())
        })?;
    let address: IpAddr = host.parse().map_err(|_| {
        refuse(format!(
            "rule `proxenos` places by IP address, and \"{}\" is a name, which may lead elsewhere tomorrow: \
             write the address in the URL",
            told(host)
        ))
    })?;
    let bytes = match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_compatible().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let mut packed = [0; 24];
    packed[..16].copy_from_slice(&bytes);
    for (digit, at) in (17..24).step_by(2).enumerate() {
        packed[at] = (port >> (12 - 4 * digit)) as u8 & 0xf;
    }
    Ok(packed)
}

/// `host:port`, the host of IPv6 in brackets.
fn split(name: &str) -> Option<(&str, u16)> {
    let (host, port) = name.rsplit_once(':')?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    Some((bare.unwrap_or(host), port.parse().ok()?))
}

/// What a node's weights start from.
fn seed_of(address: &[u8; 24]) -> u64 {
    random_63(&Integer::from_be_bytes(&Sha512::digest(address)))
}

/// The nodes of a table.
#[derive(Clone, Debug)]
pub(in crate::placement) struct Services {
    nodes: Box<[u64]>,
    method: Proxenos,
}

impl Services {
    pub(super) fn scores(&self, key: &[u8]) -> ServiceScores<'_> {
        ServiceScores {
            services: self,
            digest: self.method.digest(key),
        }
    }

    /// What the nodes' addresses became, and the rule's parameters: all that decides, for fingerprints.
    pub(super) fn identity(&self) -> (&[u64], Vec<(&'static str, String)>) {
        (&self.nodes, self.method.params())
    }
}

/// The scores of one key.
#[derive(Clone, Debug)]
pub(in crate::placement) struct ServiceScores<'t> {
    services: &'t Services,
    digest: Integer,
}

impl Scores for ServiceScores<'_> {
    /// A score costs microseconds: a second pass would cost more than sorting.
    const PASSES: usize = 1;

    fn nodes(&self) -> u32 {
        // A table never has more: `Placement::table` checks.
        u32::try_from(self.services.nodes.len()).unwrap_or(u32::MAX)
    }

    fn score(&self, node: u32) -> u64 {
        random_63(&self.digest.xor(self.services.nodes[node as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_has_its_check_values() {
        for (key, hash) in [
            ("", 0x2312_0965_b5bc_8151_u64),
            ("abc", 0xca7f_6727_6592_aa62),
            ("clé", 0xeac0_f273_3477_3a20),
            ("hello world, 0123456789 abcdef", 0x48d7_bba6_bf9a_308e),
        ] {
            let digest = Proxenos::default().digest(key.as_bytes());
            let expected = hash.swap_bytes();
            assert_eq!(
                digest.magnitude(),
                [expected as u32, (expected >> 32) as u32],
                "SipHash of {key:?}"
            );
        }
    }

    #[test]
    fn addresses_are_packed_as_by_proxenos() {
        let hex = |host, port| -> String {
            let member = Member::new("a").address(host, port);
            let packed = address_of(&member).expect("an address");
            packed.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        for (host, port, packed) in [
            (
                "10.0.0.1",
                6379,
                "0000000000000000000000000a00000100010008000e000b",
            ),
            (
                "::ffff:192.168.0.2",
                443,
                "000000000000000000000000c0a8000200000001000b000b",
            ),
            (
                "fe80::1",
                65535,
                "fe800000000000000000000000000001000f000f000f000f",
            ),
        ] {
            assert_eq!(hex(host, port), packed, "{host}:{port}");
        }
        let error = address_of(&Member::new("cache.local:6379")).expect_err("a name");
        assert!(
            error.to_string().contains("\"cache.local\" is a name"),
            "{error}"
        );
        assert!(
            address_of(&Member::new("[::1]:6379")).is_ok(),
            "as names are by default"
        );
        assert!(address_of(&Member::new("cache")).is_err());
    }

    #[test]
    fn no_debug_output_shows_the_secret() {
        let rule = Proxenos::default().secret([0xab; 16]);
        assert!(!format!("{rule:?}").contains("ab, "), "{rule:?}");
        assert!(!format!("{rule:?}").contains("171"), "{rule:?}");
    }
}
