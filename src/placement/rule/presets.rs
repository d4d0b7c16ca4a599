//! The placements of other libraries, for fleets that share their servers with one.

use super::super::compat::{GoRedis, Preset, Proxenos, RedisArray, RedisRb, Ringpop, Twemproxy};
use super::{Placement, Rule};

/// Feature `compat`.
#[cfg_attr(docsrs, doc(cfg(feature = "compat")))]
impl Placement {
    pub(super) fn preset(preset: Preset) -> Self {
        let tags = preset.tags();
        Self {
            rule: Rule::Preset(preset),
            tags,
        }
    }

    /// The placement of go-redis 9's `Ring`: rendezvous hashing over XXH64 of the shards' names.
    ///
    /// Hash tags are on. A node's name is the shard's name, the key of `RingOptions.Addrs`; there are no
    /// weights. The candidates after the owner follow by score, which is where go-redis sends the keys of
    /// shards that are down. A lookup costs 1 to 3 ns per live node.
    ///
    /// ```
    /// use fluster::placement::{Member, Placement};
    ///
    /// let shards = ["shard1", "shard2", "shard3"].map(Member::new);
    /// let table = Placement::go_redis().table(&shards)?;
    /// assert_eq!(shards[table.owner(b"")].name, "shard3");
    /// # Ok::<(), fluster::BuildError>(())
    /// ```
    #[must_use]
    pub fn go_redis() -> Self {
        Self::preset(GoRedis.into())
    }

    /// The placement of proxenos 0.0.3 for Python: rendezvous hashing by a Mersenne Twister per node.
    ///
    /// Hash tags are off. Nodes are placed by host and port of their URL, which must be an IP address:
    /// proxenos hashes what a host name resolves to, and fluster does not place keys by an answer that
    /// may change. There are no weights. The candidates after the owner follow by score.
    ///
    /// A lookup costs some microseconds per live node, as it does there.
    ///
    /// ```
    /// use fluster::placement::{Member, Placement, Proxenos, ProxenosHash};
    ///
    /// let members = [Member::new("a").address("10.0.0.1", 6379), Member::new("b").address("10.0.0.2", 6379)];
    /// let table = Placement::proxenos(Proxenos::new(ProxenosHash::SipHash)).table(&members)?;
    /// assert_eq!(members[table.owner(b"")].name, "b");
    /// # Ok::<(), fluster::BuildError>(())
    /// ```
    #[must_use]
    pub fn proxenos(rule: Proxenos) -> Self {
        Self::preset(rule.into())
    }

    /// The placement of ringpop (Go and Node): a ring over `FarmHash`'s Fingerprint32.
    ///
    /// Hash tags are off, there are no weights. A node's name is the member's address; its identity is
    /// the node's label `identity`, where there is one. The candidates after the owner are the next
    /// distinct members around the ring, as in `LookupN`; whoever is out counts as faulty.
    ///
    /// ```
    /// use fluster::placement::{Member, Placement, Ringpop};
    ///
    /// let members = ["127.0.0.1:3000", "127.0.0.1:3001", "127.0.0.1:3002"].map(Member::new);
    /// let table = Placement::ringpop(Ringpop::default()).table(&members)?;
    /// assert_eq!(members[table.owner(b"")].name, "127.0.0.1:3002");
    /// # Ok::<(), fluster::BuildError>(())
    /// ```
    #[must_use]
    pub fn ringpop(rule: Ringpop) -> Self {
        Self::preset(rule.into())
    }

    /// The placement of twemproxy (nutcracker) 0.5.
    ///
    /// Hash tags are off unless given, like `hash_tag` there. A node's name is what the server's line in
    /// `nutcracker.yml` hashes to: its name, else `host:port` as written (`host` alone for port 11211),
    /// else the path of a socket with a colon behind it.
    ///
    /// With [`auto_eject`](Twemproxy::auto_eject) the nodes that are out are left out of the distribution,
    /// which is made anew from the others: in a cluster once per change, by
    /// [`Table::for_live`](crate::placement::Table::for_live). When all are back, so is every key.
    /// Without it a key whose owner is out goes to its next candidate, where twemproxy would answer with an
    /// error; ask [`Client::is_stand_in`](crate::Client::is_stand_in) to do the same.
    ///
    /// The candidates after the owner are the next distinct servers around the continuum; under modula
    /// the second is the one that the list without the owner gives, and the others follow in the order
    /// of configuration. A server whose share is too small for any point on the continuum is never a
    /// candidate.
    ///
    /// ```
    /// use fluster::placement::{Live, Member, Placement, Twemproxy};
    ///
    /// let members = [Member::new("cache0").weight(2), Member::new("cache1"), Member::new("cache2")];
    /// let table = Placement::twemproxy(Twemproxy::default().auto_eject(true)).table(&members)?;
    /// let live = Live::all(3).with(0, false);
    /// let now = table.for_live(&live).expect("another continuum");
    /// assert_eq!(now.first(b"key", &live), table.first(b"key", &live));
    /// # Ok::<(), fluster::BuildError>(())
    /// ```
    #[must_use]
    pub fn twemproxy(rule: Twemproxy) -> Self {
        Self::preset(rule.into())
    }

    /// The placement of redis-rb 4's `Redis::Distributed`: a ring over CRC-32, read backwards.
    ///
    /// Hash tags are those of redis-rb. A node's name is the id that redis-rb gives it,
    /// `redis://host:port/db`; there are no weights. The candidates after the owner are the next distinct
    /// nodes backwards around the ring, which own its keys once it is removed.
    ///
    /// ```
    /// use fluster::placement::{Member, Placement};
    ///
    /// let nodes = ["redis://127.0.0.1:6379/0", "redis://127.0.0.1:6380/0"].map(Member::new);
    /// let table = Placement::redis_rb().table(&nodes)?;
    /// assert_eq!(nodes[table.owner(b"")].name, "redis://127.0.0.1:6379/0");
    /// # Ok::<(), fluster::BuildError>(())
    /// ```
    #[must_use]
    pub fn redis_rb() -> Self {
        Self::preset(RedisRb.into())
    }

    /// The placement of phpredis 5's `RedisArray`.
    ///
    /// Hash tags are those of phpredis. A node's name is the host as given to the constructor, and the
    /// order of the nodes counts unless the array is [`consistent`](RedisArray::consistent); there are no
    /// weights. phpredis has no rule for hosts that are out: here the second candidate is the one that
    /// the list without the owner gives, or the next host around the ring.
    ///
    /// Where phpredis reads past the end of its list (one hash of 2^32), the last host is taken.
    ///
    /// ```
    /// use fluster::placement::{Member, Placement, RedisArray};
    ///
    /// let hosts = ["127.0.0.1:6379", "127.0.0.1:6380"].map(Member::new);
    /// let table = Placement::redis_array(RedisArray::default()).table(&hosts)?;
    /// assert_eq!(hosts[table.owner(b"")].name, "127.0.0.1:6379");
    /// # Ok::<(), fluster::BuildError>(())
    /// ```
    #[must_use]
    pub fn redis_array(rule: RedisArray) -> Self {
        Self::preset(rule.into())
    }
}
