//! The lines of a watch. Pure: bytes in, what they say out.

use super::super::http::LARGEST;
use super::answer::{Heard, heard};

/// So many lines that say nothing are none of a healthy server: it says that it is there every ten minutes.
const MOST_IDLE: usize = 1_000;

/// What a watch said and nobody has looked at yet.
#[derive(Default)]
pub(super) struct Lines {
    /// Whole lines, and the beginning of one.
    text: Vec<u8>,
    /// How much of it was looked through for the end of a line.
    searched: usize,
    /// How many lines said nothing, and how many bytes there were, since somebody began to wait.
    idle: usize,
    bytes: usize,
}

impl Lines {
    /// Somebody begins to wait for a change.
    pub(super) fn begin(&mut self) {
        (self.idle, self.bytes) = (0, 0);
    }

    pub(super) fn add(&mut self, piece: &[u8]) {
        self.bytes = self.bytes.saturating_add(piece.len());
        self.text.extend_from_slice(piece);
    }

    /// What all whole lines say together: changes that came at once are one, and the end comes last.
    pub(super) fn heard(&mut self) -> Heard {
        let fresh = &self.text[self.searched..];
        let whole = fresh
            .iter()
            .rposition(|b| *b == b'\n')
            .map(|at| self.searched + at + 1);
        let end = whole.unwrap_or(0);
        let mut said = Heard::Nothing;
        for line in self.text[..end].split_inclusive(|b| *b == b'\n') {
            match heard(line) {
                Heard::Nothing => self.idle += 1,
                Heard::Change => said = Heard::Change,
                over @ Heard::Over(_) => {
                    said = over;
                    break;
                }
            }
        }
        self.text.drain(..end);
        self.searched = self.text.len();
        match said {
            Heard::Nothing if self.idle > MOST_IDLE => {
                Heard::Over(format!("more than {MOST_IDLE} lines without a word"))
            }
            // A line that does not end, or many that say nothing.
            Heard::Nothing if self.bytes > LARGEST || self.text.len() > LARGEST => {
                Heard::Over(format!("more than {LARGEST} bytes without a change"))
            }
            said => said,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const CHANGE: &[u8] = b"{\"result\":{\"events\":[{}]}}\n";

    fn is_over(lines: &mut Lines) -> bool {
        matches!(lines.heard(), Heard::Over(_))
    }

    #[test]
    fn a_line_is_whole_when_its_end_has_come() {
        let mut lines = Lines::default();
        for byte in &CHANGE[..CHANGE.len() - 1] {
            lines.add(&[*byte]);
            assert_eq!(lines.heard(), Heard::Nothing);
        }
        lines.add(b"\n{");
        assert_eq!(
            (lines.heard(), lines.heard()),
            (Heard::Change, Heard::Nothing)
        );
        lines.add(b"}\n");
        assert!(is_over(&mut lines), "a line without a result");
    }

    #[test]
    fn what_came_at_once_is_one_change_and_an_end_is_not_overheard() {
        let mut lines = Lines::default();
        lines.add(&CHANGE.repeat(1_000));
        assert_eq!(
            (lines.heard(), lines.heard()),
            (Heard::Change, Heard::Nothing)
        );
        lines.add(&[CHANGE, b"garbage\n", CHANGE].concat());
        assert!(is_over(&mut lines));
    }

    #[test]
    fn a_flood_is_an_end_and_costs_little() {
        let began = Instant::now();
        let mut lines = Lines::default();
        lines.add(&b"\n".repeat(1_000));
        assert_eq!(lines.heard(), Heard::Nothing);
        lines.begin();
        lines.add(&b"\n".repeat(1 << 20));
        assert!(is_over(&mut lines));
        // A line without an end, in many pieces.
        let mut lines = Lines::default();
        let pieces = (0..).take_while(|_| {
            lines.add(&[b'x'; 1_024]);
            !is_over(&mut lines)
        });
        assert_eq!(pieces.count(), LARGEST / 1_024);
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
    }
}
