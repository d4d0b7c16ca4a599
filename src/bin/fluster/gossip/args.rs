//! The arguments of `fluster gossip`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

pub const GOSSIP: &str = "An instance is asked over its own port, sealed with the cluster's key: who has the key may ask, \
    and act. With several --at, the first that answers is asked.\n\n\
    Exit codes: 0 done; 1 checksums, partitions: they differ; leave, drain, forget: nothing to do; 2 usage; 3 no instance \
    answers, or the key is another one; checksums, partitions: one of them does not; 4 nobody is ready.\n\n\
    Examples:\n  \
    (umask 077; fluster gossip keygen > gossip.key)\n  \
    fluster gossip list --cluster limiter --key-file gossip.key --at 10.0.0.1:7946\n  \
    fluster gossip checksums --cluster limiter --key-file gossip.key --at 10.0.0.1:7946";

#[derive(Debug, Subcommand)]
pub enum Gossip {
    /// One instance: its address, state, members, ring, keys, traffic
    Status(Whom),
    /// The members that an instance knows
    List(List),
    /// The members that an instance knows, by state
    Count(Whom),
    /// Which instances have a key: the owner, then who would be it
    Lookup(Lookup),
    /// The share of keys of each instance: ideal against real
    Dist(Dist),
    /// The ring of every instance; exit code 1 when they differ
    Checksums(Whom),
    /// The same, by ring: which instances agree with each other, and who is silent
    Partitions(Whom),
    /// The members, live
    Top(Whom),
    /// Look for instances that were lost, now
    Heal(Whom),
    /// Tell one instance to leave
    Leave(Whom),
    /// Tell one instance to own no keys, or to own them again
    Drain(Drain),
    /// Forget instances that are down
    Forget(Forget),
    /// What the instances agree on about Redis nodes; exit code 1 when one is out
    Nodes(Nodes),
    /// A new key, on standard output
    Keygen,
}

#[derive(Args, Debug)]
pub struct Nodes {
    #[command(flatten)]
    pub whom: Whom,
    /// The nodes of this scope alone; to drain or restore one: its scope, `redis` when it is not given
    #[arg(long, value_name = "SCOPE")]
    pub scope: Option<String>,
    #[command(subcommand)]
    pub act: Option<NodesDo>,
}

#[derive(Debug, Subcommand)]
pub enum NodesDo {
    /// Take a node out of service at all instances
    Drain(NodeAct),
    /// Let it serve again at all instances
    Restore(NodeAct),
}

#[derive(Args, Debug)]
pub struct NodeAct {
    /// The node's name
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Which cluster, and where it is asked.
#[derive(Args, Debug)]
pub struct Whom {
    /// The address of an instance; more of them in case one is away
    #[arg(long, value_name = "ADDR", required = true)]
    pub at: Vec<SocketAddr>,
    /// The address that it advertises, where it is reached by another one: a mapped port
    #[arg(long = "as", value_name = "ADDR")]
    pub known_as: Option<SocketAddr>,
    /// The name of the cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: String,
    /// The keys: one a line, of 64 hexadecimal digits
    #[arg(long, value_name = "FILE", env = "FLUSTER_GOSSIP_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// The cluster has no keys, whatever --key-file or its variable says
    #[arg(long)]
    pub plaintext: bool,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    pub whom: Whom,
    /// Those that are down or left, too
    #[arg(long)]
    pub all: bool,
    /// Those with this label alone
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Lookup {
    #[command(flatten)]
    pub whom: Whom,
    /// So many instances for each key, at most 16
    #[arg(short, value_name = "N", default_value_t = 1)]
    pub n: usize,
    /// The keys
    #[arg(value_name = "KEY", required = true)]
    pub keys: Vec<OsString>,
}

#[derive(Args, Debug)]
pub struct Dist {
    #[command(flatten)]
    pub whom: Whom,
    /// So many keys are looked up, a million at most
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub keys: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

#[derive(Args, Debug)]
pub struct Drain {
    #[command(flatten)]
    pub whom: Whom,
    /// Whether it is to drain
    #[arg(value_name = "on|off")]
    pub switch: Switch,
}

#[derive(Args, Debug)]
pub struct Forget {
    #[command(flatten)]
    pub whom: Whom,
    /// All that are down
    #[arg(long, conflicts_with = "address")]
    pub down: bool,
    /// The address of one that is down or left
    #[arg(value_name = "ADDR", required_unless_present = "down")]
    pub address: Option<SocketAddr>,
}
