//! From the results in `target/bench` to `BENCHMARKS.md` and `benches/charts/*.svg`; what was not
//! measured is left out. `cargo run --release --bin report`.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use fluster_peers::chart::{Chart, Line};
use fluster_peers::results::{COMMIT, DATE, read};
use fluster_peers::stats::Spread;
use fluster_peers::summary::{self, plain, spread, values};
use serde_json::{Value, json};

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The rows of a file of results; none when there is no such file.
fn rows(name: &str) -> Vec<Value> {
    read(name).map_or_else(Vec::new, |(_, rows)| rows)
}

/// Draws a chart; the line that shows it, or nothing.
fn draw(file: &str, chart: &Chart, says: &str) -> String {
    let Some(svg) = chart.svg() else {
        return String::new();
    };
    let directory = root().join("benches/charts");
    fs::create_dir_all(&directory).expect("a directory for charts");
    fs::write(directory.join(file), svg).expect("write a chart");
    format!("![{}](benches/charts/{file})\n\n{says}\n\n", chart.title)
}

fn line(name: &str, points: impl IntoIterator<Item = (u64, Option<f64>)>) -> Line {
    let points = points.into_iter().filter_map(|(x, y)| Some((x as f64, y?)));
    Line {
        name: name.to_owned(),
        points: points.collect(),
    }
}

fn at(line: &Line, x: u64) -> f64 {
    let found = line.points.iter().find(|point| point.0 == x as f64);
    found.map_or(f64::NAN, |point| point.1)
}

fn ends(line: &Line) -> Option<((f64, f64), (f64, f64))> {
    Some((*line.points.first()?, *line.points.last()?))
}

fn throughput_chart(rows: &[Value]) -> String {
    let tasks: Vec<u64> = summary::cells(rows)
        .into_iter()
        .filter(|(op, _)| op == "get")
        .map(|(_, tasks)| tasks)
        .collect();
    let lines: Vec<Line> = [
        (summary::RUN, "fluster, run"),
        (summary::MUX, "redis-rs, hand-sharded"),
        (summary::MANAGER, "ConnectionManager"),
        (summary::TWEMPROXY, "twemproxy"),
        (summary::FRED_ONE, "fred, pool of 1"),
        (summary::FRED, "fred, pool of 16"),
        (summary::BB8, "bb8"),
        (summary::DEADPOOL, "deadpool-redis"),
    ]
    .into_iter()
    .map(|(who, name)| {
        line(
            name,
            tasks
                .iter()
                .map(|&n| (n, plain(rows, ("get", n), "ops", who).map(|s| s.median))),
        )
    })
    .filter(|line| !line.points.is_empty())
    .collect();
    let Some((_, most)) = lines.first().and_then(ends) else {
        return String::new();
    };
    let before = lines[0].points.iter().rev().nth(1).copied().unwrap_or(most);
    let gain = 100.0 * (most.1 / before.1 - 1.0);
    let says = format!(
        "Where it stops: from {:.0} to {:.0} tasks `run` gains {gain:+.0} %{}. Client and servers share the \
         machine's cores. Pools of exclusive connections stop early: there each command is a packet of its own.",
        before.0,
        most.0,
        if gain < 15.0 {
            ", the cores are full"
        } else {
            ", more commands to a packet"
        }
    );
    let chart = Chart {
        title: "GET of 64 B, 3 nodes".into(),
        x: "tasks",
        y: "operations per second",
        lines,
    };
    draw("throughput.svg", &chart, &says)
}

fn lookup_chart(rows: &[Value]) -> String {
    let nodes = [3, 10, 100, 1000];
    let of = |who: &str, name: &str| {
        line(
            name,
            nodes.iter().map(|&n| {
                let row = rows
                    .iter()
                    .find(|row| row["nodes"] == n && row["who"] == who);
                (n, row.and_then(|row| row["ns"].as_f64()))
            }),
        )
    };
    let lines: Vec<Line> = [
        of("ring: first", "fluster's ring"),
        of("ring: first 2", "its first two"),
        of("xxh3 alone", "hashing the key alone"),
        of("crate pingora-ketama", "pingora-ketama"),
        of("crate hashring", "hashring"),
        of("rendezvous: first", "fluster's rendezvous"),
    ]
    .into_iter()
    .filter(|line| !line.points.is_empty())
    .collect();
    let Some((few, many)) = lines.first().and_then(ends) else {
        return String::new();
    };
    let says = format!(
        "Where it stops: {:.1} ns among {:.0} nodes, {:.1} ns among {:.0}, where the table (3 MiB) has left the \
         inner caches and a look-up waits for memory.",
        few.1, few.0, many.1, many.0
    );
    let chart = Chart {
        title: "From a key to its node".into(),
        x: "nodes",
        y: "ns per look-up",
        lines,
    };
    draw("lookup.svg", &chart, &says)
}

fn lookup_table(rows: &[Value]) -> String {
    let mut text = String::from(
        "| median ratio [quartiles] | 3 nodes | 10 | 100 | 1000 |\n|---|---|---|---|---|\n",
    );
    for (who, base, field) in [
        ("crate hashring", "fluster's ring", "to_first"),
        ("crate pingora-ketama", "fluster's ring", "to_first"),
        ("ring: first", "hashing alone (xxh3)", "to_hash"),
        ("ring: first", "a bare bucketed ring", "to_bare"),
        ("ring: first 2", "the first alone", "to_first"),
    ] {
        let _ = write!(text, "| {who} / {base} ");
        for nodes in [3, 10, 100, 1000] {
            let row = rows
                .iter()
                .find(|row| row["nodes"] == nodes && row["who"] == who);
            let ratio = row.and_then(|row| {
                let [low, median, high] = [0, 1, 2].map(|n| row[field][n].as_f64());
                Some(Spread {
                    low: low?,
                    median: median?,
                    high: high?,
                })
            });
            let _ = write!(
                text,
                "| {} ",
                ratio.map_or("-".into(), |s| format!("{s:#}"))
            );
        }
        text.push_str("|\n");
    }
    text
}

fn threads_chart(rows: &[Value]) -> String {
    let threads = values(rows, "threads", "threads");
    let of = |name: &str, nodes: u64, field: &str| {
        line(
            name,
            threads.iter().map(|&n| {
                let cell = json!({"part": "threads", "nodes": nodes, "threads": n});
                (n, spread(rows, &cell, field).map(|s| s.median))
            }),
        )
    };
    let lines = vec![
        of("get_client, 3 nodes", 3, "get_client_ns"),
        of("get_client, 100 nodes", 100, "get_client_ns"),
        of("look-up alone, 3 nodes", 3, "lookup_ns"),
    ];
    let Some((one, many)) = ends(&lines[0]) else {
        return String::new();
    };
    let says = format!(
        "Where it stops: {:.0} ns on one thread, {:.0} ns on two in a tight loop, {:.0} ns of CPU on {:.0}. What the \
         threads share are the nodes' counts of references: where threads have no cache in common, that is the \
         limit. `run` takes no handle.",
        one.1,
        at(&lines[0], 2),
        many.1,
        many.0
    );
    let chart = Chart {
        title: "get_client in a tight loop".into(),
        x: "threads",
        y: "ns of CPU per call",
        lines,
    };
    draw("get_client.svg", &chart, &says)
}

fn changes_chart(rows: &[Value]) -> String {
    let nodes = values(rows, "changes", "nodes");
    let of = |name: &str, field: &str| {
        line(
            name,
            nodes.iter().map(|&n| {
                let cell = json!({"part": "changes", "nodes": n});
                (n, spread(rows, &cell, field).map(|s| s.median / 1e3))
            }),
        )
    };
    let lines = vec![
        of("a node is added", "added_us"),
        of("a node is removed", "removed_us"),
    ];
    let Some((_, many)) = ends(&lines[0]) else {
        return String::new();
    };
    let says = format!(
        "Where it stops: the writer builds the whole ring anew, so its cost grows with the nodes, to {:.1} ms of one \
         core at {:.0}. Readers take the old snapshot until the new one is there, and never wait.",
        many.1, many.0
    );
    let chart = Chart {
        title: "A new set of nodes is published".into(),
        x: "nodes",
        y: "ms of CPU of the writer",
        lines,
    };
    draw("publication.svg", &chart, &says)
}

fn memory_chart(rows: &[Value]) -> String {
    let nodes = values(rows, "memory", "nodes");
    let of = |name: &str, fields: &[&str]| {
        line(
            name,
            nodes.iter().map(|&n| {
                let cell = json!({"part": "memory", "nodes": n});
                let all: Option<f64> = fields
                    .iter()
                    .map(|f| Some(spread(rows, &cell, f)?.median))
                    .sum();
                (n, all.map(|bytes| bytes / 1024.0))
            }),
        )
    };
    let lines = vec![
        of(
            "connected and idle",
            &["configured_bytes", "connected_bytes"],
        ),
        of("configured", &["configured_bytes"]),
        of("of it the ring's table", &["ring_bytes"]),
    ];
    let (Some((_, all)), Some((_, idle))) = (ends(&lines[0]), ends(&lines[1])) else {
        return String::new();
    };
    let says = format!(
        "Where it stops: it does not; it is linear, at {:.0} nodes {:.1} KiB per configured node and {:.1} KiB more \
         per connected one.",
        all.0,
        idle.1 / idle.0,
        (all.1 - idle.1) / all.0
    );
    let chart = Chart {
        title: "Memory of a cluster".into(),
        x: "nodes",
        y: "KiB on the heap",
        lines,
    };
    draw("memory.svg", &chart, &says)
}

fn conditions() -> String {
    let mut text = String::new();
    let about = [
        "throughput.jsonl",
        "failure.jsonl",
        "growth.jsonl",
        "observed.jsonl",
        "lanes.jsonl",
    ]
    .iter()
    .find_map(|name| Some(read(name)?.0));
    let Some(about) = about else { return text };
    let word = |value: &Value| value.as_str().unwrap_or("not installed").to_owned();
    let _ = writeln!(
        text,
        "Machine: {}; the servers run on the same cores.",
        word(&about["machine"])
    );
    let server =
        rows_about("throughput.jsonl", "server").or_else(|| rows_about("failure.jsonl", "server"));
    if let Some(server) = server {
        let version = server
            .split_whitespace()
            .find_map(|w| w.strip_prefix("v="))
            .unwrap_or(&server)
            .to_owned();
        let _ = writeln!(text, "Servers: redis-server {version}.");
    }
    if let Some(packages) = about["packages"].as_object() {
        let all: Vec<String> = packages
            .iter()
            .filter(|(_, version)| version.is_string())
            .map(|(name, version)| match name.as_str() {
                "nutcracker" => word(version).replace("This is nutcracker-", "nutcracker "),
                _ => format!("{name} {}", word(version)),
            })
            .collect();
        let _ = writeln!(text, "Versions: {}.", all.join(", "));
    }
    text
}

/// When and of which sources a file's measurements are, as a sentence in front of what follows.
fn when(name: &str) -> String {
    match (rows_about(name, DATE), rows_about(name, COMMIT)) {
        (Some(date), Some(commit)) => format!("Measured on {date}, at {commit}. "),
        _ => String::new(),
    }
}

fn rows_about(name: &str, field: &str) -> Option<String> {
    read(name)?.0[field].as_str().map(str::to_owned)
}

fn main() {
    let throughput = rows("throughput.jsonl");
    let failure = rows("failure.jsonl");
    let growth = rows("growth.jsonl");
    let observed = rows("observed.jsonl");
    let lanes = rows("lanes.jsonl");
    let placement = rows("placement.jsonl");
    let mut text = String::from(
        "# Benchmarks\n\nWritten by `make bench`; `make bench-report` writes it again from the results in `target/bench`.\n\n\
         Figures are ratios of two contestants in the same round: the median over the rounds, and in brackets the \
         quartiles. All contestants live in one process and are under load one at a time, in an order drawn anew for \
         each round; one of them runs twice, and how far it is from itself is the noise. Trust ratios, not absolutes; \
         another machine has other absolutes.\n\n",
    );
    text.push_str(&conditions());
    text.push('\n');
    if !throughput.is_empty() {
        let rounds = throughput
            .iter()
            .filter_map(|row| row["round"].as_u64())
            .max()
            .unwrap_or(0)
            + 1;
        let _ = writeln!(
            text,
            "## Throughput\n\n{}`cargo run --release --bin throughput` in `benches/peers`, {rounds} rounds. Three nodes, \
             values of 64 B, 10 000 keys; pools have 16 connections per node; CPU is the client process's own \
             (getrusage), allocations and bytes are per operation.\n\n{}\n{}In all tables below the ratios are to \
             hand-sharded redis-rs.\n\n{}",
            when("throughput.jsonl"),
            summary::against(&throughput),
            format_args!("\n{}", throughput_chart(&throughput)),
            summary::throughput(&throughput)
        );
    }
    let wire = rows("wire.jsonl");
    if !wire.is_empty() {
        let _ = writeln!(
            text,
            "## By what goes over the connections\n\n{}`cargo run --release --bin wire` in `benches/peers`. fluster beside one \
             redis-rs connection per node, picked by hand; ratios to it. Pipelines are of one node; \
             fred is beside but for TLS (a stack of its own) and pipelines.\n\n{}",
            when("wire.jsonl"),
            summary::wire(&wire)
        );
    }
    if !failure.is_empty() {
        let _ = writeln!(
            text,
            "## One of three servers fails\n\n{}`cargo run --release --bin failure` in `benches/peers`. 64 tasks offer \
             6400 GET/s on a timetable; the server is killed, or stopped, for 3 s. A task that waited works off what \
             was due meanwhile, except for what is due for more than a second; what is not answered before the outage ends \
             counts as not served.\n\n{}",
            when("failure.jsonl"),
            summary::failure(&failure)
        );
    }
    if !observed.is_empty() {
        let _ = writeln!(
            text,
            "## Metrics and logs\n\n{}`cargo run --release --bin observed`.\n\n{}",
            when("observed.jsonl"),
            summary::observed(&observed)
        );
    }
    if !placement.is_empty() {
        let _ = writeln!(
            text,
            "## Placement\n\n`cargo bench --bench placement`; 100 000 keys of 16 bytes.\n\n{}\n{}",
            lookup_table(&placement),
            lookup_chart(&placement)
        );
    }
    if !growth.is_empty() {
        let _ = writeln!(
            text,
            "## How the cost grows\n\n{}`cargo run --release --bin growth` in `benches/peers`.\n\n{}{}{}{}",
            when("growth.jsonl"),
            threads_chart(&growth),
            changes_chart(&growth),
            memory_chart(&growth),
            summary::growth(&growth)
        );
    }
    if !lanes.is_empty() {
        let _ = writeln!(
            text,
            "## One lane per node, or two\n\n{}`cargo run --release --bin lanes` in `benches/peers`. Ratios to one lane; \
             64 tasks read 64 B, alone and beside two tasks that read and write 1 MB.\n\n{}",
            when("lanes.jsonl"),
            summary::lanes(&lanes)
        );
    }
    if let Ok(counts) =
        fs::read_to_string(fluster_peers::results::directory().join("instructions.tsv"))
    {
        text.push_str("## Instructions\n\n`make bench-check`: per call, counted by callgrind.\n\n| path | instructions |\n|---|---|\n");
        for line in counts.lines() {
            let _ = writeln!(text, "| {} |", line.replace('\t', " | "));
        }
    }
    let path = root().join("BENCHMARKS.md");
    fs::write(&path, text).expect("write BENCHMARKS.md");
    println!("BENCHMARKS.md and benches/charts are written");
}
