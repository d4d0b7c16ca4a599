//! The guide: one short chapter per topic, for those who run fluster.
//!
//! * [`by_example`]: a small example for each thing that can be called.
//! * [`coming_from`]: how to move here from another library or proxy.
//! * [`command_line`]: the program `fluster` (feature `cli`).
//! * [`commands`]: the cluster as one client, what goes where, and what is refused.
//! * [`errors`]: what an error means, what is known of the command, and what to do.
//! * [`faults`]: what the application sees under each fault, measured; and what other clients show.
//! * [`failover`]: what becomes of a command when a node fails, and who decides.
//! * [`features`]: features, and what each dependency is for.
//! * [`figures`]: what a dead node costs and how fast it is.
//! * [`health`]: when a node is out, how it comes back, and what to set.
//! * [`placement`]: which node has a key, and which keys move.
//! * [`replication`]: a key on several nodes, and the cache.
//! * [`queues`]: at-least-once queues over all nodes: what they promise, and what they cost.
//! * [`connections`]: lanes, exclusive connections, TLS, credentials, names, blocking commands.
//! * [`sentinels`]: masters that Redis Sentinel fails over.
//! * [`settings`]: every option: its method, its key, its variable, its default, when to change it.
//! * [`topology`]: adding and removing nodes under load.
//! * [`discovery`](https://docs.rs/fluster/latest/fluster/guide/discovery/index.html): nodes from Consul, etcd, DNS or a file (features `discovery`, `discovery-*`).
//! * [`membership`](https://docs.rs/fluster/latest/fluster/guide/membership/index.html): instances of an application that know each other (feature `gossip`).
//! * [`fleet`](https://docs.rs/fluster/latest/fluster/guide/fleet/index.html): instances that agree which nodes are out (feature `gossip`).
//! * [`forwarding`](https://docs.rs/fluster/latest/fluster/guide/forwarding/index.html): requests that are handled by the owner of their key (feature `forward`).
//! * [`near`](https://docs.rs/fluster/latest/fluster/guide/near/index.html): hot values of a cache in this process, and when that is worth it (feature `near`).
//! * [`observability`]: metrics, events, logs, status.
//! * [`admin`](https://docs.rs/fluster/latest/fluster/guide/admin/index.html): the running cluster on a page and as JSON; the first minute of an outage (feature `admin`).
//! * [`limits`]: what fluster costs, and what it cannot see.
//! * [`runtimes`]: which runtime does what; programs without async, tests.
//! * [`scaling`]: a thousand instances and a hundred nodes: connections, probes, what to set.
//! * [`tuning`]: which settings matter for which application.
//!
//! Words: a **node** is one Redis server, known by its name. A key's **candidates** are the nodes in
//! the order in which they would serve it; the first is its **owner**, and a live one that serves it
//! while the owner is out is its **stand-in**. The **penalty box** is where nodes wait while they are
//! out; they leave it through **probes**. A **lane** is a connection that many tasks share, a
//! **dedicated** connection belongs to one.

#[doc = include_str!("guide/by-example.md")]
#[cfg_attr(feature = "discovery", doc = include_str!("guide/by-example-discovery.md"))]
#[cfg_attr(feature = "gossip", doc = include_str!("guide/by-example-gossip.md"))]
#[cfg_attr(all(feature = "forward", feature = "gossip"), doc = include_str!("guide/by-example-forward.md"))]
#[cfg_attr(feature = "near", doc = include_str!("guide/by-example-near.md"))]
#[cfg_attr(feature = "admin", doc = include_str!("guide/by-example-admin.md"))]
#[cfg_attr(all(feature = "testing", unix), doc = include_str!("guide/by-example-testing.md"))]
pub mod by_example {}

#[cfg(feature = "admin")]
#[doc = include_str!("guide/admin.md")]
pub mod admin {}

#[doc = include_str!("guide/coming-from.md")]
pub mod coming_from {}

#[doc = include_str!("guide/command-line.md")]
pub mod command_line {}

#[doc = include_str!("guide/commands.md")]
pub mod commands {}

#[doc = include_str!("guide/connections.md")]
pub mod connections {}

#[cfg(feature = "discovery")]
#[doc = include_str!("guide/discovery.md")]
pub mod discovery {}

#[doc = include_str!("guide/errors.md")]
pub mod errors {}

#[doc = include_str!("guide/failover.md")]
pub mod failover {}

#[doc = include_str!("guide/faults.md")]
#[doc = include_str!("guide/fault-table.md")]
#[doc = include_str!("guide/faults-peers.md")]
#[doc = include_str!("guide/peers.md")]
pub mod faults {}

#[doc = include_str!("guide/features.md")]
pub mod features {}

#[doc = include_str!("guide/figures.md")]
pub mod figures {}

#[cfg(feature = "gossip")]
#[doc = include_str!("guide/fleet.md")]
pub mod fleet {}

#[cfg(feature = "forward")]
#[doc = include_str!("guide/forwarding.md")]
pub mod forwarding {}

#[doc = include_str!("guide/health.md")]
pub mod health {}

#[doc = include_str!("guide/limits.md")]
pub mod limits {}

#[cfg(feature = "gossip")]
#[doc = include_str!("guide/membership.md")]
pub mod membership {}

#[cfg(feature = "near")]
#[doc = include_str!("guide/near.md")]
pub mod near {}

#[doc = include_str!("guide/observability.md")]
pub mod observability {}

#[doc = include_str!("guide/placement.md")]
#[doc = include_str!("guide/placement-compat.md")]
pub mod placement {}

#[doc = include_str!("guide/replication.md")]
pub mod replication {}

#[doc = include_str!("guide/queues.md")]
pub mod queues {}

#[doc = include_str!("guide/returns.md")]
pub mod returns {}

#[doc = include_str!("guide/runtimes.md")]
pub mod runtimes {}

#[doc = include_str!("guide/scaling.md")]
pub mod scaling {}

#[doc = include_str!("guide/sentinels.md")]
pub mod sentinels {}

#[doc = include_str!("guide/settings.md")]
pub mod settings {}

#[doc = include_str!("guide/topology.md")]
pub mod topology {}

#[doc = include_str!("guide/tuning.md")]
pub mod tuning {}
