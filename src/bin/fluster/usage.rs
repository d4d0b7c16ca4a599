//! What the argument parser says, in our form.

use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::fault::{Fault, say};
use crate::out::Out;

const COMMANDS: [&str; 10] = [
    "locate",
    "select",
    "ring",
    "plan",
    "status",
    "top",
    "explain",
    "gossip",
    "completions",
    "man",
];
const GOSSIP: &str = "status, list, count, lookup, dist, checksums, partitions, top, heal, leave, drain, forget or keygen";

/// Prints help and version; anything else is a fault of usage, in one line.
pub fn answer(refused: &clap::Error) -> ExitCode {
    let text = refused.render().to_string();
    match refused.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let mut out = Out::new();
            match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(e) => Fault::from(e).report(),
            }
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let names = match command().as_str() {
                "fluster gossip" => GOSSIP,
                _ => "locate, select, ring, plan, status, top, explain or gossip",
            };
            say(&format!(
                "name a command: {names}; see `{} --help`",
                command()
            ));
            ExitCode::from(crate::fault::USAGE)
        }
        _ => {
            say(&format!("{}; see `{} --help`", one_line(&text), command()));
            ExitCode::from(crate::fault::USAGE)
        }
    }
}

/// What is wrong, without the lines on how to use the command.
fn one_line(text: &str) -> String {
    let about = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:"));
    let mut joined = String::new();
    for line in about.filter(|line| !line.is_empty() && !line.starts_with("For more information")) {
        let line = line.strip_prefix("error: ").unwrap_or(line);
        if !joined.is_empty() {
            joined.push_str(if joined.ends_with(':') { " " } else { "; " });
        }
        joined.push_str(line);
    }
    joined
}

/// `fluster locate`, where a command was named.
fn command() -> String {
    let first = std::env::args_os().nth(1);
    let name = first.as_ref().and_then(|name| name.to_str());
    match name.filter(|name| COMMANDS.contains(name)) {
        Some(name) => format!("fluster {name}"),
        None => "fluster".to_owned(),
    }
}
