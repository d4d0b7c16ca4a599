//! `fluster ring`: the share of each node, ideal against real.

use std::io::Write as _;
use std::process::ExitCode;

use crate::args::Ring;
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::grid::{Grid, percent};
use crate::out::Out;
use crate::shares::{Share, Shares};
use crate::text::shown;
use crate::{sample, svg};

pub fn run(args: &Ring, out: &mut Out) -> Result<ExitCode, Fault> {
    let cluster = Cluster::from_args(&args.cluster)?;
    if args.keys == 0 {
        return Err(Fault::usage(
            "--keys 0: at least one key has to be looked up",
        ));
    }
    let shares = shares(&cluster, args.keys)?;
    if let Some(path) = &args.plot {
        let name = path.display();
        std::fs::write(path, svg::drawn(&shares)).map_err(|e| {
            Fault::usage(format!("--plot {name}: the picture cannot be written: {e}"))
        })?;
    }
    match args.json {
        true => writeln!(out, "{}", serde_json::json!(shares))?,
        false => print(&shares, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn shares(cluster: &Cluster, keys: u64) -> Result<Shares, Fault> {
    let table = cluster.table()?;
    let mut counts = vec![0_u64; table.nodes() as usize];
    let mut key = Vec::new();
    for number in 0..keys {
        sample::key(number, &mut key);
        counts[table.owner(&key)] += 1;
    }
    let weights: f64 = cluster
        .members()
        .map(|member| f64::from(member.weight))
        .sum();
    let share = |(member, keys_of_it): (fluster::placement::Member<'_>, u64)| Share {
        name: member.name.to_owned(),
        weight: member.weight,
        ideal: f64::from(member.weight) / weights,
        real: keys_of_it as f64 / keys as f64,
        keys: keys_of_it,
    };
    let nodes: Vec<Share> = cluster.members().zip(counts).map(share).collect();
    Ok(Shares {
        placement: cluster.rule(),
        fingerprint: table.fingerprint().to_string(),
        keys,
        standard_deviation: deviation(nodes.iter().map(Share::ratio)),
        nodes,
    })
}

/// From 1, of all there are: these nodes are no sample of others.
fn deviation(ratios: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = ratios.len() as f64;
    (ratios.map(|ratio| (ratio - 1.0).powi(2)).sum::<f64>() / count).sqrt()
}

fn print(shares: &Shares, out: &mut Out) -> Result<(), Fault> {
    let mut grid = Grid::new(&["node", ">weight", ">ideal", ">real", ">real/ideal", ">keys"]);
    for node in &shares.nodes {
        grid.row([
            shown(&node.name).into(),
            node.weight.to_string().into(),
            percent(node.ideal).into(),
            percent(node.real).into(),
            format!("{:.3}", node.ratio()).into(),
            node.keys.to_string().into(),
        ]);
    }
    grid.print(out)?;
    writeln!(
        out,
        "{}, standard deviation {}, fingerprint {}",
        shares.title(),
        percent(shares.standard_deviation),
        shares.fingerprint
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_from_the_ideal() {
        assert_eq!(deviation([1.0, 1.0, 1.0].into_iter()), 0.0);
        assert!((deviation([0.9, 1.1].into_iter()) - 0.1).abs() < 1e-12);
    }
}
