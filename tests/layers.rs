//! The floors of the crate: who may import whom, proved by reading `src/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What no decision may depend on: clocks, chance, the network and the runtime are arguments.
const NOT_ON_THE_GROUND_FLOOR: &[&str] = &[
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
            is_test: test_files.contains(&path),
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
            rest.trim_start()
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

/// The floor of every module, as the comments of `lib.rs` say.
fn floors() -> BTreeMap<String, usize> {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"))
        .expect("lib.rs");
    let (mut floor, mut floors) = (None, BTreeMap::new());
    for line in lib.lines() {
        if let Some(rest) = line.strip_prefix("// Floor ") {
            let number = rest
                .chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>();
            floor = Some(number.parse().expect("a number of a floor"));
        }
        let declared = line
            .strip_prefix("pub ")
            .unwrap_or(line)
            .strip_prefix("mod ");
        if let Some(name) = declared.and_then(|rest| rest.strip_suffix(';')) {
            // The guide is text.
            if name != "guide" {
                let floor = floor.unwrap_or_else(|| panic!("`mod {name}` stands under no floor"));
                floors.insert(name.to_owned(), floor);
            }
        }
    }
    assert!(
        floors.values().any(|f| *f == 0) && floors.values().any(|f| *f == 3),
        "{floors:?}"
    );
    floors
}

/// The first segments of all paths `crate::...` in the code.
fn imports(code: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    code.split("crate::")
        .skip(1)
        .map(|rest| &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())])
        .collect()
}

#[test]
fn imports_point_down() {
    let floors = floors();
    let files = files();
    // The program is a crate of its own: it can reach nothing but the public API.
    let judged =
        |f: &&File| !f.is_root() && !f.is_test && !["guide", "bin"].contains(&f.module().as_str());
    for file in files.iter().filter(judged) {
        let (path, module) = (file.path.display(), file.module());
        let own = floors
            .get(&module)
            .unwrap_or_else(|| panic!("{path}: `{module}` has no floor in lib.rs"));
        for import in imports(&file.code) {
            assert!(
                !import.is_empty(),
                "{path}: write one `use crate::module::..` per module"
            );
            let theirs = floors.get(import).unwrap_or_else(|| {
                panic!("{path}: `crate::{import}` is no module; import from where it lives")
            });
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
fn the_ground_floor_knows_no_clock_no_chance_and_no_network() {
    let floors = floors();
    let mut seen = 0;
    for file in files()
        .iter()
        .filter(|f| !f.is_test && floors.get(&f.module()) == Some(&0))
    {
        seen += 1;
        for word in NOT_ON_THE_GROUND_FLOOR {
            let found = file.code.lines().find(|line| mentions(line, word));
            assert_eq!(
                found,
                None,
                "{} is pure, but has `{word}`",
                file.path.display()
            );
        }
    }
    assert!(seen > 15, "{seen} files on the ground floor");
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

#[test]
fn no_file_is_long() {
    for file in files().iter().filter(|f| !f.is_test) {
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
        imports("use crate::a::B; crate::c_d(crate::{x})"),
        ["a", "c_d", ""]
    );
    assert_eq!(
        test_modules("#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod more { }").collect::<Vec<_>>(),
        ["tests"]
    );
    assert!(mentions("use tokio::time;", "tokio"));
    assert!(mentions("let now = Instant::now();", "Instant::now"));
    assert!(!mentions("\"redis://host\"", "redis"), "a text");
    assert!(!mentions("let my_redis = 1;", "redis"), "another word");
    assert_eq!(
        code_of("a\n// tokio::x\n#[cfg(test)]\nmod tests {\nb"),
        "a\n"
    );
}
