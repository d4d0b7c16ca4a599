//! What `docker/` refers to exists, and its dashboard shows the metrics that the guide lists: all of them, no others.
//! That the panels have data is shown by `make dashboard`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Documented, but not on the dashboard; with the reason.
const NOT_SHOWN: &[(&str, &str)] = &[
    ("fluster_near_reads_total", NO_NEAR),
    ("fluster_near_fills_total", NO_NEAR),
    ("fluster_near_entries", NO_NEAR),
    ("fluster_near_bytes_kept", NO_NEAR),
    ("fluster_near_told_total", NO_NEAR),
    ("fluster_near_flushes_total", NO_NEAR),
    ("fluster_near_refused_total", NO_NEAR),
];

const NO_NEAR: &str =
    "the demo application, whose data the panels are checked with, has no near cache";

fn docker() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docker")
}

fn read(file: &str) -> String {
    fs::read_to_string(docker().join(file)).unwrap_or_else(|e| panic!("docker/{file}: {e}"))
}

/// The words of a text that begin with `fluster_`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("fluster_"))
}

/// The names in the first column of the guide's table of metrics.
fn documented() -> BTreeSet<String> {
    let guide = include_str!("../src/guide/observability.md");
    let (_, metrics) = guide.split_once("# Metrics\n").expect("the chapter");
    let (metrics, _) = metrics.split_once("\n# ").expect("the next one");
    let sources = include_str!("../src/guide/discovery.md");
    let (_, sources) = sources.split_once("# Watching it\n").expect("the chapter");
    let (sources, _) = sources.split_once("\n# ").expect("the next one");
    let lines = metrics.lines().chain(sources.lines());
    let rows = lines.filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| words(row.split('|').nth(1).unwrap_or_default()))
        .map(str::to_owned)
        .collect()
}

/// All panels, also those inside of rows.
fn panels(of: &Value) -> Vec<&Value> {
    let here = of["panels"].as_array().into_iter().flatten();
    here.flat_map(|panel| [vec![panel], panels(panel)].concat())
        .collect()
}

/// The queries of the dashboard, with the titles of their panels.
fn queries(dashboard: &Value) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for panel in panels(dashboard) {
        let title = panel["title"].as_str().expect("a panel has a title");
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((title, target["expr"].as_str().expect("a query")));
        }
    }
    found
}

fn dashboard() -> Value {
    serde_json::from_str(&read("grafana/dashboards/fluster.json")).expect("the dashboard is JSON")
}

/// A histogram is documented under its own name and asked by its buckets.
fn metric(word: &str) -> &str {
    word.strip_suffix("_bucket").unwrap_or(word)
}

#[test]
fn the_dashboard_shows_every_documented_metric_and_no_other() {
    let (documented, dashboard) = (documented(), dashboard());
    assert!(documented.len() > 15, "{documented:?}");
    let mut shown = BTreeSet::new();
    for (title, query) in queries(&dashboard) {
        for word in words(query) {
            let name = metric(word).to_owned();
            assert!(
                documented.contains(&name),
                "the panel {title} asks for {name}, which src/guide/observability.md does not have"
            );
            shown.insert(name);
        }
    }
    for name in &documented {
        let excused = NOT_SHOWN.iter().any(|(excused, _)| excused == name);
        assert_ne!(
            shown.contains(name),
            excused,
            "{name}: add a panel to docker/grafana/dashboards/fluster.json, or a reason to NOT_SHOWN; not both"
        );
    }
    for word in words(&read("prometheus/alerts.yml")) {
        assert!(
            documented.contains(metric(word)),
            "alerts.yml asks for {word}"
        );
    }
}

#[test]
fn panels_are_distinct_and_do_not_overlap() {
    let dashboard = dashboard();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeMap::new());
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its id is taken");
        let at = |side: &str| panel["gridPos"][side].as_u64().expect("a place");
        assert!(at("x") + at("w") <= 24, "{title} is too wide");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                let other = cells.insert((x, y), title);
                assert_eq!(other, None, "{title} lies over another panel");
            }
        }
    }
    assert!(ids.len() > 30, "{} panels", ids.len());
}

#[test]
fn what_compose_refers_to_exists() {
    let compose = read("compose.yml");
    let mut mounts = 0;
    for line in compose.lines().map(str::trim) {
        if let Some(mount) = line.strip_prefix("- ./") {
            let (path, to) = mount.split_once(':').expect("from:to");
            assert!(docker().join(path).exists(), "docker/{path} is mounted");
            assert!(to.ends_with(":ro"), "{mount}: nothing writes there");
            mounts += 1;
        }
        if let Some(image) = line.strip_prefix("image: ") {
            let (_, tag) = image.split_once(':').expect("an image has a tag");
            assert_ne!(tag, "latest", "{image}");
        }
    }
    assert_eq!(mounts, 5);
    let after = |key: &str| {
        let mut values = compose.lines().filter_map(|l| l.trim().strip_prefix(key));
        values.next().unwrap_or_else(|| panic!("{key}")).to_owned()
    };
    let context = docker().join(after("context: "));
    assert!(context.join("Cargo.toml").exists(), "{context:?}");
    assert!(context.join(after("dockerfile: ")).exists());
    // The home page, by its path in the container.
    let home = after("GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH: ");
    let home = home.strip_prefix("/var/lib/grafana/").expect("a mount");
    assert!(docker().join("grafana").join(home).exists(), "{home}");
}

#[test]
fn ports_are_for_this_machine_only() {
    let compose = read("compose.yml");
    let ports: Vec<_> = compose
        .split("ports:\n")
        .skip(1)
        .map(|rest| rest.lines().next().unwrap_or_default().trim())
        .collect();
    assert_eq!(ports.len(), 3, "{ports:?}");
    for port in ports {
        assert!(port.starts_with("- \"127.0.0.1:"), "{port}");
    }
}

#[test]
fn every_build_takes_the_versions_of_its_lock_file() {
    let dockerfile = read("Dockerfile");
    let builds: Vec<_> = dockerfile.matches("cargo build ").collect();
    assert_eq!(builds.len(), dockerfile.matches("--locked").count());
    assert!(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docker/app/Cargo.lock")
            .exists()
    );
}

#[test]
fn only_the_suite_that_nobody_signs_any_more_may_have_an_old_signature() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = fs::read_to_string(root.join("scripts/debian-tool.sh")).unwrap();
    let relaxed: Vec<_> = script
        .lines()
        .filter(|line| line.contains("Check-Valid-Until"))
        .collect();
    assert_eq!(relaxed.len(), 1, "{relaxed:?}");
    assert!(
        relaxed[0].trim_start().starts_with("bullseye)"),
        "{relaxed:?}"
    );
}

/// `.dockerignore` lets through what it names, so what it does not name is not there to be built.
#[test]
fn the_build_is_sent_what_it_needs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ignore = fs::read_to_string(root.join(".dockerignore")).unwrap();
    let sent: BTreeSet<_> = ignore.lines().filter_map(|l| l.strip_prefix('!')).collect();
    for path in &sent {
        assert!(root.join(path).exists(), "{path}");
    }
    for needed in ["Cargo.toml", "Cargo.lock", "src", "docker/app"] {
        assert!(sent.contains(needed), "{needed}");
    }
    // Cargo refuses a manifest whose targets are not all there.
    for (kind, folder) in [
        ("bench", "benches"),
        ("example", "examples"),
        ("test", "tests"),
    ] {
        if include_str!("../Cargo.toml").contains(&format!("[[{kind}]]")) {
            assert!(sent.contains(folder), "{folder}: Cargo.toml names a {kind}");
        }
    }
    // What `src/lib.rs` includes.
    assert!(sent.contains("README.md"));
}

#[test]
#[cfg(feature = "serde")]
fn the_command_line_and_the_service_have_the_same_servers() {
    let config: fluster::Config = toml::from_str(&read("cluster.toml")).expect("a configuration");
    let compose = read("compose.yml");
    let urls = compose
        .lines()
        .find_map(|line| line.trim().strip_prefix("REDIS_URLS: "));
    let urls = urls.expect("the service's servers").split(',');
    let names = |cluster: fluster::FlusterCluster| -> Vec<_> {
        let nodes = cluster.status().nodes.into_iter();
        nodes.map(|node| node.name).collect()
    };
    let of_service = names(fluster::FlusterCluster::from_urls(urls).unwrap());
    let of_cli = names(fluster::FlusterCluster::try_from(config).unwrap());
    assert_eq!(of_service, of_cli);
    for node in of_service {
        let (service, _) = node.as_str().split_once(':').unwrap();
        assert!(compose.contains(&format!("\n  {service}:\n")), "{service}");
    }
}

/// The alerts by name, each with its lines.
fn alerts() -> BTreeMap<String, String> {
    let rules = read("prometheus/alerts.yml");
    let parts = rules.split("      - alert: ").skip(1);
    let alert = |part: &str| {
        let (name, rest) = part.split_once('\n').expect("a rule");
        (name.to_owned(), rest.to_owned())
    };
    parts.map(alert).collect()
}

/// Where rustdoc puts the headings of a chapter.
fn anchors(chapter: &str) -> BTreeSet<String> {
    let headings = chapter.lines().filter(|line| line.starts_with('#'));
    let slug = |line: &str| -> String {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

#[test]
fn each_alert_is_tested_and_says_in_the_guide_what_to_do() {
    let tests = read("prometheus/alerts_test.yml");
    let alerts = alerts();
    assert!(alerts.len() >= 9, "{:?}", alerts.keys());
    for (name, rule) in &alerts {
        let fires = tests.split("alertname: ").skip(1).any(|part| {
            let (tested, rest) = part.split_once('\n').unwrap_or((part, ""));
            tested == name && rest.trim_start().starts_with("exp_alerts:\n")
        });
        assert!(fires, "{name} never fires in alerts_test.yml");
        let link = rule
            .split("runbook_url: \"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let link = link.unwrap_or_else(|| panic!("{name} has no link"));
        let page = link.strip_prefix("https://docs.rs/fluster/latest/fluster/guide/");
        let (chapter, rest) = page
            .and_then(|page| page.split_once('/'))
            .expect("a chapter");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/guide/{chapter}.md"));
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{name}: {link}: {e}"));
        if let Some((_, anchor)) = rest.split_once('#') {
            assert!(
                anchors(&text).contains(anchor),
                "{name}: {link} leads nowhere"
            );
        }
    }
}

/// promtool runs what `alerts_test.yml` says: each alert fires when it should, and not when it should not.
#[test]
fn alerts_fire_when_they_should_and_otherwise_not() {
    let file = docker().join("prometheus/alerts_test.yml");
    let ran = std::process::Command::new("promtool")
        .args(["test", "rules"])
        .arg(&file)
        .output();
    let Ok(ran) = ran else {
        println!(
            "SKIPPED: there is no promtool on this machine (Debian's package `prometheus` has it): no alert was tried"
        );
        return;
    };
    let said =
        String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
}
