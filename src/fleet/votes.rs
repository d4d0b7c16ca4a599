//! What follows from the evidence about one node.

/// What the fleet decides about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Ruling {
    /// It serves its keys, at all instances.
    Up,
    /// It serves none, at no instance.
    Out,
    /// There is one instance alone, with nobody to agree with.
    Alone,
    /// Half of the jurors or more cannot be heard: somebody else may be deciding.
    NoQuorum,
    /// More than the allowed share of the nodes would be out: the network is the likelier culprit.
    Panic,
}

/// The jurors of a node, and what they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Votes {
    /// Those whose evidence counts, or would if they could be heard.
    pub(crate) jurors: usize,
    /// Those of them that can be heard.
    pub(crate) live: usize,
    /// Those of these that say that the node is down.
    pub(crate) down: usize,
}

impl Votes {
    pub(crate) fn ruling(self) -> Ruling {
        let Self { jurors, live, down } = self;
        if jurors < 2 {
            Ruling::Alone
        } else if 2 * live <= jurors {
            Ruling::NoQuorum
        } else if down >= 2 && 2 * down > live {
            Ruling::Out
        } else {
            Ruling::Up
        }
    }
}

/// Whether so many of the nodes out are more than may be.
pub(crate) fn is_panic(out: usize, nodes: usize, most: f64) -> bool {
    out as f64 > most * nodes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(jurors: usize, live: usize, down: usize) -> Ruling {
        Votes { jurors, live, down }.ruling()
    }

    #[test]
    fn a_minority_decides_nothing() {
        for live in 1..=15 {
            for down in 0..=live {
                let ruling = of(live, live, down);
                let is_out = ruling == Ruling::Out;
                assert_eq!(is_out, down >= 2 && down > live / 2, "{down} of {live}");
            }
        }
    }

    #[test]
    fn two_instances_must_both_say_it_and_one_alone_decides_for_itself() {
        assert_eq!((of(2, 2, 1), of(2, 2, 2)), (Ruling::Up, Ruling::Out));
        assert_eq!((of(1, 1, 1), of(0, 0, 0)), (Ruling::Alone, Ruling::Alone));
    }

    #[test]
    fn half_of_the_jurors_is_no_quorum() {
        assert_eq!(of(4, 2, 2), Ruling::NoQuorum);
        assert_eq!(of(5, 2, 2), Ruling::NoQuorum);
        assert_eq!(of(5, 3, 2), Ruling::Out);
        assert_eq!(of(2, 1, 1), Ruling::NoQuorum);
    }

    #[test]
    fn half_of_the_nodes_may_be_out_and_not_more() {
        assert!(!is_panic(2, 4, 0.5) && is_panic(3, 4, 0.5));
        assert!(!is_panic(1, 2, 0.5) && is_panic(1, 1, 0.5));
        assert!(!is_panic(0, 0, 0.5) && !is_panic(1, 3, 0.5));
    }
}
