//! A probe and a preparation that answer as a test says, without a server.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::sleep;

use super::{Care, Preparation, Preparing, Probe, Probing};
use crate::backend::Backend;
use crate::clock;
use crate::connection::stats::NodeStats;
use crate::health::verdict::{Class, Observation, Phase, Seen};

/// What a node's probe meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Answer {
    /// The token, at once.
    Good,
    /// The token, after this long.
    After(Duration),
    Refused,
    /// Nothing, ever.
    Hangs,
    /// An error reply to the question.
    Error(Class),
    /// An answer that no Redis gives.
    WrongToken,
    /// The probe itself fails.
    Panics,
}

/// Answers for each node, by its name: those that a test has laid out, in their order, then the last of them for ever.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeProbe(Arc<Mutex<BTreeMap<String, Script>>>);

#[derive(Debug, Default)]
struct Script {
    answers: VecDeque<Answer>,
    /// When each probe began.
    began: Vec<Instant>,
    /// Probes under way, and the most there were at once.
    under_way: usize,
    most: usize,
}

impl FakeProbe {
    /// From now on the node's probes meet this.
    pub(crate) fn script(&self, node: &str, answers: impl IntoIterator<Item = Answer>) {
        let mut scripts = self.0.lock();
        scripts.entry(node.to_owned()).or_default().answers = answers.into_iter().collect();
    }

    /// When each of the node's probes began.
    pub(crate) fn began(&self, node: &str) -> Vec<Instant> {
        self.0
            .lock()
            .get(node)
            .map_or(Vec::new(), |s| s.began.clone())
    }

    /// How many probes there were.
    pub(crate) fn count(&self, node: &str) -> usize {
        self.began(node).len()
    }

    /// Probes of the node under way now, and the most there ever were at once.
    pub(crate) fn under_way(&self, node: &str) -> (usize, usize) {
        let scripts = self.0.lock();
        scripts.get(node).map_or((0, 0), |s| (s.under_way, s.most))
    }

    pub(crate) fn care(&self) -> Care {
        Care {
            probe: Arc::new(self.clone()),
            preparation: None,
        }
    }

    fn next(&self, node: &str) -> Answer {
        let mut scripts = self.0.lock();
        let script = scripts.entry(node.to_owned()).or_default();
        script.began.push(clock::now());
        match script.answers.len() {
            0 => Answer::Good,
            1 => script.answers[0],
            _ => script.answers.pop_front().unwrap_or(Answer::Good),
        }
    }

    fn count_under_way(&self, node: &str) -> UnderWay {
        let mut scripts = self.0.lock();
        let script = scripts.entry(node.to_owned()).or_default();
        script.under_way += 1;
        script.most = script.most.max(script.under_way);
        UnderWay(self.clone(), node.to_owned())
    }
}

/// Counts one probe until it ends, by whatever way.
struct UnderWay(FakeProbe, String);

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(script) = self.0.0.lock().get_mut(&self.1) {
            script.under_way -= 1;
        }
    }
}

impl Probe for FakeProbe {
    fn probe(&self, backend: Arc<Backend>) -> Probing {
        let this = self.clone();
        Box::pin(async move {
            NodeStats::count(&backend.stats().probes);
            let node = backend.id().as_str();
            let (answer, began) = (this.next(node), clock::now());
            let _under_way = this.count_under_way(node);
            let seen = |phase, seen| Observation::new(phase, seen, began);
            match answer {
                Answer::Good => seen(Phase::Command, Seen::Value),
                Answer::After(pause) => {
                    sleep(pause).await;
                    seen(Phase::Command, Seen::Value)
                }
                Answer::Refused => {
                    let refused = Seen::Io(io::ErrorKind::ConnectionRefused, None);
                    seen(Phase::Setup, refused)
                }
                Answer::Hangs => pending().await,
                Answer::Error(class) => seen(Phase::Command, Seen::Error(class)),
                Answer::WrongToken => seen(Phase::Command, Seen::WrongToken),
                Answer::Panics => panic!("a probe panics, as its test says"),
            }
        })
    }
}

/// Gets nodes ready, as a test says.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakePreparation(Arc<Mutex<Preparations>>);

#[derive(Debug, Default)]
struct Preparations {
    /// How long each takes, and whether it succeeds; then they are ready at once.
    answers: VecDeque<(Duration, bool)>,
    began: Vec<Instant>,
}

impl FakePreparation {
    pub(crate) fn script(&self, answers: impl IntoIterator<Item = (Duration, bool)>) {
        self.0.lock().answers = answers.into_iter().collect();
    }

    pub(crate) fn began(&self) -> Vec<Instant> {
        self.0.lock().began.clone()
    }
}

impl Preparation for FakePreparation {
    fn prepare(&self, _: Arc<Backend>) -> Preparing {
        let this = self.clone();
        Box::pin(async move {
            let (pause, is_ready) = {
                let mut all = this.0.lock();
                all.began.push(clock::now());
                all.answers.pop_front().unwrap_or((Duration::ZERO, true))
            };
            sleep(pause).await;
            is_ready
        })
    }
}
