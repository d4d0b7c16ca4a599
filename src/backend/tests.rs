//! One node in virtual time: what it tells whoever keeps its health, which here is a fake.

use std::sync::atomic::AtomicUsize;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::sleep;

use super::*;
use crate::connection::network::fake::{FakeNetwork, Manner};
use crate::connection::proof::Proof;
use crate::connection::reply::Reply;
use crate::connection::request::LaneRequest;
use crate::connection::resolve::{LOOKUPS, Resolver};
use crate::error::{Error, Outcome};
use crate::health::NodeState;
use crate::health::admission::{Overrule, Standing};
use crate::health::verdict::{Phase, Reason, Soft};
use crate::tasks::Tasks;

const ADDR: &str = "10.0.0.1:6379";
const STEP: Duration = Duration::from_millis(1);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Judged(Verdict),
    TimedOut(Observation),
}

/// Keeps what it was told.
#[derive(Default)]
struct FakeObserver {
    told: Mutex<Vec<(u64, Told)>>,
    succeeded: AtomicUsize,
    dialling: AtomicUsize,
    identified: AtomicUsize,
    /// Whether there is another node to go to.
    others: AtomicBool,
}

impl Observer for FakeObserver {
    fn judged(&self, _: &Arc<Backend>, epoch: u64, verdict: Verdict) {
        self.told.lock().push((epoch, Told::Judged(verdict)));
    }

    fn timed_out(&self, _: &Arc<Backend>, epoch: u64, what: Observation) {
        self.told.lock().push((epoch, Told::TimedOut(what)));
    }

    fn succeeded(&self, _: &Arc<Backend>, _: u64) {
        self.succeeded.fetch_add(1, Relaxed);
    }

    fn dialling(&self) {
        self.dialling.fetch_add(1, Relaxed);
    }

    fn identified(&self, _: &Arc<Backend>, _: &Identity) {
        self.identified.fetch_add(1, Relaxed);
    }

    fn has_others(&self) -> bool {
        self.others.load(Relaxed)
    }

    fn moved(&self, _: &Arc<Backend>) {}

    fn retry_after(&self, _: &Backend) -> Option<Duration> {
        Some(ms(77))
    }
}

impl FakeObserver {
    /// What was told since the last look.
    fn take(&self) -> Vec<Told> {
        let told = std::mem::take(&mut *self.told.lock());
        told.into_iter().map(|(_, told)| told).collect()
    }
}

struct World {
    network: FakeNetwork,
    observer: Arc<FakeObserver>,
    backend: Arc<Backend>,
}

impl World {
    fn new(manner: Manner) -> Self {
        fastrand::seed(7);
        let network = FakeNetwork::default();
        network.serve(ADDR, manner);
        let node = Node::new(format!("redis://{ADDR}")).expect("a URL");
        let limits = Limits {
            response_timeout: ms(500),
            connect_timeout: ms(500),
            deadline: ms(1_500),
            stand_in_ttl: None,
            pool_size: 16,
            pool_wait: ms(250),
            idle_timeout: Duration::from_secs(300),
            max_lifetime: Duration::from_secs(1_800),
            max_reply: 1 << 30,
            max_nesting: 128,
            max_line: 64 << 10,
            bounds: Bounds {
                calls: 1_000,
                bytes: 1 << 20,
            },
            is_noting: Arc::default(),
            client_name: "fluster".into(),
            cluster: "".into(),
        };
        let resolver = Resolver::new("10.0.0.1", 6379, Arc::new(Semaphore::new(LOOKUPS)));
        let dialer = Dialer {
            node: node.id(),
            endpoint: node.endpoint().clone(),
            resolver: Some(resolver.on(network.way_out())),
            #[cfg(feature = "tls")]
            tls: None,
            credentials: None,
            timeout: limits.connect_timeout,
            stats: Arc::default(),
            tasks: Arc::new(Tasks::new(None)),
            network: network.way_out(),
            proof: Arc::new(Proof::new(node.id_ref(), "", Box::new(|| ()))),
            client_name: Arc::clone(&limits.client_name),
            bounds: limits.bounds,
        };
        let observer = Arc::new(FakeObserver::default());
        let told = Arc::clone(&observer) as Arc<dyn Observer>;
        let backend = Arc::new(Backend::new(node, 0, dialer, Arc::new(limits), told));
        Self {
            network,
            observer,
            backend,
        }
    }

    async fn call(&self) -> Result<Reply, Error> {
        let deadline = clock::now() + self.backend.limits().deadline;
        let mut get = redis::cmd("GET");
        get.arg("key");
        self.backend.call(LaneRequest::ours(&get), deadline).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_make_one_dial_and_a_healthy_node_is_no_news() {
    let world = World::new(Manner::Well);
    let calls = join_all((0..100).map(|_| world.call())).await;
    assert!(calls.iter().all(Result::is_ok));
    sleep(STEP).await;
    assert_eq!(world.network.connections(ADDR), 1);
    assert_eq!(world.network.heard(ADDR, "GET"), 100);
    assert_eq!(world.observer.dialling.load(Relaxed), 1);
    assert_eq!(world.observer.identified.load(Relaxed), 1);
    assert_eq!(
        world.observer.succeeded.load(Relaxed),
        0,
        "nobody wanted to know"
    );
    assert_eq!(world.observer.take(), []);
}

#[tokio::test(start_paused = true)]
async fn successes_are_counted_or_told_as_somebody_wants_to_know() {
    let world = World::new(Manner::Well);
    for (watch, counted, told) in [
        (Backend::WATCH_NOTHING, 0, 0),
        (Backend::WATCH_COUNT, 3, 0),
        (Backend::WATCH_REPORT, 0, 3),
    ] {
        world.backend.watch().store(watch, Relaxed);
        for _ in 0..3 {
            world.call().await.expect("an answer");
        }
        assert_eq!(world.backend.take_counted(), counted);
        assert_eq!(world.observer.succeeded.swap(0, Relaxed), told);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_dial_is_told_once_and_the_next_one_is_100_ms_later() {
    let world = World::new(Manner::Gone);
    let calls = join_all((0..100).map(|_| world.call())).await;
    for call in calls {
        assert_eq!(
            call.expect_err("nobody is there").outcome(),
            Outcome::NotSent
        );
    }
    let refused = Told::Judged(Verdict::Hard(Reason::Refused));
    assert_eq!(world.observer.take(), [refused]);
    assert_eq!(world.network.connections(ADDR), 1);
    let began = clock::now();
    while clock::since(began) < ms(1_000) {
        world.call().await.expect_err("nobody is there");
        sleep(STEP).await;
    }
    assert_eq!(world.network.connections(ADDR), 10, "however many callers");
    assert_eq!(world.observer.take(), [refused; 9]);
}

#[tokio::test(start_paused = true)]
async fn each_time_out_is_told_and_the_dial_after_it_keeps_who_has_others_for_a_quarter_of_its_time()
 {
    for (others, waits) in [(true, ms(125)), (false, ms(500))] {
        let world = World::new(Manner::Well);
        world.observer.others.store(others, Relaxed);
        world.call().await.expect("an answer");
        sleep(ms(100)).await;
        world.network.serve(ADDR, Manner::Stopped);
        let began = clock::now();
        let error = world.call().await.expect_err("it is silent");
        assert_eq!(error.outcome(), Outcome::MaybeExecuted);
        assert!(clock::since(began) <= ms(501));
        let told = world.observer.take();
        let [Told::TimedOut(what)] = told[..] else {
            panic!("{told:?}")
        };
        let expected = (Phase::Command, true, began);
        assert_eq!((what.phase, what.silent, what.sent_at), expected);
        let began = clock::now();
        let error = world.call().await.expect_err("it is silent");
        assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
        let waited = clock::since(began);
        assert!((waits..=waits + 2 * STEP).contains(&waited), "{waited:?}");
        sleep(ms(500)).await;
        let told = world.observer.take();
        let is_dial = |told: &Told| matches!(told, Told::TimedOut(o) if o.phase == Phase::Setup);
        assert!(
            told.len() == 1 && is_dial(&told[0]),
            "the dial goes on, and tells: {told:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_call_saw_is_told_with_the_epoch_that_it_began_in() {
    let world = World::new(Manner::Well);
    world.call().await.expect("an answer");
    world.network.serve(ADDR, Manner::Stopped);
    let (call, ()) = futures_util::future::join(world.call(), async {
        sleep(ms(100)).await;
        // Out, and back in.
        let up = Standing::new(NodeState::Up, Overrule::default());
        world.backend.gate().set(1, up);
    })
    .await;
    call.expect_err("it is silent");
    assert_eq!(world.observer.told.lock()[0].0, 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_out_refuses_calls_and_says_when_to_come_again() {
    let world = World::new(Manner::Well);
    let down = Standing::new(NodeState::Down, Overrule::default());
    world.backend.gate().set(1, down);
    let error = world.call().await.expect_err("it is out");
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert_eq!(error.retry_after(), Some(ms(77)));
    assert_eq!(world.network.connections(ADDR), 0, "no caller dials");
    assert_eq!(world.observer.take(), []);
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_is_lost_is_dialled_anew_before_anybody_asks() {
    let world = World::new(Manner::Well);
    world.call().await.expect("an answer");
    sleep(ms(200)).await;
    world.network.serve(ADDR, Manner::Stopped);
    let (call, ()) = futures_util::future::join(world.call(), async {
        sleep(ms(100)).await;
        // The server is killed while a command waits, and is there again at once.
        world.network.serve(ADDR, Manner::Gone);
        sleep(STEP).await;
        world.network.serve(ADDR, Manner::Well);
    })
    .await;
    assert_eq!(
        call.expect_err("its connection ended").outcome(),
        Outcome::MaybeExecuted
    );
    sleep(ms(200)).await;
    let told = world.observer.take();
    let lost = Told::Judged(Verdict::Soft(Soft::Lost { idle: false }));
    assert_eq!(told[0], lost, "{told:?}");
}
