//! `fluster top`: the nodes, live, those with the most traffic before the others.

use std::process::ExitCode;

use crate::args::Top;
use crate::fault::Fault;
use crate::out::Out;
use crate::status::{Rates, TOP_ASKED, TOP_TOLD, fitting, watch};
use crate::view::{NodeView, View};

pub fn run(args: &Top, out: &mut Out) -> Result<ExitCode, Fault> {
    watch(&args.look, true, out, |view, rates, screen| {
        let columns = match view.is_asked {
            true => &TOP_ASKED[..],
            false => &TOP_TOLD,
        };
        let mut nodes = view.sorted();
        nodes.sort_by(|one, other| {
            let health = view.health(one).cmp(&view.health(other));
            health.then_with(|| traffic(view, other, rates).total_cmp(&traffic(view, one, rates)))
        });
        fitting(view, &nodes, columns, screen, rates)
    })
}

fn traffic(view: &View, node: &NodeView, rates: &Rates) -> f64 {
    match view.is_asked {
        true => node.ops_per_s.unwrap_or(0) as f64,
        false => rates.of(node).unwrap_or(0.0),
    }
}
