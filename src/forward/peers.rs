//! Where requests can go: the instances, and which keys are whose.

use std::sync::Arc;

use crate::placement::Fingerprint;
use crate::sealed::Keyring;

/// One instance of the application, as far as forwarding goes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The name by which it owns keys.
    pub ring_id: Arc<str>,
    /// Where it takes requests: `http://host:port`.
    pub base: Option<Arc<str>>,
    /// Which start of the instance it is, where that is known.
    pub generation: u64,
    /// Whether it may own keys.
    pub is_ready: bool,
    /// Whether it is this instance itself.
    pub is_me: bool,
}

impl Peer {
    /// Another instance, which is ready, and takes requests at `base`. [Example](crate::guide::by_example#forwarding).
    pub fn new(ring_id: impl Into<Arc<str>>, base: impl Into<Arc<str>>) -> Self {
        Self {
            ring_id: ring_id.into(),
            base: Some(base.into()),
            generation: 0,
            is_ready: true,
            is_me: false,
        }
    }
}

impl From<&Self> for Peer {
    fn from(peer: &Self) -> Self {
        peer.clone()
    }
}

/// Who is there. [`Gossip`](crate::gossip::Gossip) is one; [`FixedPeers`](super::FixedPeers) is a list. All methods are
/// called for each request: none of them may block.
pub trait Peers: Send + Sync + 'static {
    /// The first `n` candidates of a key, all different, the owner first; fewer when there are fewer.
    fn candidates(&self, key: &[u8], n: usize) -> Vec<Peer>;

    /// The owner of a key; `None` when there is none.
    fn owner(&self, key: &[u8]) -> Option<Peer> {
        self.candidates(key, 1).into_iter().next()
    }

    /// This instance.
    fn me(&self) -> Peer;

    /// Whether this instance owns the key.
    fn owns(&self, key: &[u8]) -> bool {
        self.owner(key).is_some_and(|owner| owner.is_me)
    }

    /// The instance of this ring id, if it can be reached as far as is known.
    fn named(&self, ring_id: &str) -> Option<Peer>;

    /// Whether an instance that can be reached takes requests there: connections to others are closed.
    fn is_there(&self, base: &str) -> bool;

    /// The ring in 64 bits; `None` while nobody is ready.
    fn fingerprint(&self) -> Option<Fingerprint>;

    /// The keys that marks are made with. Without them anybody can make one.
    fn keyring(&self) -> Option<Keyring>;

    /// The name of the cluster: marks of others are not believed.
    fn cluster(&self) -> &str;

    /// The operating system of that instance says that nobody listens there.
    fn refused(&self, peer: &Peer) {
        let _ = peer;
    }
}
