//! Values of 100 MB arrive, and are held once.

use std::fs;
use std::time::Duration;

use redis::{AsyncCommands, Cmd};

use super::{Site, Way};
use crate::support::{alone, test_name};

const LARGE: usize = 100_000_000;
const SOON: Duration = Duration::from_secs(120);

/// One of the process' own counts of its memory, in bytes.
fn memory(of: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(of));
    let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
    number.unwrap().parse::<usize>().unwrap() << 10
}

/// The most that the process holds from now on is counted anew.
fn begin() -> usize {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    memory("VmRSS")
}

/// What it held at most above what it held then, in values.
fn peak_since(begun: usize) -> f64 {
    memory("VmHWM").saturating_sub(begun) as f64 / LARGE as f64
}

#[cfg(target_os = "linux")]
#[test]
fn a_value_of_100_mb_arrives_both_ways_and_is_held_once() {
    let name = test_name!("a_value_of_100_mb_arrives_both_ways_and_is_held_once");
    alone(name, async || {
        for way in Way::ALL {
            there_and_back(way).await;
        }
    });
}

async fn there_and_back(way: Way) {
    let site = Site::new(way);
    let cluster = site
        .builder(site.server.url())
        .response_timeout(SOON)
        .deadline(SOON)
        .build()
        .unwrap();
    let mut client = cluster.get_client("k").unwrap();
    let _: () = client.set("small", "v").await.unwrap();
    let set = Cmd::set("k", pattern());

    let begun = begin();
    cluster.run_with_key::<()>("k", &set).await.unwrap();
    let written = peak_since(begun);
    drop(set);
    assert_eq!(site.server.raw(["STRLEN", "k"]), LARGE.to_string());

    let begun = begin();
    let got: Vec<u8> = client.get("k").await.unwrap();
    let read = peak_since(begun);
    println!("{way:?}: {written:.2} values while it is written, {read:.2} while it is read");
    assert!(got == pattern(), "{way:?}: it is another");
    assert!(written <= 1.3, "{way:?}: {written:.2} values to write one");
    assert!(read <= 1.3, "{way:?}: {read:.2} values to read one");
    assert_eq!(cluster.status().nodes[0].dials, 1);
}

/// Bytes that say where they stand.
fn pattern() -> Vec<u8> {
    let mut all = Vec::with_capacity(LARGE);
    let piece = [b'x'; 1_000];
    for n in 0..LARGE / 1_000 {
        let at = all.len();
        all.extend_from_slice(&piece);
        all[at..at + 4].copy_from_slice(&(n as u32).to_le_bytes());
    }
    all
}
