//! What instances are told to do.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use fluster::gossip::Act;
use serde_json::json;

use super::args::{Drain, Forget, Switch, Whom};
use super::ask::{Asked, fault};
use crate::fault::{DIFFERENT, Fault};
use crate::out::Out;

/// Exit code 1: there was nothing to do.
const NOTHING: u8 = DIFFERENT;

async fn one(
    whom: &Whom,
    act: Act,
    done: &str,
    nothing: &str,
    out: &mut Out,
) -> Result<ExitCode, Fault> {
    let asked = Asked::first(whom).await?;
    let did = asked.operator.act(asked.at, act).await.map_err(fault)?;
    match whom.json {
        true => writeln!(out, "{}", json!({ "at": asked.at, "done": did }))?,
        false => writeln!(out, "{}: {}", asked.at, if did { done } else { nothing })?,
    }
    Ok(ExitCode::from(if did { 0 } else { NOTHING }))
}

pub async fn heal(whom: &Whom, out: &mut Out) -> Result<ExitCode, Fault> {
    let asked = Asked::first(whom).await?;
    // There is always something to look for.
    asked
        .operator
        .act(asked.at, Act::Heal)
        .await
        .map_err(fault)?;
    match whom.json {
        true => writeln!(out, "{}", json!({ "at": asked.at, "done": true }))?,
        false => writeln!(out, "{}: looks for those who were lost", asked.at)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn leave(whom: &Whom, out: &mut Out) -> Result<ExitCode, Fault> {
    if whom.at.len() > 1 {
        return Err(Fault::usage("one instance leaves: give one --at"));
    }
    one(
        whom,
        Act::Leave,
        "leaves",
        "has left, or does so already",
        out,
    )
    .await
}

pub async fn drain(args: &Drain, out: &mut Out) -> Result<ExitCode, Fault> {
    if args.whom.at.len() > 1 {
        return Err(Fault::usage("one instance drains: give one --at"));
    }
    match args.switch {
        Switch::On => {
            one(
                &args.whom,
                Act::Drain(true),
                "owns no keys from now on",
                "drains already",
                out,
            )
            .await
        }
        Switch::Off => {
            one(
                &args.whom,
                Act::Drain(false),
                "owns keys again",
                "does not drain",
                out,
            )
            .await
        }
    }
}

pub async fn forget(args: &Forget, out: &mut Out) -> Result<ExitCode, Fault> {
    let asked = Asked::first(&args.whom).await?;
    let whom: Vec<SocketAddr> = match args.address {
        Some(address) => vec![address],
        None => {
            let members = asked.operator.members(asked.at).await.map_err(fault)?;
            members
                .iter()
                .filter(|m| m.state == "down")
                .map(|m| m.address)
                .collect()
        }
    };
    let mut forgotten = 0_u32;
    for address in &whom {
        let did = asked
            .operator
            .act(asked.at, Act::Forget(*address))
            .await
            .map_err(fault)?;
        forgotten += u32::from(did);
        match args.whom.json {
            true => writeln!(out, "{}", json!({ "address": address, "forgotten": did }))?,
            false => writeln!(
                out,
                "{address}: {}",
                if did {
                    "forgotten"
                } else {
                    "nobody there is known to be down"
                }
            )?,
        }
    }
    Ok(ExitCode::from(if forgotten > 0 { 0 } else { NOTHING }))
}
