//! Why a key is served by the node that serves it.

use std::fmt;
use std::time::Duration;

use crate::clock;
use crate::cluster::FlusterCluster;
use crate::cluster::engine::Engine;
#[cfg(feature = "serde")]
use crate::cluster::status::json;
use crate::health::NodeState;
use crate::health::verdict::Reason;
use crate::node::NodeId;
use crate::placement::{Fingerprint, HashTags};

/// So many candidates are listed: the last of a thousand nodes tell nothing.
const LISTED: usize = 32;
/// So many nodes that are out are named in the reason.
const NAMED: usize = 3;

/// Where a key belongs and who serves it now; see [`explain`](FlusterCluster::explain).
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// The placement rule, as it is written in a configuration.
    pub placement: String,
    /// The placement in 64 bits: processes with the same one agree on every key.
    pub fingerprint: Fingerprint,
    /// What is taken for a hash tag.
    pub hash_tags: HashTags,
    /// The part of the key that decides: the hash tag, or all of it.
    pub hashed: Vec<u8>,
    /// Whether that is a hash tag.
    pub is_tag: bool,
    /// What the rule's hash makes of it; `None` for rules that hash a key with the name of each node.
    pub hash: Option<u64>,
    /// The node that the key belongs to.
    pub owner: NodeId,
    /// The node that serves it now; `None` while none is in service.
    pub serves: Option<NodeId>,
    /// Why it is that one, in a sentence.
    pub why: String,
    /// The nodes in the order in which they would serve the key, the owner first; 32 at most.
    pub candidates: Vec<Candidate>,
    /// How many more there are.
    pub more: usize,
}

/// One node in an [`Explanation`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Candidate {
    /// The node's name.
    #[cfg_attr(feature = "serde", serde(serialize_with = "json::text"))]
    pub node: NodeId,
    /// What it does for traffic.
    #[cfg_attr(feature = "serde", serde(serialize_with = "json::text"))]
    pub state: NodeState,
    /// Whether it is in service: keys whose earlier candidates are out are served by it.
    pub in_service: bool,
    /// Whether it was [drained](FlusterCluster::drain_node).
    pub drained: bool,
    /// Why it is out, or was last.
    #[cfg_attr(feature = "serde", serde(serialize_with = "json::optional_text"))]
    pub reason: Option<Reason>,
    /// The time until its next probe, while it is out. As JSON `retry_after_ms`.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "retry_after_ms", serialize_with = "json::millis")
    )]
    pub retry_after: Option<Duration>,
}

impl Candidate {
    /// `cache-b is out (refused)`; for those that are not in service.
    fn absence(&self) -> String {
        let node = &self.node;
        match (self.drained, self.reason) {
            (true, _) => format!("{node} is drained"),
            (false, Some(reason)) => format!("{node} is out ({reason})"),
            (false, None) => format!("{node} is out"),
        }
    }
}

impl FlusterCluster {
    /// Why a key is served by the node that serves it: its hash tag, its hash, its candidates in order, and who of
    /// them is out. No I/O. The key is kept nowhere; the answer has the part of it that is hashed.
    ///
    /// ```
    /// # let cluster = fluster::FlusterCluster::from_urls(["redis://10.0.0.1", "redis://10.0.0.2"])?;
    /// let all_is_well = cluster.explain("cart:{42}");
    /// assert_eq!((&*all_is_well.hashed, all_is_well.is_tag), (&b"42"[..], true));
    /// assert_eq!(all_is_well.why, "it is the owner, and in service");
    ///
    /// cluster.drain_node(&all_is_well.owner)?;
    /// let stand_in = cluster.explain("cart:{42}");
    /// assert_eq!(stand_in.serves.as_ref(), Some(&stand_in.candidates[1].node));
    /// assert!(stand_in.why.contains("is drained"), "{}", stand_in.why);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn explain(&self, key: impl AsRef<[u8]>) -> Explanation {
        self.engine().explain(key.as_ref())
    }
}

impl Engine {
    pub(crate) fn explain(&self, key: &[u8]) -> Explanation {
        self.locked(|state, _| {
            let (snapshot, now) = (self.snapshot.load(), clock::now());
            let (table, health) = (&snapshot.table, &state.health);
            let candidate = |index: usize| {
                let backend = &snapshot.nodes[index];
                let key = backend.key();
                Candidate {
                    node: backend.id().clone(),
                    state: health.state(key).unwrap_or(NodeState::Down),
                    in_service: snapshot.live.contains(index),
                    drained: health.overruled(key).drained,
                    reason: health.reason(key),
                    retry_after: health.retry_after(key, now),
                }
            };
            let candidates: Vec<Candidate> =
                table.candidates(key).take(LISTED).map(candidate).collect();
            let serves = snapshot.first(key).map(candidate);
            let owner = candidate(table.owner(key));
            let hashed = table.hash_tags().tagged(key);
            Explanation {
                placement: self.options.placement.shown(),
                fingerprint: table.fingerprint(),
                hash_tags: table.hash_tags(),
                is_tag: hashed.len() < key.len(),
                hash: table.hash_of(key),
                why: why(&owner, serves.as_ref(), &candidates),
                hashed: hashed.to_vec(),
                more: snapshot.nodes.len() - candidates.len(),
                owner: owner.node,
                serves: serves.map(|candidate| candidate.node),
                candidates,
            }
        })
    }
}

/// Why it is that node.
fn why(owner: &Candidate, serves: Option<&Candidate>, candidates: &[Candidate]) -> String {
    let Some(serves) = serves else {
        let absent: Vec<_> = candidates.iter().collect();
        return format!("no node is in service: {}", absences(&absent));
    };
    if serves.node == owner.node {
        return "it is the owner, and in service".to_owned();
    }
    let is_out = |candidate: &&Candidate| !candidate.in_service;
    let before: Vec<_> = candidates.iter().take_while(is_out).collect();
    let next = candidates.get(before.len());
    match next {
        Some(next) if next.node == serves.node => {
            format!("it is the next in service: {}", absences(&before))
        }
        // Rules by remainder look their key up anew.
        _ if before.len() < candidates.len() => format!(
            "{}, and this rule counts those that are in service anew",
            owner.absence()
        ),
        _ => format!("it is the next in service: {}", absences(&before)),
    }
}

fn absences(of: &[&Candidate]) -> String {
    let named: Vec<String> = of.iter().take(NAMED).map(|c| c.absence()).collect();
    let more = match of.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("{}{more}", named.join(", "))
}

/// Without the hashed part: a key may be secret, and this is what gets into logs.
impl fmt::Debug for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explanation")
            .field("owner", &self.owner)
            .field("serves", &self.serves)
            .field("why", &self.why)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Explanation {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let mut all = s.serialize_struct("Explanation", 11)?;
        all.serialize_field("placement", &self.placement)?;
        all.serialize_field("fingerprint", &self.fingerprint)?;
        all.serialize_field("hash_tags", &self.hash_tags)?;
        all.serialize_field("hashed", &crate::error::text::one_line(&self.hashed))?;
        all.serialize_field("hashed_hex", &hex(&self.hashed))?;
        all.serialize_field("is_tag", &self.is_tag)?;
        // JSON's numbers do not reach that far everywhere.
        all.serialize_field("hash", &self.hash.map(|hash| format!("{hash:016x}")))?;
        all.serialize_field("owner", self.owner.as_str())?;
        all.serialize_field("serves", &self.serves.as_ref().map(NodeId::as_str))?;
        all.serialize_field("why", &self.why)?;
        all.serialize_field("candidates", &self.candidates)?;
        all.serialize_field("more", &self.more)?;
        all.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, out: Option<Reason>) -> Candidate {
        Candidate {
            node: crate::node::Node::new("redis://h")
                .expect("a URL")
                .name(name)
                .id(),
            state: match out {
                Some(_) => NodeState::Down,
                None => NodeState::Up,
            },
            in_service: out.is_none(),
            drained: false,
            reason: out,
            retry_after: None,
        }
    }

    #[test]
    fn the_reason_names_those_before_and_no_thousand_of_them() {
        let [a, b, c] = ["a", "b", "c"].map(|name| candidate(name, None));
        let out = |name: &str| candidate(name, Some(Reason::Refused));
        let all = [a.clone(), b.clone()];
        assert_eq!(why(&a, Some(&a), &all), "it is the owner, and in service");
        let all = [out("a"), b.clone(), c.clone()];
        assert_eq!(
            why(&all[0], Some(&b), &all),
            "it is the next in service: a is out (refused)"
        );
        assert_eq!(
            why(&all[0], Some(&c), &all),
            "a is out (refused), and this rule counts those that are in service anew"
        );
        let mut many: Vec<_> = (0..9).map(|n| out(&format!("n{n}"))).collect();
        many[0].drained = true;
        assert_eq!(
            why(&many[0], None, &many),
            "no node is in service: n0 is drained, n1 is out (refused), n2 is out (refused), and 6 more"
        );
        assert_eq!(
            why(&many[0], Some(&c), &many),
            "it is the next in service: n0 is drained, n1 is out (refused), n2 is out (refused), and 6 more",
            "it is behind those that are listed"
        );
    }

    #[test]
    fn the_hashed_part_is_not_in_what_gets_into_logs() {
        let cluster = FlusterCluster::from_urls(["redis://10.0.0.1"]).expect("a cluster");
        let explained = cluster.explain("a:{hunter2}");
        assert_eq!(explained.hashed, b"hunter2");
        assert!(!format!("{explained:?}").contains("hunter2"));
    }
}
