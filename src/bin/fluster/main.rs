//! `fluster`: where keys live, from the command line.
//!
//! Everything here goes through the library's public API. A command writes its answer to standard
//! output, and what is wrong to standard error, in one line; see [`fault`] for the exit codes.

#![forbid(unsafe_code)]
#![allow(
    unreachable_pub,
    reason = "nothing of a program can be reached from outside"
)]

mod args;
mod cluster;
mod compare;
mod configured;
mod explain;
mod fault;
#[allow(
    dead_code,
    reason = "the library's own words for what is foreign; not all of them are needed here"
)]
#[path = "../../error/text.rs"]
mod foreign;
mod gossip;
mod grid;
mod keys;
mod locate;
mod look;
mod made;
mod of;
mod out;
mod plan;
mod proxenos;
#[allow(
    dead_code,
    reason = "the library's own redaction; not all of it is needed here"
)]
#[path = "../../error/redact.rs"]
mod redact;
mod resolved;
mod ring;
mod sample;
mod screen;
mod select;
mod shares;
mod sources;
mod status;
mod svg;
mod text;
mod time;
mod top;
mod usage;
mod view;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use self::args::{Arguments, Command};
use self::fault::Fault;
use self::out::Out;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refused) => return usage::answer(&refused),
    };
    let mut out = Out::new();
    let result = match &arguments.command {
        Command::Locate(args) => locate::run(args, &mut out),
        Command::Select(args) => select::run(args, &mut out),
        Command::Ring(args) => ring::run(args, &mut out),
        Command::Plan(args) => plan::run(args, &mut out),
        Command::Status(args) => status::run(args, &mut out),
        Command::Top(args) => top::run(args, &mut out),
        Command::Explain(args) => explain::run(args, &mut out),
        Command::Gossip(args) => gossip::run(args, &mut out),
        Command::Completions(args) => made::completions(args.shell, &mut out),
        Command::Man => made::man(&mut out),
    };
    // What was found before a fault is worth reading too.
    let flushed = out.flush().map_err(Fault::from);
    let code = result.and_then(|code| flushed.map(|()| code));
    code.unwrap_or_else(|fault| fault.report())
}

/// A runtime for the commands that talk to servers.
fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Fault::other(format!("the runtime does not start: {e}")))
}
