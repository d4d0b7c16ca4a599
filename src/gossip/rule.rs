//! How keys are placed among instances, also where one of them says what the rule cannot do.

use std::net::SocketAddr;

use crate::build_error::BuildError;
use crate::placement::{Member, Placement, Table};

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    placement: Placement,
    /// ringpop names its nodes by their addresses, and hashes their identities.
    by_address: bool,
}

/// A node of a table: of which name, of which identity where that is another one, of which weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    name: Box<str>,
    identity: Option<Box<str>>,
    weight: u16,
}

/// A table, and what was done to those whom the rule cannot place as they want it.
#[derive(Clone)]
pub(crate) struct Placed {
    pub(crate) table: Table,
    /// Whom of the wanted nodes each node of the table is.
    pub(crate) kept: Vec<usize>,
    /// Who weighs 1 here, or is left out.
    pub(crate) unfit: Vec<usize>,
}

impl Rule {
    pub(crate) fn new(placement: Placement) -> Self {
        let by_address = placement.names_by_address();
        Self {
            placement,
            by_address,
        }
    }

    pub(crate) fn named(&self, ring_id: &str, address: SocketAddr, weight: u16) -> Named {
        let name: Box<str> = match self.by_address {
            true => address.to_string().into(),
            false => ring_id.into(),
        };
        Named {
            identity: (self.by_address && *name != *ring_id).then(|| ring_id.into()),
            name,
            weight,
        }
    }

    /// Whether this node can be placed as it is: if not, all instances would do without what it wants.
    pub(crate) fn check(&self, node: &Named) -> Result<(), BuildError> {
        self.table([node]).map(drop)
    }

    /// The table of these nodes, whose names are distinct. One that cannot be placed alone must not take the keys of
    /// the others away: it weighs 1, or is left out. That depends on nothing but the nodes, so all instances do it alike.
    pub(crate) fn placed(&self, nodes: &[Named]) -> Option<Placed> {
        if let Ok(table) = self.table(nodes) {
            return Some(Placed {
                table,
                kept: (0..nodes.len()).collect(),
                unfit: Vec::new(),
            });
        }
        let (mut kept, mut fit, mut unfit) = (Vec::new(), Vec::new(), Vec::new());
        for (place, node) in nodes.iter().enumerate() {
            let light = Named {
                weight: 1,
                ..node.clone()
            };
            let fits = self.check(node).is_ok();
            if !fits {
                unfit.push(place);
            }
            if fits || self.check(&light).is_ok() {
                kept.push(place);
                fit.push(if fits { node.clone() } else { light });
            }
        }
        // Nobody is there, or all together are too many for the rule.
        let table = self.table(&fit).ok()?;
        Some(Placed { table, kept, unfit })
    }

    fn table<'a>(&self, nodes: impl IntoIterator<Item = &'a Named>) -> Result<Table, BuildError> {
        let member = |node: &'a Named| {
            let member = Member::new(&node.name).weight(u32::from(node.weight));
            match &node.identity {
                Some(identity) => member.identity(identity),
                None => member,
            }
        };
        self.placement
            .table(&nodes.into_iter().map(member).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_weight_that_the_rule_cannot_place_takes_nobody_elses_keys() {
        let address = SocketAddr::from(([10, 0, 0, 1], 1));
        let rule = Rule::new(Placement::modulo());
        let nodes = |weight| {
            [("a", 1), ("b", weight), ("c", 1)].map(|(name, w)| rule.named(name, address, w))
        };
        assert!(rule.check(&nodes(2)[1]).is_err() && rule.check(&nodes(1)[1]).is_ok());
        let odd = rule.placed(&nodes(2)).expect("a table");
        let even = rule.placed(&nodes(1)).expect("a table");
        assert_eq!(odd.table.fingerprint(), even.table.fingerprint());
        assert_eq!((odd.kept, odd.unfit), (vec![0, 1, 2], vec![1]));
        assert!(even.unfit.is_empty() && rule.placed(&[]).is_none());
    }
}
