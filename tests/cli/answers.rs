//! `locate`, `ring` and `plan`: their answers, exact and printable.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;
use std::{ffi::OsStr, time::Duration};

use fluster::placement::{Member, Placement};

use super::{Files, fluster, fluster_with, program, run};
use crate::support::wait_until;

const THREE: &str =
    "--node a=redis://10.0.0.1 --node b=redis://10.0.0.2,weight=2 --node c=redis://10.0.0.3";

#[test]
fn odd_keys_are_escaped_in_text_and_exact_in_json() {
    let keys: [&[u8]; 6] = [
        b"a\tb",
        b"a\nb\r",
        b"\xff\xfe",
        b"back\\slash",
        "clé".as_bytes(),
        b"\x1b[2J",
    ];
    let texts = [
        r"a\tb",
        r"a\nb\r",
        r"\xff\xfe",
        r"back\\slash",
        "clé",
        r"\x1b[2J",
    ];
    let args = |json: bool| {
        let mut args = vec![
            OsStr::new("locate"),
            OsStr::new("--node"),
            OsStr::new("n\t1=redis://h"),
        ];
        args.extend(json.then_some(OsStr::new("--json")));
        args.extend(keys.iter().map(|key| OsStr::from_bytes(key)));
        args
    };
    let plain = fluster(args(false)).works().stdout;
    let expected: Vec<_> = texts.iter().map(|text| format!("{text}\tn\\t1")).collect();
    assert_eq!(plain.lines().collect::<Vec<_>>(), expected);
    for (answer, key) in fluster(args(true)).works().json().iter().zip(keys) {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            (&answer["key_hex"], &answer["owner"]),
            (&hex.into(), &"n\t1".into())
        );
    }
    // NUL and line breaks, which no argument and no line can hold.
    let args = [
        "locate",
        "--node",
        "a=redis://h",
        "--keys-from",
        "-",
        "--hex",
    ];
    let ran = fluster_with(b"00\n610a62\n", args).works();
    assert_eq!(ran.stdout, "\\x00\ta\na\\nb\ta\n");
}

#[test]
fn replicas_begin_with_the_owner_and_leave_out_who_is_down() {
    let members = [
        Member::new("a"),
        Member::new("b").weight(2),
        Member::new("c"),
    ];
    let table = Placement::ring().table(&members).expect("a table");
    let names: Vec<_> = table
        .candidates(b"user:42")
        .map(|node| members[node].name)
        .collect();
    let ran = run(&format!("locate {THREE} --replicas 9 user:42")).works();
    assert_eq!(ran.stdout, format!("user:42\t{}\n", names.join("\t")));
    let ran = run(&format!(
        "locate {THREE} --replicas 2 --down {} user:42",
        names[0]
    ))
    .works();
    assert_eq!(ran.stdout, format!("user:42\t{}\t{}\n", names[1], names[2]));
    let ran = run(&format!(
        "locate {THREE} --down a --down b --down c user:42 --json"
    ));
    assert_eq!((ran.code, ran.stderr.as_str()), (4, ""));
    assert_eq!(
        ran.stdout,
        "{\"key_hex\":\"757365723a3432\",\"owner\":null,\"replicas\":[]}\n"
    );
    let ran = run(&format!(
        "locate {THREE} --down a --down b --down c user:42"
    ));
    assert_eq!((ran.code, ran.stdout.as_str()), (4, "user:42\t-\n"));
}

#[test]
fn keys_come_from_arguments_and_a_file_and_the_last_line_may_be_open() {
    let files = Files::new();
    let file = files.write("keys", "k1\n\nk2");
    let ran = fluster([
        "locate",
        "--node",
        "a=redis://h",
        "--keys-from",
        &file,
        "k0",
    ])
    .works();
    assert_eq!(ran.stdout, "k0\ta\nk1\ta\n\ta\nk2\ta\n");
}

#[test]
fn a_key_is_answered_before_the_next_is_read() {
    let mut child = program()
        .args(["locate", "--node", "a=redis://h", "--keys-from", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("fluster starts");
    let mut keys = child.stdin.take().expect("piped");
    let mut answers = BufReader::new(child.stdout.take().expect("piped")).lines();
    for key in ["one", "two"] {
        writeln!(keys, "{key}").expect("a key");
        let answer = answers.next().expect("a line").expect("UTF-8");
        assert_eq!(answer, format!("{key}\ta"));
    }
    drop(keys);
    assert!(child.wait().expect("fluster ends").success());
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let files = Files::new();
    let keys: String = (0..200_000).map(|n| format!("key:{n}\n")).collect();
    let file = files.write("keys", &keys);
    let mut child = program()
        .args(["locate", "--node", "a=redis://h", "--keys-from", &file])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("fluster starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert_eq!(lines.next().expect("a line").expect("UTF-8"), "key:0\ta");
    drop(lines);
    wait_until(Duration::from_secs(20), || {
        child.try_wait().expect("a child").is_some()
    });
    let output = child.wait_with_output().expect("fluster ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn the_ring_is_counted_and_drawn() {
    let files = Files::new();
    let plot = files.path("ring.svg");
    let nodes = "--node <&\"=redis://10.0.0.1 --node b=redis://10.0.0.2,weight=2";
    let ran = run(&format!("ring {nodes} --keys 20000 --plot {plot} --json")).works();
    let [answer] = &ran.json()[..] else {
        panic!("one line")
    };
    let nodes = answer["nodes"].as_array().expect("nodes");
    let keys: u64 = nodes.iter().filter_map(|node| node["keys"].as_u64()).sum();
    assert_eq!(keys, 20_000);
    for (node, ideal) in nodes.iter().zip([1.0 / 3.0, 2.0 / 3.0]) {
        let (real, said) = (
            node["real"].as_f64().unwrap(),
            node["ideal"].as_f64().unwrap(),
        );
        assert!((said - ideal).abs() < 1e-9, "{node}");
        assert!((real / ideal - 1.0).abs() < 0.4, "{node}");
    }
    let ratios = nodes
        .iter()
        .map(|n| n["real"].as_f64().unwrap() / n["ideal"].as_f64().unwrap());
    let deviation = (ratios.map(|ratio| (ratio - 1.0).powi(2)).sum::<f64>() / 2.0).sqrt();
    let said = answer["standard_deviation"].as_f64().unwrap();
    assert!((said - deviation).abs() < 1e-9, "{said} is {deviation}");
    let svg = std::fs::read_to_string(&plot).expect("the picture");
    assert!(
        svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"),
        "{svg}"
    );
    assert_eq!(svg.matches("<g>").count(), 2, "a bar per node");
    assert!(
        svg.contains("&lt;&amp;&quot;") && !svg.contains("<&"),
        "{svg}"
    );
    let ran = run(&format!("ring {THREE} --keys 1000")).works();
    assert_eq!(ran.stdout.lines().count(), 5, "{}", ran.stdout);
    assert!(!ran.stdout.contains('\x1b'), "no colours for a pipe");
}

#[test]
fn a_plan_names_who_gives_keys_to_whom() {
    let files = Files::new();
    let config = |nodes: &[&str]| -> String {
        nodes
            .iter()
            .map(|n| format!("[[nodes]]\nname = \"{n}\"\nurl = \"redis://{n}\"\n"))
            .collect()
    };
    let three = files.write("three.toml", &config(&["a", "b", "c"]));
    let four = files.write("four.toml", &config(&["a", "b", "c", "d"]));
    let [answer] = &fluster(["plan", "--config", &three, "--to", &four, "--json"])
        .works()
        .json()[..]
    else {
        panic!("one line")
    };
    assert!(
        (0.15..0.35).contains(&answer["moved"].as_f64().unwrap()),
        "{answer}"
    );
    let moves = answer["moves"].as_array().unwrap();
    assert!(
        !moves.is_empty() && moves.iter().all(|step| step["to"] == "d"),
        "{answer}"
    );
    assert_ne!(answer["from"], answer["to"]);
    let text = fluster(["plan", "--config", &three, "--to", &four])
        .works()
        .stdout;
    assert!(
        text.contains("of the keys move (exactly), between 3 pairs of nodes"),
        "{text}"
    );
    let line = format!("plan --config {three} --to a=redis://a --to b=redis://b --to c=redis://c");
    assert!(
        run(&line)
            .works()
            .stdout
            .starts_with("0.00 % of the keys move")
    );
}

/// What the pages show of the program is what it says, to the letter: with three servers, and with a fourth.
#[test]
fn what_the_pages_show_of_the_program_is_what_it_says() {
    let files = Files::new();
    for (name, nodes) in [("cluster.toml", "abc"), ("four.toml", "abcd")] {
        let nodes = nodes.chars().zip(7101..);
        let node = |(node, port)| {
            format!("[[nodes]]\nname = 'cache-{node}'\nurl = 'redis://127.0.0.1:{port}'\n")
        };
        files.write(name, &nodes.map(node).collect::<String>());
    }
    let mut shown = 0;
    for page in [
        include_str!("../../README.md"),
        include_str!("../../src/guide/command-line.md"),
        include_str!("../../src/guide/coming-from.md"),
    ] {
        for block in page.split("\n```text\n").skip(1) {
            let (block, _) = block.split_once("```").expect("the block ends");
            for asked in block.split("$ fluster ").skip(1) {
                let (line, answer) = asked.split_once('\n').expect("an answer");
                let answer = answer.split("$ ").next().unwrap_or_default();
                let needs_no_server = ["locate ", "ring ", "plan "]
                    .iter()
                    .any(|command| line.starts_with(command));
                // `redis-cli .. |`, and what is shown in part.
                if !needs_no_server || line.contains('|') || answer.contains("...") {
                    continue;
                }
                let mut program = program();
                let output = program
                    .current_dir(files.path(""))
                    .args(line.split(' '))
                    .output();
                let ran = super::ran(&output.expect("it runs"));
                assert_eq!(ran.stdout, answer, "fluster {line}: {}", ran.stderr);
                shown += 1;
            }
        }
    }
    assert!(shown >= 5, "{shown} commands are shown");
}
