//! What one connection has still to write, and who waits for what: decided here, done by the driver.
//!
//! All that is known of a call follows from offsets in the stream. `claimed` is the one behind the last byte that has
//! left or is on its way; a call of which no whole command ends before it was never executed, once nothing more is
//! written. Callers append under one short lock and the driver claims a chunk under it before it writes: nobody can
//! take back, or call unsent, what is on its way.

mod asleep;
mod followed;
mod outgoing;
mod slots;
mod terms;
mod waiter;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use redis::Value;

use self::asleep::Asleep;
pub(crate) use self::outgoing::Chunk;
use self::outgoing::Outgoing;
pub(crate) use self::slots::{Answer, Failure};
use self::slots::{NOBODY, Slots};
pub(crate) use self::terms::{Ask, Bounds, Heard, Looked, NoPlace, Place, Unfit};
use self::terms::{Cancelled, Left, WORTH};
pub(crate) use self::waiter::{Purpose, Taking, token_text};
use self::waiter::{Taken, Waiter};
use super::encode::Packed;
use super::fault::Ended;

/// The state of one connection that its callers and its driver share, under a lock of theirs.
#[derive(Debug)]
pub(crate) struct Queue {
    out: Outgoing,
    waiting: VecDeque<Waiter>,
    slots: Slots,
    tickets: u64,
    /// Waiters that were given up before a byte of theirs was claimed, and are still among the others.
    given_up: usize,
    bounds: Bounds,
    /// Somebody was told that there is no room.
    refused: bool,
    driver: Asleep,
    /// The server took a `MULTI` on this connection.
    takes_multi: bool,
    ended: Option<Ended>,
    /// Until the set-up is over, what a server says unasked is taken for its answer.
    in_setup: bool,
}

impl Queue {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            out: Outgoing::default(),
            waiting: VecDeque::new(),
            slots: Slots::default(),
            tickets: 0,
            given_up: 0,
            bounds,
            refused: false,
            driver: Asleep::default(),
            takes_multi: false,
            ended: None,
            in_setup: true,
        }
    }

    pub(crate) fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    pub(crate) fn is_in_setup(&self) -> bool {
        self.in_setup
    }

    pub(crate) fn setup_done(&mut self) {
        self.in_setup = false;
    }

    /// Callers that wait for an answer, or have not seen it yet.
    pub(crate) fn callers(&self) -> usize {
        self.slots.used()
    }

    /// Whether no reply is outstanding but those to questions of the pool's own, whose answers come before anybody
    /// else's.
    pub(crate) fn is_clean(&self) -> bool {
        let is_question = |w: &Waiter| w.purpose == Purpose::Question && w.slot != NOBODY;
        self.waiting.iter().all(is_question)
    }

    /// Whether everything written so far was answered.
    pub(crate) fn is_quiet(&self) -> bool {
        let front = self.waiting.front();
        front.is_none_or(|w| w.start >= self.out.claimed())
    }

    /// Calls that wait for their replies, holes and tokens among them.
    pub(crate) fn depth(&self) -> usize {
        self.waiting.len()
    }

    /// The offset behind all that was ever appended.
    pub(crate) fn appended(&self) -> u64 {
        self.out.appended()
    }

    pub(crate) fn has_bytes(&self) -> bool {
        self.out.waits() > 0
    }

    // ---- callers ----

    /// Gives a call a place, its bytes, `bytes` at most, written by `write`. `caller` is taken where there is a place. The
    /// waker, if any, is to be woken.
    pub(crate) fn submit(
        &mut self,
        ask: Ask,
        caller: &mut Option<Waker>,
        bytes: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Packed,
    ) -> Result<(Place, Option<Waker>), NoPlace> {
        self.room_for(bytes)?;
        let (start, packed) = self.out.append(write);
        Ok(self.enter(ask, caller, start, packed))
    }

    /// The same for one that is packed already, for which there was [room](Self::room_for) before it was. It is not
    /// asked for again here: small ones may have taken the room while this one was packed outside the lock, and would
    /// keep it out for ever, at the price of a copy for each try. The bound is so passed by one request per caller at most.
    pub(crate) fn submit_packed(
        &mut self,
        ask: Ask,
        caller: &mut Option<Waker>,
        bytes: Vec<u8>,
        packed: Packed,
    ) -> Result<(Place, Option<Waker>), NoPlace> {
        if self.ended.is_some() {
            return Err(NoPlace::Ended);
        }
        let start = self.out.push(bytes);
        Ok(self.enter(ask, caller, start, packed))
    }

    /// Whether a request of so many bytes has room now; who finds none is told when there is some again.
    pub(crate) fn room_for(&mut self, bytes: usize) -> Result<(), NoPlace> {
        if self.ended.is_some() {
            return Err(NoPlace::Ended);
        }
        if self.is_full(bytes) {
            // What was given up is no load. But closing the gaps moves all that waits, under the lock.
            let worth = self.given_up * WORTH >= self.waiting.len() - self.first_unclaimed();
            if self.given_up > 0 && worth {
                self.cut();
            }
            if self.is_full(bytes) {
                self.refused = true;
                return Err(NoPlace::Full);
            }
        }
        Ok(())
    }

    fn is_full(&self, bytes: usize) -> bool {
        let waits = self.out.waits();
        // A request that is larger than the bound goes alone.
        if waits > 0 && waits.saturating_add(bytes as u64) > self.bounds.bytes {
            return true;
        }
        self.waiting.len() >= self.bounds.calls
            && self.waiting.len() - self.first_unclaimed() >= self.bounds.calls
    }

    /// The place among those who wait of the first one with bytes that are not claimed.
    fn first_unclaimed(&self) -> usize {
        let claimed = self.out.claimed();
        self.waiting.partition_point(|w| w.end <= claimed)
    }

    fn enter(
        &mut self,
        ask: Ask,
        caller: &mut Option<Waker>,
        start: u64,
        packed: Packed,
    ) -> (Place, Option<Waker>) {
        let slot = self.slots.put(caller.take());
        let place = Place {
            ticket: self.tickets,
            slot,
        };
        let deadline = ask.deadline;
        self.push(ask, slot, start, packed);
        (place, self.driver.submitted(deadline))
    }

    fn push(&mut self, ask: Ask, slot: u32, start: u64, packed: Packed) {
        let end = self.out.appended();
        // Of whom nobody knows whether he may use `MULTI`, the commands may be executed as they come.
        let decisive = match ask.taking.is_transaction() && !self.takes_multi {
            true => packed.first_command,
            false => packed.decisive,
        };
        self.waiting.push_back(Waiter {
            ticket: self.tickets,
            slot,
            dead: false,
            purpose: ask.purpose,
            start,
            decisive: start + decisive as u64,
            end,
            deadline: ask.deadline,
            taking: ask.taking,
        });
        self.tickets += 1;
    }

    /// What came of a call. Whoever was answered has no place any more.
    pub(crate) fn look(&mut self, place: Place, waker: &Waker) -> Looked {
        self.slots.look(place.slot, waker)
    }

    /// What came of a call; until then this waker is kept, and the one that was is given back.
    pub(crate) fn look_again(
        &mut self,
        place: Place,
        waker: &mut Option<Waker>,
    ) -> Option<Result<Answer, Failure>> {
        self.slots.look_again(place.slot, waker)
    }

    /// A caller goes away.
    pub(crate) fn cancel(&mut self, place: Place) -> Cancelled {
        if let Some(over) = self.slots.take_over(place.slot) {
            return Cancelled {
                over: Some(over),
                ..Cancelled::default()
            };
        }
        let (taken, unsent) = self.give_up(place);
        Cancelled {
            over: None,
            left: Left(self.slots.free(place.slot), taken),
            room: self.gave_room(),
            was_sent: !unsent,
        }
    }

    /// A caller's own timer has fired: what came of the call, if nothing else came before.
    pub(crate) fn time_out(&mut self, place: Place) -> (Result<Answer, Failure>, Left) {
        if let Some(over) = self.slots.take_over(place.slot) {
            return (over, Left::default());
        }
        let (taken, unsent) = self.give_up(place);
        let left = Left(self.slots.free(place.slot), taken);
        (Err(Failure::Timeout { unsent }), left)
    }

    /// Its waiter stays as the place of the replies to come, or is cut out when no byte of it was claimed.
    fn give_up(&mut self, place: Place) -> (Option<Taken>, bool) {
        let at = self
            .waiting
            .binary_search_by_key(&place.ticket, |w| w.ticket);
        let Ok(at) = at else {
            debug_assert!(false, "who waits has a place");
            return (None, true);
        };
        let claimed = self.out.claimed();
        let waiter = &mut self.waiting[at];
        let unsent = waiter.is_whole_behind(claimed);
        waiter.dead = unsent;
        self.given_up += usize::from(unsent);
        waiter.slot = NOBODY;
        (waiter.taking.empty(), unsent)
    }

    /// Whether somebody found no room, and finds some now that calls were given up.
    pub(crate) fn gave_room(&mut self) -> bool {
        self.given_up > 0 && std::mem::take(&mut self.refused)
    }

    // ---- the driver: in ----

    /// Hands a reply to whom it belongs: replies come in the order of the commands.
    pub(crate) fn answer(&mut self, value: Value, wakers: &mut Vec<Waker>) -> Result<Heard, Unfit> {
        let claimed = self.out.claimed();
        let in_setup = self.in_setup;
        let Some(front) = self.waiting.front_mut() else {
            return Err(Unfit::Stray);
        };
        let halfway = claimed < front.needed_for_next();
        if halfway && !in_setup {
            // A server that refuses what is too large for it says so while we write.
            let begun = front.start < claimed && front.taking.is_fresh();
            if !begun || !matches!(value, Value::ServerError(_)) {
                return Err(Unfit::Stray);
            }
            let slot = front.slot;
            self.waiting.pop_front();
            wakers.extend(self.slots.finish(slot, Ok(Answer::One(value))));
            return Err(Unfit::Halfway);
        }
        if let Some(taken) = front.taking.hears_multi(&value) {
            self.takes_multi = taken;
        }
        let wanted = front.slot != NOBODY;
        let answer = match front.taking.take(value, wanted) {
            Taken::More => return Ok(Heard::Part),
            Taken::Shifted => return Err(Unfit::Shifted),
            Taken::Error(e) => {
                self.waiting.pop_front();
                return Ok(Heard::Token(e));
            }
            Taken::Proven => None,
            Taken::All(answer) => Some(answer),
        };
        let slot = front.slot;
        self.waiting.pop_front();
        if let Some(answer) = answer {
            wakers.extend(self.slots.finish(slot, Ok(answer)));
        }
        Ok(Heard::Whole)
    }

    /// Whether the next reply may come as a push: the confirmation of a subscription.
    pub(crate) fn expects_confirmation(&self) -> bool {
        let claimed = self.out.claimed();
        let front = self.waiting.front();
        front.is_some_and(|w| matches!(w.taking, Taking::Confirmation) && w.end <= claimed)
    }

    // ---- the driver: out ----

    /// The next chunk to write, which counts as on its way from now on. `spent` is a buffer to use again. `true` when
    /// somebody is to be told that there is room.
    pub(crate) fn claim(&mut self, spent: Vec<u8>) -> (Option<Chunk>, bool) {
        if self.given_up > 0 {
            self.cut();
        }
        let chunk = self.out.claim(spent);
        (chunk, std::mem::take(&mut self.refused))
    }

    /// The socket does not take the rest of a chunk for now: it may be taken back again.
    pub(crate) fn give_back(&mut self, chunk: Chunk) {
        self.out.give_back(chunk);
    }

    /// Whether a token may be put behind all that waits to be written: between requests, and one at a time.
    pub(crate) fn has_no_token(&self) -> bool {
        !self.waiting.is_empty() && !self.waiting.iter().any(|w| w.purpose == Purpose::Token)
    }

    /// Puts a token of ours behind all that waits to be written.
    pub(crate) fn token(&mut self, token: u64, write: impl FnOnce(&mut Vec<u8>) -> Packed) {
        let (start, packed) = self.out.append(write);
        let ask = Ask {
            deadline: None,
            purpose: Purpose::Token,
            taking: Taking::Token(token),
        };
        self.push(ask, NOBODY, start, packed);
    }

    /// The driver rests: `idle`, until there is something to write. When its timer has to be set anew for a deadline
    /// that is earlier than it is set to, the earliest one.
    pub(crate) fn rest(&mut self, driver: &Waker, idle: bool) -> Option<Instant> {
        self.driver.rests(driver, idle)
    }

    /// A deadline that the driver's timer is not set to yet.
    pub(crate) fn early(&self) -> Option<Instant> {
        self.driver.early()
    }

    /// The driver's timer is set to this.
    pub(crate) fn armed(&mut self, at: Option<Instant>) {
        self.driver.armed(at);
    }

    /// Ends what is due; says when the next one is.
    pub(crate) fn expire(&mut self, now: Instant, wakers: &mut Vec<Waker>) -> Option<Instant> {
        let claimed = self.out.claimed();
        let mut next: Option<Instant> = None;
        for waiter in &mut self.waiting {
            let (Some(deadline), true) = (waiter.deadline, waiter.slot != NOBODY) else {
                continue;
            };
            if deadline > now {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
                continue;
            }
            // The caller has its answer; the waiter stays as the place of the replies to come.
            let unsent = waiter.is_whole_behind(claimed);
            waiter.dead = unsent;
            self.given_up += usize::from(unsent);
            let slot = std::mem::replace(&mut waiter.slot, NOBODY);
            drop(waiter.taking.empty());
            wakers.extend(self.slots.finish(slot, Err(Failure::Timeout { unsent })));
        }
        next
    }

    /// The connection is over: everybody who waits is told, each what is known of its call.
    pub(crate) fn end(&mut self, why: Ended, wakers: &mut Vec<Waker>) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(why);
        let claimed = self.out.claimed();
        for waiter in std::mem::take(&mut self.waiting) {
            // Half a command is no command, and nothing more is written.
            let unsent = claimed < waiter.decisive;
            wakers.extend(
                self.slots
                    .finish(waiter.slot, Err(Failure::Ended { unsent })),
            );
        }
        self.out.clear();
        self.given_up = 0;
        wakers.extend(self.driver.wakes());
    }

    /// Lets go of memory that a quiet connection does not need.
    pub(crate) fn shrink(&mut self) {
        self.out.shrink();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        self.slots.shrink();
    }

    /// Closes the gaps that calls have left which were given up before a byte of theirs was claimed.
    fn cut(&mut self) {
        let from = self.first_unclaimed();
        self.out.cut(self.waiting.range_mut(from..));
        self.waiting.retain(|w| !w.dead);
        self.given_up = 0;
    }
}
