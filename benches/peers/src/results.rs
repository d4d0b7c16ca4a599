//! Results as lines of JSON, one per measurement, so that a run that was interrupted can be continued.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use serde_json::Value;

/// Where results are: `FLUSTER_BENCH_DIR`, or `target/bench` of the repository.
#[must_use]
pub fn directory() -> PathBuf {
    std::env::var_os("FLUSTER_BENCH_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/bench")),
        PathBuf::from,
    )
}

/// A file of results: its first line says of what, each other line is one measurement.
pub struct Results {
    path: PathBuf,
    file: File,
    rows: Vec<Value>,
}

impl Results {
    /// Continues the file when it is about the same, else begins it anew.
    #[must_use]
    pub fn open(name: &str, about: &Value, fresh: bool) -> Self {
        let mut about = about.clone();
        // Measurements of two builds must not be taken for one.
        about["build"] = build().into();
        let path = directory().join(name);
        fs::create_dir_all(directory()).expect("a directory for results");
        let mut rows = Vec::new();
        let mut began = [
            said("date", &["+%F"]),
            said("git", &["describe", "--always", "--dirty"]),
        ]
        .map(Value::from);
        if let Some((mut same, old)) = if fresh { None } else { read(name) } {
            // They do not tell measurements apart; those of the first ones stay.
            let first = [DATE, COMMIT].map(|field| {
                let about = same.as_object_mut();
                about
                    .and_then(|about| about.remove(field))
                    .unwrap_or_default()
            });
            if same == about && !old.is_empty() {
                (rows, began) = (old, first);
            }
        }
        let [date, commit] = began;
        (about[DATE], about[COMMIT]) = (date, commit);
        // Written anew in any case: the last line of an interrupted run may be half a line.
        let mut file = File::create(&path).expect("a file for results");
        writeln!(file, "{about}").expect("write results");
        for row in &rows {
            writeln!(file, "{row}").expect("write results");
        }
        if !rows.is_empty() {
            eprintln!(
                "{}: continued after {} measurements; `--fresh` starts anew",
                path.display(),
                rows.len()
            );
        }
        Self { path, file, rows }
    }

    #[must_use]
    pub fn rows(&self) -> &[Value] {
        &self.rows
    }

    #[must_use]
    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Whether a measurement with these fields is there.
    #[must_use]
    pub fn has(&self, fields: &Value) -> bool {
        let fields = fields.as_object().expect("fields");
        self.rows
            .iter()
            .any(|row| fields.iter().all(|(name, value)| row[name] == *value))
    }

    pub fn push(&mut self, row: Value) {
        writeln!(self.file, "{row}").expect("write results");
        self.rows.push(row);
    }
}

/// When the measurements of a file began, and of which sources they are.
pub const DATE: &str = "date";
pub const COMMIT: &str = "commit";

/// What a program says, in one line; nothing where there is none.
fn said(program: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(program).args(args).output();
    let output = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

/// A number that tells this program from one that was built of other sources.
fn build() -> u64 {
    let program = std::env::current_exe().and_then(fs::read);
    let words = program.unwrap_or_default();
    words.chunks(8).fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        let word = word.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        (hash ^ word).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What a file of results is about, and its measurements; lines that were cut short are left out.
#[must_use]
pub fn read(name: &str) -> Option<(Value, Vec<Value>)> {
    let text = fs::read_to_string(directory().join(name)).ok()?;
    let mut lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    Some((lines.next()?, lines.collect()))
}
