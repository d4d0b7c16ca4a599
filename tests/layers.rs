//! The floors of the crate: who may import whom, and what is pure, proved by reading `src/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What no decision may depend on: clocks, chance, the network and the runtime are arguments.
const NOT_IN_PURE_CODE: &[&str] = &[
    "tokio",
    "redis",
    "deadpool",
    "fastrand",
    "socket2",
    "futures_util",
    "metrics::",
    "tracing::",
    "Instant::now",
    "SystemTime",
    "std::net",
    "std::fs",
    "std::thread",
    "std::env",
];

/// Who asks for the time, as well as `clock`: the rest of the crate would miss what a unit test says that it is.
const OTHER_CLOCKS: &[(&str, &[&str], &str)] = &[
    (
        "clock",
        &["Instant::now", ".elapsed()", "SystemTime::now"],
        "it is the place",
    ),
    (
        "bin/fluster",
        &["Instant::now", ".elapsed()"],
        "the program is a crate of its own, and sees nothing but the public API",
    ),
    (
        "discovery",
        &["Instant::now", ".elapsed()"],
        "its `Instant` is tokio's, which a test pauses by itself",
    ),
    (
        "forward/forwarder",
        &["SystemTime::now"],
        "instances have no other clock in common, and marks are told apart by their time",
    ),
    (
        "gossip/builder",
        &["SystemTime::now"],
        "generations and operators' questions are told apart by the time of the day",
    ),
    (
        "testing",
        &["Instant::now", ".elapsed()", "SystemTime::now"],
        "a kit for tests that wait for real servers",
    ),
    (
        "queue/push",
        &["SystemTime::now"],
        "a message is due at a time of the day, which servers agree on",
    ),
];

/// Longer files hold more than one noun; tables of facts and of test cases may be longer.
const LONGEST: usize = 450;

struct File {
    /// Relative to `src`.
    path: PathBuf,
    /// Without comments, and without the module of unit tests at its end.
    code: String,
    lines: usize,
    /// Compiled for unit tests alone.
    is_test: bool,
    /// A table of facts that a script writes.
    is_made: bool,
}

impl File {
    /// The module at the crate's root that the file belongs to.
    fn module(&self) -> String {
        let first = self.path.iter().next().expect("a file has a path");
        Path::new(first)
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    }

    /// The path without its ending, as in `error/outcome`.
    fn name(&self) -> String {
        self.path.with_extension("").to_string_lossy().into_owned()
    }

    fn is_root(&self) -> bool {
        self.path == Path::new("lib.rs")
    }
}

fn files() -> Vec<File> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut test_files) = (Vec::new(), BTreeSet::new());
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("read src") {
            let path = entry.expect("read src").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("read a source file");
                for name in test_modules(&text) {
                    test_files.insert(path.with_extension("").join(format!("{name}.rs")));
                }
                found.push((path, text));
            }
        }
    }
    assert!(
        found.len() > 30,
        "reads the whole of src: {} files",
        found.len()
    );
    found
        .into_iter()
        .map(|(path, text)| File {
            lines: text.lines().count(),
            is_test: test_files
                .iter()
                .any(|test| path == *test || path.starts_with(test.with_extension(""))),
            is_made: text.contains("//! Made by `scripts/"),
            code: code_of(&text),
            path: path.strip_prefix(&src).expect("found there").to_owned(),
        })
        .collect()
}

/// The names of modules that are files of their own and only for tests.
fn test_modules(text: &str) -> impl Iterator<Item = &str> {
    let after = text.split("#[cfg(test)]").skip(1);
    after
        .filter_map(|rest| {
            let rest = rest.trim_start();
            rest.strip_prefix("pub(crate) ")
                .unwrap_or(rest)
                .strip_prefix("mod ")?
                .split_once(';')
                .map(|(name, _)| name)
        })
        .filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
}

fn code_of(text: &str) -> String {
    let code = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// The floor of every path in `src/`; the longest prefix counts.
const FLOORS: &[(&str, usize)] = &[
    // Pure decisions, and what everybody names.
    ("backend/session", 0),
    ("budget", 0),
    ("build_error", 0),
    ("clock", 0),
    ("command", 0),
    ("error/empty", 0),
    ("error/outcome", 0),
    ("error/redact", 0),
    ("error/text", 0),
    ("fleet", 0),
    ("hash", 0),
    ("health", 0),
    ("near", 0),
    ("node", 0),
    ("placement", 0),
    ("recovery", 0),
    ("replication/quorum", 0),
    ("sealed", 0),
    ("topology", 0),
    // One node.
    ("backend", 1),
    ("client", 1),
    ("describe", 1),
    ("connection", 1),
    ("error", 1),
    ("keys", 1),
    ("tasks", 1),
    // The cluster.
    ("cluster", 2),
    // On the cluster.
    ("cache", 3),
    ("fan_out", 3),
    ("queue", 3),
    ("replication", 3),
    ("scan", 3),
    ("pubsub", 3),
    ("transaction", 3),
    // Optional edges.
    ("admin", 4),
    ("discovery", 4),
    ("forward", 4),
    ("gossip", 4),
    ("testing", 4),
];

/// Paths whose files know no clock, no chance and no network.
const PURE: &[&str] = &[
    "backend/session",
    "budget",
    "build_error",
    "command",
    "error/empty",
    "error/outcome",
    "error/redact",
    "error/text",
    "fleet",
    "hash",
    "health",
    "near",
    "node",
    "placement",
    "recovery",
    "replication/quorum",
    "sealed",
    "topology",
];

/// Pure, too, though they stand above others; of the network they may name addresses.
const PURE_ABOVE: &[&str] = &[
    "admin/access",
    "admin/ask",
    "admin/host",
    "admin/refusal",
    "admin/route",
    "admin/token",
    "admin/told",
    "forward/arrival",
    "forward/attempt",
    "forward/base",
    "forward/envelope",
    "forward/error",
    "forward/headers",
    "forward/key",
    "forward/known",
    "forward/lasting",
    "forward/mark",
    "forward/peers",
    "gossip/counters",
    "gossip/frame",
    "gossip/heal",
    "gossip/identity",
    "gossip/instance",
    "gossip/leave",
    "gossip/profile",
    "gossip/record",
    "gossip/records",
    "gossip/replay",
    "gossip/rule",
    "gossip/swim",
    "gossip/sync",
    "gossip/testimony",
    "gossip/view",
];

/// Whether a path lies under a prefix: the file of that name, or what is in its folder.
fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The floor of a path without its ending, as in `error/outcome`.
fn floor(path: &str) -> Option<usize> {
    let under = FLOORS.iter().filter(|(prefix, _)| is_under(path, prefix));
    under
        .max_by_key(|(prefix, _)| prefix.len())
        .map(|(_, floor)| *floor)
}

/// The paths of all `crate::...` in the code, as those of files: `crate::error::Error` is `error/Error`.
fn imports(code: &str) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    code.split("crate::")
        .skip(1)
        .map(|rest| &rest[..rest.find(|c| !is_path(c)).unwrap_or(rest.len())])
        .map(|path| path.trim_end_matches(':').replace("::", "/"))
        .collect()
}

#[test]
fn imports_point_down() {
    let files = files();
    // The program is a crate of its own: it can reach nothing but the public API.
    let judged =
        |f: &&File| !f.is_root() && !f.is_test && !["guide", "bin"].contains(&f.module().as_str());
    for file in files.iter().filter(judged) {
        let (path, name) = (file.path.display(), file.name());
        let own = floor(&name).unwrap_or_else(|| panic!("{path} has no floor in {}", file!()));
        for import in imports(&file.code) {
            assert!(
                !import.is_empty(),
                "{path}: write one `use crate::module::..` per module"
            );
            let theirs = floor(&import)
                .unwrap_or_else(|| panic!("{path}: `{import}` has no floor in {}", file!()));
            assert!(
                theirs <= own,
                "{path} is on floor {own} and uses `{import}` of floor {theirs}"
            );
        }
        if file.path.iter().count() == 1 {
            assert!(
                !file.code.contains("super::"),
                "{path}: `super` is the crate's root: write `crate::..`"
            );
        }
    }
}

#[test]
fn every_floor_has_a_file() {
    let files = files();
    let pure = PURE.iter().chain(PURE_ABOVE);
    for prefix in FLOORS.iter().map(|(prefix, _)| prefix).chain(pure) {
        let found = files.iter().any(|file| is_under(&file.name(), prefix));
        assert!(found, "there is nothing under src/{prefix}");
    }
}

#[test]
fn what_is_pure_knows_no_clock_no_chance_and_no_network() {
    let is_in =
        |list: &[&str], file: &File| list.iter().any(|prefix| is_under(&file.name(), prefix));
    let mut seen = 0;
    for file in files().iter().filter(|f| !f.is_test) {
        let is_above = is_in(PURE_ABOVE, file);
        if !is_above && !is_in(PURE, file) {
            continue;
        }
        seen += 1;
        let may = |word: &str| is_above && word == "std::net";
        for word in NOT_IN_PURE_CODE.iter().filter(|word| !may(word)) {
            let found = file.code.lines().find(|line| mentions(line, word));
            assert_eq!(
                found,
                None,
                "{} is pure, but has `{word}`",
                file.path.display()
            );
        }
    }
    assert!(seen > 15, "{seen} pure files");
}

/// Whether a line has the word as a path, not inside another word or a text.
fn mentions(line: &str, word: &str) -> bool {
    let code = line.split('"').step_by(2).collect::<Vec<_>>().join("\"");
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let is_path = word.contains("::") || after.starts_with("::") || after.starts_with(';');
        is_path && !inside(before.chars().next_back()) && !before.ends_with("::")
    })
}

/// Words that only the place of a decision may have: another file that has one decides a second time.
const DECISIONS: &[(&str, &[&str])] = &[
    // What a reply of a server says.
    ("classify_code(", &["error/class", "health/verdict/reply"]),
    // Whether a command goes on to another node. A transaction begins anew on the same one.
    (
        "is_safe_to_repeat()",
        &["cluster/attempts", "error/outcome", "transaction"],
    ),
    ("Failover::IfSafe", &["cluster/attempts", "cluster/options"]),
    // What a stand-in's writes are given.
    ("\"PEXPIRE\"", &["backend/stand_in", "command/table"]),
];

#[test]
fn each_decision_is_taken_in_one_place() {
    for (word, places) in DECISIONS {
        let files = files();
        let has = |file: &&File| !file.is_test && code_lines(&file.code).any(|l| l.contains(word));
        let found: Vec<_> = files.iter().filter(has).map(File::name).collect();
        for name in &found {
            assert!(
                places.contains(&name.as_str()),
                "src/{name}.rs decides by `{word}` too"
            );
        }
        assert!(!found.is_empty(), "nothing has `{word}` any more");
    }
}

/// The lines without those of comments.
fn code_lines(code: &str) -> impl Iterator<Item = &str> {
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn there_is_one_clock() {
    let mut used = BTreeSet::new();
    for file in files().iter().filter(|f| !f.is_test) {
        let name = file.name();
        for word in ["Instant::now", "SystemTime::now", ".elapsed()"] {
            let Some(line) = code_lines(&file.code).find(|line| line.contains(word)) else {
                continue;
            };
            let allowed = OTHER_CLOCKS
                .iter()
                .find(|(prefix, words, _)| is_under(&name, prefix) && words.contains(&word));
            let Some((prefix, ..)) = allowed else {
                panic!("src/{name}.rs asks for the time past `clock`: {line}");
            };
            used.insert(*prefix);
            if *prefix == "discovery" {
                let std = code_lines(&file.code).find(|l| is_std_instant(l));
                assert_eq!(std, None, "src/{name}.rs has another clock");
            }
        }
    }
    assert_eq!(
        used.len(),
        OTHER_CLOCKS.len(),
        "an exception that nobody needs"
    );
}

/// Whether a line imports the operating system's instants.
fn is_std_instant(line: &str) -> bool {
    line.trim_start().starts_with("use std::time::") && line.contains("Instant")
}

#[test]
fn no_file_is_long() {
    for file in files().iter().filter(|f| !f.is_test && !f.is_made) {
        let (path, lines) = (file.path.display(), file.lines);
        assert!(lines <= LONGEST, "{path} has {lines} lines: split it");
    }
}

#[test]
fn library_and_program_forbid_unsafe_code() {
    let root = files().into_iter().find(File::is_root).expect("lib.rs");
    assert!(root.code.contains("#![forbid(unsafe_code)]"));
    let is_program = |f: &File| f.path == Path::new("bin/fluster/main.rs");
    let program = files().into_iter().find(is_program).expect("main.rs");
    assert!(program.code.contains("#![forbid(unsafe_code)]"));
}

#[test]
fn the_checks_find_what_they_look_for() {
    assert_eq!(
        imports("use crate::a::B; crate::c_d(crate::{x}); crate::a::b::{C, D}"),
        ["a/B", "c_d", "", "a/b"]
    );
    assert_eq!(
        test_modules(
            "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod more { }\n#[cfg(test)]\npub(crate) mod fake;"
        )
        .collect::<Vec<_>>(),
        ["tests", "fake"]
    );
    assert_eq!(floor("error/Error"), Some(1));
    assert_eq!(floor("error/empty/Reasons"), Some(0), "the longest prefix");
    assert_eq!(floor("errors"), None, "another word");
    assert!(mentions("use tokio::time;", "tokio"));
    assert!(mentions("let now = Instant::now();", "Instant::now"));
    assert!(!mentions("\"redis://host\"", "redis"), "a text");
    assert!(!mentions("let my_redis = 1;", "redis"), "another word");
    assert_eq!(
        code_of("a\n// tokio::x\n#[cfg(test)]\nmod tests {\nb"),
        "a\n"
    );
}
