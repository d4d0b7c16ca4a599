//! The chapter `settings` of the guide: made from the lists, and compared with what stands there.
//!
//! `FLUSTER_REWRITE=1 cargo test --all-features --lib -- the_guide_lists` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::cluster::options::Options;
use crate::health::penalty_box::parameters;

/// An option, as people see it.
struct Row {
    name: &'static str,
    what: String,
    values: &'static str,
    default: String,
    when: &'static str,
    is_time: bool,
    /// A configuration may say it, and this would be its default.
    written: Option<String>,
}

/// The first sentences of a documentation, up to its default; names of links without their targets.
fn what(doc: &str) -> String {
    let first = doc.split("\n\n").next().unwrap_or_default();
    let first = first.split("Default:").next().unwrap_or_default();
    let mut text = String::new();
    let mut rest = first;
    while let Some(at) = rest.find('[') {
        text.push_str(&rest[..at]);
        let (name, after) = rest[at + 1..].split_once(']').expect("a link ends");
        text.push_str(name);
        rest = match after.strip_prefix('(') {
            Some(target) => target.split_once(')').expect("a target ends").1,
            None => after,
        };
    }
    text.push_str(rest);
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

fn shown(value: &impl Setting) -> String {
    value.shown()
}

/// A row for each entry of the list.
macro_rules! rows {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $type:ty, $how:ident $(($absent:literal))?, [$($path:tt)+], $when:literal;
    )+) => {
        fn options() -> Vec<Row> {
            let options = Options::default();
            vec![$({
                let written = rows!(@$how options.$($path)+);
                Row {
                    name: stringify!($name),
                    what: what(concat!($($doc, "\n"),+)),
                    values: <$type as Setting>::VALUES,
                    default: {
                        let absent: Option<&str> = None$(.or(Some($absent)))?;
                        absent.map_or_else(|| format!("`{}`", written.as_deref().unwrap_or("?")), str::to_owned)
                    },
                    when: $when,
                    is_time: <$type as Setting>::IS_TIME,
                    written,
                }
            }),+]
        }
    };
    (@plain $($value:tt)+) => { Some(shown(&$($value)+)) };
    (@text $($value:tt)+) => { Some(shown(&$($value)+.to_string())) };
    (@optional $($value:tt)+) => { None };
}
settings!(rows);

macro_rules! penalty_rows {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty;)+) => {
        fn penalty() -> Vec<Row> {
            let penalty = Penalty::default();
            vec![$(Row {
                name: stringify!($name),
                what: what(concat!($($doc, "\n"),+)),
                values: <$type as Setting>::VALUES,
                default: format!("`{}`", shown(&penalty.$name)),
                when: when(stringify!($name)),
                is_time: <$type as Setting>::IS_TIME,
                written: Some(shown(&penalty.$name)),
            }),+]
        }
    };
}
parameters!(penalty_rows);

/// When to change a parameter of the penalty.
fn when(parameter: &str) -> &'static str {
    match parameter {
        "min_wait" => "longer, where a server needs longer to come up in any case",
        "max_wait" => "longer, to probe dead servers less; shorter, to be back sooner",
        "multiplier" => "1 for the same wait each time",
        "jitter" => "off in tests that count milliseconds",
        "strikes" => "more, where single time-outs are usual; 1 to be out at the first",
        "strike_window" => "with `strikes`",
        "rate_min" => "more, where few results say little; 0 to judge by strikes alone",
        "rate_window" => "longer with little traffic",
        "rate_percent" => "lower, to be out sooner with some errors among answers",
        "rise" => "more, where servers come up and go again",
        "probe_gap" => "longer, to prove a returned server over a longer time",
        "probe_timeout" => "longer for servers far away; as long as `connect_timeout`",
        "not_ready_max" => "longer, where loading takes minutes",
        "probation" => "zero, to trust a returned server at once",
        "probation_oks" => "with `probation`",
        "decay" => "longer, to remember a bad server for longer",
        "flap_count" => "more, or 0, where short faults are usual",
        "flap_window" => "with `flap_count`",
        "flap_hold" => "shorter, where a held server is missed more than it harms",
        "demand_min" => "longer with very many processes",
        "demand_max" => "with `demand_min`",
        new => panic!("say here when to change `{new}`"),
    }
}

/// Methods of the builder that are no entries of the list, and why: (method, keys, default, when).
const OTHERS: &[(&str, &str, &str, &str)] = &[
    (
        "urls",
        "`nodes`",
        "none: a cluster needs a node",
        "a list of URLs, or one text with commas between them",
    ),
    (
        "nodes",
        "`[[nodes]]`",
        "none",
        "with `url`, and if wanted `name`, `weight`, `labels`",
    ),
    ("node", "`[[nodes]]`", "none", "the same, one by one"),
    (
        "penalty",
        "`[penalty]`",
        "`default`",
        "below; `penalty = \"fluster-py\"` for the rules of the Python library",
    ),
    (
        "tls",
        "`tls_ca_file`, `tls_cert_file`, `tls_key_file`",
        "the platform's authorities",
        "authorities of your own; client certificates",
    ),
    (
        "credentials",
        "only in code; user and password stand in the URL",
        "those of the URL",
        "passwords that change while the program runs",
    ),
    (
        "runtime",
        "only in code",
        "that of the first call",
        "several runtimes, or none of your own; [runtimes](crate::guide::runtimes)",
    ),
];

/// What a queue is asked for, by its methods: (method, default, when).
fn queue() -> Vec<(&'static str, String, &'static str)> {
    let of = crate::queue::default_options();
    let [spread, visibility, attempts, payload, prefetch] = of;
    vec![
        (
            "spread",
            spread,
            "`ByKey` for order by message, `LeastDepth` for nodes of unequal speed",
        ),
        (
            "visibility",
            visibility,
            "longer than a job that blocks its runtime may take; shorter to repeat sooner after a crash",
        ),
        (
            "max_attempts",
            attempts,
            "lower, where a job that fails is not worth repeating",
        ),
        (
            "max_len",
            "no limit".to_owned(),
            "a bound on the memory that a queue may take on a node",
        ),
        (
            "max_payload",
            payload,
            "larger messages, up to the servers' `proto-max-bulk-len`",
        ),
        ("prefetch", prefetch, "more for short jobs; 1 for long ones"),
        (
            "within",
            "the cluster's deadline".to_owned(),
            "calls of one place that may take longer, or less",
        ),
    ]
}

/// The same of a cache.
const CACHE: &[(&str, &str, &str)] = &[
    ("replicas", "1", "copies that survive the loss of a node"),
    (
        "quorum",
        "`Quorum::One`",
        "writes that count only when more replicas have them",
    ),
    (
        "read_from",
        "`ReadFrom::FirstAvailable`",
        "`Hedged` for the slowest reads, `Random` to spread reads",
    ),
    (
        "read_repair",
        "`ReadRepair::default()`",
        "none, where servers are read-only or reads must not write",
    ),
    (
        "stand_in_ttl",
        "60s",
        "shorter, where stale values hurt; none, where values are never written again",
    ),
    (
        "on_return",
        "`OnReturn::Invalidate`",
        "`Serve`, where servers refuse what it needs, or old values are better than none",
    ),
    (
        "near",
        "none",
        "hot values that are read far more often than they are written (feature `near`)",
    ),
];

/// The same of a near cache. Without links: its feature may be off.
const NEAR: &[(&str, &str, &str)] = &[
    (
        "capacity",
        "64 MiB",
        "more, where what is hot does not fit; at least 64 KiB",
    ),
    (
        "max_silence",
        "1s",
        "shorter, where a broken connection must be noticed sooner; 50 ms to 60 s",
    ),
    (
        "max_age",
        "60s",
        "longer, where nothing changes without the server telling of it; `max_silence` to a day",
    ),
    (
        "negative",
        "`false`",
        "`true`, where many ask for what is not there",
    ),
];

/// The same of a fleet: (method, key, default, when). Without links: its feature may be off.
const FLEET: &[(&str, &str, &str, &str)] = &[
    (
        "advisory",
        "policy",
        "`advisory`",
        "`agreed`, where a wrong place of a key is worse than a failed call",
    ),
    (
        "scope",
        "scope",
        "`redis`",
        "with more than one cluster in the application: each has its own",
    ),
    (
        "no_quorum",
        "no_quorum",
        "`local`",
        "`refuse`, where no place is better than a wrong one also while the instances do not hear each other",
    ),
    (
        "jurors",
        "jurors",
        "15",
        "more, where many instances at once may be wrong about a node; 3 to 64",
    ),
    (
        "max_out",
        "max_out",
        "0.5",
        "lower, where fewer nodes could not carry the load",
    ),
    (
        "hold_up",
        "hold_up_ms",
        "3s",
        "longer, for nodes that come back before they are well; a minute at most",
    ),
];

/// The same three times.
const WAYS: &str = r#"The same cluster three times, by methods, by a file, and by variables:

```
# #[cfg(feature = "serde")]
# fn demo() -> Result<(), Box<dyn std::error::Error>> {
use std::time::Duration;
use fluster::{Config, FlusterCluster};

let by_methods = FlusterCluster::builder()
    .urls(["redis://10.0.0.1", "redis://10.0.0.2"])
    .response_timeout(Duration::from_millis(200))
    .build()?;

let file = "nodes = ['redis://10.0.0.1', 'redis://10.0.0.2']\nresponse_timeout = '200ms'";
let by_file = FlusterCluster::try_from(toml::from_str::<Config>(file)?)?;

// FLUSTER_NODES=redis://10.0.0.1,redis://10.0.0.2 FLUSTER_RESPONSE_TIMEOUT=200ms
let ours = |(name, value): (String, String)| {
    Some((name.strip_prefix("FLUSTER_")?.to_lowercase(), value.into()))
};
let variables: serde_json::Map<_, _> = std::env::vars().filter_map(ours).collect();
let by_variables = FlusterCluster::try_from(serde_json::from_value::<Config>(variables.into())?)?;
# Ok(()) }
```

"#;

fn chapter() -> String {
    let mut text = String::from(
        "Every option: the method that sets it, its key in a file (feature `serde`, [`Config`](https://docs.rs/fluster/latest/fluster/struct.Config.html)),\n\
         its variable, its default, and when to change it. Made by a test from the list that also makes the methods\n\
         and the keys.\n\n\
         * A **time** is a text with its unit (`\"200ms\"`, `\"5s\"`, `\"10m\"`, `\"1h\"`, `\"7d\"`), or whole milliseconds\n  \
         under the same key with `_ms` at its end: `deadline = \"2s\"` is `deadline_ms = 2000`. 1 ms to 30 days.\n\
         * A **variable** is the key in capitals behind a prefix that the program chooses, as a serde reader of the\n  \
         environment has it (the crate `envy`, for one): `FLUSTER_DEADLINE=2s` for the prefix `FLUSTER_`. Numbers and\n  \
         `true` are texts there, nodes are URLs with commas between them, and a parameter of the penalty is\n  \
         `FLUSTER_PENALTY_MAX_WAIT`.\n\
         * A key that is unknown or given twice, and a value that cannot be, is one error with the key's name.\n\n",
    );
    text.push_str(WAYS);
    text.push_str(
        "# The cluster\n\n\
         | method | key | variable | default | what | when to change it |\n|---|---|---|---|---|---|\n",
    );
    for row in options() {
        let (name, also) = (row.name, also(&row));
        let variable = name.to_uppercase();
        let _ = writeln!(
            text,
            "| [`{name}`](crate::ClusterBuilder::{name}) | `{name}`{also} | `FLUSTER_{variable}` | {} | {}{} | {} |",
            row.default,
            row.what,
            sentence(row.values),
            row.when
        );
    }
    text += "\nBeside them:\n\n| method | key | default | when |\n|---|---|---|---|\n";
    for (name, key, default, when) in OTHERS {
        let link = match *name {
            // Only with its feature.
            "tls" => "`tls`".to_owned(),
            name => format!("[`{name}`](crate::ClusterBuilder::{name})"),
        };
        let _ = writeln!(text, "| {link} | {key} | {default} | {when} |");
    }
    text += "\n# The penalty\n\n\
        Methods and fields of [`Penalty`](crate::Penalty), keys of the table `[penalty]`; with `preset = \"fluster-py\"`\n\
        there, the rest of the table is set on top of that preset. [Health](crate::guide::health) says what they do together.\n\n\
        ```toml\n[penalty]\npreset = \"default\"\nmax_wait = \"10s\"\nstrikes = 5\n```\n\n\
        | method and key | variable | default | what | when to change it |\n|---|---|---|---|---|\n";
    for row in penalty() {
        let (name, also) = (row.name, also(&row));
        let variable = name.to_uppercase();
        let _ = writeln!(
            text,
            "| [`{name}`](method@crate::Penalty::{name}){also} | `FLUSTER_PENALTY_{variable}` | {} | {} | {} |",
            row.default, row.what, row.when
        );
    }
    text += "\n# A queue\n\nSet on a [`Queue`](crate::queue::Queue), where it is used: a queue has no configuration.\n\n\
        | method | default | when to change it |\n|---|---|---|\n";
    for (name, default, when) in queue() {
        let _ = writeln!(
            text,
            "| [`{name}`](crate::queue::Queue::{name}) | {default} | {when} |"
        );
    }
    text += "\n# A cache\n\nSet on a [`CacheBuilder`](crate::cache::CacheBuilder).\n\n\
        | method | default | when to change it |\n|---|---|---|\n";
    for (name, default, when) in CACHE {
        let shown = match *name {
            // Its feature may be off.
            "near" => "`near`".to_owned(),
            name => format!("[`{name}`](crate::cache::CacheBuilder::{name})"),
        };
        let _ = writeln!(text, "| {shown} | {default} | {when} |");
    }
    text += "\n# A near cache\n\nSet on a `Near` (feature `near`), which a cache is given by `near`.\n\n\
        | method | default | when to change it |\n|---|---|---|\n";
    for (name, default, when) in NEAR {
        let _ = writeln!(text, "| `{name}` | {default} | {when} |");
    }
    text += "\n# A fleet\n\nSet on a `Fleet` (feature `gossip`), or keys of the table `[fleet]`, which is a `FleetConfig` (with feature\n\
        `serde`). All instances of a scope need the same.\n\n\
        ```toml\n[fleet]\npolicy = \"agreed\"\nscope = \"sessions\"\nhold_up_ms = 5000\n```\n\n\
        | method | key | default | when to change it |\n|---|---|---|---|\n";
    for (name, key, default, when) in FLEET {
        let _ = writeln!(text, "| `{name}` | `{key}` | {default} | {when} |");
    }
    text
}

fn also(row: &Row) -> String {
    match row.is_time {
        true => format!(", `{}_ms`", row.name),
        false => String::new(),
    }
}

/// What it may be, as a sentence; of times the chapter says it once.
fn sentence(values: &str) -> String {
    match values.starts_with("a time") {
        true => String::new(),
        false => format!(" In a file: {values}."),
    }
}

#[test]
fn the_guide_lists_every_option() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide/settings.md");
    let text = chapter();
    if std::env::var_os("FLUSTER_REWRITE").is_some() {
        std::fs::write(&path, &text).expect("write the chapter");
    }
    let there = std::fs::read_to_string(&path).expect("the chapter");
    assert!(
        there == text,
        "the lists have changed: run FLUSTER_REWRITE=1 cargo test --all-features --lib -- the_guide_lists"
    );
}

/// The methods that take `self` and a value, and give it back.
fn setters(file: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    let text = std::fs::read_to_string(path).expect("a source");
    let text = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    let methods = text.split("\n    pub fn ").skip(1).map(|rest| {
        let (head, _) = rest.split_once('{').expect("a body");
        let name = head.split(['(', '<']).next().unwrap_or_default();
        (name.to_owned(), head.to_owned())
    });
    let is_setter = |head: &str| head.contains("self,") && head.contains("-> Self");
    methods
        .filter(|(_, head)| is_setter(head))
        .map(|(name, _)| name)
        .collect()
}

/// A method that is written beside the list would have no key and no row.
#[test]
fn no_option_is_made_beside_the_lists() {
    let mut others = setters("cluster/builder.rs");
    others.retain(|name| !name.starts_with('$'));
    let known: Vec<_> = OTHERS.iter().map(|(name, ..)| *name).collect();
    for name in &others {
        assert!(
            known.contains(&&**name),
            "put `{name}` into settings.rs, or say here why not"
        );
    }
    assert!(
        known.iter().all(|name| others.iter().any(|n| n == name)),
        "{others:?}"
    );
    let of_queue: Vec<_> = queue().iter().map(|(name, ..)| *name).collect();
    assert_eq!(setters("queue.rs"), of_queue);
    let of_fleet: Vec<_> = FLEET.iter().map(|(name, ..)| *name).collect();
    assert_eq!(setters("gossip/share/settings.rs"), of_fleet[1..]);
    let of_cache: Vec<_> = CACHE.iter().map(|(name, ..)| *name).collect();
    assert_eq!(setters("cache/builder.rs"), of_cache);
    let of_near: Vec<_> = NEAR.iter().map(|(name, ..)| *name).collect();
    assert_eq!(setters("near/options.rs"), of_near);
}

fn of(toml: &str) -> Result<ClusterBuilder, String> {
    let config: Config = toml::from_str(toml).map_err(|e| e.message().to_owned())?;
    ClusterBuilder::try_from(config).map_err(|e| e.to_string())
}

/// What a default is written as is read as the default, from a file and from a variable.
#[test]
fn every_key_reads_what_the_guide_shows() {
    let plain = options().into_iter().map(|row| (String::new(), row));
    let penalty = penalty().into_iter();
    let all = plain.chain(penalty.map(|row| ("penalty_".to_owned(), row)));
    let mut seen = 0;
    for (before, row) in all {
        let key = format!("{before}{}", row.name);
        let written = row.written.clone().unwrap_or_else(|| match row.is_time {
            true => "1500ms".to_owned(),
            false => "off".to_owned(),
        });
        let builder = of(&format!("{key} = '{written}'")).expect(&key);
        if row.written.is_some() {
            let plain = format!("{:?}", FlusterCluster::builder());
            assert_eq!(format!("{builder:?}"), plain, "{key}");
        }
        if row.is_time {
            for bad in ["= 20", "= '20'", "= 'soon'", "_ms = '20ms'", "_ms = -1"] {
                let error = of(&format!("{key}{bad}")).expect_err(bad);
                assert!(error.contains(&format!("`{key}")), "{bad}: {error}");
            }
            let one = of(&format!("{key}_ms = 1500")).expect(&key);
            let other = of(&format!("{key} = '1.5s'")).expect(&key);
            assert_eq!(format!("{one:?}"), format!("{other:?}"));
            let twice = of(&format!("{key} = '1s'\n{key}_ms = 1000")).expect_err("twice");
            assert!(twice.contains(&key) && twice.contains("twice"), "{twice}");
        } else {
            for bad in ["['x']", "'no such thing'", "-1"] {
                // A number may be less than 0, as far as its key is concerned.
                if bad == "-1" && row.values == "a number" {
                    continue;
                }
                let error = of(&format!("{key} = {bad}")).expect_err(bad);
                assert!(
                    error.contains(&format!("`{key}`")),
                    "{key} = {bad}: {error}"
                );
            }
        }
        seen += 1;
    }
    assert!(seen > 30, "{seen} keys");
}
