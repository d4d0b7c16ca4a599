//! Where a configuration may come from, and what of it is secret.

use std::process::Stdio;

use super::{Files, fluster, fluster_with, program, ran, run};
use crate::support::Server;

const APP: &str = "[http]\nport = 1\n\n[cache.redis]\nnodes = [\"redis://:hunter2@10.0.0.1\", \"redis://10.0.0.2\"]\n";

#[test]
fn a_section_a_pipe_json_and_a_variable_are_read_as_a_file_is() {
    let files = Files::new();
    let app = files.write("app.toml", APP);
    let nodes = r#"{"nodes": ["redis://:hunter2@10.0.0.1", "redis://10.0.0.2"]}"#;
    let json = files.write("nodes.json", nodes);
    let expected = run("explain --node redis://10.0.0.1 --node redis://10.0.0.2 user:42")
        .works()
        .stdout;
    assert!(
        expected.contains("served by") && expected.contains("10.0.0."),
        "{expected}"
    );
    let same = |args: &[&str]| assert_eq!(fluster(args).works().stdout, expected, "{args:?}");
    same(&[
        "explain",
        "--config",
        &app,
        "--section",
        "cache.redis",
        "user:42",
    ]);
    same(&["explain", "--config", &json, "user:42"]);
    let piped = fluster_with(nodes.as_bytes(), ["explain", "--config", "-", "user:42"]);
    assert_eq!(piped.works().stdout, expected);
    let piped = fluster_with(
        APP.as_bytes(),
        [
            "explain",
            "--config",
            "-",
            "--section",
            "cache.redis",
            "user:42",
        ],
    );
    assert_eq!(piped.works().stdout, expected);
    let with_variable = |args: &[&str]| {
        let output = program()
            .args(args)
            .env("FLUSTER_CONFIG", &json)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        ran(&output).works().stdout
    };
    assert_eq!(with_variable(&["explain", "user:42"]), expected);
    let other = with_variable(&["explain", "--node", "z=redis://h", "user:42"]);
    assert!(
        other.contains("z"),
        "what is written on the command line is meant: {other}"
    );
}

#[test]
fn what_is_no_section_and_no_configuration_is_named() {
    let files = Files::new();
    let app = files.write("app.toml", APP);
    let broken = files.write("broken.json", "{\"nodes\": [\"redis://:hunter2@h\"");
    let wrong = files.write(
        "wrong.json",
        r#"{"nodes": [{"url": "redis://:hunter2@h", "wheight": 2}]}"#,
    );
    for (args, words) in [
        (
            &["locate", "--config", app.as_str(), "x"][..],
            &["app.toml", "unknown field", "--section"][..],
        ),
        (
            &["locate", "--config", &app, "--section", "redis", "x"],
            &["no section redis", "app.redis"],
        ),
        (
            &["locate", "--config", &app, "--section", "http", "x"],
            &["section http", "unknown field `port`"],
        ),
        (
            &["locate", "--config", &broken, "x"],
            &["broken.json", "line 1"],
        ),
        (
            &["locate", "--config", &wrong, "x"],
            &["wrong.json", "wheight"],
        ),
        (
            &["locate", "--config", "-", "x"],
            &["standard input", "no node"],
        ),
    ] {
        let ran = fluster(args);
        println!("{args:?}\n    {}", ran.stderr.trim_end());
        ran.refuses(2, words);
    }
}

#[test]
fn a_password_comes_from_a_file_or_a_variable_and_is_never_shown() {
    let server = Server::builder().password("hunter2").start();
    let files = Files::new();
    let file = files.write("password", "hunter2\n");
    let url = format!("redis://{}", server.name());
    let with_file = fluster(["status", &url, "--password-file", &file]);
    assert!(
        with_file.stdout.contains("1 of 1 nodes answer"),
        "{}",
        with_file.stdout
    );
    let output = program()
        .args(["status", &url])
        .env("FLUSTER_PASSWORD", "hunter2")
        .output()
        .unwrap();
    let with_variable = ran(&output).works().stdout;
    assert!(
        with_variable.contains("1 of 1 nodes answer"),
        "{with_variable}"
    );
    assert!(!with_variable.contains("hunter2"), "{with_variable}");
    let without = fluster(["status", &url]);
    assert_eq!(without.code, 3);
    assert!(without.stdout.contains("config"), "{}", without.stdout);
    let empty = files.write("empty", "\nhunter2\n");
    fluster(["status", &url, "--password-file", &empty]).refuses(2, &["its first line is empty"]);
}
