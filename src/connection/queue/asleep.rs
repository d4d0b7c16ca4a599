//! The driver while it rests: what wakes it, and when it wakes by itself.

use std::task::Waker;
use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Asleep {
    waker: Option<Waker>,
    /// It rests until there is something to write: a call wakes it. Else it waits for the socket to take more, or has
    /// been woken and did not come yet, and will see the call by itself: a wake for each call of a batch would be most of
    /// what a busy connection costs.
    idle: bool,
    /// When its timer fires.
    armed: Option<Instant>,
    /// The earliest deadline of a call that came since and is earlier.
    early: Option<Instant>,
}

impl Asleep {
    /// A call came; who is to be woken for it.
    #[inline]
    pub(super) fn submitted(&mut self, deadline: Option<Instant>) -> Option<Waker> {
        let is_early = deadline.is_some_and(|at| self.is_early(at));
        if is_early {
            self.early = deadline;
        }
        if !self.idle && !is_early {
            return None;
        }
        self.idle = false;
        self.waker.take()
    }

    /// Whether its timer would come too late for this.
    fn is_early(&self, deadline: Instant) -> bool {
        let before = |at: Option<Instant>| at.is_none_or(|at| deadline < at);
        before(self.armed) && before(self.early)
    }

    /// It rests: `idle`, until there is something to write. When its timer has to be set anew for a deadline that is
    /// earlier than it is set to, the earliest one.
    pub(super) fn rests(&mut self, waker: &Waker, idle: bool) -> Option<Instant> {
        match &mut self.waker {
            Some(kept) => kept.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        self.idle = idle;
        self.early.take()
    }

    /// A deadline that its timer is not set to yet.
    pub(super) fn early(&self) -> Option<Instant> {
        self.early
    }

    /// Its timer is set to this.
    pub(super) fn armed(&mut self, at: Option<Instant>) {
        self.armed = at;
        self.early = None;
    }

    /// Who is to be woken, whatever it waits for.
    pub(super) fn wakes(&mut self) -> Option<Waker> {
        self.waker.take()
    }
}
