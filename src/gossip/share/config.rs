//! What instances of a fleet have agreed on, in a configuration file.

use std::time::Duration;

use serde::Deserialize;

use super::settings::{Fleet, NoQuorum};

/// How health is shared, as it stands in a configuration: the table `[fleet]` of a TOML file (feature `serde`).
///
/// What is left out has [`Fleet`]'s default. Unknown keys and words are refused: a mistyped option must not be silently
/// without effect.
///
/// ```
/// use fluster::Config;
/// use fluster::gossip::{Fleet, FleetConfig, GossipConfig};
///
/// #[derive(serde::Deserialize)]
/// struct Settings {
///     redis: Config,
///     gossip: GossipConfig,
///     fleet: FleetConfig,
/// }
///
/// let settings: Settings = toml::from_str(r#"
///     redis.nodes = ["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"]
///     gossip.cluster = "limiter"
///
///     [fleet]
///     policy = "agreed"       # or advisory
///     scope = "sessions"
///     no_quorum = "refuse"    # or local
///     hold_up_ms = 5000
/// "#)?;
/// let fleet = settings.fleet.fleet();
/// # assert_ne!(fleet, Fleet::agreed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct FleetConfig {
    /// Whether decisions bind: see [`Fleet::agreed`].
    pub policy: FleetPolicy,
    /// See [`Fleet::scope`].
    pub scope: Option<String>,
    /// See [`Fleet::no_quorum`].
    pub no_quorum: Option<NoQuorum>,
    /// See [`Fleet::jurors`].
    pub jurors: Option<usize>,
    /// See [`Fleet::max_out`].
    pub max_out: Option<f64>,
    /// See [`Fleet::hold_up`], in milliseconds.
    pub hold_up_ms: Option<u64>,
}

/// Whether what a fleet decides binds its instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FleetPolicy {
    /// It is advice: [`Fleet::advisory`].
    #[default]
    Advisory,
    /// It binds: [`Fleet::agreed`].
    Agreed,
}

impl FleetConfig {
    /// What is set, set; what cannot be is said by [`share_health`](crate::FlusterCluster::share_health). [Example](crate::guide::by_example#a-fleet).
    pub fn fleet(self) -> Fleet {
        let mut fleet = match self.policy {
            FleetPolicy::Advisory => Fleet::advisory(),
            FleetPolicy::Agreed => Fleet::agreed(),
        };
        if let Some(scope) = self.scope {
            fleet = fleet.scope(scope);
        }
        if let Some(policy) = self.no_quorum {
            fleet = fleet.no_quorum(policy);
        }
        if let Some(most) = self.jurors {
            fleet = fleet.jurors(most);
        }
        if let Some(share) = self.max_out {
            fleet = fleet.max_out(share);
        }
        if let Some(wait) = self.hold_up_ms {
            fleet = fleet.hold_up(Duration::from_millis(wait));
        }
        fleet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Fleet, String> {
        let config = toml::from_str::<FleetConfig>(text);
        config
            .map(FleetConfig::fleet)
            .map_err(|e| e.message().to_owned())
    }

    #[test]
    fn each_key_sets_its_own_and_nothing_is_the_default() {
        assert_eq!(of(""), Ok(Fleet::advisory()));
        assert_eq!(of("policy = 'agreed'"), Ok(Fleet::agreed()));
        let all = "policy = 'agreed'\nscope = 'a'\nno_quorum = 'refuse'\njurors = 7\nmax_out = 0.25\nhold_up_ms = 4000";
        let fleet = Fleet::agreed().scope("a").no_quorum(NoQuorum::Refuse);
        let fleet = fleet.jurors(7).max_out(0.25);
        assert_eq!(of(all), Ok(fleet.hold_up(Duration::from_secs(4))));
    }

    #[test]
    fn what_is_unknown_or_cannot_be_is_refused() {
        for (text, named) in [
            ("jurrors = 3", "jurrors"),
            ("policy = 'perhaps'", "perhaps"),
            ("no_quorum = 'maybe'", "maybe"),
            ("jurors = -1", "-1"),
        ] {
            let why = of(text).expect_err(text);
            assert!(why.contains(named), "{why}");
        }
        for text in ["jurors = 2", "max_out = 1.5", "hold_up_ms = 61000"] {
            let fleet = of(text).expect(text);
            assert!(fleet.check().is_err(), "{text}");
        }
    }
}
