//! What the user of an exclusive connection leaves behind on it.

use crate::command::{self, State};

/// The state that commands have left on a connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionState {
    /// SELECT, AUTH, ...: nothing but closing the connection undoes it.
    for_good: bool,
    multi: bool,
    watch: bool,
}

impl SessionState {
    /// Whether the next user would find the connection as a fresh one.
    pub(crate) fn is_clean(self) -> bool {
        self == Self::default()
    }

    /// Whether commands are only queued.
    pub(crate) fn is_in_multi(self) -> bool {
        self.multi
    }

    /// Assumes the worst of a command that is about to be sent: whatever it begins has begun, and
    /// nothing has ended.
    pub(crate) fn sending<'a>(&mut self, args: impl Iterator<Item = &'a [u8]> + Clone) {
        match Effect::of(args) {
            Effect::Nothing | Effect::EndsMulti | Effect::EndsWatch => {}
            Effect::Multi => self.multi = true,
            Effect::Watch => self.watch = true,
            Effect::ForGood => self.for_good = true,
        }
    }

    /// What a command has done that was answered without an error.
    ///
    /// After an error nothing ends: `EXEC` without `MULTI` leaves a `WATCH` in place.
    pub(crate) fn done<'a>(&mut self, args: impl Iterator<Item = &'a [u8]> + Clone) {
        self.sending(args.clone());
        match Effect::of(args) {
            Effect::EndsMulti => self.executed(),
            // Inside a transaction it is only queued.
            Effect::EndsWatch if !self.multi => self.watch = false,
            _ => {}
        }
    }

    /// `EXEC` or `DISCARD` came through, also the `EXEC` of an atomic pipeline.
    pub(crate) fn executed(&mut self) {
        self.multi = false;
        self.watch = false;
    }
}

#[derive(Clone, Copy)]
enum Effect {
    Nothing,
    Multi,
    Watch,
    ForGood,
    /// The end of a transaction, and of every WATCH.
    EndsMulti,
    EndsWatch,
}

impl Effect {
    fn of<'a>(mut args: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let state = command::state(args.clone());
        let name = args.next().unwrap_or_default();
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match state {
            State::Unchanged => Self::Nothing,
            State::Changes if is("MULTI") => Self::Multi,
            State::Changes if is("WATCH") => Self::Watch,
            State::Changes | State::Breaks => Self::ForGood,
            State::Ends if is("UNWATCH") => Self::EndsWatch,
            State::Ends => Self::EndsMulti,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> SessionState {
        let mut left = SessionState::default();
        for line in lines {
            left.done(line.split(' ').map(str::as_bytes));
        }
        left
    }

    #[test]
    fn what_is_ended_leaves_nothing_behind() {
        for lines in [
            &["GET k"][..],
            &["WATCH k", "UNWATCH"],
            &["watch k", "multi", "SET k v", "exec"],
            &["MULTI", "DISCARD"],
            &["EXEC"],
        ] {
            assert!(after(lines).is_clean(), "{lines:?}");
        }
    }

    #[test]
    fn what_is_left_open_is_seen() {
        for lines in [
            &["MULTI"][..],
            &["WATCH k"],
            &["WATCH k", "GET k"],
            &["MULTI", "UNWATCH"],
            &["WATCH k", "MULTI", "UNWATCH"],
            &["MULTI", "EXEC", "WATCH k"],
            &["select 5", "select 0"],
            &["MULTI", "SELECT 5", "EXEC"],
            &["QUIT"],
        ] {
            assert!(!after(lines).is_clean(), "{lines:?}");
        }
    }

    #[test]
    fn before_the_answer_nothing_has_ended() {
        let mut left = after(&["WATCH k", "MULTI"]);
        left.sending(["EXEC".as_bytes()].into_iter());
        assert!(!left.is_clean());
        left.executed();
        assert!(left.is_clean());
    }
}
