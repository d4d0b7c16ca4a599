//! Instances as processes of their own: killed, stopped, and started again.

use std::process::Command;

use super::child::{self, Instance, Seeds, Told, agree};
use super::proxy::free_ports;
use super::*;

#[test]
#[ignore = "it is the process of an instance"]
fn instance_process() {
    child::be_told();
}

/// This test binary, which is one of the instances.
pub fn command() -> Command {
    aim(Command::new(std::env::current_exe().unwrap()))
}

/// The command starts this test binary, so that it is one.
pub fn aim(mut command: Command) -> Command {
    command.args([
        "--exact",
        "gossip::process::instance_process",
        "--ignored",
        "--nocapture",
    ]);
    command
}

async fn processes(n: usize) {
    let (ports, key) = (free_ports(n), Keyring::generate().to_hex());
    let start = |i: usize| {
        let told = Told {
            bind: ports[i],
            advertise: ports[i],
            seeds: Seeds::Fixed(vec![if i == 0 { ports[1] } else { ports[0] }]),
            id: format!("i{i}"),
            key: key.clone(),
            profile: Default::default(),
        };
        Instance::start(command(), &told)
    };
    let mut all: Vec<_> = (0..n).map(start).collect();
    let joined = until("they join", || agree(&all, n)).await;
    let ring = all[0].view();

    all.pop().unwrap().kill();
    let down = format!("i{}=down", n - 1);
    let dead = until("the death is known", || all.iter().all(|i| i.sees(&down))).await;
    assert!(agree(&all, n - 1));
    all.push(start(n - 1));
    let back = until("it is back", || agree(&all, n)).await;
    assert_eq!(
        ring.split(' ').next(),
        all[0].view().split(' ').next(),
        "exactly its keys return"
    );

    let stopped = &all[1];
    let seen: Vec<_> = all.iter().map(Instance::seen).collect();
    stopped.signal("-STOP");
    tokio::time::sleep(Duration::from_secs(8)).await;
    let missed = |(i, seen): (&Instance, &usize)| {
        let views = i.since(*seen);
        views.contains("i1=suspect") || views.contains("i1=down")
    };
    assert!(all.iter().zip(&seen).any(missed), "the stop was noticed");
    let told = stopped.seen();
    stopped.signal("-CONT");
    let woken = until("it is back", || agree(&all, n)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let views = stopped.since(told);
    assert!(
        !views.contains("=down"),
        "the woken one drops nobody: {views}"
    );

    let mut leaver = all.pop().unwrap();
    leaver.tell("leave");
    let left = format!("i{}=left", n - 1);
    let leave = until("it left", || all.iter().all(|i| i.sees(&left))).await;
    println!(
        "{n} processes: join {joined:?}, death {dead:?}, return {back:?}, woken {woken:?}, leave {leave:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_processes_survive_a_kill_a_stop_and_a_leave() {
    processes(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "twenty processes: make gossip-soak"]
async fn twenty_processes_do_too() {
    processes(20).await;
}
