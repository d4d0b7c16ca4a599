//! From measurements to tables.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::machine;
use crate::stats::Spread;

pub const RUN: &str = "fluster-run";
pub const GET_CLIENT: &str = "fluster-get_client";
pub const DEDICATED: &str = "fluster-dedicated";
pub const MUX: &str = "redis-mux";
pub const MUX_AGAIN: &str = "redis-mux-again";
pub const MANAGER: &str = "redis-manager";
pub const DEADPOOL: &str = "deadpool-redis";
pub const BB8: &str = "bb8-redis";
pub const FRED: &str = "fred-pool";
pub const FRED_ONE: &str = "fred-one";
pub const TWEMPROXY: &str = "twemproxy";

/// All of them, in the order of the tables.
pub const CONTESTANTS: [&str; 11] = [
    RUN, GET_CLIENT, DEDICATED, MUX, MUX_AGAIN, MANAGER, TWEMPROXY, FRED, FRED_ONE, BB8, DEADPOOL,
];

/// What a contestant is called in a table.
#[must_use]
pub fn title(name: &str) -> &str {
    match name {
        RUN => "**fluster, `run`**",
        GET_CLIENT => "fluster, `get_client`",
        DEDICATED => "fluster, `dedicated`",
        MUX => "redis-rs `MultiplexedConnection`, hand-sharded",
        MUX_AGAIN => "the same once more: the noise",
        MANAGER => "redis-rs `ConnectionManager`",
        DEADPOOL => "deadpool-redis",
        BB8 => "bb8-redis",
        FRED => "fred, pool of 16",
        FRED_ONE => "fred, pool of 1",
        TWEMPROXY => "twemproxy (the client's part)",
        other => other,
    }
}

/// The versions of what is compared.
#[must_use]
pub fn versions() -> Value {
    let packages = [
        "fluster",
        "redis",
        "tokio",
        "deadpool-redis",
        "deadpool",
        "bb8",
        "bb8-redis",
        "fred",
    ];
    let mut all: serde_json::Map<_, _> = packages
        .iter()
        .map(|name| ((*name).to_owned(), json!(machine::locked(name))))
        .collect();
    all.insert(
        "nutcracker".into(),
        json!(machine::version_of("nutcracker", "-V")),
    );
    Value::Object(all)
}

/// The ratios of two contestants in `field`, one per round in which both were measured.
#[must_use]
pub fn ratio(
    rows: &[Value],
    cell: (&str, u64),
    field: &str,
    who: &str,
    base: &str,
) -> Option<Spread> {
    let of = |name: &str| -> std::collections::BTreeMap<u64, f64> {
        of_cell(rows, cell, name)
            .filter_map(|row| Some((row["round"].as_u64()?, row[field].as_f64()?)))
            .collect()
    };
    let (mine, theirs) = (of(who), of(base));
    Spread::of(
        mine.iter()
            .filter_map(|(round, n)| Some(n / theirs.get(round)?)),
    )
}

/// The spread of `field` of one contestant.
#[must_use]
pub fn plain(rows: &[Value], cell: (&str, u64), field: &str, who: &str) -> Option<Spread> {
    Spread::of(of_cell(rows, cell, who).filter_map(|row| row[field].as_f64()))
}

fn of_cell<'a>(
    rows: &'a [Value],
    (op, tasks): (&'a str, u64),
    who: &'a str,
) -> impl Iterator<Item = &'a Value> {
    rows.iter()
        .filter(move |row| row["op"] == op && row["tasks"] == tasks && row["who"] == who)
}

/// The cells that were measured, in order.
#[must_use]
pub fn cells(rows: &[Value]) -> Vec<(String, u64)> {
    let mut all: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row["op"].as_str()?.to_owned(), row["tasks"].as_u64()?)))
        .collect();
    all.sort();
    all.dedup();
    all
}

/// One table per operation and number of tasks.
#[must_use]
pub fn throughput(rows: &[Value]) -> String {
    let mut text = String::new();
    for (op, tasks) in cells(rows) {
        let cell = (op.as_str(), tasks);
        let _ = writeln!(
            text,
            "### {}, {tasks} {}\n\n| | ops/s | CPU per op | p50 | p99 | CPU, us | allocations | bytes |\n|---|---|---|---|---|---|---|---|",
            op.to_uppercase(),
            if tasks == 1 { "task" } else { "tasks" },
        );
        for who in CONTESTANTS {
            let Some(ops) = ratio(rows, cell, "ops", who, MUX) else {
                continue;
            };
            let other =
                |field| ratio(rows, cell, field, who, MUX).map_or("-".into(), |s| format!("{s:#}"));
            let own = |field, digits: usize| {
                plain(rows, cell, field, who)
                    .map_or("-".into(), |s| format!("{:.digits$}", s.median))
            };
            let _ = writeln!(
                text,
                "| {} | {ops:#} | {} | {} | {} | {} | {} | {} |",
                title(who),
                other("cpu_us"),
                other("p50_us"),
                other("p99_us"),
                own("cpu_us", 1),
                own("allocations", 1),
                own("bytes", 0),
            );
        }
        text.push('\n');
    }
    text
}

/// One row per kind of traffic and number of tasks.
#[must_use]
pub fn wire(rows: &[Value]) -> String {
    let mut text = String::from(
        "| over the connections | tasks | | ops/s | CPU per op | p50 | p99 | allocations | bytes |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for (op, tasks) in cells(rows) {
        let cell = (op.as_str(), tasks);
        for who in [RUN, GET_CLIENT, FRED_ONE, MUX_AGAIN] {
            let of = |field| ratio(rows, cell, field, who, MUX).map(|s| format!("{s:#}"));
            let own = |field| {
                plain(rows, cell, field, who).map_or("-".into(), |s| format!("{:.1}", s.median))
            };
            let (Some(ops), Some(cpu)) = (of("ops"), of("cpu_us")) else {
                continue;
            };
            let _ = writeln!(
                text,
                "| {op} | {tasks} | {} | {ops} | {cpu} | {} | {} | {} | {} |",
                title(who),
                of("p50_us").unwrap_or_default(),
                of("p99_us").unwrap_or_default(),
                own("allocations"),
                own("bytes"),
            );
        }
    }
    text
}

/// fluster's `run` against the others, as ratios of operations and of CPU per operation.
#[must_use]
pub fn against(rows: &[Value]) -> String {
    let mut text = String::new();
    for (title, field, base) in [
        ("ops/s against hand-sharded redis-rs", "ops", MUX),
        ("CPU per op against hand-sharded redis-rs", "cpu_us", MUX),
        ("ops/s against fred, pool of 16", "ops", FRED),
        ("CPU per op against fred, pool of 16", "cpu_us", FRED),
        ("ops/s against fred, pool of 1", "ops", FRED_ONE),
        ("ops/s against deadpool-redis", "ops", DEADPOOL),
        ("CPU per op against deadpool-redis", "cpu_us", DEADPOOL),
        ("noise: redis-rs against itself, ops/s", "ops", MUX_AGAIN),
        (
            "noise: redis-rs against itself, CPU per op",
            "cpu_us",
            MUX_AGAIN,
        ),
    ] {
        let who = if base == MUX_AGAIN { MUX } else { RUN };
        let row: Vec<String> = cells(rows)
            .iter()
            .map(|(op, tasks)| {
                ratio(rows, (op, *tasks), field, who, base).map_or("-".into(), |s| format!("{s:#}"))
            })
            .collect();
        if row.iter().any(|cell| cell != "-") {
            let _ = writeln!(text, "| {title} | {} |", row.join(" | "));
        }
    }
    let head: Vec<String> = cells(rows)
        .iter()
        .map(|(op, tasks)| format!("{} {tasks}", op.to_uppercase()))
        .collect();
    format!(
        "| fluster, `run` | {} |\n|{}\n{text}",
        head.join(" | "),
        "---|".repeat(head.len() + 1)
    )
}

/// The contestants of the failure bench, in the order of its tables.
pub const FAILING: [&str; 8] = [
    RUN, GET_CLIENT, MUX, MANAGER, DEADPOOL, BB8, FRED, TWEMPROXY,
];

/// One table per fault and time-out.
#[must_use]
pub fn failure(rows: &[Value]) -> String {
    let mut text = String::new();
    for (fault, says) in [("kill", "SIGKILL"), ("stop", "SIGSTOP")] {
        for (limit, with) in [(Value::Null, "defaults"), (json!(250), "250 ms")] {
            let of = |who: &'static str| {
                let limit = limit.clone();
                rows.iter().filter(move |row| {
                    row["fault"] == fault && row["limit_ms"] == limit && row["who"] == who
                })
            };
            if FAILING.iter().all(|who| of(who).next().is_none()) {
                continue;
            }
            let _ = writeln!(
                text,
                "### {says}, {with}\n\n| | other nodes' keys served | victim's keys served | errors | longest call, other keys | longest call, victim's keys | back after |\n|---|---|---|---|---|---|---|"
            );
            for who in FAILING {
                let all: Vec<_> = of(who).collect();
                let median = |field: &str| {
                    Spread::of(all.iter().filter_map(|row| row[field].as_f64())).map(|s| s.median)
                };
                let (Some(healthy), Some(victim)) = (median("healthy"), median("victim")) else {
                    continue;
                };
                let never = all.iter().filter(|row| row["back_ms"].is_null()).count();
                let back = match median("back_ms") {
                    Some(ms) if 2 * never < all.len() => format!("{ms:.0} ms"),
                    _ => "not in 3 s".into(),
                };
                let number = |field| median(field).map_or("-".into(), |n| format!("{n:.0}"));
                let _ = writeln!(
                    text,
                    "| {} | {healthy:.1} % | {victim:.1} % | {} | {} ms | {} ms | {back} |",
                    title(who),
                    number("errors"),
                    number("stall_healthy_ms"),
                    number("stall_victim_ms"),
                );
            }
            text.push('\n');
        }
    }
    text
}

/// What a recorder and a subscriber add.
#[must_use]
pub fn observed(rows: &[Value]) -> String {
    let mut text = String::from(
        "| CPU per GET, against no recorder and no subscriber | 16 tasks | 64 | 256 |\n|---|---|---|---|\n",
    );
    for (who, says) in [
        ("plain again", "the same once more: the noise"),
        ("metrics", "Prometheus recorder"),
        (
            "metrics and tracing",
            "Prometheus recorder, tracing subscriber at INFO",
        ),
    ] {
        let row: Vec<String> = [16, 64, 256]
            .iter()
            .map(|&tasks| {
                ratio(rows, ("get", tasks), "cpu_us", who, "plain")
                    .map_or("-".into(), |s| format!("{s:#}"))
            })
            .collect();
        let _ = writeln!(text, "| {says} | {} |", row.join(" | "));
    }
    text
}

/// The spread of a field over the rows of one part that have these fields.
#[must_use]
pub fn spread(rows: &[Value], fields: &Value, field: &str) -> Option<Spread> {
    let fields = fields.as_object()?;
    let same = |row: &&Value| fields.iter().all(|(name, value)| row[name] == *value);
    Spread::of(
        rows.iter()
            .filter(same)
            .filter_map(|row| row[field].as_f64()),
    )
}

/// The different values of a number in the rows of one part, in order.
#[must_use]
pub fn values(rows: &[Value], part: &str, field: &str) -> Vec<u64> {
    let of_part = rows.iter().filter(|row| row["part"] == part);
    let mut all: Vec<u64> = of_part.filter_map(|row| row[field].as_u64()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Threads, changes and memory.
#[must_use]
pub fn growth(rows: &[Value]) -> String {
    let mut text = String::new();
    let show = |spread: Option<Spread>, unit: f64, digits: usize| {
        spread.map_or("-".into(), |s| {
            let [low, median, high] = [s.low, s.median, s.high].map(|n| n / unit);
            format!("{median:.digits$} [{low:.digits$} {high:.digits$}]")
        })
    };
    for nodes in values(rows, "threads", "nodes") {
        let _ = writeln!(
            text,
            "### Tight loop, {nodes} nodes, ns of CPU per call\n\n| threads | lookup alone | `get_client` | `get_node` |\n|---|---|---|---|"
        );
        for threads in values(rows, "threads", "threads") {
            let cell = json!({"part": "threads", "nodes": nodes, "threads": threads});
            let of = |field| show(spread(rows, &cell, field), 1.0, 1);
            let _ = writeln!(
                text,
                "| {threads} | {} | {} | {} |",
                of("lookup_ns"),
                of("get_client_ns"),
                of("get_node_ns")
            );
        }
        text.push('\n');
    }
    let all = values(rows, "changes", "nodes");
    if !all.is_empty() {
        text.push_str("### A node is added and removed under a reader\n\n| nodes | adding, ms of CPU | removing, ms of CPU | reader's longest gap, us | the same while nothing changes, us |\n|---|---|---|---|---|\n");
    }
    for nodes in all {
        let cell = json!({"part": "changes", "nodes": nodes});
        let of = |field, unit, digits| show(spread(rows, &cell, field), unit, digits);
        let _ = writeln!(
            text,
            "| {nodes} | {} | {} | {} | {} |",
            of("added_us", 1e3, 2),
            of("removed_us", 1e3, 2),
            of("gap_us", 1.0, 0),
            of("gap_alone_us", 1.0, 0)
        );
    }
    let all = values(rows, "memory", "nodes");
    if !all.is_empty() {
        text.push_str("\n### Memory\n\n| nodes | the ring's table, KiB | cluster, configured, KiB | per connected idle node, KiB more | of it resident, KiB |\n|---|---|---|---|---|\n");
    }
    for nodes in all {
        let cell = json!({"part": "memory", "nodes": nodes});
        let of = |field| spread(rows, &cell, field).map_or(0.0, |s| s.median / 1024.0);
        let per_node = |field| of(field) / nodes as f64;
        let _ = writeln!(
            text,
            "| {nodes} | {:.0} | {:.0} | {:.1} | {:.1} |",
            of("ring_bytes"),
            of("configured_bytes"),
            per_node("connected_bytes"),
            per_node("connected_resident_bytes")
        );
    }
    text
}

/// One lane or two.
#[must_use]
pub fn lanes(rows: &[Value]) -> String {
    let mut text = String::from(
        "| link and load | lanes | small/s | CPU per small | p50 | p99 | 1 MB/s |\n|---|---|---|---|---|---|---|\n",
    );
    for (op, tasks) in cells(rows) {
        for who in ["one again", "two in turn", "two by size"] {
            let of = |field| {
                ratio(rows, (&op, tasks), field, who, "one")
                    .map_or("-".into(), |s| format!("{s:#}"))
            };
            if of("ops") != "-" {
                let _ = writeln!(
                    text,
                    "| {op} | {who} | {} | {} | {} | {} | {} |",
                    of("ops"),
                    of("cpu_us"),
                    of("p50_us"),
                    of("p99_us"),
                    of("large")
                );
            }
        }
    }
    text
}
