//! What one instance knows.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use fluster::gossip::{GossipStatus, MemberStatus};
use serde_json::{Value, json};

use super::args::{Dist, List, Lookup, Whom};
use super::ask::{Asked, fault};
use crate::fault::{Fault, NO_NODE};
use crate::grid::{Cell, Grid, percent};
use crate::out::{Ink, Out};
use crate::text::shown;

/// Between two looks of `top`.
const EVERY: Duration = Duration::from_secs(1);
/// More keys say no more.
const MOST_KEYS: u32 = 1_000_000;

fn number(value: impl serde::Serialize) -> Result<Value, Fault> {
    serde_json::to_value(value).map_err(|e| Fault::other(format!("the answer is no JSON: {e}")))
}

pub async fn status(whom: &Whom, out: &mut Out) -> Result<ExitCode, Fault> {
    let asked = Asked::first(whom).await?;
    let status = &asked.status;
    if whom.json {
        writeln!(out, "{}", number(status)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let me = &status.me;
    writeln!(
        out,
        "{} of {}, {} #{}",
        shown(&me.ring_id),
        shown(&status.cluster),
        me.address,
        me.generation
    )?;
    writeln!(
        out,
        "state        {}, {}",
        shown(&me.state),
        shown(&me.phase)
    )?;
    let members: Vec<_> = status
        .members
        .iter()
        .map(|(state, n)| format!("{n} {}", shown(state)))
        .collect();
    writeln!(out, "members      {}", members.join(", "))?;
    let ring = status.fingerprint.as_deref().unwrap_or("nobody is ready");
    writeln!(
        out,
        "ring         {} instances, {}",
        status.ring,
        shown(ring)
    )?;
    let keys: Vec<_> = status
        .key_ids
        .iter()
        .map(|id| format!("{id:02x}"))
        .collect();
    let keys = if keys.is_empty() {
        "none: plaintext".to_owned()
    } else {
        keys.join(", ")
    };
    writeln!(out, "keys         {keys}")?;
    writeln!(out, "up for       {} s", status.uptime.as_secs())?;
    let (sent, received) = status.packets;
    let (per_out, per_in) = status.bytes_per_second;
    writeln!(out, "sent         {sent} datagrams, {per_out:.0} B/s")?;
    writeln!(
        out,
        "received     {received} datagrams, {per_in:.0} B/s, {} refused",
        status.refused
    )?;
    if status.diverged > 0 {
        writeln!(
            out,
            "{}",
            out.inked(
                Ink::Bad,
                &format!(
                    "{} instances have another ring of the same members",
                    status.diverged
                )
            )
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn list(args: &List, out: &mut Out) -> Result<ExitCode, Fault> {
    let wanted: Vec<_> = args
        .label
        .iter()
        .map(|label| label.split_once('=').ok_or(label))
        .collect::<Result<_, _>>()
        .map_err(|label| Fault::usage(format!("--label {}: write KEY=VALUE", shown(label))))?;
    let asked = Asked::first(&args.whom).await?;
    let mut members = asked.operator.members(asked.at).await.map_err(fault)?;
    members.retain(|m| args.all || is_reachable(m));
    members.retain(|m| {
        wanted
            .iter()
            .all(|(key, value)| m.labels.get(*key).is_some_and(|v| v == value))
    });
    if args.whom.json {
        writeln!(out, "{}", number(&members)?)?;
    } else {
        grid(&members).print(out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_reachable(member: &MemberStatus) -> bool {
    matches!(&*member.state, "alive" | "suspect")
}

fn grid(members: &[MemberStatus]) -> Grid {
    let mut grid = Grid::new(&[
        "MEMBER", "ADDRESS", "STATE", "PHASE", "SINCE", "WEIGHT", "HTTP", "LABELS",
    ]);
    for m in members {
        let ink = match &*m.state {
            "alive" => Ink::Good,
            "suspect" => Ink::Doubtful,
            _ => Ink::Bad,
        };
        let labels: Vec<_> = m
            .labels
            .iter()
            .map(|(k, v)| format!("{}={}", shown(k), shown(v)))
            .collect();
        grid.row([
            Cell::inked(Ink::Bold, shown(&m.ring_id)),
            Cell::from(m.address.to_string()),
            Cell::inked(ink, shown(&m.state)),
            Cell::from(shown(&m.phase)),
            Cell::from(format!("{} s", m.since.as_secs())),
            Cell::from(m.weight.to_string()),
            Cell::from(m.http.as_ref().map_or_else(|| "-".into(), shown)),
            Cell::from(if labels.is_empty() {
                "-".into()
            } else {
                labels.join(" ")
            }),
        ]);
    }
    grid
}

pub async fn count(whom: &Whom, out: &mut Out) -> Result<ExitCode, Fault> {
    let asked = Asked::first(whom).await?;
    match whom.json {
        true => writeln!(out, "{}", number(&asked.status.members)?)?,
        false => {
            for (state, n) in &asked.status.members {
                writeln!(out, "{}\t{n}", shown(state))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn lookup(args: &Lookup, out: &mut Out) -> Result<ExitCode, Fault> {
    if !(1..=16).contains(&args.n) {
        return Err(Fault::usage("-n is 1 to 16"));
    }
    let asked = Asked::first(&args.whom).await?;
    let keys: Vec<_> = args
        .keys
        .iter()
        .map(|key| key.as_encoded_bytes().to_vec())
        .collect();
    let found = asked
        .operator
        .lookup(asked.at, &keys, args.n)
        .await
        .map_err(fault)?;
    let mut is_any = true;
    for (key, members) in keys.iter().zip(found) {
        is_any &= !members.is_empty();
        match args.whom.json {
            true => writeln!(
                out,
                "{}",
                json!({ "key": String::from_utf8_lossy(key), "members": members })
            )?,
            false => {
                let members: Vec<_> = members.iter().map(shown).collect();
                let members = if members.is_empty() {
                    "-".into()
                } else {
                    members.join("\t")
                };
                writeln!(out, "{}\t{members}", shown(key))?;
            }
        }
    }
    Ok(ExitCode::from(if is_any { 0 } else { NO_NODE }))
}

/// The shares are computed here, of the weights that the instance tells, by the default placement.
pub async fn dist(args: &Dist, out: &mut Out) -> Result<ExitCode, Fault> {
    let asked = Asked::first(&args.whom).await?;
    let members = asked.operator.members(asked.at).await.map_err(fault)?;
    let ready: BTreeMap<_, _> = members
        .iter()
        .filter(|m| is_reachable(m) && m.phase == "ready")
        .map(|m| (&m.ring_id, u32::from(m.weight)))
        .collect();
    if ready.is_empty() {
        return Err(Fault::new(NO_NODE, "nobody is ready"));
    }
    let nodes: Vec<_> = ready
        .iter()
        .map(|(id, weight)| fluster::placement::Member::new(id).weight(*weight))
        .collect();
    let table = fluster::Placement::ring().table(&nodes)?;
    if asked.status.fingerprint.as_deref() != Some(&table.fingerprint().to_string()) {
        return Err(Fault::usage(
            "the instances have another placement than the default one: `lookup` tells their owners",
        ));
    }
    let keys = args.keys.clamp(1, MOST_KEYS);
    let mut owned = vec![0_u32; nodes.len()];
    let mut key = Vec::new();
    for number in 0..u64::from(keys) {
        crate::sample::key(number, &mut key);
        if let Some(count) = owned.get_mut(table.owner(&key)) {
            *count += 1;
        }
    }
    let all: u32 = ready.values().sum();
    let mut grid = Grid::new(&["MEMBER", "IDEAL", "REAL"]);
    for ((id, weight), owned) in ready.iter().zip(owned) {
        let (ideal, real) = (
            f64::from(*weight) / f64::from(all),
            f64::from(owned) / f64::from(keys),
        );
        match args.whom.json {
            true => writeln!(
                out,
                "{}",
                json!({ "member": id, "ideal": ideal, "real": real })
            )?,
            false => grid.row([
                Cell::inked(Ink::Bold, shown(id)),
                Cell::from(percent(ideal)),
                Cell::from(percent(real)),
            ]),
        }
    }
    if !args.whom.json {
        grid.print(out)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn top(whom: &Whom, out: &mut Out) -> Result<ExitCode, Fault> {
    let mut before: Option<GossipStatus> = None;
    loop {
        let asked = Asked::first(whom).await?;
        let members = asked.operator.members(asked.at).await.map_err(fault)?;
        if whom.json {
            writeln!(
                out,
                "{}",
                json!({ "status": number(&asked.status)?, "members": number(&members)? })
            )?;
        } else {
            if out.is_screen {
                write!(out, "\x1b[?7l\x1b[H\x1b[J")?;
            }
            let status = &asked.status;
            let changed = before
                .as_ref()
                .is_some_and(|before| before.fingerprint != status.fingerprint);
            let mark = if changed {
                "  keys have other owners"
            } else {
                ""
            };
            let ring = status.fingerprint.as_deref().unwrap_or("-");
            writeln!(
                out,
                "{} asked, ring {}, {:.0} B/s out{mark}",
                asked.at,
                shown(ring),
                status.bytes_per_second.0
            )?;
            grid(&members).print(out)?;
            if out.is_screen {
                write!(
                    out,
                    "{}\x1b[?7h",
                    out.inked(Ink::Dim, "every second; Ctrl-C ends it\n")
                )?;
            }
        }
        out.flush()?;
        before = Some(asked.status);
        tokio::time::sleep(EVERY).await;
    }
}
