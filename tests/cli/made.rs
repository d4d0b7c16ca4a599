//! Completions and the manual page; and commands whose reader leaves.

use std::io::Read as _;
use std::process::{Command, Stdio};

use super::{program, run};

#[test]
fn each_shell_has_a_script_that_knows_the_commands_and_options() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(&format!("completions {shell}")).works().stdout;
        for word in ["explain", "down-only", "token-file", "gossip"] {
            assert!(script.contains(word), "{shell} has no {word}");
        }
    }
    let bash = run("completions bash").works().stdout;
    let read = Command::new("bash")
        .args(["-n", "-c", &bash])
        .output()
        .expect("bash");
    assert!(
        read.status.success(),
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
}

#[test]
fn the_manual_page_has_every_command_and_its_options() {
    let page = run("man").works().stdout;
    assert!(page.contains(".TH fluster 1"), "{}", &page[..200]);
    for word in [
        "FLUSTER STATUS",
        "FLUSTER TOP",
        "FLUSTER EXPLAIN",
        "FLUSTER LOCATE",
        "password\\-file",
        "down\\-only",
        "Exit codes",
    ] {
        assert!(page.contains(word), "{word}");
    }
}

/// `| head` is a wish, not a failure.
#[test]
fn a_reader_that_leaves_ends_each_command_without_a_word() {
    for line in [
        "completions zsh",
        "man",
        "--help",
        "explain --node a=redis://h x",
        "status --timeout 200ms --node a=redis://127.0.0.1:1",
        "status --timeout 200ms --json --node a=redis://127.0.0.1:1",
        "top --timeout 200ms --interval 50ms --node a=redis://127.0.0.1:1",
        "top --timeout 200ms --interval 50ms --json --node a=redis://127.0.0.1:1",
    ] {
        let mut child = program()
            .args(line.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("fluster starts");
        // Before a byte of it is read.
        drop(child.stdout.take());
        let mut said = String::new();
        child
            .stderr
            .take()
            .expect("piped")
            .read_to_string(&mut said)
            .expect("UTF-8");
        let code = child.wait().expect("it ends").code();
        assert!(matches!(code, Some(0 | 3)), "{line}: {code:?} {said}");
        assert_eq!(said, "", "{line}");
    }
}
