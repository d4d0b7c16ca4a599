//! What is said of an outage while it lasts, once for all who need the nodes.

use std::time::{Duration, Instant};

/// After so long it is said again that nodes are out.
const REMIND: Duration = Duration::from_secs(60);

/// A line that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// The last node went out.
    All,
    /// So many are out still, the first of them for so long.
    Lasting { out: usize, out_for: Duration },
    /// The first node is back, after so long.
    Over { out_for: Duration },
}

/// Decides what is said.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    since: Option<Instant>,
    all_since: Option<Instant>,
    next: Option<Instant>,
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
            self.next = Some(now + REMIND);
            return Some(Line::All);
        }
        if out < of && self.all_since.is_some() {
            return over(self.all_since.take(), now);
        }
        match self.next {
            None => self.next = Some(now + REMIND),
            Some(next) if now >= next => {
                self.next = Some(now + REMIND);
                let out_for = now.saturating_duration_since(since);
                return Some(Line::Lasting { out, out_for });
            }
            Some(_) => {}
        }
        None
    }
}

fn over(all_since: Option<Instant>, now: Instant) -> Option<Line> {
    let out_for = now.saturating_duration_since(all_since?);
    Some(Line::Over { out_for })
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn an_outage_is_said_to_last_each_minute() {
        let began = Instant::now();
        let mut outage = Outage::default();
        let said: Vec<u32> = (0..500)
            .filter(|s| outage.seen(1, 3, began + S * *s).is_some())
            .collect();
        assert_eq!(said, [60, 120, 180, 240, 300, 360, 420, 480]);
        assert_eq!(
            outage.seen(0, 3, began + S * 500),
            None,
            "each node says that it is back"
        );
        assert_eq!(outage.seen(1, 3, began + S * 501), None);
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
            out_for: 61 * S,
        };
        assert_eq!(outage.seen(3, 3, now + 61 * S), Some(lasting));
        assert_eq!(
            outage.seen(2, 3, now + 63 * S),
            Some(Line::Over { out_for: 62 * S })
        );
        assert_eq!(outage.seen(3, 3, now + 64 * S), Some(Line::All));
        assert_eq!(
            outage.seen(0, 3, now + 66 * S),
            Some(Line::Over { out_for: 2 * S })
        );
        assert_eq!(outage.seen(0, 0, now), None);
    }
}
