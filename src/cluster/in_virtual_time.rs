//! The driver in virtual time: the real monitor, housekeeping, evidence and reporter, with probes and servers that
//! answer as each test says. Time is paused: it moves when all tasks wait, to the next timer, and nothing is late.

mod addresses;
mod callers;
mod heartbeat;
mod life;
mod overruled;
mod probes;
mod slow;
mod stalls;
mod together;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast;
use tokio::time::sleep;

use crate::backend::probe::Care;
use crate::backend::probe::fake::{Answer, FakeProbe};
use crate::backend::{Backend, Observer as _};
use crate::clock;
use crate::cluster::FlusterCluster;
use crate::cluster::builder::ClusterBuilder;
use crate::cluster::engine::Engine;
use crate::cluster::events::Event;
use crate::cluster::reporter::Reporter;
use crate::connection::network::fake::{FakeNetwork, Manner};
use crate::connection::reply::Reply;
use crate::connection::request::LaneRequest;
use crate::error::Error;
use crate::health::NodeState;
use crate::health::verdict::{Class, Observation, Phase, Seen, judge};
use crate::node::Node;

/// What a timer of tokio's may be late by, since it has no finer steps.
const STEP: Duration = Duration::from_millis(1);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A cluster whose background has begun.
struct World {
    cluster: FlusterCluster,
    probe: FakeProbe,
    network: FakeNetwork,
    events: broadcast::Receiver<Event>,
    began: Instant,
}

impl World {
    /// Nodes of these names whose probes are scripted.
    fn new(names: &[&str]) -> Self {
        let probe = FakeProbe::default();
        let care = probe.care();
        Self::with(names, probe, care, |builder| builder)
    }

    /// The same, asked and prepared by others.
    fn with(
        names: &[&str],
        probe: FakeProbe,
        care: Care,
        settings: impl FnOnce(ClusterBuilder) -> ClusterBuilder,
    ) -> Self {
        // What chance decides is the same in each run; and all of it happens on this thread.
        fastrand::seed(7);
        let network = FakeNetwork::default();
        let nodes = names.iter().map(|name| {
            let node = Node::new(format!("redis://{name}.test:6379")).expect("a URL");
            node.name(*name)
        });
        let mut builder = settings(FlusterCluster::builder().nodes(nodes));
        builder.options_mut().network = network.way_out();
        let cluster = builder.build_with(care).expect("a cluster");
        let engine = cluster.engine();
        engine.ensure_monitored();
        Self {
            events: engine.listen(),
            began: clock::now(),
            cluster,
            probe,
            network,
        }
    }

    /// Nodes of these names with servers, and the probe that is no fake.
    fn served(names: &[&str]) -> Self {
        Self::served_with(names, |builder| builder)
    }

    fn served_with(
        names: &[&str],
        settings: impl FnOnce(ClusterBuilder) -> ClusterBuilder,
    ) -> Self {
        let world = Self::with(names, FakeProbe::default(), Care::default(), settings);
        for (name, i) in names.iter().zip(1..) {
            let addr = format!("10.0.0.{i}:6379");
            world.network.serve(&addr, Manner::Well);
            world.network.name(&format!("{name}.test"), &[&addr]);
        }
        world
    }

    /// A command to a node.
    async fn call(&self, name: &str) -> Result<Reply, Error> {
        let deadline = clock::now() + self.cluster.deadline();
        let mut get = redis::cmd("GET");
        get.arg("key");
        let backend = self.backend(name);
        backend.call(LaneRequest::ours(&get), deadline).await
    }

    fn engine(&self) -> &Arc<Engine> {
        self.cluster.engine()
    }

    fn backend(&self, name: &str) -> Arc<Backend> {
        let snapshot = self.engine().topology();
        let backend = snapshot.nodes.iter().find(|b| *b.id() == *name);
        Arc::clone(backend.expect("a node of that name"))
    }

    fn is_live(&self, name: &str) -> bool {
        let snapshot = self.engine().topology();
        let index = snapshot.nodes.iter().position(|b| *b.id() == *name);
        snapshot.live.contains(index.expect("a node of that name"))
    }

    fn state(&self, name: &str) -> NodeState {
        let key = self.backend(name).key();
        let state = self.engine().state.lock();
        state.health.state(key).expect("it is known")
    }

    fn level(&self, name: &str) -> u32 {
        let key = self.backend(name).key();
        let state = self.engine().state.lock();
        state.health.level(key).expect("it is known")
    }

    /// The same, in that order.
    fn is(&self, name: &str) -> (NodeState, u32) {
        (self.state(name), self.level(name))
    }

    /// Hands in what a call or a dial saw, as the node does.
    fn observe(&self, name: &str, what: Observation) {
        let backend = self.backend(name);
        let epoch = backend.gate().read().epoch();
        let reporter = Reporter(Arc::downgrade(self.engine()));
        match what.is_time_out() {
            true => reporter.timed_out(&backend, epoch, what),
            false => reporter.judged(&backend, epoch, judge(&what).verdict),
        }
    }

    /// A dial was refused: proof.
    fn refuse(&self, name: &str) {
        let refused = Seen::Io(std::io::ErrorKind::ConnectionRefused, None);
        self.observe(name, Observation::new(Phase::Setup, refused, clock::now()));
    }

    /// A command was answered with an error that is suspicious.
    fn strike(&self, name: &str) {
        let busy = Seen::Error(Class::Busy);
        self.observe(name, Observation::new(Phase::Command, busy, clock::now()));
    }

    /// A command that was sent when its response time-out began, which is now over, got no answer.
    fn time_out(&self, name: &str) {
        let limit = self.engine().limits().response_timeout;
        let sent_at = clock::now().checked_sub(limit).expect("the machine is up");
        self.time_out_since(name, Phase::Command, sent_at);
    }

    /// The same of whatever began then.
    fn time_out_since(&self, name: &str, phase: Phase, sent_at: Instant) {
        let silence = Seen::Io(std::io::ErrorKind::TimedOut, None);
        let limit = self.engine().limits().response_timeout;
        let what = Observation {
            silent: true,
            limit,
            ..Observation::new(phase, silence, sent_at)
        };
        self.observe(name, what);
    }

    /// Lets the tasks do what is due now.
    async fn settle(&self) {
        // Timers have steps of a millisecond, and the second one lets those work that the first one woke.
        sleep(STEP).await;
        sleep(STEP).await;
    }

    /// Sleeps until so long after the world began.
    async fn until(&self, at: Duration) {
        let left = at.saturating_sub(clock::since(self.began));
        sleep(left).await;
    }

    /// When each of the node's probes began, since the world did.
    fn probed_at(&self, name: &str) -> Vec<Duration> {
        let began = self.probe.began(name);
        began.iter().map(|&at| at - self.began).collect()
    }

    /// What happened since the last look, in short: `down a refused`, `up a`, ...
    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            told.push(match event {
                Event::NodeDown { node, reason, .. } => format!("down {node} {reason}"),
                Event::NodeStillDown { node, reason, .. } => format!("still down {node} {reason}"),
                Event::NodeUp { node, .. } => format!("up {node}"),
                Event::NodeDrained { node } => format!("drained {node}"),
                Event::NodeRestored { node } => format!("restored {node}"),
                Event::AddressChanged { node } => format!("moved {node}"),
                Event::ClientStall { lasted } => format!("stall {}", lasted.as_millis()),
                Event::NodeSlow { node, slow } => format!("slow {node} {slow}"),
                Event::TopologyChanged(_) => "topology".into(),
                other => format!("{other:?}"),
            });
        }
        told
    }
}

/// The pauses between moments.
fn pauses(moments: &[Duration]) -> Vec<Duration> {
    moments.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Whether a wait was drawn from the upper half of its length, to a timer's step.
fn is_drawn(wait: Duration, nominal: Duration) -> bool {
    (nominal / 2..=nominal + STEP).contains(&wait)
}
