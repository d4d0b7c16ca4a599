//! One look at whether a server may evict what was pushed.

use crate::client::Client;
use crate::connection::reply::parse;
use crate::queue::Queue;
use crate::queue::scripts::raw;

/// Looks at the node once per cluster, in the background, and warns: a server that evicts keys without a time to
/// live evicts accepted jobs, and says so to nobody.
pub(crate) fn look(queue: &Queue, client: &Client) {
    if !client.is_first_look() {
        return;
    }
    let (queue, client) = (queue.clone(), client.clone());
    let tasks = std::sync::Arc::clone(queue.cluster.engine().tasks());
    let look = async move {
        // Not CONFIG, which many servers refuse. Refused too, it is not asked again: each try is a line there.
        let info = raw(&client, redis::cmd("INFO").arg("memory"), queue.deadline()).await;
        let info = info.and_then(|value| parse::<String>(value, client.node()));
        match info.as_deref().map(policy_of) {
            Ok(Some(policy)) if policy.starts_with("allkeys-") => {
                tracing::warn!(
                    queue = queue.name(), node = %client.node(), policy,
                    "the server may evict accepted jobs: set its `maxmemory-policy` to noeviction, or to one of \
                     volatile-*"
                );
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(node = %client.node(), %error, "whether it evicts is not known")
            }
        }
    };
    // A cluster that closes pushes nothing more.
    let _ = tasks.spawn(look);
}

/// The policy that `INFO memory` names.
fn policy_of(info: &str) -> Option<&str> {
    let mut lines = info.lines();
    let policy = lines.find_map(|line| line.strip_prefix("maxmemory_policy:"))?;
    // No more than a word is put into the log.
    let is_word = policy.len() <= 32 && policy.chars().all(|c| c.is_ascii_graphic());
    is_word.then_some(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_read_or_nothing() {
        let info = "# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\nx:1\r\n";
        assert_eq!(policy_of(info), Some("allkeys-lru"));
        for odd in [
            "",
            "maxmemory_policy",
            "maxmemory_policy:\u{1b}[2J",
            &format!("maxmemory_policy:{}", "x".repeat(99)),
        ] {
            assert_eq!(policy_of(odd), None, "{odd:?}");
        }
    }
}
