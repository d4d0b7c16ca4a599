//! `fluster plan`: how many keys would move, and between which nodes.

use std::io::Write as _;
use std::process::ExitCode;

use fluster::placement::Migration;

use crate::args::Plan;
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::grid::{Grid, percent};
use crate::out::Out;
use crate::text::shown;

pub fn run(args: &Plan, out: &mut Out) -> Result<ExitCode, Fault> {
    let cluster = Cluster::from_args(&args.cluster)?;
    let other = cluster.other(&args.to)?;
    let from = cluster.table()?;
    let to = other.table().map_err(|fault| fault.about("--to"))?;
    let migration = from.migration(&to);
    if args.json {
        let mut answer = serde_json::json!(migration);
        answer["from"] = from.fingerprint().to_string().into();
        answer["to"] = to.fingerprint().to_string().into();
        writeln!(out, "{answer}")?;
        return Ok(ExitCode::SUCCESS);
    }
    if !migration.moves().is_empty() {
        moves(&migration, out)?;
    }
    let how = match migration.sampled_keys() {
        Some(keys) => format!("± {}, by {keys} keys", percent(migration.margin())),
        None => "exactly".to_owned(),
    };
    let pairs = match migration.moves().len() {
        1 => "1 pair".to_owned(),
        pairs => format!("{pairs} pairs"),
    };
    writeln!(
        out,
        "{} of the keys move ({how}), between {pairs} of nodes",
        percent(migration.moved())
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The table of who gives keys to whom.
pub fn moves(migration: &Migration, out: &mut Out) -> Result<(), Fault> {
    let mut grid = Grid::new(&["from", "to", ">share"]);
    for step in migration.moves() {
        grid.row([
            shown(&step.from).into(),
            shown(&step.to).into(),
            percent(step.share).into(),
        ]);
    }
    Ok(grid.print(out)?)
}
