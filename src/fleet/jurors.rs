//! Whose evidence about a node counts.

use std::cmp::Reverse;

use super::evidence::NodeHash;
use crate::hash::xxh3_64;

/// The first `most` of the instances by rendezvous hash over ring id, scope and node, as places in the list; all, where
/// there are no more. Whoever comes or goes changes the jurors of a node by one at most.
pub(crate) fn jurors(ring_ids: &[&str], scope: &str, node: NodeHash, most: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..ring_ids.len()).collect();
    if all.len() > most {
        all.sort_by_cached_key(|&place| {
            let ring_id = ring_ids[place];
            (Reverse(score(ring_id, scope, node)), ring_id)
        });
        all.truncate(most);
        all.sort_unstable();
    }
    all
}

fn score(ring_id: &str, scope: &str, node: NodeHash) -> u64 {
    let mut text = Vec::with_capacity(ring_id.len() + scope.len() + 10);
    text.extend_from_slice(ring_id.as_bytes());
    text.push(0);
    text.extend_from_slice(scope.as_bytes());
    text.push(0);
    text.extend_from_slice(&node.to_le_bytes());
    xxh3_64(&text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ids(n: usize) -> Vec<String> {
        (0..n).map(|n| format!("instance-{n}")).collect()
    }

    fn named<'a>(ids: &[&'a str], node: NodeHash, most: usize) -> BTreeSet<&'a str> {
        let places = jurors(ids, "redis", node, most);
        places.into_iter().map(|place| ids[place]).collect()
    }

    #[test]
    fn a_few_are_all_jurors_and_of_many_so_many_are_in_whatever_order() {
        let ids = ids(40);
        let mut names: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert_eq!(jurors(&names[..15], "redis", 7, 15).len(), 15);
        let some = named(&names, 7, 15);
        assert_eq!(some.len(), 15);
        names.reverse();
        assert_eq!(named(&names, 7, 15), some);
        assert_ne!(named(&names, 8, 15), some, "others for another node");
    }

    #[test]
    fn who_goes_is_replaced_by_one_other() {
        let ids = ids(40);
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        for node in 0..50 {
            let before = named(&names, node, 15);
            for gone in 0..names.len() {
                let mut rest = names.clone();
                let name = rest.remove(gone);
                let after = named(&rest, node, 15);
                let stayed = before.intersection(&after).count();
                assert_eq!(stayed, if before.contains(name) { 14 } else { 15 });
            }
        }
    }
}
