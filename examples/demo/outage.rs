//! The story: a server is killed, stays away, comes back. And what there is to say about it.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fluster::{Event, Events, FlusterCluster, NodeId};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{sleep, timeout};

use crate::workload::{KEYS, Tally, Workload};
use fluster::testing::Server;

const BEFORE: Duration = Duration::from_secs(3);
const AWAY: Duration = Duration::from_millis(3500);
const AFTER: Duration = Duration::from_secs(3);
/// Rates are taken from here on; connecting and filling an empty cache is over by then.
const WARM_UP: Duration = Duration::from_millis(500);

pub struct Outage {
    /// From the SIGKILL to the node being out.
    eject: Duration,
    /// From the server accepting connections again to its node serving its keys.
    recover: Duration,
    /// Probes and dials between the two.
    probes: u64,
    dials: u64,
    owned: usize,
    moved: usize,
    moved_of_others: usize,
    returned: usize,
    /// How fast the other nodes served their own keys during the outage, against before.
    others: f64,
}

pub async fn run(
    cluster: &FlusterCluster,
    workload: &Workload,
    servers: &Arc<Vec<Server>>,
    notes: &UnboundedSender<String>,
) -> Result<Outage, String> {
    let victim = 1;
    let name = NodeId::from(servers[victim].name());
    let mut events = cluster.events();
    let say = |text: String| drop(notes.send(text));
    let owners = || {
        cluster
            .get_node_batch(workload.keys.iter())
            .map_err(|e| e.to_string())
    };

    say("all is well".into());
    sleep(WARM_UP).await;
    let meter = Meter::start(workload.tally(), &name);
    sleep(BEFORE - WARM_UP).await;
    let before = meter.rate();
    let home = owners()?;
    let at_kill = cluster.status();

    say(format!("SIGKILL to {name}"));
    let killed = Instant::now();
    on_thread(servers, move |servers| servers[victim].kill()).await?;
    wait_for(
        &mut events,
        |e| matches!(e, Event::NodeDown { node, .. } if *node == name),
    )
    .await?;
    let eject = killed.elapsed();
    let meter = Meter::start(workload.tally(), &name);
    let away = owners()?;
    sleep(AWAY).await;
    let during = meter.rate();

    say(format!("{name} is started again, empty, on the same port"));
    on_thread(servers, move |servers| servers[victim].restart()).await?;
    let accepting = Instant::now();
    wait_for(
        &mut events,
        |e| matches!(e, Event::NodeUp { node, .. } if *node == name),
    )
    .await?;
    let recover = accepting.elapsed();
    let back = owners()?;
    let at_return = cluster.status();
    sleep(AFTER).await;

    let count = |f: &dyn Fn(usize) -> bool| (0..home.len()).filter(|i| f(*i)).count();
    let of_victim = |f: fn(&fluster::NodeStatus) -> u64| {
        let of = |status: &fluster::ClusterStatus| status.node(&name).map_or(0, f);
        of(&at_return) - of(&at_kill)
    };
    Ok(Outage {
        eject,
        recover,
        probes: of_victim(|n| n.probes),
        dials: of_victim(|n| n.dials),
        owned: count(&|i| home[i] == name),
        moved: count(&|i| home[i] == name && away[i] != name),
        moved_of_others: count(&|i| home[i] != name && away[i] != home[i]),
        returned: count(&|i| back[i] == home[i]),
        others: during / before,
    })
}

/// Starting and killing servers blocks the thread.
async fn on_thread(
    servers: &Arc<Vec<Server>>,
    what: impl FnOnce(&[Server]) + Send + 'static,
) -> Result<(), String> {
    let servers = Arc::clone(servers);
    tokio::task::spawn_blocking(move || what(&servers))
        .await
        .map_err(|e| e.to_string())
}

async fn wait_for(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Result<(), String> {
    let wait = async {
        while let Some(event) = events.next().await {
            if wanted(&event) {
                return Ok(());
            }
        }
        Err("the cluster ended".to_owned())
    };
    timeout(Duration::from_secs(15), wait)
        .await
        .map_err(|_| "the cluster did not react in 15 s")?
}

/// How fast the other nodes serve their own keys.
struct Meter<'a> {
    tally: &'a Tally,
    victim: &'a NodeId,
    began: Instant,
    served: u64,
}

impl<'a> Meter<'a> {
    fn start(tally: &'a Tally, victim: &'a NodeId) -> Self {
        let served = Self::served(tally, victim);
        Self {
            tally,
            victim,
            began: Instant::now(),
            served,
        }
    }

    fn served(tally: &Tally, victim: &NodeId) -> u64 {
        tally
            .nodes
            .keys()
            .filter(|node| *node != victim)
            .map(|node| tally.own(node))
            .sum()
    }

    fn rate(&self) -> f64 {
        (Self::served(self.tally, self.victim) - self.served) as f64
            / self.began.elapsed().as_secs_f64()
    }
}

pub fn summary(tally: &Tally, outage: Option<&Outage>) -> io::Result<()> {
    let mut lines = of_the_application(tally);
    lines.extend(outage.iter().flat_map(|o| of_the_outage(o)));
    let mut out = io::stdout().lock();
    for (what, value) in lines {
        writeln!(out, "{what:<38}{value}")?;
    }
    out.flush()
}

type Lines = Vec<(&'static str, String)>;

fn of_the_application(tally: &Tally) -> Lines {
    let get = |n: &AtomicU64| n.load(Relaxed);
    let (reads, writes) = (get(&tally.reads), get(&tally.writes));
    let (not_sent, unknown, empty) = (get(&tally.not_sent), get(&tally.unknown), get(&tally.empty));
    let errors = tally.errors();
    vec![
        (
            "operations",
            format!("{} ({reads} reads, {writes} writes)", reads + writes),
        ),
        (
            "errors seen by the application",
            format!(
                "{errors} ({not_sent} not sent, {unknown} maybe executed, {empty} all nodes out)"
            ),
        ),
        (
            "operations given up after 3 tries",
            get(&tally.failed).to_string(),
        ),
        (
            "reads that gave another key's value",
            get(&tally.wrong).to_string(),
        ),
        (
            "reads that found nothing",
            format!("{}, written then", get(&tally.misses)),
        ),
    ]
}

fn of_the_outage(o: &Outage) -> Lines {
    let share = 100.0 * o.moved as f64 / KEYS as f64;
    let (moved, owned, returned) = (o.moved, o.owned, o.returned);
    vec![
        (
            "time to eject",
            format!("{} after the SIGKILL", short(o.eject)),
        ),
        (
            "dials and probes while it was away",
            format!("{} and {}", o.dials, o.probes),
        ),
        (
            "time to recover",
            format!("{} after the server accepted again", short(o.recover)),
        ),
        (
            "keys that moved",
            format!("{moved} of {KEYS} ({share:.1} %); the dead server had {owned}"),
        ),
        (
            "keys of other servers that moved",
            o.moved_of_others.to_string(),
        ),
        (
            "keys at home after its return",
            format!("{returned} of {KEYS}"),
        ),
        (
            "other servers' own keys meanwhile",
            format!("{:.0} % of the rate before", 100.0 * o.others),
        ),
    ]
}

pub fn short(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds if seconds >= 0.01 => format!("{:.0} ms", 1000.0 * seconds),
        seconds => format!("{:.1} ms", 1000.0 * seconds),
    }
}
