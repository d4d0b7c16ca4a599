//! What a node may do for callers: the one place where its health and what others say of it meet.

use super::NodeState;

/// What is said of a node beside its own health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overrule {
    /// Others find it out: it takes no calls here either.
    pub(crate) hold: bool,
    /// Others find it well: it keeps its keys here, though calls to it may fail.
    pub(crate) keep: bool,
    /// The operator has drained it, which beats all.
    pub(crate) drained: bool,
    /// Others have it out and are not ready for it: it does not serve before them, for a while. It says nothing of a node
    /// that serves.
    pub(crate) awaited: bool,
}

/// What a node may do for callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// It serves the keys that it is the first candidate of.
    pub(crate) serves: bool,
    /// New calls may pass.
    pub(crate) callable: bool,
    /// What settles that which the node gave out may pass: acknowledgements, renewals, deletes.
    pub(crate) settles: bool,
    /// Few dials at once.
    pub(crate) probation: bool,
    /// Its keys stay with it whatever becomes of a call: nobody else would look for them elsewhere.
    pub(crate) kept: bool,
}

impl Standing {
    /// A node that is no part of the cluster any more.
    pub(crate) const GONE: Self = Self {
        serves: false,
        callable: false,
        settles: false,
        probation: false,
        kept: false,
    };

    pub(crate) fn new(state: NodeState, overrule: Overrule) -> Self {
        let Overrule {
            hold,
            keep,
            drained,
            ..
        } = overrule;
        let settles = state.admits() && !hold;
        let callable = settles && !drained;
        Self {
            serves: (callable || keep) && !drained,
            callable,
            settles,
            probation: state == NodeState::Probation,
            kept: keep && !drained,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = (NodeState, Overrule)> {
        use NodeState::{Down, HalfOpen, Probation, Up};
        [Up, Probation, HalfOpen, Down]
            .into_iter()
            .flat_map(|state| {
                (0..8_u8).map(move |bits| {
                    let overrule = Overrule {
                        hold: bits & 1 != 0,
                        keep: bits & 2 != 0,
                        drained: bits & 4 != 0,
                        ..Overrule::default()
                    };
                    (state, overrule)
                })
            })
    }

    #[test]
    fn without_a_word_from_others_health_alone_decides() {
        for (state, _) in all() {
            let is = Standing::new(state, Overrule::default());
            let admits = state.admits();
            assert_eq!(
                (is.serves, is.callable, is.settles),
                (admits, admits, admits)
            );
            assert_eq!(is.probation, state == NodeState::Probation);
        }
    }

    #[test]
    fn a_drained_node_serves_nothing_whatever_else_is_said() {
        for (state, overrule) in all().filter(|(_, overrule)| overrule.drained) {
            let is = Standing::new(state, overrule);
            assert!(
                !is.serves && !is.callable && !is.kept,
                "{state} {overrule:?}"
            );
            let well = state.admits() && !overrule.hold;
            assert_eq!(is.settles, well, "{state} {overrule:?}");
        }
    }

    #[test]
    fn calls_pass_only_where_the_node_admits_and_nobody_holds_it() {
        for (state, overrule) in all().filter(|(_, overrule)| !overrule.drained) {
            let is = Standing::new(state, overrule);
            let callable = state.admits() && !overrule.hold;
            assert_eq!(is.callable, callable, "{state} {overrule:?}");
            assert_eq!(is.serves, callable || overrule.keep, "{state} {overrule:?}");
            assert_eq!(is.kept, overrule.keep, "{state} {overrule:?}");
        }
    }

    #[test]
    fn who_may_be_called_may_settle() {
        for (state, overrule) in all() {
            let is = Standing::new(state, overrule);
            assert!(is.settles || !is.callable, "{state} {overrule:?}");
        }
    }
}
