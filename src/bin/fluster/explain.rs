//! `fluster explain`: why a key is served by the node that serves it.

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::Value;

use crate::args::Explain;
use crate::cluster::Cluster;
use crate::fault::{Fault, NO_NODE, UNREACHABLE};
use crate::grid::{Cell, Grid};
use crate::of::Application;
use crate::out::{Ink, Out};
use crate::text::{hex, shown, unhex};
use crate::time;

pub fn run(args: &Explain, out: &mut Out) -> Result<ExitCode, Fault> {
    let bytes = args.key.as_encoded_bytes();
    let mut key = Vec::new();
    match args.hex {
        true => unhex(bytes, &mut key).map_err(|why| Fault::usage(format!("key {why}")))?,
        false => key.extend(bytes),
    }
    let limit = args
        .timeout
        .as_deref()
        .map(|text| time::read("--timeout", text));
    let said = match Application::from_args(&args.of, limit.transpose()?)? {
        Some(application) => {
            if args.cluster.config.is_some() || !args.cluster.nodes.is_empty() {
                return Err(Fault::usage(
                    "--of asks an application for its nodes: leave --config and --node out",
                ));
            }
            crate::runtime()?.block_on(application.explain(&hex(&key)))?
        }
        None => configured(args, &key)?,
    };
    match args.json {
        true => writeln!(out, "{said}")?,
        false => print(&said, out)?,
    }
    Ok(match said["serves"].is_string() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(NO_NODE),
    })
}

/// By the configuration. No server is asked.
fn configured(args: &Explain, key: &[u8]) -> Result<Value, Fault> {
    let cluster = Cluster::from_args(&args.cluster)?.builder()?.build()?;
    for name in &args.down {
        cluster
            .drain_node(name)
            .map_err(|_| Fault::usage(format!("--down {}: no node has this name", shown(name))))?;
    }
    serde_json::to_value(cluster.explain(key)).map_err(|e| Fault::other(e.to_string()))
}

fn print(said: &Value, out: &mut Out) -> Result<(), Fault> {
    let text = |value: &Value| value.as_str().map_or_else(|| "-".to_owned(), shown);
    let is_tag = said["is_tag"].as_bool().unwrap_or_default();
    let hash = match said["hash"].as_str() {
        Some(hash) => shown(hash),
        None => "one for each node".to_owned(),
    };
    for (name, value) in [
        ("served by", text(&said["serves"])),
        ("because", text(&said["why"])),
        ("owner", text(&said["owner"])),
        (
            if is_tag { "hash tag" } else { "hashed" },
            text(&said["hashed"]),
        ),
        ("hash", hash),
        ("placement", text(&said["placement"])),
    ] {
        writeln!(
            out,
            "{}{value}",
            out.inked(Ink::Dim, &format!("{name:<11}"))
        )?;
    }
    writeln!(out)?;
    let candidates = said["candidates"].as_array();
    let candidates =
        candidates.ok_or_else(|| Fault::new(UNREACHABLE, "the answer has no candidates"))?;
    let mut grid = Grid::new(&[">", "candidate", "state"]);
    for (rank, one) in (1..).zip(candidates) {
        let serves = one["in_service"].as_bool().unwrap_or_default();
        let drained = one["drained"].as_bool().unwrap_or_default();
        let (ink, state) = match (serves, drained) {
            (_, true) => (Ink::Doubtful, "drained".to_owned()),
            (true, false) => (Ink::Good, text(&one["state"])),
            (false, false) => (
                Ink::Bad,
                format!("{} ({})", text(&one["state"]), text(&one["reason"])),
            ),
        };
        grid.row([
            Cell::inked(Ink::Dim, rank.to_string()),
            Cell::inked(Ink::Bold, text(&one["node"])),
            Cell::inked(ink, state),
        ]);
    }
    grid.print(out)?;
    match said["more"].as_u64() {
        Some(more) if more > 0 => writeln!(out, "and {more} more")?,
        _ => {}
    }
    Ok(())
}
