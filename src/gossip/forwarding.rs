//! The instances as those that requests are forwarded to.

use std::sync::Arc;

use super::Gossip;
use super::view::Member;
use crate::forward::{Peer, Peers};
use crate::placement::Fingerprint;
use crate::sealed::Keyring;

impl From<&Member> for Peer {
    fn from(member: &Member) -> Self {
        let mut peer = Self::new(&*member.ring_id, "");
        peer.base = member.http.as_deref().map(Into::into);
        peer.generation = member.generation;
        peer.is_ready = member.is_ready();
        peer.is_me = member.is_me;
        peer
    }
}

impl From<&Arc<Member>> for Peer {
    fn from(member: &Arc<Member>) -> Self {
        Self::from(&**member)
    }
}

impl Peers for Gossip {
    fn candidates(&self, key: &[u8], n: usize) -> Vec<Peer> {
        self.lookup_n(key, n).iter().map(Peer::from).collect()
    }

    fn owner(&self, key: &[u8]) -> Option<Peer> {
        self.lookup(key).as_ref().map(Peer::from)
    }

    fn me(&self) -> Peer {
        Peer::from(&self.whoami())
    }

    fn owns(&self, key: &[u8]) -> bool {
        Self::owns(self, key)
    }

    fn named(&self, ring_id: &str) -> Option<Peer> {
        let view = self.view();
        let named = view
            .members()
            .iter()
            .filter(|member| *member.ring_id == *ring_id);
        let there = named.filter(|member| member.is_reachable());
        there.max_by_key(|member| member.generation).map(Peer::from)
    }

    fn is_there(&self, base: &str) -> bool {
        let view = self.view();
        let mut there = view.members().iter().filter(|member| member.is_reachable());
        there.any(|member| member.http.as_deref() == Some(base))
    }

    fn fingerprint(&self) -> Option<Fingerprint> {
        self.view().fingerprint()
    }

    fn keyring(&self) -> Option<Keyring> {
        self.current_keyring()
    }

    fn cluster(&self) -> &str {
        self.cluster_name()
    }

    fn refused(&self, peer: &Peer) {
        let view = self.view();
        let mut named = view
            .members()
            .iter()
            .filter(|member| *member.ring_id == *peer.ring_id);
        if let Some(member) = named.find(|member| member.generation == peer.generation) {
            self.doubt(member);
        }
    }
}
