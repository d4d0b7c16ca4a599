//! One Redis server of a cluster: its name, its address, its weight.

pub(crate) mod client_name;
mod endpoint;
mod sentinel;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub(crate) use self::endpoint::{Address, NodeEndpoint, Transport};
pub(crate) use self::sentinel::SentinelAddress;
use crate::build_error::BuildError;
use crate::error::redact::{has_secret, redacted};
use crate::error::text::{one_line, refuse_name};

/// The name of a node: what identifies it for ever, whatever its address, weight or place in the
/// list become.
///
/// Cheap to clone and to compare; prints as the name.
///
/// ```
/// use fluster::{Node, NodeId};
///
/// let node = Node::new("redis://10.0.0.1")?;
/// assert_eq!(node.id(), NodeId::from("10.0.0.1:6379"));
/// # Ok::<(), fluster::BuildError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The name as a string slice. [Example](crate::guide::by_example#building).
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for NodeId {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for NodeId {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl AsRef<str> for NodeId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for NodeId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for NodeId {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for NodeId {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

/// One Redis server as the application describes it: URL, name, weight, labels.
///
/// The URL is `redis://`, `rediss://` (TLS, feature `tls`), `valkey://`, `valkeys://`, `unix://`, or, for a master
/// that [sentinels](crate::guide::sentinels) know, `redis+sentinel://` or `rediss+sentinel://`:
///
/// ```text
/// redis://[user][:password@]host[:port][/db][?protocol=resp3&client_name=name]
/// unix:///path/to/socket[?db=1&user=u&pass=p&protocol=resp3&client_name=name]
/// redis+sentinel://[user][:password@]host1[:port],host2[:port]/master[/db][?sentinel_password=p&sentinel_username=u]
/// ```
///
/// Default port 6379, database 0, RESP2. User and password are percent-decoded. `rediss://…#insecure`
/// turns the verification of the server's certificate off, and is warned about whenever it is used.
///
/// `Debug` never shows the password.
///
/// ```
/// use fluster::Node;
///
/// let node = Node::new("redis://user:secret@10.0.0.3:7000/2")?
///     .name("cache-3")
///     .weight(2)
///     .label("zone", "a");
/// assert_eq!(node.id(), "cache-3");
/// assert!(!format!("{node:?}").contains("secret"));
/// # Ok::<(), fluster::BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    id: NodeId,
    weight: u32,
    labels: BTreeMap<String, String>,
    endpoint: NodeEndpoint,
}

impl Node {
    /// A node at `url`, named `host:port[/db]` (or the socket's path, or the master that sentinels know), of weight 1. [Example](crate::guide::by_example#building).
    ///
    /// # Errors
    ///
    /// [`BuildError::Url`] when the URL does not parse, names an unknown scheme or option, has no
    /// usable host, or asks for TLS in a build without the feature `tls`.
    pub fn new(url: impl AsRef<str>) -> Result<Self, BuildError> {
        let endpoint: NodeEndpoint = url.as_ref().parse()?;
        Ok(Self {
            id: NodeId::from(endpoint.default_name()),
            weight: 1,
            labels: BTreeMap::new(),
            endpoint,
        })
    }

    /// The name: unique in the cluster, and what placement hashes. Default: `host:port[/db]`. [Example](crate::guide::by_example#building).
    ///
    /// At most 256 bytes, without white space, braces, control characters and others that cannot be seen,
    /// such as those that turn the direction of text: it stands in logs, metrics and on the command line.
    /// [`build`](crate::ClusterBuilder::build) refuses a node that is named so.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.id = NodeId::from(name.into());
        self
    }

    /// The share of keys relative to the other nodes, at least 1. Default: 1. [Example](crate::guide::by_example#building).
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// A label for the application's own use, shown in [`status`](crate::FlusterCluster::status). [Example](crate::guide::by_example#building).
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// The node's name as an identifier. [Example](crate::guide::by_example#building).
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id.clone()
    }

    pub(crate) fn id_ref(&self) -> &NodeId {
        &self.id
    }

    pub(crate) fn weight_value(&self) -> u32 {
        self.weight
    }

    pub(crate) fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    pub(crate) fn endpoint(&self) -> &NodeEndpoint {
        &self.endpoint
    }

    /// This node, reached in the way of another one: all of that one's URL but the address.
    #[cfg(feature = "discovery")]
    pub(crate) fn in_the_way_of(mut self, template: &Self) -> Self {
        let address = self.endpoint.address;
        self.endpoint = NodeEndpoint {
            address,
            ..template.endpoint.clone()
        };
        self
    }

    pub(crate) fn validate(&self) -> Result<(), BuildError> {
        let name = self.id.as_str();
        if let Some(why) = refuse_name(name) {
            return Err(BuildError::Node {
                name: one_line(match name {
                    "" => self.endpoint.default_name(),
                    name => redacted(name, &[]),
                }),
                why: format!("its name {why}: give it another, or leave `name` out for host:port"),
            });
        }
        if has_secret(name) {
            return Err(BuildError::Node {
                name: one_line(redacted(name, &[])),
                why: "its name has a password in it, and everybody sees the name: give it another"
                    .into(),
            });
        }
        if let Some(host) = self.endpoint.nobodys_address() {
            return Err(BuildError::Node {
                name: name.into(),
                why: format!("{host} is no server's address; write the address it listens on"),
            });
        }
        if self.weight == 0 {
            return Err(BuildError::Node {
                name: name.into(),
                why: "its weight is 0: weights start at 1; leave the node out to give it no keys"
                    .into(),
            });
        }
        Ok(())
    }
}

impl FromStr for Node {
    type Err = BuildError;

    fn from_str(url: &str) -> Result<Self, BuildError> {
        Self::new(url)
    }
}

impl TryFrom<&str> for Node {
    type Error = BuildError;

    fn try_from(url: &str) -> Result<Self, BuildError> {
        Self::new(url)
    }
}

impl TryFrom<String> for Node {
    type Error = BuildError;

    fn try_from(url: String) -> Result<Self, BuildError> {
        Self::new(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(url: &str) -> String {
        Node::new(url).unwrap_err().to_string()
    }

    #[test]
    fn names_default_to_host_port_and_database() {
        for (url, name) in [
            ("redis://10.0.0.1", "10.0.0.1:6379"),
            ("redis://10.0.0.1/0", "10.0.0.1:6379"),
            ("redis://cache.local:7000/3", "cache.local:7000/3"),
            ("valkey://u:p@[::1]:7000", "[::1]:7000"),
            ("unix:///run/redis.sock", "/run/redis.sock"),
            ("redis+unix:///run/redis.sock?db=2", "/run/redis.sock/2"),
        ] {
            assert_eq!(Node::new(url).unwrap().id(), name, "{url}");
        }
    }

    #[test]
    fn credentials_are_percent_decoded() {
        let node = Node::new("redis://a%40b:p%23%2F%3F@h/1?protocol=resp3").unwrap();
        let e = node.endpoint();
        assert_eq!(e.username.as_deref(), Some("a@b"));
        assert_eq!(e.password.as_deref(), Some("p#/?"));
        assert!(e.resp3);
        let e = Node::new("unix:///s?user=u&pass=p%26q&db=3")
            .unwrap()
            .endpoint()
            .clone();
        assert_eq!(
            (e.username.as_deref(), e.password.as_deref(), e.db),
            (Some("u"), Some("p&q"), 3)
        );
    }

    #[test]
    fn a_bad_url_is_refused_with_a_remedy_and_without_its_password() {
        for (url, needle) in [
            ("http://u:hunter2@h", "unknown scheme"),
            ("redis://u:hunter2@h:99999", "does not parse"),
            ("redis://u:hunter2@h/x", "database"),
            ("redis://u:hunter2@h/-1", "negative"),
            (
                "redis://u:hunter2@h?timeout=hunter2",
                "\"timeout\" is unknown",
            ),
            ("redis://:hunter2@h:0", "port 0"),
            ("redis://:hun#ter2@h", "does not parse"),
            ("redis://", "no host"),
            ("redis://user@h", "no password"),
            ("unix://host/path", "absolute path"),
            ("unix:///s?x=1&pass=hunter2", "\"x\" is unknown"),
            ("unix:///s?pass=hunter2&x=1", "parameter is unknown"),
            ("hunter2", "does not parse"),
            ("", "does not parse"),
        ] {
            let text = why(url);
            assert!(text.contains(needle), "{url}: {text}");
            assert!(
                url == "hunter2" || !text.contains("hunter2"),
                "{url} leaks: {text}"
            );
        }
    }

    #[test]
    fn an_address_that_only_servers_can_listen_on_is_named_and_placed_but_not_dialled() {
        for (url, name) in [
            ("redis://0.0.0.0", "0.0.0.0:6379"),
            ("redis://[::]:1", "[::]:1"),
        ] {
            let node = Node::new(url).unwrap();
            assert_eq!(node.id(), name);
            let why = node.validate().unwrap_err().to_string();
            assert!(why.contains("no server's address"), "{why}");
        }
    }

    #[test]
    fn an_address_of_this_link_keeps_its_zone() {
        for url in [
            "redis://u:p@[fe80::1%eth0]:7000/2",
            "redis://u:p@[fe80::1%25eth0]:7000/2",
        ] {
            let node = Node::new(url).unwrap();
            assert_eq!(node.id(), "[fe80::1%eth0]:7000/2");
            node.validate().unwrap();
            let again = Node::new(format!("redis://{}", node.id())).unwrap();
            assert_eq!(again.id(), node.id());
        }
        for url in [
            "redis://[fe80::1%]",
            "redis://[h%eth0]",
            "redis://[::1%a/b]",
            "redis://[::1%a,p=x]",
        ] {
            assert!(Node::new(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_name_for_our_connections_is_one_that_a_server_takes() {
        let node = Node::new("redis://h/1?client_name=billing-7&protocol=resp3").unwrap();
        assert_eq!(node.endpoint().client_name.as_deref(), Some("billing-7"));
        assert_eq!(node.id(), "h:6379/1");
        let node = Node::new("unix:///s?client_name=billing").unwrap();
        assert_eq!(node.endpoint().client_name.as_deref(), Some("billing"));
        for name in [
            "hunter2+x",
            "hunter2%20x",
            "hunter2%0d%0aQUIT",
            "hunter2%c3%bc",
        ] {
            let why = why(&format!("redis://h?client_name={name}"));
            assert!(why.contains("client_name"), "{why}");
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn a_password_that_stands_where_none_belongs_becomes_no_name() {
        for url in [
            "redis://h,password=hunter2",
            "redis://h:6380,password=hunter2,ssl=True",
            "redis://h;password=hunter2",
            "redis://h&password=hunter2",
            "redis://h%2Cpassword%3Dhunter2",
            "redis://h%41",
            "unix:///s%3Fpass%3Dhunter2",
            "unix:///s&pass=hunter2",
            "unix:///s?pass=a&hunter",
            "UNIX:///s?pass=hunter2&x=1",
            " unix:///s?pass=hunter2&x=1",
            "redis://h?password=hunter2@x",
            "redis://h?password=x@hunter2",
        ] {
            let error = Node::new(url).expect_err(url);
            let text = format!("{error} {error:?}");
            assert!(!text.contains("hunter"), "{url}: {text}");
        }
        for name in ["redis://u:hunter2@h", "h,password=hunter2", "token=hunter2"] {
            let node = Node::new("redis://h").unwrap().name(name);
            let error = node.validate().expect_err(name);
            let text = format!("{error} {error:?}");
            assert!(
                !text.contains("hunter2") && text.contains("password"),
                "{text}"
            );
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn tls_without_the_feature_says_which_feature() {
        assert!(why("rediss://h").contains("feature `tls`"));
    }

    #[test]
    fn debug_never_shows_the_password() {
        let node = Node::new("redis://u:hunter2@h").unwrap();
        assert!(!format!("{node:?} {node:#?}").contains("hunter2"));
    }

    #[test]
    fn a_weight_of_zero_and_an_empty_name_are_refused() {
        let node = Node::new("redis://h").unwrap();
        assert!(
            node.clone()
                .weight(0)
                .validate()
                .unwrap_err()
                .to_string()
                .contains("weight is 0")
        );
        assert!(
            node.name("")
                .validate()
                .unwrap_err()
                .to_string()
                .contains("name is empty")
        );
    }
}
