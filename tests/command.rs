//! The table of commands against a real server: its `COMMAND`, and its `COMMAND GETKEYS` for generated
//! calls.
//!
//! The table is private and pure, so its files are compiled here once more (with their unit tests)
//! instead of being opened to everybody; `command/index.rs` shows that every row is found by its name.

#![allow(dead_code, reason = "the library uses what the tests do not")]

#[path = "../src/command/keys.rs"]
mod keys;
#[path = "../src/command/spec.rs"]
mod spec;
#[path = "../src/command/table.rs"]
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use self::keys::BadKeys;
use self::spec::{Effect, Spec, Where};
use self::table::TABLE;
use crate::support::{Reply, Server};

impl Spec {
    /// The command that these words call, without the index.
    fn find<'a>(args: impl Iterator<Item = &'a [u8]>) -> Option<&'static Self> {
        let words: Vec<_> = args.take(2).map(<[u8]>::to_ascii_uppercase).collect();
        let names = [words.join(&b' '), words.first()?.clone()];
        let row = |name: &Vec<u8>| TABLE.iter().find(|s| s.name.as_bytes() == name);
        names.iter().find_map(row)
    }
}

fn text(reply: &Reply) -> String {
    reply.to_string()
}

fn array(reply: &Reply) -> &[Reply] {
    match reply {
        Reply::Array(items) => items,
        other => panic!("an array, not {other:?}"),
    }
}

/// Name, arity and flags of every command and subcommand.
fn commands(reply: &Reply, into: &mut BTreeMap<String, (i64, Vec<String>)>) {
    for command in array(reply) {
        let fields = array(command);
        let name = text(&fields[0]).to_uppercase().replace('|', " ");
        let arity = text(&fields[1]).parse().expect("a number");
        let flags = array(&fields[2]).iter().map(text).collect();
        into.insert(name, (arity, flags));
        if let Some(sub) = fields.get(9) {
            commands(sub, into);
        }
    }
}

/// Whether a table's arity takes every number of words that the server's takes.
fn accepts_all(ours: i8, theirs: i64) -> bool {
    match i64::from(ours) {
        least if least < 0 => theirs.abs() >= -least,
        exact => exact == theirs,
    }
}

/// redis-rs's own methods are what people call: each is known, so that none is refused for its name.
#[test]
fn every_command_of_redis_rs_is_known() {
    let commands = methods_of_redis_rs();
    assert!(commands.len() > 180, "{}", commands.len());
    for name in &commands {
        let found = Spec::find([name.as_bytes(), b"x"].into_iter());
        assert!(
            found.is_some(),
            "{name} of redis-rs is unknown: scripts/commands.py"
        );
    }
}

/// The names in redis-rs's sources, of the version that `Cargo.lock` names.
fn methods_of_redis_rs() -> BTreeSet<String> {
    let lock = include_str!("../Cargo.lock");
    let (_, rest) = lock
        .split_once("name = \"redis\"\nversion = \"")
        .expect("locked");
    let version = rest.split('"').next().expect("a version");
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let registry = home.expect("cargo's home").join("registry/src");
    let mut folders: Vec<_> = std::fs::read_dir(registry)
        .expect("the sources of the dependencies")
        .map(|index| index.expect("a registry").path())
        .map(|index| index.join(format!("redis-{version}/src/commands")))
        .filter(|folder| folder.exists())
        .collect();
    let mut names = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the sources") {
            let path = entry.expect("the sources").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(path).expect("a source file");
            for call in text.split("cmd(").skip(1) {
                let name = call
                    .trim_start()
                    .strip_prefix('"')
                    .and_then(|rest| rest.split('"').next());
                let is_name = |name: &&str| {
                    name.chars()
                        .all(|c| c.is_ascii_uppercase() || "._".contains(c) || c.is_ascii_digit())
                };
                names.extend(
                    name.filter(is_name)
                        .filter(|name| !name.is_empty())
                        .map(str::to_owned),
                );
            }
        }
    }
    names
}

#[test]
fn the_table_says_what_the_server_says() {
    let server = Server::start();
    let mut known = BTreeMap::new();
    commands(&server.try_raw(["COMMAND"]).expect("an answer"), &mut known);
    assert!(known.len() > 300, "{} commands", known.len());
    for (name, (arity, flags)) in known {
        let words = name.split(' ').map(str::as_bytes);
        let spec = Spec::find(words).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(spec.name, name);
        // Whatever version is at hand: what it takes, we send, and may leave the rest to it.
        assert!(accepts_all(spec.arity, arity), "{name}: {arity}");
        let flag = |f: &str| flags.iter().any(|x| x == f);
        match spec.effect {
            Effect::Read => assert!(flag("readonly"), "{name}"),
            Effect::Write | Effect::Repeatable => assert!(flag("write"), "{name}"),
            Effect::Other => assert!(!flag("readonly") && !flag("write"), "{name}"),
        }
        if flag("blocking") {
            let blocks = [
                "BLPOP",
                "BRPOP",
                "BLMOVE",
                "BRPOPLPUSH",
                "BZPOPMIN",
                "BZPOPMAX",
                "BLMPOP",
                "BZMPOP",
                "XREAD",
                "XREADGROUP",
            ];
            assert!(
                blocks.contains(&&*name),
                "{name} blocks: teach `block` about it"
            );
        }
    }
}

/// A call of the command with keys `k0`, `k1`, ... where the table says, drawn from `random`.
fn call(spec: &Spec, random: &mut fastrand::Rng) -> Vec<String> {
    let mut words: Vec<String> = spec.name.split(' ').map(str::to_owned).collect();
    let least = usize::from(spec.arity.unsigned_abs());
    let extra = if spec.arity < 0 {
        random.usize(0..7)
    } else {
        0
    };
    let options = [
        "x", "1", "store", "KEYS", "streams", "LIMIT", "by", "GET", "",
    ];
    // The server's key search and its execution differ when STORE is given twice.
    let options = if spec.name.starts_with("GEORADIUS") {
        &options[..2]
    } else {
        &options[..]
    };
    while words.len() < least + extra {
        let word = match random.u8(0..4) {
            0 => options[random.usize(..options.len())].to_owned(),
            _ => format!("w{}", words.len()),
        };
        words.push(word);
    }
    let one_of_two = random.usize(0..2);
    for (i, place) in spec.keys.iter().enumerate() {
        match *place {
            Where::After {
                word: "STORE" | "STOREDIST",
                ..
            } if i != 1 + one_of_two => {}
            Where::Counted { count } => {
                let at = usize::from(count);
                let most = words.len().saturating_sub(at + 1);
                let lie = ["-1", "99", "x", "0"];
                words[at] = match random.u8(0..8) {
                    0 => lie[random.usize(..lie.len())].to_owned(),
                    _ => random.usize(0..=most).to_string(),
                };
            }
            Where::After { word, from, .. } if random.u8(0..4) > 0 => {
                let from = usize::try_from(from)
                    .unwrap_or(words.len() - 1)
                    .min(words.len() - 1);
                let at = random.usize(from..words.len());
                words[at] = word.to_owned();
            }
            _ => {}
        }
    }
    words
}

#[test]
fn keys_are_found_where_the_server_finds_them() {
    let server = Server::start();
    let mut raw = server.connect().expect("a server that answers");
    let seed = 20_261_121;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut compared = 0;
    for spec in TABLE {
        let asked = ["COMMAND", "INFO", &spec.name.replace(' ', "|")];
        let exists = match raw.call(asked) {
            Ok(Reply::Array(found)) => found.first().is_some_and(|f| *f != Reply::Nil),
            other => panic!("COMMAND INFO {}: {other:?}", spec.name),
        };
        if !exists || spec.keys.is_empty() {
            continue;
        }
        for _ in 0..60 {
            let words = call(spec, &mut random);
            // A server before 8 takes the first `STREAMS` from the fourth word on, whatever it is.
            let names_streams = |word: &String| word.eq_ignore_ascii_case("STREAMS");
            if spec.name == "XREADGROUP" && words[1..4].iter().any(names_streams) {
                continue;
            }
            let args = words.iter().map(String::as_bytes);
            let ours = spec.key_positions(args.clone().collect::<Vec<_>>().into_iter());
            let ours = ours.map(|p| {
                p.pick(args)
                    .map(|k| String::from_utf8_lossy(k).into_owned())
                    .collect::<Vec<_>>()
            });
            let asked = ["COMMAND", "GETKEYS"]
                .into_iter()
                .map(str::to_owned)
                .chain(words.iter().cloned());
            let theirs = raw.call(asked);
            match (theirs, ours) {
                (Ok(Reply::Array(keys)), Ok(ours)) => {
                    let mut keys: Vec<_> = keys.iter().map(text).collect();
                    // With the keys behind KEYS, MIGRATE's own key is empty and none.
                    keys.retain(|k| spec.name != "MIGRATE" || !k.is_empty());
                    keys.dedup();
                    let mut mine = ours.clone();
                    mine.dedup();
                    assert_eq!(mine, keys, "{words:?} (seed {seed})");
                    compared += 1;
                }
                // A negative count the server takes for none here, and for an error when it executes.
                (Ok(Reply::Array(keys)), Err(BadKeys::Count)) if keys.is_empty() => {}
                (Ok(Reply::Error(_)), Err(_)) => compared += 1,
                // The server refuses what we would route by the keys there are: it will say so itself.
                (Ok(Reply::Error(_)), Ok(_)) => {}
                (theirs, Err(BadKeys::Count | BadKeys::Arity)) => {
                    panic!("{words:?}: the server finds {theirs:?} (seed {seed})")
                }
                (theirs, _) => panic!("{words:?}: {theirs:?}"),
            }
        }
    }
    println!("{compared} calls compared");
    assert!(compared > 3_000, "{compared}");
}
