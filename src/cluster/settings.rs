//! The one list of what can be set of a cluster.

/// Hands the list to another macro: it makes the methods of the builder, the fields and keys of a `Config`, and the
/// table of the guide. Each entry is its documentation, its name and type, whether it has a value of its own or what
/// holds without it, where it is kept in the options, and when to change it.
macro_rules! settings {
    ($then:ident) => {
        $then! {
            /// The rule from keys to nodes. Default: [`Placement::ring`].
            placement: Placement, plain, [placement],
                "before the first key is written: another rule moves keys";
            /// Whether the part of a key in braces decides its node. Default: what the placement says, which is
            /// Redis Cluster's rule for fluster's own placements.
            hash_tags: HashTags, optional("the placement's own"), [hash_tags],
                "when keys with braces are placed otherwise by another program";
            /// When a failed command is sent to the next candidate. Default: [`Failover::IfSafe`].
            failover: Failover, plain, [failover],
                "`always` for writes that may be applied twice; `never` when each failure is to be seen";
            /// What happens when a living node refuses a command (`READONLY`, `OOM`, ...). Default:
            /// [`Refusals::Return`].
            refusals: Refusals, plain, [refusals],
                "when a stand-in may take the writes of a full or read-only node";
            /// What happens to nodes that are much slower than their peers. Default: [`SlowNodes::Report`].
            slow_nodes: SlowNodes, plain, [slow_nodes],
                "when slow answers are worse than moved keys, as for a cache";
            /// How long calls wait for a node to come back when every candidate is out. Default: not at all,
            /// [`ClusterEmptyError`](crate::ClusterEmptyError) comes at once.
            ///
            /// The wait comes before the call's own deadline, not out of it. `get_client` never waits.
            wait_for_node: Duration, optional("not at all"), [wait_for_node],
                "when a call may rather come late than fail while all nodes are out";
            /// The longest time to live of what is written to a stand-in. Default: whatever the writer says.
            ///
            /// Every write command that goes to a stand-in is followed by `PEXPIRE key ttl LT` on the same
            /// connection, so that stale copies are gone soon after the owner is back. Needs Redis 7. A
            /// [`Cache`](crate::cache::Cache) has a limit of its own.
            stand_in_ttl: Duration, optional("as the writer says"), [limits.stand_in_ttl],
                "for a cache: stale copies on stand-ins end soon";
            /// The share of hedged reads that may be sent to a second replica, 0 to 1. Default: 0.1; a cluster
            /// begins with ten, and saves up to a hundred.
            ///
            /// Separate from the budget for commands that are sent again after a failure. With one slow node of n,
            /// one in n reads begins there: a budget below that leaves some of them slow.
            hedge_budget: f64, plain, [hedge_budget],
                "with few nodes and hedged reads: at least one divided by their number";
            /// How long a command may wait for its reply. Default: 500 ms.
            response_timeout: Duration, plain, [limits.response_timeout],
                "slow commands or far servers: longer; a tight latency goal: shorter";
            /// How long a new connection may take, name look-up, TLS and log-in included. Default: 500 ms, or
            /// 1 s when any node uses TLS.
            connect_timeout: Duration, optional("500ms, or 1s with TLS"), [connect_timeout],
                "servers far away, or a slow log-in";
            /// How long one call may take over all candidates, dials and retries. Default: three times the
            /// response time-out.
            deadline: Duration, optional("three times `response_timeout`"), [deadline],
                "when callers give up earlier, or may wait for more candidates";
            /// How many exclusive connections a node may have. 1 to 65 535. Default: 16.
            pool_size: usize, plain, [limits.pool_size],
                "many blocking commands, transactions or consumers at once in one process";
            /// How long [`dedicated`](crate::Client::dedicated) waits when all of them are taken. Default: 250 ms.
            pool_wait: Duration, plain, [limits.pool_wait],
                "when callers should fail sooner, or queue longer, for an exclusive connection";
            /// After how much idle time an exclusive connection is closed. Default: 5 minutes.
            idle_timeout: Duration, plain, [limits.idle_timeout],
                "shorter than what a firewall or the servers' `timeout` cuts";
            /// The age at which an exclusive connection is replaced, ± 20 %. Default: 30 minutes.
            max_lifetime: Duration, plain, [limits.max_lifetime],
                "when connections are to move to new addresses or credentials sooner";
            /// The most that one call (a command, or a pipeline as a whole) or one message of a subscription may bring,
            /// in bytes; a server that sends more is hung up on, and the call fails with
            /// [`ErrorKind::ConnectionLost`](crate::ErrorKind::ConnectionLost). At least 64 KiB. Default: 1 GiB.
            ///
            /// One string may have 512 MiB, as on a server that is not set otherwise, or all of it where this is set
            /// above its default. What is read while a connection is set up, and for a probe, is limited to 64 KiB.
            max_reply: u64, plain, [limits.max_reply],
                "lower, where memory is short; it is no limit of what servers store";
            /// How deep lists and maps of a reply may lie inside one another; a server that sends more is taken for
            /// none. 8 to 1024. Default: 128.
            max_nesting: usize, plain, [limits.max_nesting],
                "higher, for a script or a module that answers with deeper trees";
            /// The longest line of a reply, in bytes: a status, an error, or a number; a server that sends more is
            /// taken for none. At least 1024. Default: 64 KiB.
            max_line: usize, plain, [limits.max_line],
                "higher, for scripts that answer with very long statuses or errors";
            /// How many calls may wait to be written on one connection. A further one waits for room, for its response time-out at most,
            /// and fails with [`ErrorKind::Saturated`](crate::ErrorKind::Saturated), `NotSent`. At least 1. Default:
            /// 65 536.
            max_waiting_calls: usize, plain, [limits.bounds.calls],
                "lower, to hear sooner of a server that takes nothing; higher, for larger bursts";
            /// How many bytes may wait to be written on one connection, with the same result; a request that is larger
            /// by itself goes alone. At least 64 KiB. Default: 64 MiB.
            max_waiting_bytes: u64, plain, [limits.bounds.bytes],
                "lower, where memory is short; higher, for many large values at once";
            /// The name of our connections in `CLIENT LIST`, letters, digits and signs without spaces; empty for none.
            /// Default: `fluster`.
            ///
            /// It is said on every connection when it is made, those of probes and subscriptions among them. A node whose
            /// URL ends in `?client_name=other` has another one. A server that refuses it is used all the same.
            client_name: String, text, [limits.client_name],
                "so that servers tell your services apart";
            /// What is taken from a node that was out before it serves again. Default: [`OnReturn::Serve`]; a
            /// [`Cache`](crate::cache::Cache) asks for [`OnReturn::Invalidate`] for its own keys.
            ///
            /// With `Invalidate` it is every key that this cluster wrote meanwhile, counters and lists too, for which it is
            /// a reset and a loss: [the guide](crate::guide::returns) says what is promised and what is not.
            on_return: OnReturn, plain, [recovery.on_return],
                "`invalidate` where all that is written is a cache";
            /// What happens when nobody knows which keys of a node that returns are old. Default: [`OnUnknown::Serve`].
            on_unknown: OnUnknown, plain, [recovery.on_unknown],
                "`flush` for servers that are nothing but caches";
            /// How many keys are noted for one node at one server while it is out. Beyond that it is unknown which of its
            /// keys are old. At least 1. Default: 100 000.
            return_limit: usize, plain, [recovery.limit],
                "higher, for long outages with many writes; lower, where the servers' memory is short";
            /// How long a node may be prepared before it serves again. When that is not enough it is tried again, and goes
            /// on from there. Default: 2 s.
            return_deadline: Duration, plain, [recovery.deadline],
                "longer, for far servers, very many keys, or hundreds of nodes";
            /// What the notes of this application are called, letters, digits and signs without spaces. Default: empty.
            ///
            /// Applications that share servers and call different servers by the same name must have different ones; all
            /// others have the same, to see each other's notes.
            return_name: String, text, [recovery.name],
                "when applications share servers but not the servers' names";
            /// The name of the cluster, letters, digits and signs without spaces; empty for none. Default: none.
            ///
            /// It is the label `cluster` of its metrics, a field of its log lines, the title of its admin page, and, where
            /// [`client_name`](Self::client_name) is not set, the name of its connections.
            name: String, text, [limits.cluster],
                "with several clusters in one process, or many services on one dashboard";
        }
    };
}
pub(crate) use settings;
