//! Which nodes are slow compared with their peers.
//!
//! A slow node is not a dead one: moving the keys of a sharded store scatters its data, so slowness is
//! reported, and counts as suspicion only where the application says so.

use std::collections::BTreeMap;
use std::time::Duration;

/// How long a window lasts.
pub(crate) const WINDOW: Duration = Duration::from_secs(5);
/// Slow is slower than this multiple of the peers' median ...
const SLOW_FACTOR: f64 = 5.0;
/// ... and than this: five times next to nothing is still fast.
const SLOW_AT_LEAST: Duration = Duration::from_millis(20);
/// So many slow windows in a row mark a node,
const WINDOWS_TO_MARK: u32 = 3;
/// and so many below this multiple clear it.
const CLEAR_FACTOR: f64 = 3.0;
const WINDOWS_TO_CLEAR: u32 = 2;

/// Which nodes are slow, window by window.
#[derive(Debug)]
pub(crate) struct Slowness<K> {
    nodes: BTreeMap<K, Track>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Track {
    slow: u32,
    fast: u32,
    degraded: bool,
}

impl<K: Copy + Ord> Slowness<K> {
    pub(crate) fn new() -> Self {
        Self {
            nodes: BTreeMap::new(),
        }
    }

    pub(crate) fn forget(&mut self, key: K) {
        self.nodes.remove(&key);
    }

    pub(crate) fn is_degraded(&self, key: K) -> bool {
        self.nodes.get(&key).is_some_and(|t| t.degraded)
    }

    /// Takes the medians of one window (`None` for a node with too few answers) and says whose mark
    /// changed.
    pub(crate) fn window(&mut self, medians: &[(K, Option<Duration>)]) -> Vec<(K, bool)> {
        let mut changed = Vec::new();
        for (i, &(key, median)) in medians.iter().enumerate() {
            let others = medians.iter().enumerate().filter(|(j, _)| *j != i);
            let mut peers: Vec<_> = others.filter_map(|(_, (_, median))| *median).collect();
            peers.sort_unstable();
            let (Some(median), Some(&peer)) = (median, peers.get(peers.len() / 2)) else {
                continue;
            };
            let track = self.nodes.entry(key).or_default();
            let times = median.as_secs_f64() / peer.as_secs_f64().max(1e-6);
            if times > SLOW_FACTOR && median > SLOW_AT_LEAST {
                (track.slow, track.fast) = (track.slow + 1, 0);
            } else if times < CLEAR_FACTOR || median <= SLOW_AT_LEAST {
                (track.slow, track.fast) = (0, track.fast + 1);
            } else {
                (track.slow, track.fast) = (0, 0);
            }
            let degraded = match track.degraded {
                false => track.slow >= WINDOWS_TO_MARK,
                true => track.fast < WINDOWS_TO_CLEAR,
            };
            if degraded != track.degraded {
                track.degraded = degraded;
                changed.push((key, degraded));
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Option<Duration> {
        Some(Duration::from_millis(n))
    }

    #[test]
    fn three_slow_windows_mark_a_node_and_two_good_ones_clear_it() {
        let mut s = Slowness::new();
        let slow = [(1, ms(200)), (2, ms(1)), (3, ms(2))];
        let fast = [(1, ms(3)), (2, ms(1)), (3, ms(2))];
        assert!(s.window(&slow).is_empty());
        assert!(s.window(&slow).is_empty());
        assert_eq!(s.window(&slow), [(1, true)]);
        assert!(s.is_degraded(1) && !s.is_degraded(2));
        assert!(s.window(&fast).is_empty());
        assert_eq!(s.window(&fast), [(1, false)]);
    }

    #[test]
    fn a_good_window_in_between_starts_the_count_anew() {
        let mut s = Slowness::new();
        let slow = [(1, ms(200)), (2, ms(1)), (3, ms(1))];
        let fast = [(1, ms(1)), (2, ms(1)), (3, ms(1))];
        for window in [&slow, &slow, &fast, &slow, &slow] {
            assert!(s.window(window).is_empty());
        }
    }

    #[test]
    fn slow_for_all_or_five_times_next_to_nothing_is_not_slow() {
        let mut s = Slowness::new();
        for _ in 0..5 {
            assert!(
                s.window(&[(1, ms(300)), (2, ms(250)), (3, ms(280))])
                    .is_empty()
            );
        }
        for _ in 0..5 {
            assert!(s.window(&[(1, ms(15)), (2, ms(1)), (3, ms(1))]).is_empty());
        }
        assert!(
            s.window(&[(1, ms(900)), (2, None), (3, None)]).is_empty(),
            "no peers, no comparison"
        );
    }
}
