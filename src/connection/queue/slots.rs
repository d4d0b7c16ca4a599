//! Where callers find what came of their calls.

use std::task::Waker;

use redis::{ServerError, Value};

use super::followed::Both;
use super::terms::Looked;

/// The slot of a waiter whose caller went away or has its answer already.
pub(super) const NOBODY: u32 = u32::MAX;

/// What the server said to a call.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    One(Value),
    Many(Vec<Value>),
    /// A transaction that was refused, with the refusals of its commands by their place.
    Aborted(Vec<(usize, ServerError)>),
    /// What was answered to a request, and to the commands of ours behind it.
    Followed(Box<Both>),
    /// A transaction whose `MULTI` was refused, as said here, and whose commands were executed one by one.
    Unwrapped(ServerError),
}

/// Why there is no answer, and whether the server may have executed any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Timeout {
        unsent: bool,
    },
    /// The connection ended.
    Ended {
        unsent: bool,
    },
}

#[derive(Debug)]
enum Slot {
    /// And the next one that is free.
    Free(u32),
    /// And who is to be woken.
    Waiting(Option<Waker>),
    Over(Result<Answer, Failure>),
}

/// One slot for each caller who waits, or was answered and has not looked yet.
#[derive(Debug)]
pub(super) struct Slots {
    all: Vec<Slot>,
    free: u32,
    used: usize,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            free: NOBODY,
            used: 0,
        }
    }
}

impl Slots {
    /// Callers that wait, or were answered and have not looked yet.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn put(&mut self, caller: Option<Waker>) -> u32 {
        self.used += 1;
        let slot = self.free;
        match self.all.get_mut(slot as usize) {
            Some(free) => {
                if let Slot::Free(next) = std::mem::replace(free, Slot::Waiting(caller)) {
                    self.free = next;
                }
                slot
            }
            None => {
                self.all.push(Slot::Waiting(caller));
                (self.all.len() - 1) as u32
            }
        }
    }

    /// Takes what came of a call, or says whether the one at hand is to be woken for it.
    pub(super) fn look(&mut self, slot: u32, waker: &Waker) -> Looked {
        if let Slot::Waiting(kept) = &self.all[slot as usize] {
            return match kept {
                Some(kept) if kept.will_wake(waker) => Looked::Waits,
                _ => Looked::ByAnother,
            };
        }
        self.take_over(slot).map_or(Looked::Waits, Looked::Over)
    }

    /// Takes what came of a call, or exchanges who is to be woken for it.
    pub(super) fn look_again(
        &mut self,
        slot: u32,
        waker: &mut Option<Waker>,
    ) -> Option<Result<Answer, Failure>> {
        if let Slot::Waiting(kept) = &mut self.all[slot as usize] {
            std::mem::swap(kept, waker);
            return None;
        }
        self.take_over(slot)
    }

    /// Takes what came of a call, if it is over.
    pub(super) fn take_over(&mut self, slot: u32) -> Option<Result<Answer, Failure>> {
        if !matches!(self.all[slot as usize], Slot::Over(_)) {
            return None;
        }
        match self.release(slot) {
            Slot::Over(result) => Some(result),
            _ => None,
        }
    }

    /// Frees the slot of a caller who goes away, and gives back its waker: to drop it runs code that is not ours.
    pub(super) fn free(&mut self, slot: u32) -> Option<Waker> {
        match self.release(slot) {
            Slot::Waiting(waker) => waker,
            _ => None,
        }
    }

    fn release(&mut self, slot: u32) -> Slot {
        let before = std::mem::replace(&mut self.all[slot as usize], Slot::Free(self.free));
        self.free = slot;
        self.used -= 1;
        before
    }

    /// Leaves what came of a call where its caller looks; who is to be told.
    pub(super) fn finish(&mut self, slot: u32, result: Result<Answer, Failure>) -> Option<Waker> {
        let place = self.all.get_mut(slot as usize)?;
        if !matches!(place, Slot::Waiting(_)) {
            debug_assert!(false, "who has a slot waits");
            return None;
        }
        match std::mem::replace(place, Slot::Over(result)) {
            Slot::Waiting(waker) => waker,
            _ => None,
        }
    }

    pub(super) fn shrink(&mut self) {
        if self.used == 0 {
            *self = Self::default();
        }
    }
}
