//! twemproxy's ketama continuum, which is made anew from the servers that are left.

use std::sync::Arc;

use super::super::Member;
use super::super::live::Live;
use super::super::points::{Point, Points};
use super::on_circle;
use super::twemproxy_hash::md5_groups;

/// The servers' names and weights.
type Servers = Arc<[(Box<str>, u32)]>;

pub(super) fn servers(members: &[Member<'_>]) -> Servers {
    let server = |member: &Member<'_>| (member.name.into(), member.weight);
    members.iter().map(server).collect()
}

/// The continuum of the live servers.
///
/// Each has about 160 points times its share, in groups of four from one MD5.
pub(super) fn continuum(servers: &[(Box<str>, u32)], live: &Live) -> Points {
    let (count, total) = live.iter().fold((0_u32, 0_u64), |(count, total), node| {
        (count + 1, total + u64::from(servers[node].1))
    });
    let points = live.iter().flat_map(|node| {
        let (name, weight) = &servers[node];
        let number = u32::try_from(node).unwrap_or(u32::MAX);
        (0..groups(*weight, total, count)).flat_map(move |i| {
            md5_groups(format!("{name}-{i}").as_bytes())
                .map(|hash| Point::new(on_circle(hash), number))
        })
    });
    Points::new(points.collect())
}

/// How many groups of four points a server has.
///
/// Rounded to `f32` after every step, as twemproxy does: 25 equal servers have 39 groups each, not 40.
fn groups(weight: u32, total: u64, count: u32) -> u32 {
    let share = weight as f32 / total as f32;
    let groups = share * 160.0 / 4.0 * count as f32;
    (groups + 1e-10).floor() as u32
}

/// The continuum of some of the servers, and what it takes to make that of others.
#[derive(Clone, Debug)]
pub(in crate::placement) struct Ketama {
    servers: Servers,
    /// Whom the continuum is of.
    of: Live,
    points: Points,
}

impl Ketama {
    /// The continuum of all servers.
    pub(super) fn new(members: &[Member<'_>], nodes: u32) -> Self {
        let (servers, of) = (servers(members), Live::all(nodes));
        let points = continuum(&servers, &of);
        Self {
            servers,
            of,
            points,
        }
    }

    /// The same over the live servers.
    pub(super) fn over(&self, live: &Live) -> Self {
        let of = Live::from_fn(self.of.nodes(), |node| live.contains(node));
        Self {
            servers: Arc::clone(&self.servers),
            points: continuum(&self.servers, &of),
            of,
        }
    }

    pub(super) fn points(&self) -> &Points {
        &self.points
    }

    pub(super) fn is_of(&self, live: &Live) -> bool {
        self.of.is_same(live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_as_by_twemproxy() {
        let equal: Vec<u32> = (1..=100)
            .filter(|&n| groups(1, u64::from(n), n) == 39)
            .collect();
        for n in [25, 47, 50, 55, 61, 71, 94, 100] {
            assert!(
                equal.contains(&n),
                "{n} equal servers have 39 groups: {equal:?}"
            );
        }
        assert!((1..25).all(|n| groups(1, u64::from(n), n) == 40));
        let of_five = [2, 4, 16, 2, 1].map(|weight| groups(weight, 25, 5));
        assert_eq!(of_five, [15, 31, 127, 15, 7]);
        assert_eq!(groups(1, 100_000, 2), 0, "too small a share for any point");
    }
}
