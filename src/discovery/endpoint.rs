//! What a source knows of one server, and of all of them at one moment.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::build_error::BuildError;
use crate::error::text::{escaped, one_line, refuse_name};
use crate::node::{Address, Node};

/// So many endpoints are read of one answer, whatever a cluster would apply: 8 MiB hold a hundred
/// thousand, and each costs some hundred bytes.
pub(super) const MOST: usize = 65_536;
/// DNS knows no longer names.
const LONGEST_HOST: usize = 255;
/// Consul's own limit is 512.
const LONGEST_LABEL: usize = 1_024;

/// One server, as a source of endpoints describes it.
///
/// It becomes a [`Node`] by what [`Follow`](super::Follow) says. `Debug` shows no password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint {
    /// What identifies it within its source; the name of its node, unless something else is said.
    pub id: String,
    /// The name of the service that it belongs to, where the source has such a thing.
    pub service: Option<String>,
    /// A name or an IP address; the path of a Unix socket when `port` is 0.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The share of keys relative to the others, at least 1.
    pub weight: u32,
    /// In the source's order.
    pub tags: Vec<String>,
    /// Whatever else the source says of it; the labels of its node, but for those that are none: a key
    /// that could not be a name, a value of more than 1024 characters or with such that cannot be seen.
    pub meta: BTreeMap<String, String>,
    /// For sources that list whole nodes, with their URLs.
    node: Option<Node>,
}

impl Endpoint {
    /// A server of weight 1, identified by `host:port`. [Example](crate::guide::by_example#sources).
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        Self {
            id: address(&host, port),
            service: None,
            host,
            port,
            weight: 1,
            tags: Vec::new(),
            meta: BTreeMap::new(),
            node: None,
        }
    }

    /// `host:port`, with brackets around an IPv6 address. [Example](crate::guide::by_example#sources).
    #[must_use]
    pub fn address(&self) -> String {
        address(&self.host, self.port)
    }

    /// The node that the source itself has listed, with its scheme and its credentials. [Example](crate::guide::by_example#sources).
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// A node at this endpoint: `redis://host:port`, with its id, its weight and its `meta` as labels. [Example](crate::guide::by_example#sources).
    ///
    /// # Errors
    ///
    /// [`BuildError::Url`] when the host is none, or the port is 0.
    pub fn to_node(&self) -> Result<Node, BuildError> {
        if let Some(node) = &self.node {
            return Ok(node.clone());
        }
        let refuse = |why: &str| BuildError::Url {
            url: one_line(format!("redis://{}", self.address())),
            why: why.into(),
        };
        // What a source says must not become another part of the URL than the host.
        let is_odd = |c: char| !(c.is_alphanumeric() || "-_.:%".contains(c));
        let is_long = self.host.len() > LONGEST_HOST;
        if self.host.is_empty() || is_long || self.host.contains(is_odd) {
            return Err(refuse("its host is no name and no address of a host"));
        }
        let node = Node::new(format!("redis://{}", self.address()))?;
        // A URL is read with escapes, a source's word is not: what is not taken as it is, is refused.
        let is_literal = match &node.endpoint().address {
            Address::Tcp { host, .. } => *host == self.host || is_same_ip(host, &self.host),
            Address::Unix(_) | Address::Sentinel(_) => false,
        };
        if !is_literal {
            return Err(refuse("its host is no name and no address of a host"));
        }
        let node = node.name(&self.id).weight(self.weight);
        let labels = self.meta.iter().filter(|(key, value)| is_label(key, value));
        Ok(labels.fold(node, |node, (key, value)| node.label(key, value)))
    }
}

impl From<Node> for Endpoint {
    fn from(node: Node) -> Self {
        let (host, port) = match &node.endpoint().address {
            Address::Tcp { host, port } => (host.clone(), *port),
            Address::Unix(path) => (path.display().to_string(), 0),
            Address::Sentinel(sentinels) => (sentinels.to_string(), 0),
        };
        Self {
            id: node.id_ref().to_string(),
            weight: node.weight_value(),
            meta: node.labels().clone(),
            node: Some(node),
            ..Self::new(host, port)
        }
    }
}

/// Two spellings of one address, such as `::1` and `0:0:0:0:0:0:0:1`.
fn is_same_ip(a: &str, b: &str) -> bool {
    let ip = |text: &str| text.parse::<IpAddr>().ok();
    ip(a).is_some() && ip(a) == ip(b)
}

/// Labels are shown by `status` and in logs: one line each.
fn is_label(key: &str, value: &str) -> bool {
    refuse_name(key).is_none() && escaped(value, LONGEST_LABEL) == value
}

/// The two parts of `host:port`; an IPv6 address stands in brackets. A host that could not be one in a URL is none.
#[cfg(any(feature = "discovery-etcd", all(feature = "gossip", feature = "serde")))]
pub(crate) fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || "/@".contains(c);
    let is_host = !host.is_empty() && !host.contains(odd);
    let port = port.parse().ok().filter(|port| *port > 0)?;
    is_host.then_some((host, port))
}

fn address(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// All endpoints of a source at one moment: sorted by id, each id once. Cheap to clone.
///
/// When a source lists an id twice the lowest address of the two stays, whatever their order, so that
/// all processes keep the same one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Snapshot(Arc<[Endpoint]>);

impl Snapshot {
    /// The endpoints in the order of their ids. [Example](crate::guide::by_example#sources).
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.0
    }

    /// How many endpoints there are. [Example](crate::guide::by_example#following-a-source).
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none. [Example](crate::guide::by_example#sources).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The endpoints that `keep` says yes to. [Example](crate::guide::by_example#sources).
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&Endpoint) -> bool) -> Self {
        Self(self.0.iter().filter(|e| keep(e)).cloned().collect())
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.0.binary_search_by(|e| e.id.as_str().cmp(id)).is_ok()
    }
}

impl FromIterator<Endpoint> for Snapshot {
    fn from_iter<I: IntoIterator<Item = Endpoint>>(endpoints: I) -> Self {
        let mut all: Vec<_> = endpoints.into_iter().collect();
        all.sort_by(|a, b| {
            let order = |e: &Endpoint| (e.port, e.weight);
            (&a.id, &a.host, order(a), &a.tags).cmp(&(&b.id, &b.host, order(b), &b.tags))
        });
        all.dedup_by(|next, first| next.id == first.id);
        Self(all.into())
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.0.iter().map(|e| (&e.id, e.address(), e.weight));
        f.debug_list().entries(each).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_sorted_and_has_each_id_once_whatever_the_order() {
        let of = |id: &str, host: &str| Endpoint {
            id: id.into(),
            ..Endpoint::new(host, 1)
        };
        let one = [of("b", "h2"), of("a", "h9"), of("b", "h1"), of("c", "h3")];
        let snapshot: Snapshot = one.iter().cloned().collect();
        let backwards: Snapshot = one.iter().rev().cloned().collect();
        assert_eq!(snapshot, backwards);
        let ids: Vec<_> = snapshot.endpoints().iter().map(|e| &*e.id).collect();
        assert_eq!(ids, ["a", "b", "c"]);
        assert_eq!(snapshot.endpoints()[1].host, "h1");
        assert!(snapshot.has("b") && !snapshot.has("d"));
    }

    #[test]
    fn an_endpoint_becomes_a_node_and_an_odd_host_does_not() {
        let mut endpoint = Endpoint::new("::1", 7000);
        endpoint.id = "vm/redis-1".into();
        endpoint.weight = 3;
        endpoint.meta.insert("zone".into(), "a".into());
        let node = endpoint.to_node().unwrap();
        assert_eq!(node.id(), "vm/redis-1");
        assert_eq!(node.endpoint().to_string(), "[::1]:7000");
        assert_eq!(node.weight_value(), 3);
        assert_eq!(node.labels()["zone"], "a");
        for (host, port) in [
            ("", 1),
            ("user:pw@h", 1),
            ("h/0", 1),
            ("h?x", 1),
            ("h#x", 1),
            ("a b", 1),
            ("a\nb", 1),
            ("h%41", 1),
            ("h%2e", 1),
            ("%31", 1),
            ("[::1]", 1),
            ("::1]", 1),
            ("h", 0),
        ] {
            let error = Endpoint::new(host, port).to_node().unwrap_err();
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        for host in [
            "0:0:0:0:0:0:0:1",
            "H.Example",
            "a_b",
            "10.0.0.1",
            "cache.internal.",
        ] {
            assert!(Endpoint::new(host, 1).to_node().is_ok(), "{host}");
        }
    }

    #[test]
    fn a_listed_node_keeps_its_url() {
        let node = Node::new("redis://u:hunter2@h:7000/2")
            .unwrap()
            .name("n")
            .weight(2);
        let endpoint = Endpoint::from(node.clone());
        assert_eq!(
            (&*endpoint.id, endpoint.port, endpoint.weight),
            ("n", 7000, 2)
        );
        assert_eq!(endpoint.to_node().unwrap(), node);
        assert!(!format!("{endpoint:?}").contains("hunter2"));
    }

    #[cfg(any(feature = "discovery-etcd", all(feature = "gossip", feature = "serde")))]
    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, parts) in [
            ("10.0.0.1:7946", Some(("10.0.0.1", 7_946))),
            ("a.b:1", Some(("a.b", 1))),
            ("[::1]:7", Some(("::1", 7))),
            ("::1:7", None),
            ("a", None),
            ("a:0", None),
            (":7", None),
            ("a:99999", None),
            ("[::1:7", None),
            ("a b:7", None),
            ("user@a:7", None),
            ("http://a:7", None),
        ] {
            assert_eq!(host_and_port(text), parts, "{text}");
        }
    }
}
