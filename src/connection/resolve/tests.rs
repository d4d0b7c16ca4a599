//! What is pinned, who asks, and what is said of it.

use std::collections::BTreeSet;

use super::pin::{FAILING, choose};
use super::*;

fn addrs(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|a| a.parse().unwrap()).collect()
}

fn found(list: &[&str]) -> BTreeSet<SocketAddr> {
    addrs(list).into_iter().collect()
}

#[test]
fn one_address_per_family_is_chosen_and_kept_while_listed() {
    let two = found(&["10.0.0.2:1", "10.0.0.1:1"]);
    assert_eq!(
        choose(&[], &two),
        addrs(&["10.0.0.1:1"]),
        "lowest, whatever the order"
    );
    assert_eq!(
        choose(&addrs(&["10.0.0.2:1"]), &two),
        addrs(&["10.0.0.2:1"]),
        "in use"
    );
    let both = found(&["[::1]:1", "127.0.0.1:1"]);
    let v4_first = addrs(&["127.0.0.1:1", "[::1]:1"]);
    assert_eq!(
        choose(&[], &both),
        v4_first,
        "whatever the resolver prefers"
    );
    let v6_first = addrs(&["[::1]:1", "127.0.0.1:1"]);
    assert_eq!(
        choose(&v6_first, &both),
        v6_first,
        "it is the one that answers"
    );
    assert_eq!(
        choose(&addrs(&["10.0.0.9:1"]), &found(&["10.0.0.3:1"])),
        addrs(&["10.0.0.3:1"])
    );
    assert_eq!(
        choose(&addrs(&["10.0.0.9:1"]), &found(&["[::3]:1"])),
        addrs(&["[::3]:1"])
    );
}

/// The lowest IPv6 address may be of another server than the lowest IPv4 address.
#[tokio::test]
async fn of_several_servers_behind_a_name_one_family_alone_is_used() {
    let many = found(&["10.0.0.1:1", "10.0.0.2:1", "[::1]:1", "[::2]:1"]);
    let resolver = Resolver::new("several.test", 1, Arc::new(Semaphore::new(1)));
    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    let no_way = io::Error::from(io::ErrorKind::NetworkUnreachable);
    let now = Instant::now();
    resolver.name.pin.lock().answer(&many, now);
    let tasks = Tasks::new(None);
    let first = resolver.addresses(&tasks, Duration::ZERO).await.unwrap();
    assert_eq!(first, addrs(&["10.0.0.1:1", "[::1]:1"]));
    assert!(
        !resolver.falls_back(&refused),
        "the other may be another server"
    );
    assert!(resolver.falls_back(&no_way), "a machine without IPv4");
    resolver.prefer(first[0]);
    resolver.name.pin.lock().answer(&many, now);
    let in_use = resolver.addresses(&tasks, Duration::ZERO).await.unwrap();
    assert_eq!(in_use, addrs(&["10.0.0.1:1"]));
    assert_eq!(resolver.moves(), 0);

    let one = found(&["10.0.0.1:1", "[::1]:1"]);
    resolver.name.pin.lock().answer(&one, now);
    assert!(resolver.falls_back(&refused), "two ways to one host");
}

#[tokio::test]
async fn a_literal_address_is_never_looked_up() {
    let resolver = Resolver::new("127.0.0.1", 7, Arc::new(Semaphore::new(0)));
    let tasks = Tasks::new(None);
    let literal = resolver.addresses(&tasks, Duration::ZERO).await.unwrap();
    assert_eq!(literal, addrs(&["127.0.0.1:7"]));
    assert!(resolver.look_up(&tasks, || {}).is_none());
    assert!(!resolver.is_older_than(Duration::ZERO));
    assert!(!resolver.is_older_than_loss(u64::MAX));
}

#[tokio::test]
async fn a_look_up_that_finds_no_thread_ends_at_its_time_out() {
    let resolver = Resolver::new("localhost", 7, Arc::new(Semaphore::new(0)));
    let limit = Duration::from_millis(20);
    let e = resolver
        .addresses(&Tasks::new(None), limit)
        .await
        .unwrap_err();
    assert_eq!(e.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_look_up_whose_task_is_dropped_lets_the_next_one_ask() {
    let resolver = Resolver::new("localhost", 7, Arc::new(Semaphore::new(0)));
    let tasks = Tasks::new(None);
    let asked = resolver.look_up(&tasks, || {}).expect("it begins");
    tokio::task::yield_now().await;
    assert!(resolver.asking().is_some(), "it waits for its turn");
    // As when the runtime that it runs on ends.
    drop(tasks.close());
    let e = asked.end().await.unwrap_err();
    assert_eq!(e.kind(), io::ErrorKind::Interrupted);
    assert!(resolver.asking().is_none());
    assert!(resolver.look_up(&tasks, || {}).is_none(), "closed");
    assert!(
        resolver.asking().is_none(),
        "and the claim went with the refusal"
    );
    let (_, claim) = resolver.name.claim(Instant::now());
    assert!(claim.is_some());
    let (_, second) = resolver.name.claim(Instant::now());
    assert!(second.is_none(), "one look-up of a name at a time");
}

#[test]
fn a_name_that_cannot_be_looked_up_for_long_is_said_once() {
    let mut pin = Pin::default();
    let now = Instant::now();
    assert!(!pin.fails(now + 2 * FAILING), "whoever dials is told");
    pin.answer(&found(&["10.0.0.1:1"]), now);
    let said: Vec<_> = (0..5).map(|n| pin.fails(now + n * FAILING / 2)).collect();
    assert_eq!(said, [false, false, true, false, false]);
}
