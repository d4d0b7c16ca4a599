//! The one task of an instance: it moves bytes and time, and publishes the picture.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::oneshot;

use super::admin::Desk;
use super::events::GossipEvent;
use super::frame::Kind;
use super::heal::HealReport;
use super::instance::{Instance, Output};
use super::meter::Meter;
use super::rule::Rule;
use super::shared::{LeaveStep, Shared};
use super::view::MemberView;
use crate::clock;

/// Datagrams that are read before timers are looked at.
const AT_ONCE: usize = 256;
/// Longer than any of ours, so that a longer one is seen to be.
const BUFFER: usize = 2_048;
/// How often the gate is asked, and numbers are told.
const SECOND: Duration = Duration::from_secs(1);

/// Whether the application wants keys.
pub(crate) type Gate = Arc<dyn Fn() -> bool + Send + Sync>;

pub(crate) struct Driver {
    shared: Arc<Shared>,
    instance: Instance,
    socket: UdpSocket,
    rule: Rule,
    gate: Option<Gate>,
    /// When the gate is asked and numbers are told next.
    next_second: Instant,
    desk: Desk,
    meter: Meter,
    heals: Vec<oneshot::Sender<HealReport>>,
    /// What happened, until the picture shows it.
    untold: Vec<GossipEvent>,
    /// When an event of a kind was told last, of which there may be thousands.
    told: BTreeMap<&'static str, Instant>,
    outbid: BTreeSet<(SocketAddr, u64)>,
    unfit: BTreeSet<(SocketAddr, u64)>,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        instance: Instance,
        socket: UdpSocket,
        rule: Rule,
        gate: Option<Gate>,
        desk: Desk,
    ) -> Self {
        Self {
            meter: Meter::new(&shared.cluster),
            shared,
            instance,
            socket,
            rule,
            gate,
            next_second: clock::now(),
            desk,
            heals: Vec::new(),
            untold: Vec::new(),
            told: BTreeMap::new(),
            outbid: BTreeSet::new(),
            unfit: BTreeSet::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        let mut buffer = [0; BUFFER];
        let shared = Arc::clone(&self.shared);
        loop {
            // What came is read before timers go off: an answer that lies in the socket is no silence.
            let is_flooded = self.read(&mut buffer);
            let now = clock::now();
            if self.instance.next_deadline() <= now {
                self.instance.tick(now);
            }
            self.take_wishes(now);
            self.flush(None);
            if self.next_second <= now {
                self.next_second = now + SECOND;
                self.every_second(now);
                self.flush(None);
            }
            self.publish(now);
            self.tell_all();
            if is_flooded {
                // The socket is ready still, which costs no budget of the task: without this the others on the thread
                // would stand for as long as somebody sends.
                tokio::task::yield_now().await;
                continue;
            }
            let due = self.instance.next_deadline().min(self.next_second);
            // The socket first, for the same reason; each of them only wakes us.
            tokio::select! {
                biased;
                _ = self.socket.readable() => {}
                () = tokio::time::sleep_until(due.into()) => {}
                () = shared.wished.notified() => {}
            }
        }
    }

    /// Whether there may be more.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        for _ in 0..AT_ONCE {
            match self.socket.try_recv_from(buffer) {
                Ok((length, from)) => {
                    self.instance.datagram(clock::now(), &buffer[..length]);
                    self.flush(Some(from));
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return false,
                // The kernel tells of a datagram that did not reach somebody; the protocol will see it too.
                Err(_) => {}
            }
        }
        true
    }

    /// Does what the instance wants; an operator is answered where the question came from.
    fn flush(&mut self, from: Option<SocketAddr>) {
        while let Some(output) = self.instance.next_output() {
            match output {
                Output::Send { to, bytes } => self.send(to, &bytes),
                Output::Event(event) => self.tell(event),
                Output::WantSeeds => self.shared.want_seeds.notify_one(),
                Output::Admin(question) => {
                    // It came with a datagram.
                    if let Some(from) = from {
                        self.answer(&question, from);
                    }
                }
            }
        }
        if let Some(report) = self.instance.take_heal_report() {
            for heal in self.heals.drain(..) {
                // Whoever asked may be gone.
                let _ = heal.send(report.clone());
            }
        }
    }

    fn answer(&mut self, question: &[u8], from: SocketAddr) {
        let (shared, instance) = (&self.shared, &mut self.instance);
        match self.desk.answer(question, from, shared, instance) {
            Ok(answer) => {
                if let Some(bytes) = self.instance.close(Kind::Admin, &answer) {
                    self.instance.counters.sent[Kind::Admin as usize] += 1;
                    self.send(from, &bytes);
                }
            }
            Err(Some(reason)) => self.instance.refuse(reason),
            Err(None) => self.instance.counters.dropped += 1,
        }
    }

    /// Never waits: what does not fit the socket is lost, as on the network.
    fn send(&mut self, to: SocketAddr, bytes: &[u8]) {
        if self.socket.try_send_to(bytes, to).is_err() {
            self.instance.counters.dropped += 1;
        }
    }

    fn take_wishes(&mut self, now: Instant) {
        let shared = Arc::clone(&self.shared);
        let mut wishes = shared.wishes.lock();
        if let Some(keyring) = wishes.keyring.take() {
            self.shared.numbers.lock().key_ids = keyring.ids();
            self.instance.set_keyring(keyring);
        }
        if std::mem::take(&mut wishes.is_new) {
            let said = wishes.said.clone();
            // It was looked at when it was said.
            let _ = self.instance.change(now, |record| {
                let phase = record.phase;
                *record = said;
                record.phase = phase;
            });
            self.instance.set_draining(now, wishes.is_draining);
        }
        if let Some(doors) = wishes.doors.take() {
            self.instance.set_doors(now, doors);
        }
        if std::mem::take(&mut wishes.testimony_is_new) {
            self.instance.share();
            let bodies = wishes.testimony.values().flatten().cloned();
            self.instance.testify(now, bodies.collect());
        }
        for (key, on) in wishes.drains.drain(..) {
            // Whether there is room was asked before; of two who came at once one is too late, and sees it.
            let _ = self.instance.say_drain(now, key, on);
        }
        for whom in wishes.doubts.drain(..) {
            self.instance.doubt(now, whom);
        }
        for addr in wishes.forget.drain(..) {
            self.instance.forget_everywhere(now, addr);
        }
        if !wishes.heals.is_empty() {
            self.heals.append(&mut wishes.heals);
            self.instance.heal_all(now);
        }
        for (step, done) in wishes.leave.drain(..) {
            let told = match step {
                LeaveStep::Begin => {
                    self.instance.begin_leaving(now);
                    let view = self.shared.view.load();
                    view.members()
                        .iter()
                        .filter(|m| m.is_reachable() && !m.is_me)
                        .count()
                }
                LeaveStep::Tell => self.instance.tell_leaving(),
                LeaveStep::End => {
                    self.instance.end_leaving(now);
                    0
                }
            };
            // As above.
            let _ = done.send(told);
        }
    }

    fn every_second(&mut self, now: Instant) {
        if let Some(gate) = &self.gate {
            let open = catch_unwind(AssertUnwindSafe(|| gate())).unwrap_or_else(|_| {
                tracing::error!(cluster = %self.shared.cluster, "the gate of an instance panicked: it takes no keys");
                false
            });
            self.instance.set_gate(now, open);
        }
        self.desk.sweep(now);
        let mut numbers = self.shared.numbers.lock();
        let counters = self.instance.counters.clone();
        self.instance.counters.lag = Duration::ZERO;
        let rate = |new: u64, old: u64| new.saturating_sub(old) as f64;
        numbers.rate = (
            rate(counters.sent_bytes, numbers.counters.sent_bytes),
            rate(counters.received_bytes, numbers.counters.received_bytes),
        );
        numbers.counters = counters;
        numbers.items = self.instance.items();
        numbers.backlog = self.instance.backlog();
        numbers.diverged = self.instance.diverged();
        // The application's recorder may take its time, or ask for our numbers.
        let told = numbers.clone();
        drop(numbers);
        self.meter.report(&told, &self.shared.view.load());
    }

    /// Makes the picture what the instance knows.
    fn publish(&mut self, now: Instant) {
        let roster = self.instance.take_roster();
        if let Some(picture) = self.instance.take_picture(roster.is_some()) {
            self.shared.picture.send_replace(Arc::new(picture));
        }
        let Some(roster) = roster else {
            return;
        };
        let before = self.shared.view.load_full();
        let Some(view) = MemberView::new(roster, &self.rule, Some(&before)) else {
            return;
        };
        let view = Arc::new(view);
        self.instance
            .set_ring(now, view.fingerprint().map(|f| f.as_u64()));
        self.shared.view.store(Arc::clone(&view));
        self.shared.changes.send_replace(Arc::clone(&view));
        if before.fingerprint() != view.fingerprint() {
            let moved = before.moved(&view);
            {
                let mut numbers = self.shared.numbers.lock();
                numbers.ring_changes += 1;
                numbers.moved = moved;
            }
            self.tell(GossipEvent::RingChanged {
                old: before.fingerprint(),
                new: view.fingerprint(),
                added: before.added(&view),
                removed: view.added(&before),
                moved,
            });
        }
        let outbid: BTreeSet<_> = view
            .outbid()
            .iter()
            .map(|m| (m.address, m.generation))
            .collect();
        for member in view.outbid() {
            if !self.outbid.contains(&(member.address, member.generation)) {
                self.tell(GossipEvent::RingIdTaken(Arc::clone(member)));
            }
        }
        self.outbid = outbid;
        let unfit: BTreeSet<_> = view
            .unfit()
            .iter()
            .map(|m| (m.address, m.generation))
            .collect();
        for member in view.unfit() {
            if !self.unfit.contains(&(member.address, member.generation)) {
                super::meter::log_unfit(&self.shared.cluster, member);
            }
        }
        self.unfit = unfit;
    }

    /// To those who listen, and to the log; of what strangers can cause, once a second.
    fn tell(&mut self, event: GossipEvent) {
        if let GossipEvent::Refused { reason } = &event {
            let (now, reason) = (clock::now(), reason.as_str());
            let recently = |told: &Instant| now.saturating_duration_since(*told) < SECOND;
            if self.told.get(reason).is_some_and(recently) {
                return;
            }
            self.told.insert(reason, now);
        }
        self.untold.push(event);
    }

    /// After the picture: whoever hears of something and looks finds it.
    fn tell_all(&mut self) {
        for event in self.untold.drain(..) {
            super::meter::log(&self.shared.cluster, &event);
            self.shared.tell(event);
        }
    }
}
