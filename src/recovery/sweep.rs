//! In which order what one server holds for one node is worked off.

use super::names::Set;

/// What is asked next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask<K> {
    /// Of the server: the index.
    Index,
    /// Of the server: the open set gets this name, which is never used again, and the name goes into the index, both or
    /// none of it seen.
    Close(u64),
    /// Of the server: some members of this set, at random.
    Pick(u64),
    /// Of the node: these keys go.
    Unlink(Vec<K>),
    /// Of the server, in one write: the keys of which it is no regular holder go, and then they leave the set.
    Settle(u64, Vec<K>),
    /// Of the server: the name leaves the index.
    Forget(Set),
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said<K> {
    Done,
    /// The sets that the index has for the node.
    Index(Vec<Set>),
    Keys(Vec<K>),
}

/// What lies at one server for one node is worked off.
///
/// * The open set is **closed** first: another process may add a key to it between our `UNLINK` and our `SREM`, and that
///   debt would be gone.
/// * The index is read **once more behind that**: another process may have closed the set a moment ago and be slow, or
///   dead. Whoever goes by the first reading takes the node for prepared over its work.
/// * A key leaves the set **behind** its `UNLINK`: who dies between has lost nothing.
/// * Members are picked at random: any number of processes share the work instead of repeating it.
#[derive(Clone, Debug)]
pub(crate) struct Sweep<K> {
    /// The name of a set that is closed here.
    fresh: u64,
    at: At<K>,
    /// Closed sets that are left, the next one last.
    left: Vec<u64>,
    found: usize,
    is_full: bool,
}

#[derive(Clone, Debug)]
enum At<K> {
    Index,
    Closing,
    Again,
    Picking(u64),
    Unlinking(u64, Vec<K>),
    Settling(u64),
    Forgetting,
    Over,
}

impl<K: Clone> Sweep<K> {
    /// It begins with what the index says. `fresh` is a name that was never used.
    pub(crate) fn new(fresh: u64) -> Self {
        Self {
            fresh,
            at: At::Index,
            left: Vec::new(),
            found: 0,
            is_full: false,
        }
    }

    /// Keys that were taken from the node.
    pub(crate) fn found(&self) -> usize {
        self.found
    }

    /// There was more than is written down: nobody knows which keys.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// What is asked next, after this was said; `None` at the end.
    pub(crate) fn next(&mut self, said: Said<K>) -> Option<Ask<K>> {
        match (std::mem::replace(&mut self.at, At::Over), said) {
            (At::Index, Said::Index(sets)) => {
                self.is_full |= sets.contains(&Set::Full);
                if sets.contains(&Set::Open) {
                    self.at = At::Closing;
                    return Some(Ask::Close(self.fresh));
                }
                self.work_off(&sets)
            }
            // Whether there was one or not: its name is in the index, and what is empty leaves it again.
            (At::Closing, _) => {
                self.at = At::Again;
                Some(Ask::Index)
            }
            (At::Again, Said::Index(sets)) => {
                self.is_full |= sets.contains(&Set::Full);
                self.work_off(&sets)
            }
            (At::Picking(set), Said::Keys(keys)) if !keys.is_empty() => {
                self.at = At::Unlinking(set, keys.clone());
                Some(Ask::Unlink(keys))
            }
            (At::Picking(set), _) => {
                self.at = At::Forgetting;
                Some(Ask::Forget(Set::Closed(set)))
            }
            (At::Unlinking(set, keys), _) => {
                self.found += keys.len();
                self.at = At::Settling(set);
                Some(Ask::Settle(set, keys))
            }
            (At::Settling(set), _) => self.pick(set),
            (At::Forgetting, _) => self.next_set(),
            (At::Over | At::Index | At::Again, _) => None,
        }
    }

    fn work_off(&mut self, sets: &[Set]) -> Option<Ask<K>> {
        let closed = sets.iter().filter_map(|set| match set {
            Set::Closed(id) => Some(*id),
            Set::Open | Set::Full => None,
        });
        self.left = closed.collect();
        self.next_set()
    }

    fn next_set(&mut self) -> Option<Ask<K>> {
        let set = self.left.pop()?;
        self.pick(set)
    }

    fn pick(&mut self, set: u64) -> Option<Ask<K>> {
        self.at = At::Picking(set);
        Some(Ask::Pick(set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked, when this is said one after the other.
    fn run(said: impl IntoIterator<Item = Said<u8>>) -> (Sweep<u8>, Vec<Ask<u8>>) {
        let mut sweep = Sweep::new(7);
        let asked = said
            .into_iter()
            .map_while(|said| sweep.next(said))
            .collect();
        (sweep, asked)
    }

    #[test]
    fn an_open_set_is_closed_and_the_index_read_again_before_anything_is_taken() {
        let (sweep, asked) = run([
            Said::Index(vec![Set::Open]),
            Said::Done,
            Said::Index(vec![Set::Open, Set::Closed(3), Set::Closed(7)]),
            Said::Keys(vec![1, 2]),
            Said::Done,
            Said::Done,
            Said::Keys(vec![]),
            Said::Done,
            Said::Keys(vec![]),
            Said::Done,
        ]);
        let wanted = [
            Ask::Close(7),
            Ask::Index,
            Ask::Pick(7),
            Ask::Unlink(vec![1, 2]),
            Ask::Settle(7, vec![1, 2]),
            Ask::Pick(7),
            Ask::Forget(Set::Closed(7)),
            Ask::Pick(3),
            Ask::Forget(Set::Closed(3)),
        ];
        assert_eq!(asked, wanted);
        assert_eq!((sweep.found(), sweep.is_full()), (2, false));
    }

    #[test]
    fn with_nothing_there_nothing_is_asked_and_an_overflow_is_told() {
        let (sweep, asked) = run([Said::Index(vec![])]);
        assert!(asked.is_empty() && !sweep.is_full());
        let (sweep, asked) = run([Said::Index(vec![Set::Full])]);
        assert!(asked.is_empty() && sweep.is_full());
    }
}
