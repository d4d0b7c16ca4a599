//! How many sockets of this process lead to given ports; other tests' sockets do not count.

use std::collections::HashSet;
use std::fs;

/// The sockets of this process that are connected, or connecting, to one of `ports`.
///
/// Where there is no `/proc` nothing is counted, and nothing can be found to leak.
pub fn sockets_to(ports: &[u16]) -> usize {
    let ours: HashSet<String> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let link = fs::read_link(entry.ok()?.path()).ok()?;
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap_or_default();
    table
        .lines()
        .skip(1)
        .filter(|line| {
            // sl, local, remote, state, queues, timer, retransmits, uid, timeout, inode
            let fields: Vec<_> = line.split_whitespace().collect();
            let [_, _, remote, _, _, _, _, _, _, inode, ..] = fields[..] else {
                return false;
            };
            let port = remote
                .rsplit_once(':')
                .and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
            port.is_some_and(|port| ports.contains(&port)) && ours.contains(inode)
        })
        .count()
}
