//! The README is the front page: what it shows must be what is there.

use std::path::Path;

use crate::examples::example;
use crate::support::{Server, fleet};

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
    let (_, main) = example.split_once("async fn main").expect("a main");
    let code = main.lines().skip(1).take_while(|line| *line != "}");
    let code = code.filter(|line| !line.trim_start().starts_with("//"));
    assert!(code.count() <= 6, "a quick start has six lines");
    assert!(example.contains(".run("), "`run` is what comes first");
}

/// What is seen without scrolling sells it: two sentences, the program, the picture, where to go.
#[test]
fn the_first_screen_has_all_of_it_and_the_rest_is_short() {
    let words = README.split_whitespace().count();
    assert!(words <= 1200, "{words} words; the guide has room");
    let (screen, _) = README.split_once("\n## ").expect("a section");
    let (first, _) = screen.split_once("```").expect("the program");
    assert_eq!(
        first.matches(". ").count() + first.matches(".\n").count(),
        2,
        "two sentences"
    );
    assert!(
        screen.contains("]\n\n[demo]: docs/demo.svg\n"),
        "the picture"
    );
    let (_, wants) = screen.split_once("I want to").expect("where to go");
    assert_eq!(wants.matches("| [").count(), 8, "eight links");
    assert_eq!(wants.matches("](").count(), 8, "one each");
}

/// docs.rs knows no files, so the front page there holds the picture itself.
#[test]
fn the_picture_of_the_documentation_is_that_of_the_readme() {
    let svg = include_str!("../docs/demo.svg");
    let link = include_str!("../docs/demo-link.md");
    let data = link.strip_prefix("[demo]: data:image/svg+xml;base64,");
    let data = data.expect("a picture").trim_end();
    assert!(
        data == base64(svg.as_bytes()),
        "run scripts/demo-picture.py"
    );
    for word in ["make demo", "down", "keys/s"] {
        assert!(svg.contains(word), "the picture shows no {word}");
    }
    let href = ["href", "<image", "<script", "url("];
    assert!(
        !href.iter().any(|h| svg.contains(h)),
        "it needs nothing else"
    );
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three
            .iter()
            .fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for digit in 0..4 {
            let six = (bits >> (18 - 6 * digit)) as usize & 63;
            text.push(match digit <= three.len() {
                true => char::from(DIGITS[six]),
                false => '=',
            });
        }
    }
    text
}

#[test]
fn what_it_shows_of_the_rate_limiter_is_in_the_example() {
    let example = include_str!("../examples/rate_limiter.rs");
    let shown = block(README, "```rust,ignore");
    assert!(shown.lines().count() > 4, "{shown}");
    assert!(
        example.contains(shown),
        "the README shows something else:\n{shown}"
    );
    assert!(
        example.lines().count() < 100,
        "an example is under 100 lines"
    );
}

#[test]
fn the_quickstart_counts_on_with_one_of_three_servers_dead() {
    let servers: [Server; 3] = fleet();
    let run = || {
        let output = example("quickstart", &servers).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "{:?}: {said} {complained}",
            output.status
        );
        assert_eq!(said.matches("visit ").count(), 1, "{said}");
        let (_, node) = said.trim_end().rsplit_once(" on ").expect("a node");
        node.to_owned()
    };
    let owner = run();
    assert_eq!(run(), owner, "all live");
    let mut stood_in = 0;
    for (dead, server) in servers.iter().enumerate() {
        server.kill();
        let node = run();
        assert_ne!(node, server.name(), "without server {dead}");
        stood_in += usize::from(node != owner);
        server.restart();
    }
    assert_eq!(stood_in, 1, "only the owner's death moves the key");
    assert_eq!(run(), owner, "and back");
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
    // The picture is the one that `src/lib.rs` gives docs.rs in another way.
    assert!(include_str!("../src/lib.rs").contains("include_str!(\"../docs/demo-link.md\")"));
    for target in README.split("]: ").skip(1) {
        let is_absolute = target.starts_with("https://");
        assert!(
            is_absolute || target.starts_with("docs/demo.svg\n"),
            "{target:.60}"
        );
    }
}

/// Links that leave the page lead to chapters and files that are there.
#[test]
fn links_to_our_own_pages_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let chapters = include_str!("../src/guide.rs");
    let mut checked = 0;
    for target in README.split("](").skip(1) {
        let (target, _) = target.split_once(')').expect("the link ends");
        if let Some(file) = target.strip_prefix("https://docs.rs/crate/fluster/latest/source/") {
            assert!(root.join(file).is_file(), "there is no {file}");
        } else if let Some(page) =
            target.strip_prefix("https://docs.rs/fluster/latest/fluster/guide/")
        {
            let chapter = page.trim_end_matches("index.html").trim_end_matches('/');
            let is_there =
                chapter.is_empty() || chapters.contains(&format!("pub mod {chapter} {{}}"));
            assert!(is_there, "there is no chapter {chapter}");
        } else {
            continue;
        }
        checked += 1;
    }
    assert!(checked > 20, "{checked} links");
    for file in ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"] {
        assert!(
            README.contains(&format!("/source/{file})")),
            "{file} is linked"
        );
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
    let table = include_str!("../src/guide/features.md");
    assert!(
        README.contains("/guide/features/index.html)"),
        "it is linked"
    );
    let (features, dependencies) = table.split_once("# Dependencies\n").expect("two tables");
    for (name, _) in section("\n[dependencies]\n") {
        assert!(
            dependencies.contains(name),
            "src/guide/features.md does not say what {name} is for"
        );
    }
    for (name, _) in section("\n[features]\n").filter(|(name, _)| *name != "default") {
        let name = format!("| `{name}` |");
        assert!(
            features.contains(&name),
            "src/guide/features.md does not name the feature {name}"
        );
    }
}

const ARCHITECTURE: &str = include_str!("../ARCHITECTURE.md");

/// A stranger follows it file by file, so each file is there, and each function in the file it is said to be in.
#[test]
fn the_architecture_leads_to_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
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

/// The figures of the pages are those of the benchmarks, rounded as they are shown.
#[test]
fn the_figures_are_those_of_the_benchmarks() {
    let benchmarks = include_str!("../BENCHMARKS.md");
    let figures = include_str!("../src/guide/figures.md");
    let cells = |page: &str, row: &str| -> Vec<String> {
        let line = page.lines().find(|line| line.starts_with(row));
        let line = line.unwrap_or_else(|| panic!("no row {row:?}"));
        let cells = line.trim_matches('|').split('|').skip(1);
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    let mut compared = 0;
    for (shown, measured) in [
        (
            "| operations per second, against redis-rs sharded by hand |",
            "| ops/s against hand-sharded redis-rs |",
        ),
        (
            "| CPU per operation, the same |",
            "| CPU per op against hand-sharded redis-rs |",
        ),
        (
            "| operations per second, against deadpool-redis |",
            "| ops/s against deadpool-redis |",
        ),
        (
            "| against fred's pool of 16 |",
            "| ops/s against fred, pool of 16 |",
        ),
    ] {
        let medians = cells(benchmarks, measured).into_iter().map(|cell| {
            let median = cell.split(' ').next().expect("a figure");
            median.parse::<f64>().expect("a figure")
        });
        let medians: Vec<f64> = medians.collect();
        let in_readme = README.contains(shown).then(|| cells(README, shown));
        for row in in_readme.into_iter().chain([cells(figures, shown)]) {
            assert_eq!(row.len(), 4, "{shown}");
            for (cell, median) in row.iter().zip(&medians) {
                let shown_as: f64 = cell.parse().expect("a figure");
                let decimals = cell.split_once('.').expect("a fraction").1.len();
                let half = 0.5001 * 0.1_f64.powi(i32::try_from(decimals).unwrap());
                assert!(
                    (shown_as - median).abs() <= half,
                    "{shown} {cell} is {median}"
                );
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 28, "seven rows of four");
}
