//! The documentation has what a reader looks for: an example for each function, the words people search, every error.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What stands in front of the section's name in a link to `src/guide/by-example*.md`.
const LINK: &str = "(crate::guide::by_example#";

/// The files of the library that have a public interface.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let is_private = ["bin", "tests", "in_virtual_time", "vsim", "model"].contains(&name);
            match path.is_dir() {
                _ if is_private => {}
                true => dirs.push(path),
                false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
                false => {}
            }
        }
    }
    found
}

/// The chapter's sections by the names that rustdoc gives them.
fn sections() -> BTreeMap<String, String> {
    let chapter = [
        include_str!("../src/guide/by-example.md"),
        include_str!("../src/guide/by-example-discovery.md"),
        include_str!("../src/guide/by-example-gossip.md"),
        include_str!("../src/guide/by-example-forward.md"),
        include_str!("../src/guide/by-example-admin.md"),
        include_str!("../src/guide/by-example-near.md"),
        include_str!("../src/guide/by-example-testing.md"),
    ]
    .concat();
    let (mut all, mut here, mut in_code) = (BTreeMap::new(), String::new(), false);
    for line in chapter.lines() {
        in_code ^= line.starts_with("```");
        match line.strip_prefix("# ") {
            Some(title) if !in_code => {
                let slug = title.to_lowercase().replace(' ', "-");
                let is_kept = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
                here = slug.chars().filter(is_kept).collect();
            }
            // Only what is code calls anything.
            _ if in_code => {
                let code = all.entry(here.clone()).or_insert_with(String::new);
                code.extend([line, "\n"]);
            }
            _ => {}
        }
    }
    all
}

fn calls(code: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).any(|(at, _)| {
        let (before, rest) = (&code[..at], &code[at + name.len()..]);
        !before.ends_with(is_word) && (rest.starts_with('(') || rest.starts_with("::<"))
    })
}

/// The name of a public function that is declared in this line.
fn public_function(line: &str) -> Option<&str> {
    let line = line.trim_start().strip_prefix("pub ")?;
    let line = line.strip_prefix("const ").unwrap_or(line);
    let name = line
        .strip_prefix("async ")
        .unwrap_or(line)
        .strip_prefix("fn ")?;
    name.split(['(', '<']).next()
}

/// The documentation above line `at`: over the attributes in between.
fn documentation(lines: &[&str], at: usize) -> String {
    let is_doc = |line: &str| line.starts_with("///") || line.starts_with("#[doc");
    let above = lines[..at].iter().rev().map(|line| line.trim());
    let attributes = above
        .clone()
        .take_while(|line| !is_doc(line) && !line.is_empty());
    let docs = above
        .skip(attributes.count())
        .take_while(|line| is_doc(line) || line.starts_with("$(#[doc"));
    docs.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_public_function_has_an_example_or_a_link_to_one() {
    let sections = sections();
    let (mut functions, mut missing) = (0, Vec::new());
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .take_while(|line| !line.starts_with("mod tests {"))
            .collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(name) = public_function(line) else {
                continue;
            };
            functions += 1;
            let docs = documentation(&lines, at);
            let linked = docs
                .split_once(LINK)
                .and_then(|(_, rest)| rest.split(')').next());
            let is_shown = linked
                .and_then(|section| sections.get(section))
                .is_some_and(|code| {
                    // Those of a macro have a test of their own.
                    name.starts_with('$') || calls(code, name)
                });
            // An example of its own calls it, or makes what it stands at.
            let own = docs.split_once("```").map_or("", |(_, code)| code);
            if !is_shown && !calls(own, name) {
                missing.push(format!("{}:{} {name}", path.display(), at + 1));
            }
        }
    }
    assert!(functions > 350, "{functions} functions are found");
    assert!(
        missing.is_empty(),
        "{} of {functions} have none:\n{}",
        missing.len(),
        missing.join("\n")
    );
}

/// They come from lists, by macros, with one link for all.
#[test]
fn every_setting_is_in_the_example_of_settings() {
    let sections = sections();
    let mut found = 0;
    for (list, section) in [
        (include_str!("../src/cluster/settings.rs"), "settings"),
        (
            include_str!("../src/health/penalty_box/penalty.rs"),
            "penalty",
        ),
    ] {
        for line in list.lines().map(str::trim) {
            let Some((name, rest)) = line.split_once(": ") else {
                continue;
            };
            let is_name =
                !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            let is_entry = [", plain, [", "), [", ", text, ["]
                .iter()
                .any(|how| rest.contains(how));
            let is_field = ["Duration;", "u32;", "f64;", "bool;"].contains(&rest);
            if is_name && (is_entry || is_field) {
                assert!(
                    calls(&sections[section], name),
                    "{section} does not show {name}"
                );
                found += 1;
            }
        }
    }
    assert!(found >= 40, "{found} settings");
}

#[test]
fn the_words_that_people_search_lead_to_something() {
    let all: String = sources()
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for word in [
        "retry",
        "backoff",
        "reconnect",
        "shard",
        "pool",
        "pubsub",
        "circuit breaker",
        "ketama",
        "health check",
    ] {
        assert!(
            all.contains(&format!("doc(alias = \"{word}\")")),
            "nothing is found by {word:?}"
        );
    }
}

#[test]
fn the_page_of_the_cluster_begins_with_what_to_call() {
    let text = include_str!("../src/cluster.rs");
    let (before, _) = text
        .split_once("\npub struct FlusterCluster")
        .expect("the type");
    let rows: Vec<&str> = before
        .lines()
        .filter(|line| line.starts_with("/// | "))
        .collect();
    assert_eq!(rows[0], "/// | I want to | call |");
    let first: Vec<&str> = rows[1..4].to_vec();
    assert!(
        first[0].contains("from_urls") && first[1].contains("builder"),
        "building first: {first:?}"
    );
    assert!(first[2].contains("`run`"), "then `run`: {first:?}");
    assert!(rows.len() > 15, "{} rows", rows.len());
}

/// A chapter about errors that does not know one of them is worse than none.
#[test]
fn the_chapter_of_errors_knows_every_kind() {
    let chapter = include_str!("../src/guide/errors.md");
    let mut found = 0;
    for (code, name) in [
        (include_str!("../src/error.rs"), "pub enum ErrorKind {"),
        (
            include_str!("../src/error/outcome.rs"),
            "pub enum Outcome {",
        ),
        (
            include_str!("../src/build_error.rs"),
            "pub enum BuildError {",
        ),
    ] {
        let (_, code) = code.split_once(name).expect("the enum");
        let (code, _) = code.split_once("\n}").expect("its end");
        for line in code.lines().filter_map(|line| line.strip_prefix("    ")) {
            if line.starts_with(|c: char| c.is_ascii_uppercase()) {
                let kind = line.trim_end_matches([',', ' ', '{']);
                assert!(
                    chapter.contains(&format!("`{kind}`")),
                    "it does not know {kind}"
                );
                found += 1;
            }
        }
    }
    assert!(found >= 25, "{found} kinds");
}

/// Whoever comes from there finds a before, an after, the options, and what is missing.
#[test]
fn each_library_of_coming_from_has_all_of_it() {
    let chapter = include_str!("../src/guide/coming-from.md");
    for library in [
        "deadpool-redis",
        "Sharding by hand",
        "redis-rs's `ConnectionManager`",
        "go-redis Ring",
        "twemproxy (nutcracker)",
        "fred",
        "Python's fluster",
        "ringpop",
    ] {
        let (_, section) = chapter
            .split_once(&format!("\n# {library}\n"))
            .expect(library);
        let mut in_code = false;
        let own = section.lines().take_while(|line| {
            in_code ^= line.starts_with("```");
            in_code || !line.starts_with("# ")
        });
        let own = own.collect::<Vec<_>>().join("\n");
        for part in [
            "Before",
            "After",
            "```text",
            "```no_run",
            "| there | here |",
        ] {
            assert!(own.contains(part), "{library} has no {part}");
        }
        assert!(
            own.contains("issing") || own.contains("not possible") || own.contains("differently"),
            "{library}"
        );
    }
    for way in ["fluster locate", "--compare", "DIFFERENT"] {
        assert!(chapter.contains(way), "the way over lacks {way}");
    }
}

/// Whoever copies the file of the chapter gets a cluster.
#[cfg(all(feature = "compat", feature = "serde"))]
#[test]
fn the_file_for_those_who_come_from_twemproxy_is_one() {
    let chapter = include_str!("../src/guide/coming-from.md");
    let (_, file) = chapter.split_once("```toml\n").expect("a file");
    let (file, _) = file.split_once("```").expect("its end");
    let config: fluster::Config = toml::from_str(file).unwrap();
    let cluster = fluster::FlusterCluster::try_from(config).unwrap();
    let status = cluster.status();
    assert!(
        status.placement.starts_with("twemproxy"),
        "{}",
        status.placement
    );
    assert_eq!(status.nodes.len(), 2);
    assert_eq!(status.nodes[0].name, "cache-a");
}
