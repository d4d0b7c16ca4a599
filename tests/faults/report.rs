//! One line per scenario, for the guide's table: what the application saw, for how long, and what
//! came back. `scripts/fault-table.sh` makes the table.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use fluster::Event;

use super::rig::Record;

/// The columns, separated by tabs: row, name, calls, errors by kind, time from the first to the end
/// of the last error, longest call, what came back and when.
pub fn line(
    title: &str,
    record: &Record,
    fault: Option<Instant>,
    events: &[(Instant, Event)],
) -> String {
    let (row, name) = title.split_once(' ').unwrap_or(("-", title));
    let kinds: Vec<_> = record
        .kinds()
        .into_iter()
        .map(|(kind, n)| format!("{n} {kind}"))
        .collect();
    let saw = match kinds.is_empty() {
        true => "no error".to_owned(),
        false => kinds.join(", "),
    };
    let first = fault.or_else(|| record.failed().map(|c| c.began).min());
    let last = record.failed().map(|c| c.ended).max();
    let lasted = match (first, last) {
        (Some(first), Some(last)) => text(last.saturating_duration_since(first)),
        _ => "-".to_owned(),
    };
    [
        row.to_owned(),
        name.to_owned(),
        record.calls.len().to_string(),
        saw,
        lasted,
        text(record.longest()),
        came_back(fault, events),
    ]
    .join("\t")
}

fn came_back(fault: Option<Instant>, events: &[(Instant, Event)]) -> String {
    let after = |at: &Instant| fault.is_none_or(|fault| *at >= fault);
    let downs = events
        .iter()
        .filter(|(at, e)| after(at) && matches!(e, Event::NodeDown { .. }))
        .count();
    let ups: Vec<_> = events
        .iter()
        .filter_map(|(at, e)| match e {
            Event::NodeUp { out_for, .. } if after(at) => Some(*out_for),
            _ => None,
        })
        .collect();
    let longest = ups.iter().max().copied().unwrap_or_default();
    match (downs, ups.len()) {
        (0, _) => "no node went out".to_owned(),
        (1, 1) => format!("the node, after {}", text(longest)),
        (n, m) if n == m => format!("each time ({n}), after {} at most", text(longest)),
        (n, m) => format!("{m} of {n} times out"),
    }
}

fn text(time: Duration) -> String {
    match time.as_millis() {
        0 => "< 1 ms".to_owned(),
        ms @ 1..10_000 => format!("{ms} ms"),
        ms => format!("{:.1} s", ms as f64 / 1e3),
    }
}

/// Adds the line to the report, where there is one, and shows it with `--nocapture`.
pub fn write(line: &str) {
    println!("{line}");
    let Some(path) = std::env::var_os("FLUSTER_FAULT_REPORT") else {
        return;
    };
    let file = File::options().create(true).append(true).open(path);
    // One write per line: scenarios run side by side.
    file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .expect("write the fault report");
}
