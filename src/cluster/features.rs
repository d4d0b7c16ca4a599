//! Which of fluster's features need how new a server, and what is said of servers that are older.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

use crate::backend::Backend;
use crate::backend::identity::Version;
use crate::cluster::engine::Engine;

/// What fluster does with a server, by the oldest version of Redis that can all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    /// Connections, commands, replicas, caches, subscriptions. `HELLO 3` is for RESP3 alone, and the oldest
    /// version with users (ACL) has it.
    Engine,
    /// `XTRIM .. MINID`, `XPENDING .. IDLE` and ranges that leave out their first entry.
    Queue,
    /// `PEXPIRE .. LT`, which shortens a time to live and never prolongs one.
    StandInTtl,
}

impl Feature {
    const ALL: [Self; 3] = [Self::Engine, Self::Queue, Self::StandInTtl];

    /// The oldest version that it works with.
    pub(crate) fn least(self) -> Version {
        match self {
            Self::Engine => Version(6, 0, 0),
            Self::Queue => Version(6, 2, 0),
            Self::StandInTtl => Version(7, 0, 0),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Engine => "connections and commands",
            Self::Queue => "queues",
            Self::StandInTtl => "`stand_in_ttl`",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Features(u8);

impl Features {
    /// Those of them that a server of this version is too old for.
    fn too_new_for(self, version: Version) -> Self {
        let wanted = |f: &Feature| self.0 & f.bit() != 0 && version < f.least();
        let missing = Feature::ALL.into_iter().filter(wanted);
        Self(missing.fold(0, |bits, f| bits | f.bit()))
    }

    /// What needs what: "queues need Redis 6.2, `stand_in_ttl` needs Redis 7.0".
    fn needs(self) -> String {
        let all = Feature::ALL.into_iter().filter(|f| self.0 & f.bit() != 0);
        let each = all.map(|f| {
            let Version(major, minor, _) = f.least();
            format!("{} (Redis {major}.{minor})", f.name())
        });
        each.collect::<Vec<_>>().join(", ")
    }
}

/// What of it is in use in one cluster.
#[derive(Debug)]
pub(crate) struct InUse(AtomicU8);

impl InUse {
    /// What every cluster uses, and what this one was built with.
    pub(crate) fn new(stand_in_ttl: bool) -> Self {
        let more = if stand_in_ttl {
            Feature::StandInTtl.bit()
        } else {
            0
        };
        Self(AtomicU8::new(Feature::Engine.bit() | more))
    }
}

impl Engine {
    /// A feature is used from now on: says which servers that were asked are too old for it.
    pub(crate) fn uses(&self, feature: Feature) {
        if self.in_use.0.fetch_or(feature.bit(), SeqCst) & feature.bit() != 0 {
            return;
        }
        for backend in self.snapshot.load().nodes.iter() {
            let identity = backend.inquiry().last();
            if let Some(version) = identity.and_then(|i| i.version) {
                self.check_version(backend, version);
            }
        }
    }

    /// Says, once per node, what of that which is in use its server is too old for.
    pub(crate) fn check_version(&self, backend: &Arc<Backend>, version: Version) {
        let missing = Features(self.in_use.0.load(SeqCst)).too_new_for(version);
        let news = backend.inquiry().news(missing.0);
        if news != 0 {
            let needs = Features(news).needs();
            tracing::warn!(
                node = %backend.id(), %version, %needs,
                "the server is too old for what is in use here, which will fail"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Features {
        Features(Feature::ALL.into_iter().fold(0, |bits, f| bits | f.bit()))
    }

    #[test]
    fn a_server_lacks_what_is_newer_than_itself_and_in_use() {
        assert_eq!(all().too_new_for(Version(7, 0, 0)), Features(0));
        assert_eq!(all().too_new_for(Version(10, 0, 0)), Features(0));
        let lacks = all().too_new_for(Version(6, 2, 14));
        assert_eq!(lacks, Features(Feature::StandInTtl.bit()));
        assert_eq!(lacks.needs(), "`stand_in_ttl` (Redis 7.0)");
        let lacks = all().too_new_for(Version(6, 0, 16));
        assert_eq!(
            lacks.needs(),
            "queues (Redis 6.2), `stand_in_ttl` (Redis 7.0)"
        );
        assert_eq!(all().too_new_for(Version(5, 0, 14)), all());
        let engine = Features(Feature::Engine.bit());
        assert_eq!(engine.too_new_for(Version(6, 0, 0)), Features(0));
    }

    /// The guide's table says the same.
    #[test]
    fn the_guide_names_each_least_version() {
        let guide = include_str!("../guide/limits.md");
        for feature in Feature::ALL {
            let Version(major, minor, _) = feature.least();
            let row = format!("| {} | {major}.{minor} |", feature.name());
            assert!(guide.contains(&row), "{row}");
        }
    }
}
