//! `fluster gossip`: the instances of an application, asked and told over their own port.

mod act;
pub mod args;
mod ask;
mod differ;
mod list;
mod nodes;

use std::io::Write as _;
use std::process::ExitCode;

use fluster::gossip::Keyring;

use self::args::Gossip;
use crate::fault::Fault;
use crate::out::Out;

pub fn run(command: &Gossip, out: &mut Out) -> Result<ExitCode, Fault> {
    if matches!(command, Gossip::Keygen) {
        writeln!(out, "{}", Keyring::generate().to_hex())?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = crate::runtime()?;
    runtime.block_on(async {
        match command {
            Gossip::Status(whom) => list::status(whom, out).await,
            Gossip::List(args) => list::list(args, out).await,
            Gossip::Count(whom) => list::count(whom, out).await,
            Gossip::Lookup(args) => list::lookup(args, out).await,
            Gossip::Dist(args) => list::dist(args, out).await,
            Gossip::Top(whom) => list::top(whom, out).await,
            Gossip::Checksums(whom) => differ::checksums(whom, out).await,
            Gossip::Partitions(whom) => differ::partitions(whom, out).await,
            Gossip::Heal(whom) => act::heal(whom, out).await,
            Gossip::Leave(whom) => act::leave(whom, out).await,
            Gossip::Drain(args) => act::drain(args, out).await,
            Gossip::Forget(args) => act::forget(args, out).await,
            Gossip::Nodes(args) => nodes::nodes(args, out).await,
            Gossip::Keygen => Ok(ExitCode::SUCCESS),
        }
    })
}
