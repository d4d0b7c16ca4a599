//! What is said of an outage while it lasts, once for all who need the nodes.

use std::time::{Duration, Instant};

/// After so long it is said again that nodes are out; then twice as long later, up to the other.
const REMIND: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3_600);
/// As long as no node is left.
const LONGEST_OF_ALL: Duration = Duration::from_secs(600);

/// A line that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// The last node went out.
    All,
    /// So many are out still, the first of them for so long.
    Lasting { out: usize, lasted: Duration },
    /// The first node is back, after so long.
    Over { lasted: Duration },
}

/// Decides what is said.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    since: Option<Instant>,
    all_since: Option<Instant>,
    next: Option<Instant>,
    pause: Duration,
}

impl Outage {
    /// So many of so many nodes are out.
    pub(crate) fn seen(&mut self, out: usize, of: usize, now: Instant) -> Option<Line> {
        if out == 0 || of == 0 {
            let all_since = self.all_since;
            *self = Self::default();
            return over(all_since, now);
        }
        let since = *self.since.get_or_insert(now);
        if out == of && self.all_since.is_none() {
            self.all_since = Some(now);
            self.wait(REMIND, now);
            return Some(Line::All);
        }
        if out < of && self.all_since.is_some() {
            return over(self.all_since.take(), now);
        }
        match self.next {
            None => self.wait(REMIND, now),
            Some(next) if now >= next => {
                let longest = match self.all_since {
                    Some(_) => LONGEST_OF_ALL,
                    None => LONGEST,
                };
                self.wait((2 * self.pause).min(longest), now);
                let lasted = now.saturating_duration_since(since);
                return Some(Line::Lasting { out, lasted });
            }
            Some(_) => {}
        }
        None
    }

    fn wait(&mut self, pause: Duration, now: Instant) {
        self.pause = pause;
        self.next = Some(now + pause);
    }
}

fn over(all_since: Option<Instant>, now: Instant) -> Option<Line> {
    let lasted = now.saturating_duration_since(all_since?);
    Some(Line::Over { lasted })
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn an_outage_is_said_to_last_less_and_less_often() {
        let began = Instant::now();
        let mut outage = Outage::default();
        let said: Vec<u32> = (0..20_000)
            .filter(|s| outage.seen(1, 3, began + S * *s).is_some())
            .collect();
        assert_eq!(
            said,
            [
                60, 180, 420, 900, 1_860, 3_780, 7_380, 10_980, 14_580, 18_180
            ]
        );
        assert_eq!(
            outage.seen(0, 3, began + S * 20_000),
            None,
            "each node says that it is back"
        );
        assert_eq!(outage.seen(1, 3, began + S * 20_001), None);
    }

    #[test]
    fn the_last_node_is_said_to_be_out_once_and_the_first_to_be_back() {
        let now = Instant::now();
        let mut outage = Outage::default();
        assert_eq!(outage.seen(2, 3, now), None);
        assert_eq!(outage.seen(3, 3, now + S), Some(Line::All));
        assert_eq!(outage.seen(3, 3, now + 2 * S), None);
        let lasting = Line::Lasting {
            out: 3,
            lasted: 61 * S,
        };
        assert_eq!(outage.seen(3, 3, now + 61 * S), Some(lasting));
        assert_eq!(
            outage.seen(2, 3, now + 63 * S),
            Some(Line::Over { lasted: 62 * S })
        );
        assert_eq!(outage.seen(3, 3, now + 64 * S), Some(Line::All));
        assert_eq!(
            outage.seen(0, 3, now + 66 * S),
            Some(Line::Over { lasted: 2 * S })
        );
        assert_eq!(outage.seen(0, 0, now), None);
    }
}
