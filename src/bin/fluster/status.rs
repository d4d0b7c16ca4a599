//! `fluster status`: the nodes as they are now.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fluster::{ClusterStatus, FlusterCluster, NodeState, NodeStatus};
use futures_util::{StreamExt as _, stream};
use redis::{FromRedisValue, RedisError};
use serde_json::{Value, json};

use crate::args::Status;
use crate::cluster::Cluster;
use crate::compare;
use crate::fault::{Fault, UNREACHABLE};
use crate::foreign::one_line;
use crate::grid::{Cell, Grid};
use crate::out::{Ink, Out};
use crate::text::{masked, shown};

/// Between two looks of `--watch`.
const EVERY: Duration = Duration::from_secs(1);
/// So many nodes are asked at once: with more we would measure ourselves.
const AT_ONCE: usize = 16;

pub fn run(args: &Status, out: &mut Out) -> Result<ExitCode, Fault> {
    let cluster = Cluster::from_args(&args.cluster)?;
    if let Some(file) = &args.compare {
        return compare::run(&cluster, file, args.json, out);
    }
    let runtime = crate::runtime()?;
    let cluster = cluster
        .builder()?
        .runtime(runtime.handle().clone())
        .build()?;
    runtime.block_on(async {
        loop {
            let look = Look::take(&cluster).await;
            if args.watch && out.is_screen {
                // In one write with what follows, so nothing flickers. Lines that are too long are cut: a
                // wrapped one would push the first off the screen.
                write!(out, "\x1b[?7l\x1b[H\x1b[J")?;
            }
            match args.json {
                true => writeln!(out, "{}", look.json())?,
                false => look.print(out)?,
            }
            if !args.watch {
                let all = look.nodes.iter().all(|(_, seen)| seen.latency.is_some());
                return Ok(ExitCode::from(if all { 0 } else { UNREACHABLE }));
            }
            if out.is_screen {
                write!(
                    out,
                    "{}\x1b[?7h",
                    out.inked(Ink::Dim, "every second; Ctrl-C ends it\n")
                )?;
            } else if !args.json {
                writeln!(out)?;
            }
            out.flush()?;
            tokio::time::sleep(EVERY).await;
        }
    })
}

/// All nodes at one moment.
struct Look {
    status: ClusterStatus,
    nodes: Vec<(NodeStatus, Seen)>,
}

/// What a server says of itself.
#[derive(Default)]
struct Seen {
    /// Of one PING, on a connection that stands; `None` when there was no answer.
    latency: Option<Duration>,
    role: Option<String>,
    memory: Option<u64>,
    /// 0 when there is no limit.
    max_memory: Option<u64>,
    keys: Option<u64>,
    /// What went wrong first.
    error: Option<String>,
}

impl Look {
    async fn take(cluster: &FlusterCluster) -> Self {
        let names: Vec<_> = cluster
            .status()
            .nodes
            .into_iter()
            .map(|node| node.name)
            .collect();
        let asked = stream::iter(&names).map(|name| see(cluster, name.as_str()));
        let seen: Vec<Seen> = asked.buffered(AT_ONCE).collect().await;
        // Afterwards: the questions themselves may have found out that a node is down.
        let status = cluster.status();
        let nodes = status.nodes.iter().cloned().zip(seen).collect();
        Self { status, nodes }
    }

    fn json(&self) -> Value {
        let node = |(node, seen): &(NodeStatus, Seen)| {
            json!({
                "name": node.name.as_str(),
                "address": node.address,
                "weight": node.weight,
                "labels": node.labels,
                "state": node.state.to_string(),
                "drained": node.drained,
                "reason": node.reason.map(|reason| reason.to_string()),
                "degraded": node.degraded,
                "latency_ms": seen.latency.map(|latency| latency.as_secs_f64() * 1e3),
                "role": seen.role,
                "memory_bytes": seen.memory,
                "memory_max_bytes": seen.max_memory,
                "keys": seen.keys,
                "error": seen.error,
            })
        };
        json!({
            "placement": self.status.placement,
            "fingerprint": self.status.fingerprint.to_string(),
            "active": self.status.active(),
            "nodes": self.nodes.iter().map(node).collect::<Vec<_>>(),
        })
    }

    fn print(&self, out: &mut Out) -> Result<(), Fault> {
        let mut grid = Grid::new(&[
            "node", "address", "state", ">latency", "role", ">memory", ">keys", "",
        ]);
        for (node, seen) in &self.nodes {
            let dash = || "-".to_owned();
            let state = match (node.reason, node.admits) {
                _ if node.drained => format!("{} (drained)", node.state),
                (Some(reason), false) => format!("{} ({reason})", node.state),
                _ => node.state.to_string(),
            };
            let latency = seen
                .latency
                .map(|latency| format!("{:.2} ms", latency.as_secs_f64() * 1e3));
            let memory = seen.memory.map(|memory| match seen.max_memory {
                Some(max) if max > 0 => format!("{} of {}", size(memory), size(max)),
                _ => size(memory),
            });
            grid.row([
                Cell::inked(Ink::Bold, shown(node.name.as_str())),
                shown(&node.address).into(),
                Cell::inked(ink(node), state),
                latency.unwrap_or_else(dash).into(),
                seen.role.as_deref().map_or_else(dash, shown).into(),
                memory.unwrap_or_else(dash).into(),
                seen.keys.map_or_else(dash, |keys| keys.to_string()).into(),
                Cell::inked(
                    Ink::Dim,
                    seen.error.as_deref().map(shown).unwrap_or_default(),
                ),
            ]);
        }
        grid.print(out)?;
        let answered = self
            .nodes
            .iter()
            .filter(|(_, seen)| seen.latency.is_some())
            .count();
        writeln!(
            out,
            "{answered} of {} nodes answer; {}, fingerprint {}",
            self.nodes.len(),
            self.status.placement,
            self.status.fingerprint
        )?;
        Ok(())
    }
}

fn ink(node: &NodeStatus) -> Ink {
    match node.state {
        NodeState::Up if !node.degraded => Ink::Good,
        NodeState::Down => Ink::Bad,
        _ => Ink::Doubtful,
    }
}

async fn see(cluster: &FlusterCluster, name: &str) -> Seen {
    let mut seen = Seen::default();
    if let Err(why) = seen.fill(cluster, name).await {
        seen.error = Some(why);
    }
    seen
}

impl Seen {
    /// Asks the node; keeps what it has said when a later question fails.
    async fn fill(&mut self, cluster: &FlusterCluster, name: &str) -> Result<(), String> {
        let client = cluster
            .get_client_of_node(name)
            .map_err(|e| e.to_string())?;
        // The first one dials.
        ask::<()>(&client, &["PING"]).await?;
        let asked = Instant::now();
        ask::<()>(&client, &["PING"]).await?;
        self.latency = Some(asked.elapsed());
        let info: String = ask(&client, &["INFO", "memory"]).await?;
        self.memory = number(&info, "used_memory");
        self.max_memory = number(&info, "maxmemory");
        let info: String = ask(&client, &["INFO", "replication"]).await?;
        self.role = field(&info, "role").map(one_line);
        self.keys = Some(ask(&client, &["DBSIZE"]).await?);
        Ok(())
    }
}

async fn ask<T: FromRedisValue>(client: &fluster::Client, words: &[&str]) -> Result<T, String> {
    let mut cmd = redis::Cmd::new();
    for word in words {
        cmd.arg(word);
    }
    let answer = cmd.query_async(&mut client.clone()).await;
    answer.map_err(|e: RedisError| {
        let text =
            fluster::Error::from_redis(&e).map_or_else(|| e.to_string(), ToString::to_string);
        one_line(masked(&text))
    })
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = info.lines().filter_map(|line| line.split_once(':'));
    fields
        .find(|(field, _)| *field == name)
        .map(|(_, value)| value.trim())
}

fn number(info: &str, name: &str) -> Option<u64> {
    field(info, name)?.parse().ok()
}

/// Bytes in the unit that leaves one to four digits.
fn size(bytes: u64) -> String {
    let mut left = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if left < 1024.0 {
            return match unit {
                "B" => format!("{bytes} B"),
                _ => format!("{left:.1} {unit}"),
            };
        }
        left /= 1024.0;
    }
    format!("{left:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (5 << 30, "5.0 GiB"),
            (3 << 40, "3.0 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let info = "# Memory\r\nused_memory_rss:1\r\nused_memory:2\r\nrole:master\r\n";
        assert_eq!(number(info, "used_memory"), Some(2));
        assert_eq!(field(info, "role"), Some("master"));
        assert_eq!(field(info, "memory"), None);
    }
}
