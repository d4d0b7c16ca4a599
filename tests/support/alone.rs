//! A test in a process of its own: whatever it does to its network, its names or its memory, no other
//! test notices.
//!
//! The process is this test binary once more, told by an environment variable which test it is to run.

use std::process::{Command, Stdio};

use fluster::testing::{forget, watch};

/// Set for the process of one test: the test's name.
const ENVIRONMENT: &str = "FLUSTER_ALONE";

/// The full name of the test `name` of the module that this is used in.
macro_rules! test_name {
    ($name:literal) => {
        concat!(module_path!(), "::", $name)
    };
}
pub(crate) use test_name;

/// Whether this is the process of the test `name`.
pub(super) fn is_here(name: &str) -> bool {
    std::env::var(ENVIRONMENT).is_ok_and(|of| of == name)
}

/// Runs `scenario` in a process of its own; called by the test of this name, and by nobody else.
///
/// # Panics
///
/// When the test fails there, with all it printed.
#[track_caller]
pub fn alone(name: &str, scenario: impl AsyncFnOnce()) {
    match is_here(name) {
        true => run(scenario),
        false => elsewhere(name, &[]),
    }
}

/// Runs the scenario here, on a runtime of its own.
pub(super) fn run(scenario: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(scenario());
    // A look-up without an answer holds its thread for 10 s; nobody waits for that.
    runtime.shutdown_background();
}

/// Runs the test `name` in another process, started through `wrapper`.
#[track_caller]
pub(super) fn elsewhere(name: &str, wrapper: &[&str]) {
    let binary = std::env::current_exe().expect("the test binary");
    let mut command = match wrapper {
        [] => Command::new(&binary),
        [program, args @ ..] => {
            let mut command = Command::new(program);
            command.args(args).arg(&binary);
            command
        }
    };
    // The first part of a module's path is the crate, which libtest leaves away.
    let test = name.split_once("::").map_or(name, |(_, test)| test);
    let child = command
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .args(["--test-threads", "1"])
        .env(ENVIRONMENT, name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the test in a process of its own");
    let pid = child.id();
    watch(&child);
    let output = child.wait_with_output().expect("wait for the test");
    forget(pid);
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{test}, in a process of its own: {}\n{said}",
        output.status
    );
    print!("{said}");
}
