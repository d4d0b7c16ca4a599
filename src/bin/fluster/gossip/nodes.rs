//! What the instances agree on about Redis nodes.

use std::io::Write as _;
use std::process::ExitCode;

use fluster::gossip::{Act, NodeReport};
use serde_json::json;

use super::args::{NodeAct, Nodes, NodesDo};
use super::ask::{Asked, fault};
use crate::fault::{DIFFERENT, Fault};
use crate::grid::{Cell, Grid};
use crate::out::{Ink, Out};
use crate::text::shown;

pub async fn nodes(args: &Nodes, out: &mut Out) -> Result<ExitCode, Fault> {
    let asked = Asked::first(&args.whom).await?;
    if let Some(NodesDo::Drain(act) | NodesDo::Restore(act)) = &args.act {
        let on = matches!(args.act, Some(NodesDo::Drain(_)));
        return tell(args, &asked, act, on, out).await;
    }
    let mut nodes = asked.operator.nodes(asked.at).await.map_err(fault)?;
    nodes.retain(|node| args.scope.as_ref().is_none_or(|scope| *scope == node.scope));
    if args.whom.json {
        let all = serde_json::to_value(&nodes);
        let all = all.map_err(|e| Fault::other(format!("the answer is no JSON: {e}")))?;
        writeln!(out, "{all}")?;
    } else {
        grid(&nodes).print(out)?;
    }
    let is_out = nodes.iter().any(|node| node.decision == "out");
    Ok(ExitCode::from(if is_out { DIFFERENT } else { 0 }))
}

async fn tell(
    args: &Nodes,
    asked: &Asked,
    act: &NodeAct,
    on: bool,
    out: &mut Out,
) -> Result<ExitCode, Fault> {
    let scope = args.scope.as_deref().unwrap_or("redis");
    let told = Act::drain_node(scope, &act.name, on);
    let did = asked.operator.act(asked.at, told).await.map_err(fault)?;
    let text = match (did, on) {
        (true, true) => "is drained at all instances",
        (true, false) => "is restored at all instances",
        (false, _) => "no such node of this scope is shared there, or it is so already",
    };
    match args.whom.json {
        true => writeln!(
            out,
            "{}",
            json!({ "node": act.name, "scope": scope, "done": did })
        )?,
        false => writeln!(out, "{}: {text}", shown(&act.name))?,
    }
    Ok(ExitCode::from(if did { 0 } else { DIFFERENT }))
}

fn grid(nodes: &[NodeReport]) -> Grid {
    let mut grid = Grid::new(&[
        "SCOPE",
        "NODE",
        "HERE",
        "DECISION",
        "EFFECT",
        ">JURORS",
        ">DOWN",
        "SAY DOWN",
        "DRAINED BY",
    ]);
    for node in nodes {
        let said: Vec<_> = node
            .down_by
            .iter()
            .map(|(who, why)| format!("{} ({})", shown(who), shown(why)))
            .collect();
        let drained = match node.drained_by.as_deref() {
            None => "-".to_owned(),
            Some("") => "one that is gone".to_owned(),
            Some(who) => shown(who),
        };
        let ink = match &*node.decision {
            "up" => Ink::Good,
            "undecided" => Ink::Doubtful,
            _ => Ink::Bad,
        };
        grid.row([
            Cell::from(shown(&node.scope)),
            Cell::inked(Ink::Bold, shown(&node.node)),
            Cell::from(shown(&node.local)),
            Cell::inked(ink, shown(&node.decision)),
            Cell::from(shown(&node.effective)),
            Cell::from(format!("{}/{}", node.live, node.jurors)),
            Cell::from(node.down.to_string()),
            Cell::from(if said.is_empty() {
                "-".to_owned()
            } else {
                said.join(", ")
            }),
            Cell::from(drained),
        ]);
    }
    grid
}
