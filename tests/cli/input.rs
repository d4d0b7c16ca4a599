//! What makes no sense is refused: one line that names it, the exit code, nothing on standard output.

use super::{Files, fluster, fluster_with, run};

const NODES: &str = "--node a=redis://:hunter2@127.0.0.1:1 --node b=redis://127.0.0.1:2";

#[test]
fn arguments_that_make_no_sense_are_named() {
    for (line, words) in [
        (
            "",
            &["locate, select, ring, plan, status, top, explain or gossip"][..],
        ),
        (
            "gossip",
            &["status, list, count", "keygen", "fluster gossip --help"],
        ),
        ("lookup x", &["'lookup'"]),
        ("locate x", &["--config", "--node"]),
        ("locate NODES", &["--keys-from"]),
        ("locate NODES --config x.toml x", &["exclude each other"]),
        (
            "locate NODES --frob x",
            &["'--frob'", "fluster locate --help"],
        ),
        ("locate NODES --replicas -1 x", &["--replicas"]),
        ("locate NODES --replicas many x", &["'many'", "--replicas"]),
        ("locate NODES --down c x", &["--down c", "a, b"]),
        (
            "locate NODES --placement rinq x",
            &["\"rinq\" is no rule", "`ring`"],
        ),
        ("locate NODES --placement ring:points=0 x", &["points"]),
        (
            "locate NODES --placement twemproxy:hash=md6 x",
            &["hash=md6", "fnv1a_64"],
        ),
        (
            "locate NODES --placement proxenos:secret=hunter2 x",
            &["secret", "32 hexadecimal digits"],
        ),
        ("locate NODES --hash-tags {{{ x", &["hash_tags", "`off`"]),
        (
            "locate NODES --hex abc",
            &["\"abc\"", "odd number of digits"],
        ),
        ("locate NODES --hex 0g", &["\"0g\"", "not hexadecimal"]),
        (
            "locate NODES --node a=redis://h x",
            &["two nodes are named \"a\""],
        ),
        ("locate --node hunter2@h x", &["neither NAME=URL nor a URL"]),
        (
            "locate --node http://:hunter2@h x",
            &["a node without a name", "unknown scheme"],
        ),
        ("status --of hunter2", &["--of", "http://127.0.0.1:9800"]),
        ("status --of ftp://h", &["--of", "http://127.0.0.1:9800"]),
        ("status --of http://hunter2@h", &["--of", "--token-file"]),
        (
            "status --of http://h/?token=hunter2",
            &["--of", "--token-file"],
        ),
        (
            "status --of http://127.0.0.1:1 --node a=redis://h",
            &["leave --config, --node and URLs out"],
        ),
        (
            "status --of http://127.0.0.1:1 redis://h",
            &["leave --config, --node and URLs out"],
        ),
        (
            "status --of http://127.0.0.1:1 --compare x.toml",
            &["--compare", "--of"],
        ),
        (
            "status --of http://127.0.0.1:1 --token-file /no/such",
            &["--token-file /no/such"],
        ),
        (
            "status --of https://127.0.0.1:1 --ca-file /no/such",
            &["--ca-file /no/such"],
        ),
        ("status --token-file x NODES", &["give --of URL"]),
        ("status", &["--config", "--node"]),
        (
            "status user:hunter2@h",
            &["URL", "neither NAME=URL nor a URL"],
        ),
        (
            "status --section redis NODES",
            &["--section", "--config FILE"],
        ),
        ("status NODES --timeout soon", &["--timeout soon", "500ms"]),
        ("status NODES --interval 0", &["--interval 0", "500ms"]),
        (
            "status NODES --password-file /no/such",
            &["--password-file /no/such"],
        ),
        ("top NODES --wide", &["'--wide'", "fluster top --help"]),
        ("explain NODES", &["KEY"]),
        ("explain NODES --hex zz", &["\"zz\"", "not hexadecimal"]),
        ("explain NODES --down c x", &["--down c", "no node"]),
        ("explain x", &["--config", "--node"]),
        ("completions", &["SHELL"]),
        ("completions cmd.exe", &["'cmd.exe'", "bash"]),
        (
            "locate --node a=http://:hunter2@h x",
            &["node \"a\"", "unknown scheme"],
        ),
        (
            "locate --node a=redis://h,weight=-1 x",
            &["node \"a\"", "weight=-1"],
        ),
        (
            "locate --node a=redis://h,weight=0 x",
            &["\"a\"", "weight 0", "leave the node out"],
        ),
        (
            "locate --node a=redis://h,weight=1.5 x",
            &["node \"a\"", "weight=1.5"],
        ),
        (
            "locate --placement modulo --node a=redis://h,weight=2 x",
            &["\"a\"", "no weights"],
        ),
        (
            "locate --placement proxenos --node a=redis://cache x",
            &["\"cache\" is a name"],
        ),
        (
            "locate NODES --keys-from /no/such/file",
            &["/no/such/file", "No such file"],
        ),
        (
            "locate --config /no/such.toml x",
            &["/no/such.toml", "No such file"],
        ),
        ("ring NODES --keys 0", &["--keys 0"]),
        (
            "ring NODES --plot /no/such/dir/x.svg",
            &["--plot /no/such/dir/x.svg"],
        ),
        ("plan NODES", &["--to"]),
        ("plan NODES --to /no/such.toml", &["/no/such.toml"]),
        (
            "plan NODES --to a=redis://h --to x.toml",
            &["x.toml", "NAME=URL"],
        ),
        (
            "status NODES --compare /no/such.toml",
            &["--compare", "/no/such.toml"],
        ),
        ("select -b zookeeper x", &["'zookeeper'", "consul"]),
        (
            "select -b static -h 10.0.0.1 -H CRC32 x",
            &["CRC32", "SIPHASH"],
        ),
        (
            "select -b static -h 10.0.0.1 -A ( x",
            &["-A", "\"(\"", "unclosed group"],
        ),
        (
            "select -b static -h 10.0.0.1 -N *x x",
            &["-N", "repetition operator"],
        ),
        (
            "select -b static -h 10.0.0.1 -T [ x",
            &["-T", "unclosed character class"],
        ),
        (
            "select -b dns -h localhost:1 -p 2 x",
            &["port 1", "-p says 2"],
        ),
        ("select -b static -h 10.0.0.1 -p 99999 x", &["99999"]),
        ("select -b srv -h x@y z", &["\"y\" is no IP address"]),
    ] {
        let ran = run(&line.replace("NODES", NODES));
        println!("{line}\n    {}", ran.stderr.trim_end());
        ran.refuses(2, words);
        assert_eq!(ran.stdout, "", "{line}");
    }
}

#[test]
fn a_configuration_that_makes_no_sense_is_named_with_its_line() {
    let files = Files::new();
    let node = "[[nodes]]\nname = \"a\"\nurl = \"redis://:hunter2@h\"\n";
    for (text, words) in [
        ("", &["no node", "[[nodes]]"][..]),
        ("placement = \"ring\"", &["no node"]),
        (
            "hash_tag = \"off\"\nNODE",
            &["line 1", "unknown field `hash_tag`", "hash_tags"],
        ),
        (
            "NODEwheight = 2",
            &["line 4", "unknown field `wheight`", "weight"],
        ),
        (
            "NODEweight = -2",
            &["line 4", "`weight`", "-2", "whole number"],
        ),
        (
            "NODEweight = 1.5",
            &["line 4", "`weight`", "1.5", "whole number"],
        ),
        ("NODEweight = 0", &["\"a\"", "weight 0"]),
        ("NODENODE", &["two nodes are named \"a\""]),
        (
            "placement = \"rinq\"\nNODE",
            &["line 1", "\"rinq\" is no rule"],
        ),
        (
            "placement = \"fluster-py\"\nNODEweight = 2",
            &["\"a\"", "no weights"],
        ),
        (
            "[[nodes]]\nname = \"\"\nurl = \"redis://h\"",
            &["the name of node 1 is empty"],
        ),
        (
            "[[nodes]]\nurl = \"http://:hunter2@h\"",
            &["unknown scheme"],
        ),
        ("[[nodes]]\nurl = 5", &["line 2", "`url`"]),
        ("[[nodes]\nurl = \"redis://:hunter2@h\"", &["line 1"]),
        ("deadline_ms = -1\nNODE", &["line 1", "`deadline_ms`", "-1"]),
    ] {
        let file = files.write("cluster.toml", &text.replace("NODE", node));
        let ran = fluster(["locate", "--config", &file, "x"]);
        println!("{text:?}\n    {}", ran.stderr.trim_end());
        ran.refuses(2, words);
        assert!(ran.stderr.contains("cluster.toml"), "{}", ran.stderr);
    }
    std::fs::write(files.path("binary.toml"), b"\xff\xfe").expect("write");
    fluster(["locate", "--config", &files.path("binary.toml"), "x"])
        .refuses(2, &["binary.toml", "UTF-8"]);
}

#[test]
fn a_bad_line_of_keys_is_named_and_what_came_before_is_answered() {
    let args = [
        "locate",
        "--node",
        "a=redis://h",
        "--keys-from",
        "-",
        "--hex",
    ];
    let ran = fluster_with(b"6b\n\n6\n6b\n", args);
    ran.refuses(2, &["standard input, line 3", "\"6\"", "odd"]);
    assert_eq!(ran.stdout, "k\ta\n\ta\n");
}

#[test]
fn help_has_an_example_of_every_command_and_is_no_error() {
    for command in [
        "locate",
        "select",
        "ring",
        "plan",
        "status",
        "top",
        "explain",
        "completions",
    ] {
        let help = run(&format!("{command} --help")).works().stdout;
        let example = help.split_once("xample").expect("an example").1;
        assert!(example.contains(&format!("fluster {command} ")), "{help}");
        assert!(help.ends_with('\n'));
    }
    assert!(run("--help").works().stdout.contains("Exit codes"));
    assert_eq!(
        run("--version").works().stdout,
        format!("fluster {}\n", env!("CARGO_PKG_VERSION"))
    );
}
