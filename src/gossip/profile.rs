//! How fast the others are watched.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How fast a cluster of instances notices what happens, and what that costs. All instances of a cluster use one.
///
/// | | probes | suspected for | known to be down after | for |
/// |---|---|---|---|---|
/// | `Lan` | every second | 4 s | about 6 s, 12 at most among twenty | one data centre (default) |
/// | `Fast` | every 500 ms | 2 s | about 3.5 s | one data centre, machines that are never out of breath |
/// | `Wan` | every 5 s | 12 s | about 23 s | instances that are far apart |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GossipProfile {
    /// For one data centre.
    #[default]
    Lan,
    /// Twice as fast, for twice the packets.
    Fast,
    /// For instances that are far apart.
    Wan,
}

/// The times of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) probe: Duration,
    pub(crate) rtt: Duration,
    pub(crate) suspect: Duration,
    pub(crate) gossip: Duration,
    pub(crate) announce: Duration,
    pub(crate) announce_down: Duration,
    pub(crate) heal: Duration,
    pub(crate) sync: Duration,
}

impl GossipProfile {
    pub(crate) const fn times(self) -> Times {
        let ms = Duration::from_millis;
        match self {
            Self::Lan => Times {
                probe: ms(1_000),
                rtt: ms(300),
                suspect: ms(4_000),
                gossip: ms(200),
                announce: ms(10_000),
                announce_down: ms(10_000),
                heal: ms(5_000),
                sync: ms(5_000),
            },
            Self::Fast => Times {
                probe: ms(500),
                rtt: ms(200),
                suspect: ms(2_000),
                gossip: ms(200),
                announce: ms(5_000),
                announce_down: ms(5_000),
                heal: ms(5_000),
                sync: ms(5_000),
            },
            Self::Wan => Times {
                probe: ms(5_000),
                rtt: ms(3_000),
                suspect: ms(12_000),
                gossip: ms(500),
                announce: ms(30_000),
                announce_down: ms(30_000),
                heal: ms(10_000),
                sync: ms(10_000),
            },
        }
    }

    /// The profile in one word, as in a configuration: `lan`, `fast`, `wan`. [Example](crate::guide::by_example#an-instance).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Fast => "fast",
            Self::Wan => "wan",
        }
    }
}

impl Times {
    /// How long somebody is suspected in a cluster of so many: news need longer to reach all of a large one.
    pub(crate) fn suspicion(&self, instances: usize) -> Duration {
        const LARGE: usize = 100;
        match instances {
            0..LARGE => self.suspect,
            n => self.suspect.mul_f64((n as f64).log10() / 2.0),
        }
    }
}

impl fmt::Display for GossipProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for GossipProfile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Lan, Self::Fast, Self::Wan];
        let found = all.into_iter().find(|profile| profile.as_str() == text);
        found.ok_or_else(|| "a profile is lan, fast or wan".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspicion_grows_from_a_hundred_instances_on() {
        let times = GossipProfile::Lan.times();
        let seconds = |n| times.suspicion(n).as_secs_f64();
        assert_eq!(
            (seconds(1), seconds(99), seconds(100), seconds(1_000)),
            (4.0, 4.0, 4.0, 6.0)
        );
    }
}
