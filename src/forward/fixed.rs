//! Instances from a list.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::error::{ForwardError, ForwardErrorKind};
use super::peers::{Peer, Peers};
use crate::error::text::{quoted, refuse_name};
use crate::placement::{Fingerprint, Member, Placement, Table};
use crate::sealed::Keyring;

/// Instances from a list that can be replaced: for those who know by other means who is there.
///
/// All instances must be given the same list, and learn of changes at about the same time. Nobody is watched: the keys
/// of an instance that is gone fail (or have a stand-in) until it is off the list.
///
/// ```
/// use fluster::forward::{FixedPeers, Forwarder};
///
/// let peers = FixedPeers::new("a", [("a", "http://10.0.0.1:8080"), ("b", "http://10.0.0.2:8080")])?;
/// let forward = Forwarder::new(&peers)?;
/// peers.replace([("a", "http://10.0.0.1:8080"), ("c", "http://10.0.0.3:8080")])?;
/// # Ok::<(), fluster::forward::ForwardError>(())
/// ```
#[derive(Clone)]
pub struct FixedPeers {
    me: Arc<str>,
    cluster: Arc<str>,
    placement: Placement,
    keyring: Option<Keyring>,
    picture: Arc<ArcSwap<Picture>>,
}

struct Picture {
    peers: Vec<Peer>,
    table: Option<Table>,
}

impl FixedPeers {
    /// The instances by name and base, such as `http://10.0.0.1:8080`; `me` is the name of this one. An instance that
    /// is not in the list itself owns nothing, and forwards everything. [Example](crate::guide::by_example#forwarding).
    ///
    /// # Errors
    ///
    /// [`ForwardErrorKind::Option`]: a name that comes twice or cannot be seen, a base that is no address, a rule that
    /// cannot place them.
    pub fn new<N: AsRef<str>, B: AsRef<str>>(
        me: impl Into<Arc<str>>,
        peers: impl IntoIterator<Item = (N, B)>,
    ) -> Result<Self, ForwardError> {
        let (me, placement) = (me.into(), Placement::ring());
        let picture = Picture::new(&me, peers, &placement)?;
        Ok(Self {
            me,
            cluster: "".into(),
            placement,
            keyring: None,
            picture: Arc::new(ArcSwap::from_pointee(picture)),
        })
    }

    /// The keys that marks are made with, the same at all instances. Default: none; whoever reaches an instance can
    /// then make it answer 421 instead of forwarding. [Example](crate::guide::by_example#forwarding).
    #[must_use]
    pub fn keyring(mut self, keyring: Keyring) -> Self {
        self.keyring = Some(keyring);
        self
    }

    /// The name of the cluster, which keeps others with the same keys from mixing in. Default: none. [Example](crate::guide::by_example#forwarding).
    #[must_use]
    pub fn cluster(mut self, name: impl Into<Arc<str>>) -> Self {
        self.cluster = name.into();
        self
    }

    /// The rule by which keys have owners, the same at all instances. Default: [`Placement::ring`]. [Example](crate::guide::by_example#forwarding).
    ///
    /// # Errors
    ///
    /// [`ForwardErrorKind::Option`] when it cannot place the instances.
    pub fn placement(mut self, placement: Placement) -> Result<Self, ForwardError> {
        let picture = self.picture.load();
        let list = picture.peers.iter();
        let list = list.map(|peer| (&*peer.ring_id, peer.base.as_deref().unwrap_or_default()));
        let picture = Picture::new(&self.me, list, &placement)?;
        (self.placement, self.picture) = (placement, Arc::new(ArcSwap::from_pointee(picture)));
        Ok(self)
    }

    /// Another list from now on, for all clones. [Example](crate::guide::by_example#forwarding).
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new); the list is then what it was.
    pub fn replace<N: AsRef<str>, B: AsRef<str>>(
        &self,
        peers: impl IntoIterator<Item = (N, B)>,
    ) -> Result<(), ForwardError> {
        let picture = Picture::new(&self.me, peers, &self.placement)?;
        self.picture.store(Arc::new(picture));
        Ok(())
    }
}

impl Picture {
    fn new<N: AsRef<str>, B: AsRef<str>>(
        me: &str,
        list: impl IntoIterator<Item = (N, B)>,
        placement: &Placement,
    ) -> Result<Self, ForwardError> {
        let refuse = |why: String| ForwardError::new(ForwardErrorKind::Option, why);
        let mut peers: Vec<Peer> = Vec::new();
        for (name, base) in list {
            let (name, base) = (name.as_ref(), base.as_ref().trim_end_matches('/'));
            if let Some(why) = refuse_name(name) {
                return Err(refuse(format!("the name of an instance {why}")));
            }
            if super::base::Base::parse(base).is_none() {
                return Err(refuse(format!(
                    "{} is not http(s)://host[:port]",
                    quoted(base)
                )));
            }
            let mut peer = Peer::new(name, base);
            peer.is_me = name == me;
            peers.push(peer);
        }
        peers.sort_by(|a, b| a.ring_id.cmp(&b.ring_id));
        if let Some(twice) = peers
            .windows(2)
            .find(|pair| pair[0].ring_id == pair[1].ring_id)
        {
            let name = quoted(&*twice[0].ring_id);
            return Err(refuse(format!("two instances have the name {name}")));
        }
        let members: Vec<_> = peers
            .iter()
            .map(|peer| Member::new(&peer.ring_id))
            .collect();
        let table = match members.is_empty() {
            true => None,
            false => Some(
                placement
                    .table(&members)
                    .map_err(|e| refuse(e.to_string()))?,
            ),
        };
        Ok(Self { peers, table })
    }
}

impl Peers for FixedPeers {
    fn candidates(&self, key: &[u8], n: usize) -> Vec<Peer> {
        let picture = self.picture.load();
        let Some(table) = &picture.table else {
            return Vec::new();
        };
        let nodes = table.candidates(key).take(n);
        nodes
            .filter_map(|node| picture.peers.get(node).cloned())
            .collect()
    }

    fn owner(&self, key: &[u8]) -> Option<Peer> {
        let picture = self.picture.load();
        let owner = picture.table.as_ref()?.owner(key);
        picture.peers.get(owner).cloned()
    }

    fn me(&self) -> Peer {
        let listed = self.named(&self.me);
        listed.unwrap_or_else(|| Peer {
            ring_id: Arc::clone(&self.me),
            base: None,
            generation: 0,
            is_ready: false,
            is_me: true,
        })
    }

    fn owns(&self, key: &[u8]) -> bool {
        let picture = self.picture.load();
        let owner = picture.table.as_ref().map(|table| table.owner(key));
        owner.is_some_and(|owner| picture.peers.get(owner).is_some_and(|peer| peer.is_me))
    }

    fn named(&self, ring_id: &str) -> Option<Peer> {
        let picture = self.picture.load();
        picture
            .peers
            .iter()
            .find(|peer| *peer.ring_id == *ring_id)
            .cloned()
    }

    fn is_there(&self, base: &str) -> bool {
        let picture = self.picture.load();
        picture
            .peers
            .iter()
            .any(|peer| peer.base.as_deref() == Some(base))
    }

    fn fingerprint(&self) -> Option<Fingerprint> {
        self.picture.load().table.as_ref().map(Table::fingerprint)
    }

    fn keyring(&self) -> Option<Keyring> {
        self.keyring.clone()
    }

    fn cluster(&self) -> &str {
        &self.cluster
    }
}

impl fmt::Debug for FixedPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FixedPeers")
            .field("me", &self.me)
            .field("cluster", &self.cluster)
            .field("peers", &self.picture.load().peers)
            .finish_non_exhaustive()
    }
}
