//! The nodes of a configuration, asked from here.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use fluster::{ErrorKind, FlusterCluster};
use futures_util::{StreamExt as _, stream};
use redis::{FromRedisValue, RedisError};
use serde_json::{Value, json};

use crate::foreign::one_line;
use crate::text::masked;

/// So many nodes are asked at once: with more we would measure ourselves.
const AT_ONCE: usize = 16;
/// With so many it takes a while, and is said how far it is.
const LONG: usize = 100;

/// The document that an admin page serves, with what the servers say of themselves beside what the library knows.
pub async fn look(cluster: &FlusterCluster) -> Value {
    let names: Vec<_> = cluster
        .status()
        .nodes
        .into_iter()
        .map(|node| node.name)
        .collect();
    let mut progress = Progress::new(names.len());
    let asked = stream::iter(&names).map(|name| see(cluster, name.as_str()));
    let mut asked = std::pin::pin!(asked.buffered(AT_ONCE));
    let mut seen = Vec::with_capacity(names.len());
    while let Some(one) = asked.next().await {
        seen.push(one);
        progress.at(seen.len());
    }
    drop(progress);
    // Afterwards: the questions themselves may have found out that a node is down.
    let status = cluster.status();
    let active = status.active();
    // A status has no keys and no numbers that JSON lacks.
    let mut all = serde_json::to_value(&status).unwrap_or_default();
    all["active"] = active.into();
    let nodes = all["nodes"].as_array_mut().into_iter().flatten();
    for (node, seen) in nodes.zip(seen) {
        let (Some(node), Value::Object(seen)) = (node.as_object_mut(), seen) else {
            continue;
        };
        for (field, value) in seen {
            // What the server says now is newer than what was kept.
            if field != "version" || !value.is_null() {
                node.insert(field, value);
            }
        }
    }
    all
}

/// What a server says of itself.
#[derive(Default)]
struct Seen {
    /// Of one PING, on a connection that stands; `None` when there was no answer.
    latency: Option<Duration>,
    info: String,
    keys: Option<u64>,
    /// What went wrong first.
    error: Option<String>,
    /// In a word, as far as the kind of the error says it.
    cause: Option<&'static str>,
}

async fn see(cluster: &FlusterCluster, name: &str) -> Value {
    let mut seen = Seen::default();
    if let Err((why, cause)) = seen.fill(cluster, name).await {
        (seen.error, seen.cause) = (Some(why), cause);
    }
    let number = |name| number(&seen.info, name);
    json!({
        "latency_ms": seen.latency.map(|latency| latency.as_secs_f64() * 1e3),
        "role": field(&seen.info, "role").map(one_line),
        "memory_bytes": number("used_memory"),
        "memory_max_bytes": number("maxmemory"),
        "keys": seen.keys,
        "uptime_s": number("uptime_in_seconds"),
        "clients": number("connected_clients"),
        "ops_per_s": number("instantaneous_ops_per_sec"),
        "evicted_keys": number("evicted_keys"),
        "version": field(&seen.info, "redis_version").map(one_line),
        "error": seen.error,
        "cause": seen.cause,
    })
}

impl Seen {
    /// Asks the node; keeps what it has said when a later question fails.
    async fn fill(
        &mut self,
        cluster: &FlusterCluster,
        name: &str,
    ) -> Result<(), (String, Option<&'static str>)> {
        let client = cluster
            .get_client_of_node(name)
            .map_err(|e| (e.to_string(), None))?;
        // The first one dials.
        ask::<()>(&client, &["PING"]).await?;
        let asked = Instant::now();
        ask::<()>(&client, &["PING"]).await?;
        self.latency = Some(asked.elapsed());
        self.info = ask(&client, &["INFO"]).await?;
        self.keys = Some(ask(&client, &["DBSIZE"]).await?);
        Ok(())
    }
}

async fn ask<T: FromRedisValue>(
    client: &fluster::Client,
    words: &[&str],
) -> Result<T, (String, Option<&'static str>)> {
    let mut cmd = redis::Cmd::new();
    for word in words {
        cmd.arg(word);
    }
    let answer = cmd.query_async(&mut client.clone()).await;
    answer.map_err(|e: RedisError| {
        let ours = fluster::Error::from_redis(&e);
        let text = ours.map_or_else(|| e.to_string(), ToString::to_string);
        let cause = ours.and_then(|e| match e.kind() {
            // The health of the node has the reason once it counts.
            ErrorKind::Connect if text.contains("lookup address") || text.contains("resolve") => {
                Some("dns")
            }
            ErrorKind::Connect => Some("connect"),
            ErrorKind::Config => Some("config"),
            ErrorKind::Timeout => Some("timeout"),
            ErrorKind::ConnectionLost => Some("lost"),
            _ => None,
        });
        let cause = cause.or_else(|| match e.code() {
            Some("NOAUTH" | "WRONGPASS" | "NOPERM") => Some("config"),
            _ => None,
        });
        (one_line(masked(&text)), cause)
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

/// How far it is, on a terminal, of what takes a while; gone when it is dropped.
struct Progress {
    all: usize,
    shown: usize,
    is_shown: bool,
}

impl Progress {
    fn new(all: usize) -> Self {
        let is_shown = all >= LONG && std::io::stderr().is_terminal();
        Self {
            all,
            shown: 0,
            is_shown,
        }
    }

    fn at(&mut self, done: usize) {
        if self.is_shown && done >= self.shown + self.all.div_ceil(50) {
            self.shown = done;
            self.say(&format!("asked {done} of {} nodes", self.all));
        }
    }

    fn say(&self, text: &str) {
        let mut screen = std::io::stderr().lock();
        // It is no part of the answer.
        let _ = write!(screen, "\r\x1b[K{text}");
        let _ = screen.flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown && self.shown > 0 {
            self.say("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let info = "# Memory\r\nused_memory_rss:1\r\nused_memory:2\r\nrole:master\r\n";
        assert_eq!(number(info, "used_memory"), Some(2));
        assert_eq!(field(info, "role"), Some("master"));
        assert_eq!(field(info, "memory"), None);
    }
}
