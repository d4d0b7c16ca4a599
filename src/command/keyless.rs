//! Commands without keys: which nodes they are for, and how many answers become one.

/// How the answers of all nodes become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gather {
    /// One for all: they say the same (`OK`, `PONG`, a script's digest).
    Same,
    /// Numbers are added.
    Sum,
    /// Of numbers the largest: they say the same where all nodes hold the same.
    Most,
    /// Lists are joined.
    Join,
    /// Lists of a name and a number in turn: the numbers of one name are added.
    SumByName,
    /// Lists of 0 and 1: 1 where all say 1.
    All,
    /// A map from the node's name to its answer.
    ByNode,
    /// One for all, and one node is enough: whoever misses it gets it when it is needed (`SCRIPT LOAD`).
    Any,
}

/// What a command without keys is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyless {
    /// Every node of the cluster.
    Everywhere(Gather),
    /// One live node, whichever: all would say the same, or it is not about their data.
    Anywhere,
    /// The node that has this word (a channel) in place of a key.
    ByWord(usize),
    /// No answer of the whole cluster would be right; the text says what to call instead.
    Refused(&'static str),
    /// The same, and with one node as well.
    Never(&'static str),
}

/// What to do with a call that has no keys.
pub(crate) fn keyless(name: &str) -> Keyless {
    use Gather::{All, Any, ByNode, Join, Most, Same, Sum, SumByName};
    let one_node = "it is about one node: use `get_client(key)`, `clients()` or `fan_out`";
    match name {
        "PING" | "FLUSHALL" | "FLUSHDB" | "SCRIPT FLUSH" | "SCRIPT KILL" | "FUNCTION LOAD"
        | "FUNCTION DELETE" | "FUNCTION FLUSH" | "FUNCTION RESTORE" | "FUNCTION KILL"
        | "CONFIG SET" | "CONFIG RESETSTAT" | "CONFIG REWRITE" | "SLOWLOG RESET"
        | "MEMORY PURGE" | "ACL SETUSER" | "ACL SAVE" | "ACL LOAD" | "BGSAVE" | "BGREWRITEAOF"
        | "SAVE" | "COMMANDLOG RESET" => Keyless::Everywhere(Same),
        "DBSIZE" | "SLOWLOG LEN" | "PUBSUB NUMPAT" | "LATENCY RESET" | "COMMANDLOG LEN" => {
            Keyless::Everywhere(Sum)
        }
        "ACL DELUSER" => Keyless::Everywhere(Most),
        "KEYS" | "PUBSUB CHANNELS" | "PUBSUB SHARDCHANNELS" => Keyless::Everywhere(Join),
        "SCRIPT LOAD" => Keyless::Everywhere(Any),
        "SCRIPT EXISTS" => Keyless::Everywhere(All),
        "PUBSUB NUMSUB" | "PUBSUB SHARDNUMSUB" => Keyless::Everywhere(SumByName),
        "INFO" | "ROLE" | "MEMORY STATS" | "MEMORY DOCTOR" | "CLIENT LIST" | "SLOWLOG GET"
        | "LATENCY LATEST" | "FUNCTION STATS" | "COMMANDLOG GET" => Keyless::Everywhere(ByNode),
        name if is_anybodys(name) => Keyless::Anywhere,
        "PUBLISH" | "SPUBLISH" => Keyless::ByWord(1),
        "EVAL" | "EVALSHA" | "EVAL_RO" | "EVALSHA_RO" | "FCALL" | "FCALL_RO" => Keyless::Refused(
            "without keys no node is the right one: use `run_with_key`, or `fan_out`",
        ),
        "SCAN" => Keyless::Refused("its cursor belongs to one node: use `scan()`"),
        "RANDOMKEY" => {
            Keyless::Refused("a random key of a random node is not a random key: use `clients()`")
        }
        "SHUTDOWN" | "FAILOVER" | "REPLICAOF" | "SLAVEOF" | "DEBUG" => Keyless::Never(one_node),
        _ => Keyless::Refused(one_node),
    }
}

/// Whether one node answers for the cluster, without an effect: what is set up alike everywhere, or is about no node;
/// callers of one server expect one answer.
pub(crate) fn is_anybodys(name: &str) -> bool {
    matches!(
        name,
        "ECHO"
            | "TIME"
            | "LASTSAVE"
            | "LOLWUT"
            | "CONFIG GET"
            | "ACL CAT"
            | "ACL DRYRUN"
            | "ACL GENPASS"
            | "ACL GETUSER"
            | "ACL LIST"
            | "ACL USERS"
            | "ACL WHOAMI"
            | "CLIENT GETNAME"
            | "CLIENT ID"
            | "CLIENT INFO"
            | "COMMAND"
            | "COMMAND COUNT"
            | "COMMAND DOCS"
            | "COMMAND GETKEYS"
            | "COMMAND GETKEYSANDFLAGS"
            | "COMMAND INFO"
            | "COMMAND LIST"
            | "FUNCTION DUMP"
            | "FUNCTION LIST"
            | "MODULE LIST"
    ) || name.ends_with(" HELP")
}
