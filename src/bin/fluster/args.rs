//! The commands and their arguments.
//!
//! What could hold a password is taken as text here and read by ourselves: the parser repeats a value
//! that it refuses.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

#[derive(Debug, Parser)]
#[command(
    name = "fluster",
    version,
    about = "Where the keys of a sharded Redis cluster live, and how its nodes are",
    after_help = "CLUSTER, in every command, is --config FILE, or --node NAME=URL for each node; FLUSTER_CONFIG is the \
                  FILE where neither is given.\n\
                  Exit codes: 0 done; 1 two configurations differ; 2 usage; 3 a server is unreachable; \
                  4 no node is left for a key.\n\n\
                  Example:\n  fluster locate --node a=redis://10.0.0.1 --node b=redis://10.0.0.2 user:42"
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Where keys live
    #[command(after_help = LOCATE)]
    Locate(Locate),
    /// Which of the servers that a source lists has a key, as proxenos selects it
    // -h is the host.
    #[command(disable_help_flag = true, after_help = SELECT)]
    Select(Select),
    /// The share of each node: ideal against real
    #[command(after_help = RING)]
    Ring(Ring),
    /// How many keys would move, and between which nodes
    #[command(after_help = PLAN)]
    Plan(Plan),
    /// The nodes as they are now, or as a running application sees them; or how another configuration differs
    #[command(after_help = STATUS)]
    Status(Status),
    /// The nodes, live
    #[command(after_help = TOP)]
    Top(Top),
    /// Why a key is served by the node that serves it
    #[command(after_help = EXPLAIN)]
    Explain(Explain),
    /// The instances of an application: who is there, and whose a key is
    #[command(subcommand, after_help = crate::gossip::args::GOSSIP)]
    Gossip(crate::gossip::args::Gossip),
    /// A script for a shell, which then completes commands and options
    #[command(after_help = COMPLETIONS)]
    Completions(Completions),
    /// The manual page, for `man -l -`
    Man,
}

const LOCATE: &str = "It prints the key, a tab, and its node, then a tab and a node for each further replica. Tabs, line \
    breaks and bytes that are not UTF-8 are escaped; --json has the key exactly, in `key_hex`. A key \
    that no node is left for has `-`, or null, and the exit code is 4.\n\n\
    Examples:\n  \
    fluster locate --config cluster.toml --replicas 2 user:42\n  \
    fluster locate --node a=redis://10.0.0.1 --node b=redis://10.0.0.2,weight=2 --down a --keys-from keys.txt --json";

const SELECT: &str = "HOST and PORT by backend:\n  \
    static  servers with commas between them, each host or host:port; PORT (6379) for those without\n  \
    file    the path of a file with one server per line; no PORT\n  \
    dns     a name that leads to the servers, and their PORT (6379)\n  \
    srv     NAME[@SERVER]: the name of the SRV records, and a name server to ask, at PORT (53)\n  \
    consul  an agent, PORT 8500; the services of its catalogue. Token: CONSUL_HTTP_TOKEN\n  \
    etcd    HOST[/PREFIX]: a server, PORT 2379, and the keys to read (default: all that begin with /)\n\n\
    Without --placement, proxenos's variables hold: PROXENOS_PRF (METHOD), PROXENOS_MMH_SEED (a number), \
    PROXENOS_MMH_OPTIMIZE (auto, x64 or x86), PROXENOS_SIPHASH_KEY (16 bytes, or 32 hexadecimal digits). proxenos places \
    servers by their IP addresses, every other rule by their names, as a cluster that follows the source does.\n\n\
    Patterns match from the start of the text. Exit codes: 0 done; 2 usage; 64 cannot connect; 65 nothing \
    found.\n\n\
    Example:\n  fluster select -b consul -h 127.0.0.1 -p 8500 -N 'cache' -T 'v[12]' user:42\n  \
    fluster select -b dns -h cache.internal -p 6379 --placement ring user:42";

const RING: &str = "The standard deviation is that of real / ideal over the nodes.\n\n\
    Example:\n  fluster ring --config cluster.toml --keys 1000000 --plot ring.svg";

const PLAN: &str = "CLUSTER2 is the file of another configuration, or NAME=URL (with more --to for more nodes), which is placed \
    by the rule of CLUSTER.\n\n\
    Example:\n  fluster plan --config today.toml --to tomorrow.toml";

const STATUS: &str = "The nodes that are not well come first, each with its reason on a line of its own. A terminal gets as many \
    nodes as it has lines, unless --all; a pipe or a file gets all of them. --of asks a running application what it sees, on \
    its admin page; without it the servers are asked from here.\n\n\
    Exit code 3 when a node does not answer, or is out for the application. With --compare no server is asked; exit code 1 \
    when the two do not place all keys the same way.\n\n\
    Examples:\n  \
    fluster status redis://10.0.0.1 redis://10.0.0.2\n  \
    fluster status --config app.toml --section redis --wide\n  \
    fluster status --of http://127.0.0.1:9800\n  \
    fluster status --config service-a.toml --compare service-b.toml";

const TOP: &str = "With --of, what the application sends to each node, and how fast it is answered; otherwise what the servers say of \
    themselves. The nodes that are not well come first, then those with the most traffic.\n\n\
    Examples:\n  \
    fluster top --of http://127.0.0.1:9800\n  \
    fluster top --config cluster.toml --interval 5s";

const EXPLAIN: &str = "With --of, who serves the key in the running application, now; otherwise by the configuration, with all nodes in \
    service but those of --down. The key is sent in the body of a POST, and no log has it.\n\n\
    Examples:\n  \
    fluster explain --of http://127.0.0.1:9800 'cart:{42}'\n  \
    fluster explain --config cluster.toml --down cache-b user:42";

const COMPLETIONS: &str = "Example:\n  fluster completions bash > /etc/bash_completion.d/fluster";

/// CLUSTER: which nodes, and which rule.
#[derive(Args, Debug)]
pub struct Cluster {
    /// The configuration of the cluster, in TOML or JSON: what the library reads; `-` is standard input
    #[arg(long, value_name = "FILE|-", help_heading = "Cluster")]
    pub config: Option<PathBuf>,
    /// The part of FILE that is it, such as `redis` or `app.cache`
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub section: Option<String>,
    /// A node; once for each, in their order
    #[arg(
        long = "node",
        value_name = "[NAME=]URL[,weight=N][,label.KEY=VALUE]...",
        help_heading = "Cluster"
    )]
    pub nodes: Vec<String>,
    /// The password of all nodes is the first line of this file [or: the variable FLUSTER_PASSWORD]
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub password_file: Option<PathBuf>,
    /// The placement rule, such as `ring`, `fluster-py` or `twemproxy:hash=md5` [default: the file's, or `ring`]
    #[arg(long, value_name = "RULE", help_heading = "Cluster")]
    pub placement: Option<String>,
    /// What of a key is hashed: `redis`, `off`, or the two characters around a tag [default: the file's, or the rule's]
    #[arg(
        long,
        value_name = "redis|off|XY",
        help_heading = "Cluster",
        allow_hyphen_values = true
    )]
    pub hash_tags: Option<String>,
}

#[derive(Args, Debug)]
pub struct Locate {
    #[command(flatten)]
    pub cluster: Cluster,
    /// So many nodes for each key, its node the first of them
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub replicas: Option<usize>,
    /// This node is out
    #[arg(long, value_name = "NAME")]
    pub down: Vec<String>,
    /// Keys, one per line; `-` is standard input
    #[arg(long, value_name = "FILE|-")]
    pub keys_from: Option<PathBuf>,
    /// Keys are in hexadecimal digits; an empty line is the empty key
    #[arg(long)]
    pub hex: bool,
    /// One JSON object per line
    #[arg(long)]
    pub json: bool,
    /// The keys
    #[arg(value_name = "KEY")]
    pub keys: Vec<OsString>,
}

/// Where `select` looks for servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    Static,
    File,
    Dns,
    Srv,
    Consul,
    Etcd,
}

#[derive(Args, Debug)]
pub struct Select {
    /// Where servers are looked for
    #[arg(short, long, default_value = "consul")]
    pub backend: Backend,
    /// What to ask, see below
    #[arg(short, long, default_value = "localhost")]
    pub host: String,
    /// Its port, see below
    #[arg(short, long)]
    pub port: Option<u16>,
    /// Only servers whose host:port matches
    #[arg(
        short = 'A',
        long = "address",
        value_name = "RE",
        allow_hyphen_values = true
    )]
    pub addresses: Vec<String>,
    /// Only servers of services whose name matches
    #[arg(
        short = 'N',
        long = "name",
        value_name = "RE",
        allow_hyphen_values = true
    )]
    pub names: Vec<String>,
    /// Only servers all of whose tags match
    #[arg(
        short = 'T',
        long = "tag",
        value_name = "RE",
        allow_hyphen_values = true
    )]
    pub tags: Vec<String>,
    /// SIPHASH, MD5, SHA1, SHA224 to SHA512, MMH3_32, MMH3_64 or MMH3_128 [default: PROXENOS_PRF, or SIPHASH]
    #[arg(short = 'H', long = "hash-method", value_name = "METHOD")]
    pub method: Option<String>,
    /// Another placement rule than proxenos's, such as `ring`, or its with all parameters: `proxenos:method=MMH3_64,seed=7`
    #[arg(long, value_name = "RULE", conflicts_with = "method")]
    pub placement: Option<String>,
    /// What of a key is hashed: `redis`, `off`, or the two characters around a tag [default: the rule's]
    #[arg(long, value_name = "redis|off|XY", allow_hyphen_values = true)]
    pub hash_tags: Option<String>,
    /// A JSON object with all that the source says of the server
    #[arg(long)]
    pub json: bool,
    /// Print help
    #[arg(long, action = ArgAction::HelpLong)]
    pub help: Option<bool>,
    /// The key
    #[arg(value_name = "KEY")]
    pub key: OsString,
}

#[derive(Args, Debug)]
pub struct Ring {
    #[command(flatten)]
    pub cluster: Cluster,
    /// How many keys are looked up
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100_000,
        allow_negative_numbers = true
    )]
    pub keys: u64,
    /// Draw it, as SVG
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Plan {
    #[command(flatten)]
    pub cluster: Cluster,
    /// The nodes as they are to be
    #[arg(long, value_name = "CLUSTER2", required = true)]
    pub to: Vec<OsString>,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// What the commands have in common that look at nodes.
#[derive(Args, Debug)]
pub struct Look {
    #[command(flatten)]
    pub cluster: Cluster,
    #[command(flatten)]
    pub of: Of,
    /// How long a server, or the application, may take to answer
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
    /// Between two looks [default: 1s]
    #[arg(long, value_name = "TIME")]
    pub interval: Option<String>,
    /// Only the nodes that are not well
    #[arg(long)]
    pub down_only: bool,
    /// All nodes, also on a terminal that has fewer lines
    #[arg(long)]
    pub all: bool,
    /// One JSON object (a line each, when it goes on)
    #[arg(long)]
    pub json: bool,
    /// The URLs of nodes without names
    #[arg(value_name = "URL", help_heading = "Cluster")]
    pub urls: Vec<String>,
}

/// A running application.
#[derive(Args, Debug)]
pub struct Of {
    /// The admin page of a running application, such as http://127.0.0.1:9800
    #[arg(long, value_name = "URL", help_heading = "Application")]
    pub of: Option<String>,
    /// Its token is the first line of this file [or: the variable FLUSTER_ADMIN_TOKEN]
    #[arg(long, value_name = "FILE", help_heading = "Application")]
    pub token_file: Option<PathBuf>,
    /// PEM file of the authorities that https:// is verified against [default: the platform's]
    #[arg(long, value_name = "FILE", help_heading = "Application")]
    pub ca_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Status {
    #[command(flatten)]
    pub look: Look,
    /// Again every second, in place
    #[arg(long)]
    pub watch: bool,
    /// More columns: uptime, clients, commands, evictions, version
    #[arg(long)]
    pub wide: bool,
    /// Does this configuration place keys the same way?
    #[arg(long, value_name = "FILE", conflicts_with_all = ["watch", "of"])]
    pub compare: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Top {
    #[command(flatten)]
    pub look: Look,
}

#[derive(Args, Debug)]
pub struct Explain {
    #[command(flatten)]
    pub cluster: Cluster,
    #[command(flatten)]
    pub of: Of,
    /// This node is out
    #[arg(long, value_name = "NAME", conflicts_with = "of")]
    pub down: Vec<String>,
    /// How long the application may take to answer
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
    /// The key is in hexadecimal digits
    #[arg(long)]
    pub hex: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
    /// The key
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    pub key: OsString,
}

#[derive(Args, Debug)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}
