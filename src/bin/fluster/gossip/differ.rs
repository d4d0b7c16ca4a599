//! Whether all instances see the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use fluster::gossip::GossipStatus;
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use super::args::Whom;
use super::ask::Asked;
use crate::fault::{DIFFERENT, Fault, UNREACHABLE};
use crate::grid::{Cell, Grid};
use crate::out::{Ink, Out};
use crate::text::shown;

/// So many are asked at once.
const AT_ONCE: usize = 16;

/// One instance, and how it sees the rest; `None` when it does not answer.
struct Seen {
    at: SocketAddr,
    name: String,
    status: Option<GossipStatus>,
}

impl Seen {
    fn ring(&self) -> Option<&str> {
        self.status.as_ref()?.fingerprint.as_deref()
    }

    fn alive(&self) -> u32 {
        let of = |state| {
            self.status
                .as_ref()
                .and_then(|s| s.members.get(state))
                .copied()
                .unwrap_or(0)
        };
        of("alive") + of("suspect")
    }
}

/// Everybody whom anybody names: the other side of a partition is named by those it lost.
async fn all(whom: &Whom) -> Result<Vec<Seen>, Fault> {
    let asked = Asked::first(whom).await?;
    let mut names: BTreeMap<SocketAddr, String> = BTreeMap::new();
    let mut next: Vec<SocketAddr> = whom.at.clone();
    let mut living: BTreeSet<SocketAddr> = whom.at.iter().copied().collect();
    let (mut known, mut seen): (BTreeSet<SocketAddr>, Vec<Seen>) = (BTreeSet::new(), Vec::new());
    while !next.is_empty() {
        let round: Vec<_> = std::mem::take(&mut next)
            .into_iter()
            .filter(|at| known.insert(*at))
            .collect();
        let look = |at| {
            let operator = &asked.operator;
            async move {
                // Whoever says how it is, and not whom it knows, is silent too: there may be others behind it.
                let answer = match operator.status(at).await {
                    Ok(status) => operator.members(at).await.map(|of| (status, of)).ok(),
                    Err(_) => None,
                };
                let (status, members) = answer.unzip();
                (at, status, members.unwrap_or_default())
            }
        };
        let mut answers = stream::iter(round.into_iter().map(look)).buffer_unordered(AT_ONCE);
        while let Some((at, status, members)) = answers.next().await {
            for member in members.iter().filter(|member| member.state != "left") {
                names.insert(member.address, member.ring_id.clone());
                if matches!(member.state.as_str(), "alive" | "suspect") {
                    living.insert(member.address);
                }
                if !known.contains(&member.address) {
                    next.push(member.address);
                }
            }
            seen.push(Seen {
                at,
                name: String::new(),
                status,
            });
        }
    }
    // Who is down for everybody and does not answer is no party to it; who lives for anybody is.
    seen.retain(|seen| seen.status.is_some() || living.contains(&seen.at));
    for seen in &mut seen {
        seen.name = names
            .get(&seen.at)
            .cloned()
            .unwrap_or_else(|| seen.at.to_string());
    }
    seen.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(seen)
}

fn code(seen: &[Seen]) -> ExitCode {
    let rings: BTreeSet<_> = seen
        .iter()
        .filter(|s| s.status.is_some())
        .map(|s| (s.ring(), s.alive()))
        .collect();
    let is_silent = seen.iter().any(|s| s.status.is_none());
    ExitCode::from(match (rings.len(), is_silent) {
        (2.., _) => DIFFERENT,
        (_, true) => UNREACHABLE,
        _ => 0,
    })
}

pub async fn checksums(whom: &Whom, out: &mut Out) -> Result<ExitCode, Fault> {
    let seen = all(whom).await?;
    let mut grid = Grid::new(&["MEMBER", "ADDRESS", "RING", "MEMBERS"]);
    for s in &seen {
        let ring = s.ring().unwrap_or("-");
        match whom.json {
            true => writeln!(
                out,
                "{}",
                json!({ "member": s.name, "address": s.at, "ring": s.ring(), "members": s.alive(), "answers": s.status.is_some() })
            )?,
            false => grid.row([
                Cell::inked(Ink::Bold, shown(&s.name)),
                Cell::from(s.at.to_string()),
                Cell::from(if s.status.is_some() {
                    shown(ring)
                } else {
                    "no answer".into()
                }),
                Cell::from(s.alive().to_string()),
            ]),
        }
    }
    if !whom.json {
        grid.print(out)?;
    }
    Ok(code(&seen))
}

pub async fn partitions(whom: &Whom, out: &mut Out) -> Result<ExitCode, Fault> {
    let seen = all(whom).await?;
    let mut groups: BTreeMap<(Option<&str>, u32), Vec<&Seen>> = BTreeMap::new();
    for s in seen.iter().filter(|s| s.status.is_some()) {
        groups.entry((s.ring(), s.alive())).or_default().push(s);
    }
    let plain = |group: &[&Seen]| group.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
    let names = |group: &[&Seen]| {
        let names: Vec<_> = group.iter().map(|s| shown(&s.name)).collect();
        names.join(" ")
    };
    for ((ring, members), group) in &groups {
        match whom.json {
            true => writeln!(
                out,
                "{}",
                json!({ "ring": ring, "members": members, "instances": plain(group), "answers": true })
            )?,
            false => writeln!(
                out,
                "{}\t{members} members\t{}",
                shown(ring.unwrap_or("-")),
                names(group)
            )?,
        }
    }
    let silent: Vec<_> = seen.iter().filter(|s| s.status.is_none()).collect();
    match (silent.is_empty(), whom.json) {
        (true, _) => {}
        (false, true) => writeln!(
            out,
            "{}",
            json!({ "ring": null, "members": null, "instances": plain(&silent), "answers": false })
        )?,
        (false, false) => writeln!(out, "no answer\t-\t{}", names(&silent))?,
    }
    Ok(code(&seen))
}
