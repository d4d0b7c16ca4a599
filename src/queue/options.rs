//! The settings of a queue.

use std::time::Duration;

use crate::error::text::quoted;
use crate::queue::names::refuse_name;
use crate::queue::spread::Spread;

/// What no server takes in one piece, whatever its settings: `proto-max-bulk-len` is 512 MB.
const MOST_BYTES: usize = 512 << 20;
/// Shorter leases would end between two turns of the chores and two renewals.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(7 * 86_400);
const MOST_PREFETCH: usize = 10_000;

#[derive(Clone, Debug)]
pub(crate) struct QueueOptions {
    pub(crate) spread: Spread,
    pub(crate) visibility: Duration,
    pub(crate) max_attempts: u32,
    pub(crate) max_len: Option<u64>,
    pub(crate) max_payload: usize,
    pub(crate) prefetch: usize,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            spread: Spread::default(),
            visibility: Duration::from_secs(30),
            max_attempts: 16,
            max_len: None,
            max_payload: 64 << 20,
            prefetch: 32,
        }
    }
}

impl QueueOptions {
    /// The most that a consumer holds ready of a node. When the first attempt is the last one nobody can tell later
    /// what was started: next to nothing waits beside it.
    pub(crate) fn most_ready(&self) -> usize {
        match self.max_attempts {
            1 => 1,
            _ => self.prefetch,
        }
    }

    /// What is wrong with the settings of the queue `name`, and what to do.
    pub(crate) fn refuse(&self, name: &str) -> Option<String> {
        let why = if self.visibility < SHORTEST {
            format!(
                "`visibility` is {:?}: use at least {SHORTEST:?}",
                self.visibility
            )
        } else if self.visibility > LONGEST {
            format!("`visibility` is {:?}: use at most 7 days", self.visibility)
        } else if self.max_attempts == 0 {
            "`max_attempts` is 0, so that nothing would be delivered: use at least 1".to_owned()
        } else if self.max_len == Some(0) {
            "`max_len` is 0, so that every push would be refused: use at least 1".to_owned()
        } else if self.prefetch == 0 || self.prefetch > MOST_PREFETCH {
            format!("`prefetch` is {}: use 1 to {MOST_PREFETCH}", self.prefetch)
        } else if self.max_payload >= MOST_BYTES {
            format!(
                "`max_payload` is {}: servers take less than {MOST_BYTES} bytes",
                self.max_payload
            )
        } else {
            return refuse_name("queue", name);
        };
        Some(format!("queue {}: {why}", quoted(name)))
    }

    /// Why a payload, or a key, is not sent: a server ends the connection over one that is too long.
    pub(crate) fn refuse_bytes(&self, what: &str, bytes: usize) -> Option<String> {
        (bytes > self.max_payload).then(|| {
            format!(
                "the {what} has {bytes} bytes, `max_payload` is {}: store it elsewhere and push where, or raise \
                 `max_payload` up to the servers' `proto-max-bulk-len`",
                self.max_payload
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_refused_with_a_remedy() {
        type Edit = fn(&mut QueueOptions);
        let bad: [(Edit, &str); 8] = [
            (|o| o.visibility = Duration::ZERO, "at least 100ms"),
            (|o| o.visibility = Duration::MAX, "at most 7 days"),
            (|o| o.max_attempts = 0, "at least 1"),
            (|o| o.max_len = Some(0), "at least 1"),
            (|o| o.prefetch = 0, "1 to 10000"),
            (|o| o.prefetch = usize::MAX, "1 to 10000"),
            (|o| o.max_payload = MOST_BYTES, "less than 536870912 bytes"),
            (|o| o.max_payload = usize::MAX, "less than"),
        ];
        for (edit, remedy) in bad {
            let mut options = QueueOptions::default();
            edit(&mut options);
            let why = options.refuse("jobs").expect(remedy);
            assert!(why.contains(remedy) && why.contains("jobs"), "{why}");
        }
        assert_eq!(QueueOptions::default().refuse("jobs"), None);
        assert!(QueueOptions::default().refuse("a b").is_some());
    }

    #[test]
    fn a_payload_that_is_too_long_is_refused_by_its_size() {
        let options = QueueOptions::default();
        assert_eq!(options.refuse_bytes("payload", 64 << 20), None);
        let why = options.refuse_bytes("payload", MOST_BYTES).unwrap();
        assert!(
            why.contains("536870912 bytes") && why.contains("max_payload"),
            "{why}"
        );
    }
}
