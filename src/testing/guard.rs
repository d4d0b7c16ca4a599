//! Cleans up after this process when it cannot do so itself.
//!
//! `Drop` does not run when a test runner is killed, or interrupted, or exits with servers in a
//! `static`. So one small shell per process holds the read end of a pipe whose write end is ours
//! alone: when we end, for whatever reason, it reads end-of-file, kills the servers it was told
//! of and removes their directory. It needs nothing but a POSIX shell.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

const SCRIPT: &str = r#"
trap '' HUP INT TERM
pids=''
while read -r verb pid; do
    case $verb in
        watch)  pids="$pids $pid " ;;
        forget) pids="${pids%%" $pid "*}${pids#*" $pid "}" ;;
    esac
done
if [ -n "$pids" ]; then kill -KILL $pids; fi
rm -rf "$1"
"#;

static GUARD: LazyLock<Guard> = LazyLock::new(Guard::start);

struct Guard {
    root: PathBuf,
    shell: Mutex<Child>,
}

impl Guard {
    fn start() -> Self {
        let root = new_root();
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "guard"])
            .arg(&root)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of reach of a Ctrl-C and of a runner that kills our whole process group.
            .process_group(0)
            .spawn()
            .expect("start `sh`, which cleans up after the tests");
        Self {
            root,
            shell: Mutex::new(shell),
        }
    }

    fn tell(&self, verb: &str, pid: u32) {
        // A panic elsewhere leaves the shell as usable as before.
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = shell.stdin.as_mut().expect("the guard's stdin is piped");
        writeln!(pipe, "{verb} {pid}").expect("write to the guard");
    }
}

/// Has a process killed when this one ends, in whatever way. [Example](crate::guide::by_example#servers-for-tests).
pub fn watch(child: &Child) {
    GUARD.tell("watch", child.id());
}

/// Forgets a watched process that has ended and been waited for: its number may be another's soon.
/// [Example](crate::guide::by_example#servers-for-tests).
pub fn forget(pid: u32) {
    GUARD.tell("forget", pid);
}

/// A new empty directory, named after `what`, that goes away with this process at the latest.
/// [Example](crate::guide::by_example#servers-for-tests).
///
/// The path is short: a Unix socket's may have 107 bytes.
pub fn new_dir(what: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = GUARD.root.join(format!("{what}{n}"));
    create(&dir).unwrap_or_else(|e| panic!("create {}: {e}", dir.display()));
    dir
}

fn new_root() -> PathBuf {
    let pid = std::process::id();
    for n in 0..1000 {
        let root = std::env::temp_dir().join(format!("fluster-{pid}-{n}"));
        match create(&root) {
            Ok(()) => return root,
            // Left by a process that had our id before us.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => panic!("create {}: {e}", root.display()),
        }
    }
    panic!(
        "{} is full of old fluster-{pid}-* directories",
        std::env::temp_dir().display()
    );
}

fn create(dir: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(dir)
}
