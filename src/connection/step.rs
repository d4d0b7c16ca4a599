//! How far a dial has come, for the error of one that took too long.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

/// What a dial is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum SetupStep {
    Credentials,
    LookUp,
    Connect,
    Tls,
    LogIn,
    Proof,
    Role,
}

/// The step of a dial, noted by who dials and read when the time is over.
#[derive(Debug, Default)]
pub(crate) struct Progress(AtomicU8);

impl Progress {
    pub(crate) fn at(&self, step: SetupStep) {
        self.0.store(step as u8, Relaxed);
    }

    /// What did not come in time.
    pub(crate) fn timed_out(&self, limit: Duration) -> String {
        let step = self.0.load(Relaxed);
        let steps = [
            (SetupStep::LookUp, "the name was not resolved"),
            (SetupStep::Connect, "no connection"),
            (SetupStep::Tls, "connected, no end of the TLS handshake"),
            (SetupStep::LogIn, "connected, no answer to the log-in"),
            (
                SetupStep::Proof,
                "connected and logged in, no answer to ECHO",
            ),
            (
                SetupStep::Role,
                "connected and logged in, no answer to ROLE",
            ),
        ];
        let found = steps.into_iter().find(|(other, _)| *other as u8 == step);
        let what = found.map_or("the credentials provider gave no answer", |(_, what)| what);
        format!("{what} within {limit:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_its_own_words() {
        let progress = Progress::default();
        let mut said = vec![progress.timed_out(Duration::from_millis(500))];
        for step in [
            SetupStep::LookUp,
            SetupStep::Connect,
            SetupStep::Tls,
            SetupStep::LogIn,
            SetupStep::Proof,
            SetupStep::Role,
        ] {
            progress.at(step);
            said.push(progress.timed_out(Duration::from_millis(500)));
        }
        assert!(said.iter().all(|text| text.ends_with("within 500ms")));
        assert_eq!(said[4], "connected, no answer to the log-in within 500ms");
        said.dedup();
        assert_eq!(said.len(), 7);
    }
}
