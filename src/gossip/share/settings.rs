//! How the health of nodes is shared.

use std::time::Duration;

use crate::build_error::BuildError;
use crate::fleet::Rules;

/// What to do about keyed calls while half of the instances or more cannot be heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum NoQuorum {
    /// Each instance goes by what it sees itself, as without a fleet.
    #[default]
    Local,
    /// Every keyed call fails, with [`UnreachableHere`](crate::ErrorKind::UnreachableHere): rather none than one at a node
    /// that others do not use.
    Refuse,
}

/// How instances share the health of a cluster's nodes. All instances of a scope must have the same settings.
///
/// ```
/// use std::time::Duration;
/// use fluster::gossip::{Fleet, NoQuorum};
///
/// let fleet = Fleet::agreed().scope("sessions").no_quorum(NoQuorum::Refuse).hold_up(Duration::from_secs(5));
/// # let _ = (fleet, Fleet::advisory());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Fleet {
    pub(super) scope: String,
    agreed: bool,
    no_quorum: NoQuorum,
    jurors: usize,
    max_out: f64,
    hold_up: Duration,
}

impl Default for Fleet {
    fn default() -> Self {
        Self::advisory()
    }
}

impl Fleet {
    /// What the others find out is advice: whoever has not heard a node that they find out asks it at once, and goes by
    /// what it sees itself. The default. [Example](crate::guide::by_example#a-fleet).
    pub fn advisory() -> Self {
        Self {
            scope: "redis".into(),
            agreed: false,
            no_quorum: NoQuorum::Local,
            jurors: 15,
            max_out: 0.5,
            hold_up: Duration::from_secs(3),
        }
    }

    /// What more than half of the instances find out binds all: a node is out for everybody or for nobody. An instance
    /// that alone cannot reach a node fails its keys. [Example](crate::guide::by_example#a-fleet).
    pub fn agreed() -> Self {
        Self {
            agreed: true,
            ..Self::advisory()
        }
    }

    /// Which nodes these are, for applications with several clusters: 1 to 64 bytes. Default: `redis`. [Example](crate::guide::by_example#a-fleet).
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = scope.into();
        self
    }

    /// What to do while half of the instances or more cannot be heard. It says nothing with
    /// [`advisory`](Self::advisory). Default: [`NoQuorum::Local`]. [Example](crate::guide::by_example#a-fleet).
    pub fn no_quorum(mut self, policy: NoQuorum) -> Self {
        self.no_quorum = policy;
        self
    }

    /// Of how many instances the evidence about one node counts, 3 to 64: the same ones for everybody. Default: 15. [Example](crate::guide::by_example#a-fleet).
    pub fn jurors(mut self, most: usize) -> Self {
        self.jurors = most;
        self
    }

    /// The share of the nodes that the fleet may have out, above 0 and up to 1; where more would be, nothing is decided.
    /// Default: 0.5. [Example](crate::guide::by_example#a-fleet).
    pub fn max_out(mut self, share: f64) -> Self {
        self.max_out = share;
        self
    }

    /// How long a node that was out for the fleet is held after the last word against it, at the first time; twice as
    /// long at each further one, up to a minute. At most a minute. Default: 3 s. [Example](crate::guide::by_example#a-fleet).
    pub fn hold_up(mut self, wait: Duration) -> Self {
        self.hold_up = wait;
        self
    }

    pub(super) fn check(&self) -> Result<(), BuildError> {
        let refuse = |name, why: String| Err(BuildError::Option { name, why });
        if !(3..=64).contains(&self.jurors) {
            return refuse("jurors", format!("{} is not in 3 to 64", self.jurors));
        }
        if !(self.max_out > 0.0 && self.max_out <= 1.0) {
            return refuse(
                "max_out",
                format!("{} is not above 0 and up to 1", self.max_out),
            );
        }
        if self.hold_up > Duration::from_secs(60) {
            return refuse(
                "hold_up",
                format!("{:?} is longer than a minute", self.hold_up),
            );
        }
        Ok(())
    }

    pub(super) fn rules(&self) -> Rules {
        Rules {
            agreed: self.agreed,
            refuse: self.no_quorum == NoQuorum::Refuse,
            jurors: self.jurors,
            max_out: self.max_out,
            hold_up: self.hold_up,
        }
    }
}
