//! `fluster status`, against real servers; and two configurations side by side.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Files, fluster, program};
use crate::support::{Server, fleet};

/// A configuration of these servers, named a, b, c.
fn config(servers: &[Server]) -> String {
    let nodes = ["a", "b", "c"].iter().zip(servers);
    let node = |(name, server): (&&str, &Server)| {
        format!("[[nodes]]\nname = \"{name}\"\nurl = \"{}\"\n", server.url())
    };
    nodes.map(node).collect()
}

#[test]
fn live_nodes_and_dead_ones_are_shown() {
    let mut servers: Vec<Server> = fleet::<2>().into();
    servers.push(Server::builder().password("hunter2").start());
    servers[0].raw(["MSET", "k1", "v", "k2", "v"]);
    servers[1].raw(["CONFIG", "SET", "maxmemory", "64mb"]);
    let files = Files::new();
    let file = files.write("cluster.toml", &config(&servers));
    let ran = fluster(["status", "--config", &file, "--json"]).works();
    let [status] = &ran.json()[..] else {
        panic!("one line")
    };
    let nodes = status["nodes"].as_array().expect("nodes");
    for node in nodes {
        assert_eq!(
            (&node["state"], &node["role"]),
            (&"up".into(), &"master".into()),
            "{node}"
        );
        assert!(
            node["latency_ms"]
                .as_f64()
                .is_some_and(|ms| ms > 0.0 && ms < 10_000.0),
            "{node}"
        );
        assert!(
            node["memory_bytes"]
                .as_u64()
                .is_some_and(|bytes| bytes > 100_000),
            "{node}"
        );
        assert_eq!(node["error"], Value::Null, "{node}");
    }
    assert_eq!(
        (&nodes[0]["keys"], &nodes[1]["keys"]),
        (&2.into(), &0.into())
    );
    assert_eq!(nodes[1]["memory_max_bytes"], 64 << 20);
    assert_eq!(status["active"], 3);
    assert_eq!(status["fingerprint"].as_str().map(str::len), Some(16));

    servers[1].kill();
    let ran = fluster(["status", "--config", &file]);
    assert_eq!((ran.code, ran.stderr.as_str()), (3, ""), "{}", ran.stdout);
    println!("{}", ran.stdout);
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(
        lines.len(),
        6,
        "a heading, three nodes, a reason, a summary: {}",
        ran.stdout
    );
    assert!(
        lines[1].starts_with("b ") && lines[1].contains("down (refused)"),
        "the sick one first: {}",
        lines[1]
    );
    assert!(
        lines[2].starts_with("  out for ") && lines[2].contains("Connection refused"),
        "its reason on a line of its own: {}",
        lines[2]
    );
    assert!(
        lines[3].contains("up") && lines[3].contains("master"),
        "{}",
        lines[3]
    );
    assert!(lines[5].starts_with("2 of 3 nodes answer"), "{}", lines[5]);
    let ran = fluster(["status", "--config", &file, "--down-only"]);
    assert!(
        ran.stdout.contains("refused") && !ran.stdout.contains("master"),
        "{}",
        ran.stdout
    );
    let ran = fluster(["status", "--config", &file, "--down-only", "--json"]);
    assert_eq!(ran.json()[0]["nodes"].as_array().map(Vec::len), Some(1));
    let wide = fluster(["status", "--config", &file, "--wide"]).stdout;
    for column in ["uptime", "clients", "ops/s", "evicted", "version"] {
        assert!(
            wide.lines()
                .next()
                .is_some_and(|line| line.contains(column)),
            "{column}: {wide}"
        );
    }
    assert!(
        !ran.stdout.contains("hunter2") && !ran.stdout.contains('\x1b'),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_server_that_asks_for_a_password_is_named_without_ours() {
    let server = Server::builder().password("right").start();
    let url = format!("a=redis://:hunter2@{}", server.name());
    let ran = fluster(["status", "--node", &url, "--json"]);
    assert_eq!(ran.code, 3, "{}", ran.stdout);
    let node = &ran.json()[0]["nodes"][0];
    assert_eq!(node["reason"], "config", "{node}");
    assert!(
        node["error"]
            .as_str()
            .is_some_and(|why| why.contains("WRONGPASS")),
        "{node}"
    );
    assert!(!ran.stdout.contains("hunter2"), "{}", ran.stdout);
}

#[test]
fn watching_goes_on_and_sees_a_node_go() {
    let servers: [Server; 2] = fleet();
    let files = Files::new();
    let file = files.write("cluster.toml", &config(&servers));
    let mut child = program()
        .args(["status", "--config", &file, "--watch", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("fluster starts");
    let mut looks = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut look = || -> Value {
        let line = looks.next().expect("it goes on").expect("UTF-8");
        serde_json::from_str(&line).expect("JSON")
    };
    assert_eq!(look()["active"], 2);
    servers[0].kill();
    let mut seen = 0;
    while look()["active"] != 1 {
        seen += 1;
        assert!(seen < 20, "the dead node is still there");
    }
    drop(looks);
    // Nobody reads any more: the next line ends it.
    assert_eq!(child.wait().expect("fluster ends").code(), Some(0));
}

/// `script` gives it a terminal.
#[test]
fn a_terminal_gets_colours_unless_they_are_refused() {
    if !has_script() {
        return;
    }
    let server = Server::start();
    let line = format!(
        "{} status --node a={}",
        env!("CARGO_BIN_EXE_fluster"),
        server.url()
    );
    let on_terminal = |no_color: &str| {
        let output = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm")
            .env("NO_COLOR", no_color)
            .stdin(Stdio::null())
            .output()
            .expect("script runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let coloured = on_terminal("");
    assert!(coloured.contains("\x1b[32mup\x1b[0m"), "{coloured:?}");
    let plain = on_terminal("1");
    assert!(plain.contains("up") && !plain.contains('\x1b'), "{plain:?}");
}

#[test]
fn a_watched_screen_is_drawn_in_place() {
    if !has_script() {
        return;
    }
    let server = Server::start();
    let program = env!("CARGO_BIN_EXE_fluster");
    let line = format!("{program} status --watch --node a={}", server.url());
    let mut child = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script runs");
    let mut screen = child.stdout.take().expect("piped");
    let (mut seen, mut bytes) = (Vec::new(), [0; 4096]);
    let frames = |seen: &[u8]| {
        String::from_utf8_lossy(seen)
            .matches("\x1b[H\x1b[J")
            .count()
    };
    while frames(&seen) < 3 {
        let read = screen.read(&mut bytes).expect("a terminal");
        assert!(read > 0, "it ended: {}", String::from_utf8_lossy(&seen));
        seen.extend(&bytes[..read]);
    }
    // The terminal goes, and what runs on it with it.
    child.kill().expect("kill script");
    child.wait().expect("wait for script");
    let text = String::from_utf8_lossy(&seen);
    let first = text.split("\x1b[H\x1b[J").nth(1).expect("a frame");
    assert!(first.contains("1 of 1 nodes answer"), "{first}");
    assert!(
        first.ends_with("\x1b[?7h\x1b[?7l"),
        "lines wrap again: {first:?}"
    );
}

fn has_script() -> bool {
    let output = Command::new("script").arg("--version").output();
    let has = output.is_ok_and(|output| output.status.success());
    if !has {
        println!("SKIPPED: there is no `script` on this machine");
    }
    has
}

#[test]
fn configurations_that_agree_are_told_from_those_that_do_not() {
    let files = Files::new();
    let node = |name: &str, port: u16, weight: u32| {
        format!(
            "[[nodes]]\nname = \"{name}\"\nurl = \"redis://:hunter2@10.0.0.1:{port}\"\nweight = {weight}\n"
        )
    };
    let base = [node("a", 1, 1), node("b", 2, 1), node("c", 3, 1)];
    let one = files.write("one.toml", &base.concat());
    let [a, b, c] = base;
    // Of nodes that weigh alike each has the points that it had before, so nothing else moves.
    let uneven = [node("a", 1, 1), node("b", 2, 2), node("c", 3, 5)].concat();
    let eject = |yes: bool| format!("placement = \"twemproxy:auto_eject={yes}\"\n");
    for (what, here, there, code, words) in [
        (
            "the same in another order",
            None,
            [c.clone(), a.clone(), b.clone()].concat(),
            0,
            &["the same"][..],
        ),
        (
            "a weight",
            None,
            [a.clone(), node("b", 2, 2), c.clone()].concat(),
            1,
            &["weight 2", "for example, the key"],
        ),
        (
            "a node less",
            None,
            [a.clone(), b.clone()].concat(),
            1,
            &["missing", "for example, the key"],
        ),
        (
            "a rule",
            None,
            format!("placement = \"modulo\"\n{a}{b}{c}"),
            1,
            &["modulo", "of the keys have another node"],
        ),
        (
            "hash tags",
            None,
            format!("hash_tags = \"off\"\n{a}{b}{c}"),
            1,
            &["keys with hash tags", "off", "for example, the key {"],
        ),
        (
            "an address",
            None,
            [a.clone(), b.clone(), node("c", 33, 1)].concat(),
            0,
            &["the same", "10.0.0.1:33"],
        ),
        (
            "two servers swapped",
            None,
            [node("a", 2, 1), node("b", 1, 1), c.clone()].concat(),
            1,
            &["is a here and b there"],
        ),
        (
            "what is done when a node is out",
            Some(format!("{}{uneven}", eject(true))),
            format!("{}{uneven}", eject(false)),
            1,
            &["not the same stand-in", "is out the key"],
        ),
    ] {
        let here = here.map_or(one.clone(), |text| files.write("here.toml", &text));
        let there = files.write("there.toml", &there);
        let ran = fluster(["status", "--config", &here, "--compare", &there]);
        println!("--- {what}\n{}", ran.stdout);
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (code, ""),
            "{what}: {}",
            ran.stdout
        );
        for word in words {
            assert!(
                ran.stdout.contains(word),
                "{what}: no {word:?} in {}",
                ran.stdout
            );
        }
        assert!(!ran.stdout.contains("hunter2"));
        let json = fluster(["status", "--config", &here, "--compare", &there, "--json"]);
        assert_eq!(
            (json.code, &json.json()[0]["same"]),
            (code, &(code == 0).into()),
            "{what}"
        );
    }
}

/// A name that leads nowhere counts as up until it has failed often enough.
#[test]
fn no_answer_is_never_shown_as_well() {
    if !has_script() {
        return;
    }
    let program = env!("CARGO_BIN_EXE_fluster");
    let line = format!("{program} status --timeout 2s --node a=redis://no-such-host.invalid");
    let shown = on_terminal(&line, "80", "24");
    assert!(shown.contains("(dns)"), "{shown}");
    assert!(!shown.contains("\x1b[32m"), "nothing is green: {shown:?}");
}

/// A terminal of this size; what it showed.
fn on_terminal(line: &str, columns: &str, lines: &str) -> String {
    let sized = format!("stty cols {columns} rows {lines}; {line}");
    let output = Command::new("script")
        .args(["-qec", &sized, "/dev/null"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .output()
        .expect("script runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Without the colours.
fn plain(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| {
        all + part.split_once('m').map_or("", |(_, rest)| rest)
    })
}

#[test]
fn a_thousand_nodes_fit_on_80_by_24_with_the_sick_first() {
    if !has_script() {
        return;
    }
    let files = Files::new();
    let node = |n: usize| {
        format!(
            "[[nodes]]\nname = \"a-rather-long-name-of-a-cache-{n}\"\nurl = \"redis://127.{}.{}.1:1\"\n",
            1 + n / 250,
            n % 250
        )
    };
    let config: String = (0..1000).map(node).collect();
    let file = files.write("thousand.toml", &config);
    let program = env!("CARGO_BIN_EXE_fluster");
    let line = format!("{program} status --timeout 1s --config {file}");
    let raw = on_terminal(&line, "80", "24");
    let shown = plain(&raw);
    let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
    let answer = lines
        .iter()
        .skip_while(|line| !line.contains("node "))
        .count();
    println!("{shown}");
    assert!(answer <= 23, "{answer} lines");
    let widest = lines.iter().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{widest:?}");
    assert!(
        shown.contains("more, some of them not well; --all shows them"),
        "{shown}"
    );
    assert!(shown.contains("0 of 1000 nodes answer"), "{shown}");
    assert!(raw.contains("\x1b[Kasked "), "it says how far it is");
    // A pipe gets all of them.
    let ran = fluster(["status", "--timeout", "1s", "--config", &file]);
    assert_eq!(
        ran.stdout
            .lines()
            .filter(|line| line.starts_with("a-rather-long-name"))
            .count(),
        1000
    );
    assert_eq!(ran.stderr, "", "no progress where nobody watches");
}
