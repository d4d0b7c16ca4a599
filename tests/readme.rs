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
