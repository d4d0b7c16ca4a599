//! `fluster status --compare`: do two configurations place keys the same way?

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use fluster::placement::{Live, Member, Table};
use serde::Serialize;

use crate::cluster::Cluster;
use crate::fault::{DIFFERENT, Fault};
use crate::grid::{Cell, Grid, percent};
use crate::out::{Ink, Out};
use crate::text::shown;
use crate::{plan, sample};

/// So many keys are tried before we say that we know of none.
const TRIED: u64 = 20_000;

/// How a configuration and another one differ.
#[derive(Serialize)]
struct Comparison {
    same: bool,
    fingerprints: [String; 2],
    placements: [String; 2],
    hash_tags: [String; 2],
    /// The share of keys (without hash tags) that another node owns.
    moved: f64,
    /// Otherwise that was counted on some keys.
    is_exact: bool,
    nodes: Vec<NodeDifference>,
    /// An address that is one node here and another one there.
    crossed: Vec<Crossed>,
    example: Option<Example>,
}

/// A node that is not the same in both.
#[derive(Serialize)]
struct NodeDifference {
    name: String,
    weights: [Option<u32>; 2],
    addresses: [Option<String>; 2],
    /// Shares of all keys.
    loses: f64,
    gains: f64,
}

#[derive(Serialize)]
struct Crossed {
    address: String,
    names: [String; 2],
}

/// A key that shows it.
#[derive(Serialize)]
struct Example {
    key: String,
    /// The node that is out, when it takes that for a difference.
    out: Option<String>,
    owners: [String; 2],
}

pub fn run(cluster: &Cluster, file: &Path, json: bool, out: &mut Out) -> Result<ExitCode, Fault> {
    let other = Cluster::read(file).map_err(|fault| fault.about("--compare"))?;
    let tables = [cluster.table()?, other.table()?];
    let found = compared([cluster, &other], &tables)?;
    match json {
        true => writeln!(out, "{}", serde_json::json!(found))?,
        false => print(&found, &tables, out)?,
    }
    Ok(match found.same {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(DIFFERENT),
    })
}

fn compared(clusters: [&Cluster; 2], tables: &[Table; 2]) -> Result<Comparison, Fault> {
    let [here, there] = tables;
    let is_placed_alike = here.fingerprint() == there.fingerprint();
    let migration = here.migration(there);
    let (mut loses, mut gains) = (BTreeMap::new(), BTreeMap::new());
    for step in migration.moves() {
        *loses.entry(step.from.as_str()).or_insert(0.0) += step.share;
        *gains.entry(step.to.as_str()).or_insert(0.0) += step.share;
    }
    let members = clusters.map(|cluster| -> BTreeMap<&str, Member<'_>> {
        cluster
            .members()
            .map(|member| (member.name, member))
            .collect()
    });
    let names: BTreeSet<&str> = members.iter().flat_map(BTreeMap::keys).copied().collect();
    let nodes = names.into_iter().map(|name| {
        let both = [0, 1].map(|n| members[n].get(name));
        NodeDifference {
            name: name.to_owned(),
            weights: both.map(|member| member.map(|member| member.weight)),
            addresses: both.map(|member| member.and_then(address)),
            loses: loses.get(name).copied().unwrap_or(0.0),
            gains: gains.get(name).copied().unwrap_or(0.0),
        }
    });
    let crossed = crossed(&members);
    Ok(Comparison {
        same: is_placed_alike && crossed.is_empty(),
        fingerprints: [here, there].map(|table| table.fingerprint().to_string()),
        placements: clusters.map(Cluster::rule),
        hash_tags: [here, there].map(|table| table.hash_tags().to_string()),
        moved: migration.moved(),
        is_exact: migration.is_exact(),
        nodes: nodes.filter(NodeDifference::is_one).collect(),
        crossed,
        example: (!is_placed_alike).then(|| example(here, there)).flatten(),
    })
}

impl Comparison {
    /// What the difference comes to.
    fn difference(&self) -> String {
        if self.fingerprints[0] == self.fingerprints[1] {
            return "the same names stand for different servers".to_owned();
        }
        if self.moved > 0.0 {
            let about = if self.is_exact { "" } else { "about " };
            return format!(
                "{about}{} of the keys have another node",
                percent(self.moved)
            );
        }
        match &self.example {
            Some(Example { out: Some(_), .. }) => {
                "every key has the same node, but not the same stand-in while that is out"
                    .to_owned()
            }
            Some(Example { key, .. }) if key.starts_with('{') => {
                "keys with hash tags have another node".to_owned()
            }
            _ => "few keys have another node, or only while several nodes are out".to_owned(),
        }
    }
}

impl NodeDifference {
    fn is_one(&self) -> bool {
        let is_same = self.weights[0] == self.weights[1] && self.addresses[0] == self.addresses[1];
        !is_same || self.loses > 0.0 || self.gains > 0.0
    }
}

fn address(member: &Member<'_>) -> Option<String> {
    member.address.map(|(host, port)| match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    })
}

/// Servers that have one name here and another there: equal placements would still use different servers.
fn crossed(members: &[BTreeMap<&str, Member<'_>>; 2]) -> Vec<Crossed> {
    let by_address = |n: usize| -> BTreeMap<String, &str> {
        let members = members[n].values();
        members
            .filter_map(|member| Some((address(member)?, member.name)))
            .collect()
    };
    let (here, there) = (by_address(0), by_address(1));
    let pairs = here.into_iter().filter_map(|(address, name)| {
        let other = *there.get(&address).filter(|other| **other != name)?;
        Some(Crossed {
            address,
            names: [name.to_owned(), other.to_owned()],
        })
    });
    pairs.collect()
}

/// The first key that lives elsewhere; then one whose stand-in does.
fn example(here: &Table, there: &Table) -> Option<Example> {
    let mut key = Vec::new();
    let name = |table: &Table, node: Option<usize>| {
        let name = node.and_then(|node| table.name(node));
        name.unwrap_or("nobody").to_owned()
    };
    let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    for number in 0..TRIED {
        for make in [sample::key, sample::tagged] {
            make(number, &mut key);
            let owners = [here, there].map(|table| name(table, Some(table.owner(&key))));
            if owners[0] != owners[1] {
                return Some(Example {
                    key: text(&key),
                    out: None,
                    owners,
                });
            }
        }
    }
    for number in 0..TRIED / 20 {
        sample::key(number, &mut key);
        let out = here.owner(&key);
        let stand_ins = [here, there].map(|table| {
            let live = Live::all(table.nodes()).with(table.owner(&key), false);
            let other = table.for_live(&live);
            name(table, other.as_ref().unwrap_or(table).first(&key, &live))
        });
        if stand_ins[0] != stand_ins[1] {
            return Some(Example {
                key: text(&key),
                out: Some(name(here, Some(out))),
                owners: stand_ins,
            });
        }
    }
    None
}

fn print(found: &Comparison, tables: &[Table; 2], out: &mut Out) -> Result<(), Fault> {
    let [here, there] = tables;
    let verdict = match found.same {
        true => out.inked(Ink::Good, "the same: every key has the same nodes in both"),
        false => out.inked(Ink::Bad, &format!("different: {}", found.difference())),
    };
    writeln!(out, "{verdict}")?;
    let mut grid = Grid::new(&["", "here", "there"]);
    for (what, [one, other]) in [
        ("placement", &found.placements),
        ("hash tags", &found.hash_tags),
        ("fingerprint", &found.fingerprints),
    ] {
        let ink = if one == other { Ink::Plain } else { Ink::Bad };
        grid.row([what.into(), one.as_str().into(), Cell::inked(ink, other)]);
    }
    grid.print(out)?;
    if !found.nodes.is_empty() {
        writeln!(out)?;
        nodes(&found.nodes, out)?;
    }
    if found.moved > 0.0 {
        writeln!(out)?;
        plan::moves(&here.migration(there), out)?;
    }
    for Crossed {
        address,
        names: [one, other],
    } in &found.crossed
    {
        let (one, other) = (shown(one), shown(other));
        writeln!(
            out,
            "the server at {address} is {one} here and {other} there"
        )?;
    }
    match &found.example {
        Some(Example {
            key,
            out: None,
            owners: [one, other],
        }) => {
            let (one, other) = (shown(one), shown(other));
            writeln!(
                out,
                "for example, the key {key} is on {one} here and on {other} there"
            )?;
        }
        Some(Example {
            key,
            out: Some(node),
            owners: [one, other],
        }) => {
            let (node, one, other) = (shown(node), shown(one), shown(other));
            writeln!(
                out,
                "for example, while {node} is out the key {key} is on {one} here and on {other} there"
            )?;
        }
        None if !found.same && found.crossed.is_empty() => {
            writeln!(out, "none of {TRIED} keys shows it")?;
        }
        None => {}
    }
    Ok(())
}

fn nodes(nodes: &[NodeDifference], out: &mut Out) -> Result<(), Fault> {
    let mut grid = Grid::new(&["node", "here", "there", ">loses", ">gains"]);
    let side = |node: &NodeDifference, n: usize| match (node.weights[n], &node.addresses[n]) {
        (None, _) => "missing".to_owned(),
        (Some(weight), Some(address)) => format!("{address}, weight {weight}"),
        (Some(weight), None) => format!("weight {weight}"),
    };
    for node in nodes {
        let sides = [0, 1].map(|n| side(node, n));
        let ink = if sides[0] == sides[1] {
            Ink::Plain
        } else {
            Ink::Doubtful
        };
        let [here, there] = sides;
        grid.row([
            shown(&node.name).into(),
            shown(here).into(),
            Cell::inked(ink, shown(there)),
            percent(node.loses).into(),
            percent(node.gains).into(),
        ]);
    }
    Ok(grid.print(out)?)
}
