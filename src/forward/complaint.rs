//! One line for what goes wrong for long, with the name of the instance.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use super::error::ForwardErrorKind;
use super::lasting::{Lasting, Trouble};
use super::mark::{Invalid, TOLERANCE, Unbelieved};
use crate::clock;
use crate::error::text::one_line;

/// What there is to complain of.
#[derive(Debug)]
pub(crate) struct Complaints {
    cluster: Box<str>,
    /// Guards what goes wrong now; held for a look.
    lasting: Mutex<Lasting>,
    /// How much that is, so that nobody waits for the lock when all is well.
    count: AtomicUsize,
}

impl Complaints {
    pub(crate) fn new(cluster: &str) -> Self {
        Self {
            cluster: cluster.into(),
            lasting: Mutex::default(),
            count: AtomicUsize::new(0),
        }
    }

    fn is_news(&self, what: Trouble, whom: &str) -> bool {
        let mut lasting = self.lasting.lock();
        let is_news = lasting.is_news(what, whom, clock::now());
        self.count.store(lasting.len(), Relaxed);
        is_news
    }

    fn is_over(&self, what: Trouble, whom: &str) -> bool {
        if self.count.load(Relaxed) == 0 {
            return false;
        }
        let mut lasting = self.lasting.lock();
        let is_over = lasting.is_over(what, whom);
        self.count.store(lasting.len(), Relaxed);
        is_over
    }

    /// An instance gave no answer, for that reason.
    pub(crate) fn unanswered(&self, peer: &str, why: impl std::fmt::Display) {
        if self.is_news(Trouble::Unanswered, peer) {
            let (cluster, why) = (&*self.cluster, one_line(why.to_string()));
            tracing::warn!(%cluster, peer = %one_line(peer), %why, "requests for this instance are not answered");
        }
    }

    /// It answered.
    pub(crate) fn answered(&self, peer: &str) {
        if self.is_over(Trouble::Unanswered, peer) {
            let cluster = &*self.cluster;
            tracing::info!(%cluster, peer = %one_line(peer), "this instance answers again");
        }
    }

    /// A request was sent to it, and to whomever it named, and nobody says that the key is its own.
    pub(crate) fn disputed(&self, peer: &str) {
        if self.is_news(Trouble::Disputed, peer) {
            let cluster = &*self.cluster;
            tracing::warn!(%cluster, peer = %one_line(peer),
                "this instance does not agree that it owns what we send it: the two see other members, see `fluster gossip partitions`");
        }
    }

    /// It sent what is not ours.
    pub(crate) fn diverged(&self, peer: &str, reason: &str) {
        if self.is_news(Trouble::Diverged, peer) {
            let cluster = &*self.cluster;
            tracing::warn!(%cluster, peer = %one_line(peer), reason,
                "this instance sends what we do not own: the two see other members, see `fluster gossip partitions`");
        }
    }

    /// A mark came that is not believed.
    pub(crate) fn unbelieved(&self, mark: &Unbelieved<'_>, wall: u64) {
        let cluster = &*self.cluster;
        let Unbelieved { why, whose } = mark;
        let Some(mark) = whose else { return };
        let (from, to) = (&*mark.from, &*mark.to);
        match why {
            Invalid::Expired if self.is_news(Trouble::Clock, from) => {
                let side = if mark.at > wall { "ahead of" } else { "behind" };
                let seconds = wall.abs_diff(mark.at) / 1_000;
                tracing::warn!(%cluster, peer = %one_line(from), seconds,
                    "the clock of this instance is {side} ours by more than {} s: its marks are not believed", TOLERANCE / 1_000);
            }
            Invalid::Foreign if self.is_news(Trouble::Elsewhere, to) => {
                tracing::warn!(%cluster, peer = %one_line(to), sender = %one_line(from),
                    "requests for this instance come here: its base leads to us");
            }
            Invalid::Forged if self.is_news(Trouble::Forged, "") => {
                tracing::warn!(%cluster, claims = %one_line(from),
                    "marks come that are not made with our keys: an instance has other keys, or somebody forges them");
            }
            _ => {}
        }
    }

    /// A mark of it is believed.
    pub(crate) fn believed(&self, peer: &str) {
        if self.is_over(Trouble::Clock, peer) {
            let cluster = &*self.cluster;
            tracing::info!(%cluster, peer = %one_line(peer), "the marks of this instance are believed again");
        }
    }

    /// How a request ended that nobody answered.
    pub(crate) fn ended(&self, kind: ForwardErrorKind, owner: Option<&str>) {
        match (kind, owner) {
            (ForwardErrorKind::Disputed, Some(owner)) => self.disputed(owner),
            (ForwardErrorKind::NoAddress, Some(owner)) => {
                self.unanswered(owner, "it does not say where it takes requests, or says https:// and there is no TLS here");
            }
            (ForwardErrorKind::Deadline, Some(owner)) => {
                self.unanswered(owner, "no answer came in time")
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fmt::Debug;
    use std::sync::Arc;
    use std::time::Duration;

    use tracing::field::{Field, Visit};
    use tracing::{Event, Metadata, Subscriber, span};

    use super::super::mark::Mark;
    use super::*;

    /// All lines, each with its level and fields.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    struct Line(String);

    impl Visit for Line {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0.push_str(&format!(" {}={value:?}", field.name()));
        }
    }

    impl Subscriber for Lines {
        fn enabled(&self, of: &Metadata<'_>) -> bool {
            of.is_event()
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut line = Line(event.metadata().level().to_string());
            event.record(&mut line);
            self.0.lock().push(line.0);
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    fn unbelieved(why: Invalid, at: u64) -> Unbelieved<'static> {
        let mark = Mark {
            from: Cow::Borrowed("limiter-1"),
            to: Cow::Borrowed("limiter-2"),
            at,
            nonce: [0; 24],
            ring: None,
            stands_in_for: None,
        };
        let whose = Some(Box::new(mark));
        Unbelieved { why, whose }
    }

    /// Each second for so long.
    async fn go_on(complaints: &Complaints, seconds: u32, mark: &Unbelieved<'_>) {
        for _ in 0..seconds {
            complaints.unbelieved(mark, 1_000_000);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_an_address_and_keys_are_named_once_while_it_lasts_and_again_when_it_comes_back()
     {
        let (lines, complaints) = (Lines::default(), Complaints::new("limiter"));
        let _heard = tracing::subscriber::set_default(lines.clone());
        let heard = || std::mem::take(&mut *lines.0.lock());
        let late = unbelieved(Invalid::Expired, 955_000);
        go_on(&complaints, 9, &late).await;
        assert_eq!(heard(), [""; 0], "one may have been long on its way");
        go_on(&complaints, 100, &late).await;
        let all = heard();
        assert_eq!(all.len(), 1, "{all:?}");
        for word in [
            "WARN",
            "cluster=limiter",
            "peer=limiter-1",
            "seconds=45",
            "behind ours",
        ] {
            assert!(all[0].contains(word), "{word}: {}", all[0]);
        }
        complaints.believed("limiter-2");
        assert_eq!(heard(), [""; 0], "another one");
        complaints.believed("limiter-1");
        let all = heard();
        assert!(
            all.len() == 1 && all[0].contains("INFO") && all[0].contains("limiter-1"),
            "{all:?}"
        );
        go_on(&complaints, 20, &unbelieved(Invalid::Expired, 1_045_000)).await;
        let all = heard();
        assert!(
            all.len() == 1 && all[0].contains("ahead of ours"),
            "{all:?}"
        );

        go_on(&complaints, 20, &unbelieved(Invalid::Foreign, 1_000_000)).await;
        let all = heard();
        assert!(
            all.len() == 1 && all[0].contains("peer=limiter-2 sender=limiter-1"),
            "{all:?}"
        );
        go_on(&complaints, 20, &unbelieved(Invalid::Forged, 1_000_000)).await;
        let all = heard();
        assert!(
            all.len() == 1 && all[0].contains("claims=limiter-1"),
            "{all:?}"
        );
        go_on(&complaints, 20, &unbelieved(Invalid::Replayed, 1_000_000)).await;
        assert_eq!(heard(), [""; 0], "that is a counter alone");
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_does_not_answer_is_named_and_so_is_its_return() {
        let (lines, complaints) = (Lines::default(), Complaints::new("limiter"));
        let _heard = tracing::subscriber::set_default(lines.clone());
        let heard = || std::mem::take(&mut *lines.0.lock());
        for _ in 0..3 {
            for _ in 0..12 {
                complaints.unanswered("a\nb", "connection refused");
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            let all = heard();
            assert_eq!(all.len(), 1, "{all:?}");
            assert!(
                all[0].contains("peer=a\\nb") && all[0].contains("connection refused"),
                "{all:?}"
            );
            complaints.answered("a\nb");
            assert!(heard()[0].contains("answers again"));
        }
        for _ in 0..100 {
            complaints.unanswered("a", "connection refused");
            tokio::time::advance(Duration::from_secs(1)).await;
            complaints.answered("a");
        }
        assert_eq!(heard(), [""; 0], "it answers in between");
    }
}
