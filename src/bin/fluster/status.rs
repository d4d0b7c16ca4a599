//! `fluster status`: the nodes as they are now.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fluster::FlusterCluster;
use serde_json::Value;

use crate::args::{Look, Status};
use crate::cluster::Cluster;
use crate::compare;
use crate::fault::{Fault, UNREACHABLE};
use crate::grid::{Cell, Grid};
use crate::look::look;
use crate::of::Application;
use crate::out::{Ink, Out};
use crate::screen::{Screen, cut};
use crate::text::shown;
use crate::time;
use crate::view::{Health, NodeView, View, size};

/// Between two looks, unless --interval says otherwise.
const EVERY: Duration = Duration::from_secs(1);
/// So much of a name and of an address is shown on a terminal, as far as there is room.
const ROOM: [(usize, usize); 4] = [(32, 28), (24, 21), (18, 16), (24, 0)];

pub fn run(args: &Status, out: &mut Out) -> Result<ExitCode, Fault> {
    if let Some(file) = &args.compare {
        let cluster = Cluster::from_all(&args.look.cluster, &args.look.urls)?;
        return compare::run(&cluster, file, args.look.json, out);
    }
    watch(&args.look, args.watch, out, |view, _, screen| {
        let columns = match (view.is_asked, args.wide) {
            (true, false) => &ASKED[..],
            (true, true) => &ASKED_WIDE,
            (false, false) => &TOLD,
            (false, true) => &TOLD_WIDE,
        };
        let nodes = view.sorted();
        fitting(view, &nodes, columns, screen, &Rates::default())
    })
}

/// Where the document comes from.
enum Source {
    Application(Application),
    Servers(FlusterCluster),
}

impl Source {
    async fn look(&self) -> Result<Value, Fault> {
        match self {
            Self::Application(application) => application.status().await,
            Self::Servers(cluster) => Ok(look(cluster).await),
        }
    }
}

/// What was sent between two looks, by node and second.
#[derive(Default)]
pub struct Rates {
    last: Option<(Instant, Vec<(String, u64)>)>,
    per_second: Vec<Option<f64>>,
}

impl Rates {
    fn see(&mut self, view: &View) {
        let now = Instant::now();
        let counts: Vec<_> = view
            .nodes
            .iter()
            .map(|n| (n.name.clone(), n.commands))
            .collect();
        if let Some((at, before)) = &self.last {
            let seconds = now.duration_since(*at).as_secs_f64().max(1e-3);
            let rate = |(at, (name, count)): (usize, &(String, u64))| {
                // In the same place, unless the nodes changed.
                let same = before.get(at).filter(|(other, _)| other == name);
                let was = same.or_else(|| before.iter().find(|(other, _)| other == name));
                was.map(|(_, was)| count.saturating_sub(*was) as f64 / seconds)
            };
            self.per_second = counts.iter().enumerate().map(rate).collect();
        }
        self.last = Some((now, counts));
    }

    pub fn of(&self, node: &NodeView) -> Option<f64> {
        self.per_second.get(node.at).copied().flatten()
    }
}

/// Looks once, or over and over, and prints what `draw` makes of it.
pub fn watch(
    args: &Look,
    goes_on: bool,
    out: &mut Out,
    draw: impl Fn(&View, &Rates, Option<Screen>) -> Grid,
) -> Result<ExitCode, Fault> {
    let limit = args
        .timeout
        .as_deref()
        .map(|text| time::read("--timeout", text));
    let every = args
        .interval
        .as_deref()
        .map(|text| time::read("--interval", text));
    let (limit, every) = (limit.transpose()?, every.transpose()?.unwrap_or(EVERY));
    let runtime = crate::runtime()?;
    let source = match Application::from_args(&args.of, limit)? {
        Some(application) => {
            let cluster = &args.cluster;
            if cluster.config.is_some() || !cluster.nodes.is_empty() || !args.urls.is_empty() {
                return Err(Fault::usage(
                    "--of asks an application for its nodes: leave --config, --node and URLs out",
                ));
            }
            Source::Application(application)
        }
        None => {
            let cluster = Cluster::from_all(&args.cluster, &args.urls)?;
            let mut builder = cluster.builder()?.runtime(runtime.handle().clone());
            if let Some(limit) = limit {
                builder = builder
                    .connect_timeout(limit)
                    .response_timeout(limit)
                    .deadline(limit);
            }
            Source::Servers(builder.build()?)
        }
    };
    runtime.block_on(async {
        let (mut rates, mut answered) = (Rates::default(), None::<Instant>);
        loop {
            let looked = source.look().await;
            let mut document = match (looked, answered) {
                (Ok(document), _) => document,
                // Who watches an application wants to see it come back.
                (Err(fault), Some(at)) if goes_on && out.is_screen && !args.json => {
                    let why = format!("no answer for {} s: {fault}\n", at.elapsed().as_secs());
                    write!(out, "{}", out.inked(Ink::Bad, &why))?;
                    out.flush()?;
                    tokio::time::sleep(every).await;
                    continue;
                }
                (Err(fault), _) => return Err(fault),
            };
            answered = Some(Instant::now());
            let view = View::read(&document)?;
            rates.see(&view);
            if goes_on && out.is_screen && !args.json {
                // In one write with what follows, so nothing flickers. Lines that are too long are cut: a
                // wrapped one would push the first off the screen.
                write!(out, "\x1b[?7l\x1b[H\x1b[J")?;
            }
            if args.json {
                if args.down_only {
                    keep_unwell(&view, &mut document);
                }
                writeln!(out, "{document}")?;
            } else {
                print(&view, args, goes_on, &rates, out, &draw)?;
            }
            if !goes_on {
                return Ok(ExitCode::from(if view.is_well() { 0 } else { UNREACHABLE }));
            }
            if out.is_screen && !args.json {
                let hint = format!("every {every:?}; Ctrl-C ends it\n");
                write!(out, "{}\x1b[?7h", out.inked(Ink::Dim, &hint))?;
            } else if !args.json {
                writeln!(out)?;
            }
            out.flush()?;
            tokio::time::sleep(every).await;
        }
    })
}

fn keep_unwell(view: &View, document: &mut Value) {
    let mut nodes = view.nodes.iter();
    if let Some(list) = document["nodes"].as_array_mut() {
        list.retain(|_| {
            nodes
                .next()
                .is_some_and(|node| view.health(node) != Health::Well)
        });
    }
}

fn print(
    view: &View,
    args: &Look,
    goes_on: bool,
    rates: &Rates,
    out: &mut Out,
    draw: &impl Fn(&View, &Rates, Option<Screen>) -> Grid,
) -> Result<(), Fault> {
    // A pipe and a file have room for all of it.
    let mut screen = out.is_screen.then(Screen::now);
    if let Some(screen) = &mut screen {
        // The heading, the summary, and the prompt or the hint.
        screen.lines = match args.all {
            true => usize::MAX,
            false => screen.lines.saturating_sub(3 + usize::from(goes_on)),
        };
    }
    let shown_view;
    let view_of = match args.down_only {
        true => {
            shown_view = unwell(view);
            &shown_view
        }
        false => view,
    };
    draw(view_of, rates, screen).print(out)?;
    writeln!(out, "{}", view.summary())?;
    for queue in &view.queues {
        writeln!(
            out,
            "queue {}: {} waiting, {} in flight, {} for later, {} dead letters",
            shown(&queue.name),
            queue.messages,
            queue.in_flight,
            queue.delayed,
            queue.dead
        )?;
    }
    Ok(())
}

/// Those that are not well.
fn unwell(view: &View) -> View {
    let nodes = view
        .nodes
        .iter()
        .filter(|node| view.health(node) != Health::Well);
    View {
        nodes: nodes.cloned().collect(),
        placement: view.placement.clone(),
        fingerprint: view.fingerprint.clone(),
        fluster: view.fluster.clone(),
        name: view.name.clone(),
        shares: view.shares.clone(),
        queues: Vec::new(),
        is_asked: view.is_asked,
    }
}

/// A column: its heading, and what stands in it.
pub type Column = (&'static str, fn(&View, &NodeView, &Rates) -> Option<String>);

const LATENCY: Column = (">latency", |_, n, _| {
    n.latency_ms.map(|ms| format!("{ms:.2} ms"))
});
const ROLE: Column = ("role", |_, n, _| n.role.as_deref().map(shown));
const MEMORY: Column = (">memory", |_, n, _| {
    let memory = n.memory_bytes?;
    Some(match n.memory_max_bytes {
        Some(max) if max > 0 => format!("{} of {}", size(memory), size(max)),
        _ => size(memory),
    })
});
const KEYS: Column = (">keys", |_, n, _| n.keys.map(|n| n.to_string()));
const UPTIME: Column = (">uptime", |_, n, _| {
    n.uptime_s.map(|s| time::shown(s.saturating_mul(1000)))
});
const CLIENTS: Column = (">clients", |_, n, _| n.clients.map(|n| n.to_string()));
const OPS: Column = (">ops/s", |_, n, _| n.ops_per_s.map(|n| n.to_string()));
const EVICTED: Column = (">evicted", |_, n, _| n.evicted_keys.map(|n| n.to_string()));
const VERSION: Column = ("version", |_, n, _| n.version.as_deref().map(shown));
const P95: Column = (">p95", |_, n, _| n.p95_ms.map(|ms| format!("{ms:.2} ms")));
const FLIGHT: Column = (">in flight", |_, n, _| Some(n.in_flight.to_string()));
const SENT: Column = (">commands", |_, n, _| Some(n.commands.to_string()));
const DIALS: Column = (">dials", |_, n, _| Some(n.dials.to_string()));
const TIMES_OUT: Column = (">times out", |_, n, _| Some(n.ejections.to_string()));
const RATE: Column = (">commands/s", |_, n, rates| {
    rates.of(n).map(|rate| format!("{rate:.0}"))
});
const SHARE: Column = (">share", |view, n, _| {
    view.shares
        .get(n.at)
        .map(|share| format!("{:.1} %", 100.0 * share))
});

const ASKED: [Column; 4] = [LATENCY, ROLE, MEMORY, KEYS];
const ASKED_WIDE: [Column; 9] = [
    LATENCY, ROLE, MEMORY, KEYS, UPTIME, CLIENTS, OPS, EVICTED, VERSION,
];
const TOLD: [Column; 4] = [SHARE, P95, FLIGHT, SENT];
const TOLD_WIDE: [Column; 7] = [SHARE, P95, FLIGHT, SENT, DIALS, TIMES_OUT, VERSION];
pub const TOP_ASKED: [Column; 5] = [OPS, LATENCY, CLIENTS, MEMORY, KEYS];
pub const TOP_TOLD: [Column; 4] = [RATE, P95, FLIGHT, SHARE];

/// The widest table that the terminal has room for; all of it elsewhere.
pub fn fitting(
    view: &View,
    nodes: &[&NodeView],
    columns: &[Column],
    screen: Option<Screen>,
    rates: &Rates,
) -> Grid {
    let Some(screen) = screen else {
        let room = (usize::MAX, usize::MAX);
        return table(view, nodes, columns, room, None, rates);
    };
    let mut grids = ROOM
        .iter()
        .map(|room| table(view, nodes, columns, *room, Some(screen), rates));
    let mut last = grids.next();
    while last
        .as_ref()
        .is_some_and(|grid| grid.total_width() > screen.columns)
    {
        match grids.next() {
            Some(next) => last = Some(next),
            None => break,
        }
    }
    last.unwrap_or_else(|| Grid::new(&[]))
}

fn table(
    view: &View,
    nodes: &[&NodeView],
    columns: &[Column],
    (names, addresses): (usize, usize),
    screen: Option<Screen>,
    rates: &Rates,
) -> Grid {
    // What is called by its address need not be told twice.
    let has_addresses = addresses > 0 && nodes.iter().any(|node| node.name != node.address);
    let mut headings = vec!["node"];
    headings.extend(has_addresses.then_some("address"));
    headings.push("state");
    headings.extend(columns.iter().map(|(heading, _)| *heading));
    let mut grid = Grid::new(&headings);
    let (mut lines, all) = (
        screen.map_or(usize::MAX, |screen| screen.lines),
        nodes.len(),
    );
    for (done, node) in nodes.iter().enumerate() {
        let health = view.health(node);
        let reason = view.reason(node).filter(|_| health != Health::Well);
        let needs = 1 + usize::from(reason.is_some());
        // The last line says how many more there are, unless there are none.
        let is_last = done + 1 == all;
        if lines < needs + usize::from(!is_last) {
            let well = match health {
                Health::Well => "all of them well",
                _ => "some of them not well",
            };
            grid.note(Cell::inked(
                Ink::Dim,
                format!("and {} more, {well}; --all shows them", all - done),
            ));
            break;
        }
        lines -= needs;
        let mut cells = vec![Cell::inked(Ink::Bold, cut(&shown(&node.name), names))];
        if has_addresses {
            cells.push(cut(&shown(&node.address), addresses).into());
        }
        cells.push(Cell::inked(health.ink(), view.state(node)));
        cells.extend(columns.iter().map(|(_, value)| {
            let value = value(view, node, rates);
            Cell::from(value.unwrap_or_else(|| "-".to_owned()))
        }));
        grid.row(cells);
        if let Some(reason) = reason {
            let longest = screen.map_or(usize::MAX, |screen| screen.columns.saturating_sub(2));
            grid.note(Cell::inked(Ink::Dim, cut(&reason, longest)));
        }
    }
    grid
}
