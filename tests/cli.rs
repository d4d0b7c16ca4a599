//! The program `fluster`, run as a user runs it.

mod answers;
mod configured;
mod gossip;
mod input;
mod made;
mod of;
mod select;
mod status;
mod vectors;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What a run left behind.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// The answer's lines as JSON.
    fn json(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect()
    }

    /// It failed with this code and one line that has these words, and nothing else.
    #[track_caller]
    fn refuses(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "one line: {}", self.stderr);
        assert!(self.stderr.starts_with("fluster: "), "{}", self.stderr);
        for word in words {
            assert!(
                self.stderr.contains(word),
                "no {word:?} in: {}",
                self.stderr
            );
        }
        assert!(!self.stderr.contains("hunter2"), "{}", self.stderr);
    }

    /// It succeeded, and had nothing to complain about.
    #[track_caller]
    fn works(self) -> Self {
        assert_eq!(
            (self.code, self.stderr.as_str()),
            (0, ""),
            "{}",
            self.stdout
        );
        self
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fluster"));
    // The machine's own settings are no part of a test.
    for name in [
        "PROXENOS_PRF",
        "PROXENOS_MMH_SEED",
        "PROXENOS_MMH_OPTIMIZE",
        "PROXENOS_SIPHASH_KEY",
        "CONSUL_HTTP_TOKEN",
        "FLUSTER_ADMIN_TOKEN",
        "FLUSTER_CONFIG",
        "FLUSTER_PASSWORD",
        "NO_COLOR",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs `fluster` with these arguments and this input.
fn fluster_with(input: &[u8], args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
    let mut child = program()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("fluster starts");
    let mut stdin = child.stdin.take().expect("piped");
    let output = std::thread::scope(|threads| {
        // Beside the reading: pipes hold little. It may have said no and gone.
        threads.spawn(move || stdin.write_all(input));
        child.wait_with_output().expect("fluster ends")
    });
    ran(&output)
}

fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code().expect("no signal ended it"),
        stdout: String::from_utf8(output.stdout.clone()).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr.clone()).expect("UTF-8"),
    }
}

fn fluster(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
    fluster_with(b"", args)
}

/// Words with blanks between them.
fn run(line: &str) -> Ran {
    fluster(line.split_whitespace())
}

/// Files in a directory that goes away.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        Self(crate::support::new_dir("c"))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("write a file");
        path
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
