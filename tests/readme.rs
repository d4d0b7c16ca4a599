//! The README is the front page: what it shows must be what is there.

use std::process::Command;

use crate::support::{Server, fleet, urls};

/// The text of the first fenced block whose opening line is `fence`.
fn block<'a>(text: &'a str, fence: &str) -> &'a str {
    let (_, rest) = text
        .split_once(&format!("\n{fence}\n"))
        .unwrap_or_else(|| panic!("no block that starts with {fence}"));
    let (block, _) = rest.split_once("```").expect("the block ends");
    block
}

const README: &str = include_str!("../README.md");

#[test]
fn the_first_rust_block_is_the_quickstart() {
    let example = include_str!("../examples/quickstart.rs");
    assert!(
        block(README, "```rust,no_run") == example,
        "README.md and examples/quickstart.rs differ: copy the example into the README"
    );
    assert!(
        example.lines().count() < 60,
        "a quick start is under 60 lines"
    );
}

/// The program that the README shows first, as it is.
fn quickstart() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args([
        "run",
        "--quiet",
        "--example",
        "quickstart",
    ]);
    // As this test was built, so that nothing is compiled twice.
    if cfg!(all(feature = "cli", feature = "tls")) {
        cargo.arg("--all-features");
    }
    cargo
}

#[test]
fn the_quickstart_counts_on_with_one_of_three_servers_dead() {
    let servers: [Server; 3] = fleet();
    let urls = urls(&servers).join(",");
    let run = || {
        let output = quickstart()
            .env("REDIS_URLS", &urls)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "{:?}: {said} {complained}",
            output.status
        );
        assert_eq!(said.matches("visit ").count(), 1, "{said}");
        said.matches(" keys").count()
    };
    assert_eq!(run(), 3, "all live");
    for (dead, server) in servers.iter().enumerate() {
        server.kill();
        assert_eq!(run(), 2, "without server {dead}");
        server.restart();
    }
}

#[test]
fn the_two_commands_come_first_and_exist() {
    let commands: Vec<_> = block(README, "```sh").lines().collect();
    let makefile = include_str!("../Makefile");
    assert_eq!(commands.len(), 2, "make demo and make test");
    for (line, target) in commands.iter().zip(["demo", "test"]) {
        assert!(line.starts_with(&format!("make {target} ")), "{line}");
        assert!(
            makefile.contains(&format!("\n{target}: ")),
            "no target {target}"
        );
    }
}

/// Relative links break on docs.rs, where the README is the first page.
#[test]
fn all_links_are_absolute() {
    for target in README.split("](").skip(1) {
        assert!(target.starts_with("https://"), "{:.60}", target);
    }
}

#[test]
fn every_dependency_and_feature_has_its_reason() {
    let manifest = include_str!("../Cargo.toml");
    let section = |name: &str| {
        let start = manifest.find(name).expect(name) + name.len();
        let rest = &manifest[start..];
        let end = rest.find("\n[").unwrap_or(rest.len());
        rest[..end]
            .lines()
            .filter_map(|line| line.split_once(" = "))
    };
    let (_, table) = README
        .split_once("## Features and dependencies")
        .expect("the section");
    for (name, _) in section("\n[dependencies]\n") {
        assert!(
            table.contains(name),
            "README.md does not say what {name} is for"
        );
    }
    for (name, _) in section("\n[features]\n").filter(|(name, _)| *name != "default") {
        let name = format!("| `{name}` |");
        assert!(
            table.contains(&name),
            "README.md does not name the feature {name}"
        );
    }
}

const ARCHITECTURE: &str = include_str!("../ARCHITECTURE.md");

/// A stranger follows it file by file, so each file is there, and each function in the file it is said to be in.
#[test]
fn the_architecture_leads_to_what_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(ARCHITECTURE.lines().count() <= 120, "short enough to read");
    let (mut file, mut functions) = (None, 0);
    for word in ARCHITECTURE.split('`').skip(1).step_by(2) {
        let path = word.split('*').next().unwrap_or_default();
        if word.contains('/') {
            let here = ["", "src"]
                .iter()
                .any(|dir| root.join(dir).join(path).exists());
            assert!(here || word.contains(' '), "there is no {word}");
            file = word
                .ends_with(".rs")
                .then(|| root.join(word))
                .filter(|f| f.exists());
            continue;
        }
        let is_function = !word.is_empty() && word.chars().all(|c| c.is_lowercase() || c == '_');
        if let (true, Some(file)) = (is_function, &file) {
            let code = std::fs::read_to_string(file).unwrap();
            let is_there =
                code.contains(&format!("fn {word}(")) || code.contains(&format!("fn {word}<"));
            if is_there {
                functions += 1;
            } else {
                assert!(
                    root.join("src").join(word).exists(),
                    "{} has no {word}",
                    file.display()
                );
            }
        }
    }
    assert!(functions > 12, "{functions} functions are named");
    for room in std::fs::read_dir(root.join("src")).unwrap() {
        let path = room.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap();
        if path.is_dir() && name != "guide" {
            let named = [
                format!("`{name}`"),
                format!("`src/{name}"),
                format!("src/{name}/"),
            ];
            assert!(
                named.iter().any(|n| ARCHITECTURE.contains(n)),
                "the room {name} is not in it"
            );
        }
    }
}
