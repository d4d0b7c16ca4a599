//! What is somebody else's: another application's notes, a queue's items, and what is written over a connection of its own.

use std::collections::BTreeSet;

use fluster::queue::Consumer;

use super::*;

/// How many keys are noted at a server for another one.
fn noted(at: &Server, for_whom: &Server) -> usize {
    let set = format!("fluster:{{return}}:{}:open", for_whom.name());
    at.raw(["SCARD", &set]).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_application_has_noted_is_left_to_it() {
    let servers: [Server; 3] = durable();
    let hour = Duration::from_secs(3600);
    let (a, b) = (
        hasty(&servers).build().unwrap(),
        hasty(&servers).build().unwrap(),
    );
    let cache = a.cache("a:").read_repair(None).raw::<String>().unwrap();
    let other = b.cache("b:").read_repair(None).raw::<String>().unwrap();
    // It has the node all the time, and looks at what lies there for it.
    for i in 0..50 {
        let key = format!("{i}");
        other.set(&key, &"b".to_owned(), hour).await.unwrap();
    }
    let keys = keys_of(&a, &servers[0], "a:", 20);
    let short = |key: &String| key[2..].to_owned();
    for key in &keys {
        cache
            .set(short(key), &"old".to_owned(), hour)
            .await
            .unwrap();
    }
    a.drain_node(servers[0].name()).unwrap();
    for key in &keys {
        cache
            .set(short(key), &"new".to_owned(), hour)
            .await
            .unwrap();
    }
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let is_old = |key: &&String| servers[0].get(key).as_deref() == Some("old");
    assert_eq!(keys.iter().filter(is_old).count(), 20, "nobody took them");
    a.restore_node(servers[0].name()).unwrap();
    is_back(&a, &servers[0]).await;
    for key in &keys {
        assert_eq!(cache.get(short(key)).await.unwrap(), None, "{key}");
    }
    let kept = (0..50).map(|i| other.get(format!("{i}")));
    let kept = futures_util::future::join_all(kept).await;
    let is_kept = |value: &Result<Option<String>, _>| matches!(value, Ok(Some(_)));
    assert!(kept.iter().all(is_kept), "and nobody touched the other's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_and_a_node_that_was_asked_for_by_name_owe_nothing() {
    let servers: [Server; 3] = durable();
    let builder = hasty(&servers).on_return(OnReturn::Invalidate);
    let cluster = builder.build().unwrap();
    let queue = cluster.queue("jobs");
    for job in 0..60_u8 {
        queue.push([job]).await.unwrap();
    }
    let key = &keys_of(&cluster, &servers[0], "k", 1)[0];
    set(&cluster, key, "owner's").await;
    servers[2].stop();
    is_out(&cluster, &servers[2]).await;
    // Others than the owner are written to, because somebody wants that.
    let mut client = cluster.get_client_of_node(servers[1].name()).unwrap();
    let _: () = client.set(key, "mine").await.unwrap();
    let mut own = client.dedicated().await.unwrap();
    let _: () = own.set(key, "mine").await.unwrap();
    drop(own);
    let consumer = queue.consumer("workers", "one").unwrap();
    let mut got = BTreeSet::new();
    work(&consumer, &mut got, 20).await;
    servers[2].cont();
    is_back(&cluster, &servers[2]).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for server in &servers {
        assert_eq!(server.raw(["EXISTS", "fluster:{return}"]), "0");
    }
    assert_eq!(servers[0].get(key).as_deref(), Some("owner's"));
    assert_eq!(servers[1].get(key).as_deref(), Some("mine"));
    work(&consumer, &mut got, 60).await;
}

/// Until so many jobs are done.
async fn work(consumer: &Consumer, done: &mut BTreeSet<Vec<u8>>, all: usize) {
    while done.len() < all {
        let job = consumer.pop(SOON).await.unwrap().expect("a job");
        done.insert(job.payload().to_vec());
        job.ack().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_by_hand_is_noted_behind_its_exec_and_a_discarded_one_is_not() {
    let servers: [Server; 2] = durable();
    let builder = hasty(&servers).on_return(OnReturn::Invalidate);
    let cluster = builder.build().unwrap();
    let keys = keys_of(&cluster, &servers[0], "k", 3);
    cluster.drain_node(servers[0].name()).unwrap();
    let client = cluster.get_client(&keys[0]).unwrap();
    let mut own = client.dedicated().await.unwrap();
    let word = |word: &str| redis::cmd(word);
    word("MULTI").query_async::<()>(&mut own).await.unwrap();
    let _: () = own.set(&keys[0], 1).await.unwrap();
    word("DISCARD").query_async::<()>(&mut own).await.unwrap();
    word("MULTI").query_async::<()>(&mut own).await.unwrap();
    let _: () = own.set(&keys[1], 1).await.unwrap();
    let _: () = own.set(&keys[2], 1).await.unwrap();
    // A note that came before would be worked off before, and nobody would know of the copy.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(noted(&servers[1], &servers[0]), 0, "nothing was executed");
    word("EXEC").query_async::<()>(&mut own).await.unwrap();
    eventually(SOON, || noted(&servers[1], &servers[0]) == 2).await;
    let set = format!("fluster:{{return}}:{}:open", servers[0].name());
    assert_eq!(servers[1].raw(["SISMEMBER", &set, &keys[0]]), "0");
    drop(own);
    let key = &keys[0];
    cluster
        .transaction::<(), _, _, _>([key], |own, mut pipe| async {
            pipe.set(key, 1).ignore();
            Ok((own, pipe))
        })
        .await
        .unwrap();
    eventually(SOON, || noted(&servers[1], &servers[0]) == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_is_noted_all_the_same() {
    let servers: [Server; 3] = durable();
    let builder = hasty(&servers).on_return(OnReturn::Invalidate);
    let cluster = builder.build().unwrap();
    let mut keys = keys_of(&cluster, &servers[0], "k", 50);
    cluster.drain_node(servers[0].name()).unwrap();
    let client = cluster.get_client(&keys[0]).unwrap();
    // Two of which both go to one server meanwhile.
    keys.retain(|key| cluster.get_node(key).unwrap() == *client.node());
    keys.truncate(2);
    let stand_in = servers
        .iter()
        .find(|s| *client.node() == *s.name().as_str());
    let stand_in = stand_in.unwrap();
    let mut own = client.dedicated().await.unwrap();
    set(&cluster, &keys[1], "before").await;
    stand_in.stop();
    let short = Duration::from_millis(20);
    let (mut del, mut set) = (redis::cmd("DEL"), redis::cmd("SET"));
    let aside = set.arg(&keys[0]).arg(1).query_async::<()>(&mut own);
    assert!(tokio::time::timeout(short, aside).await.is_err());
    let shared = cluster.run::<()>(del.arg(&keys[1]));
    assert!(tokio::time::timeout(short, shared).await.is_err());
    stand_in.cont();
    let set = format!("fluster:{{return}}:{}:open", servers[0].name());
    let is_noted = |key: &str| {
        servers[1..]
            .iter()
            .any(|s| s.raw(["SISMEMBER", &set, key]) == "1")
    };
    eventually(SOON, || keys.iter().all(|key| is_noted(key))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_whose_node_dies_under_it_owes_what_its_stand_in_has_written() {
    let servers: [Server; 2] = durable();
    let builder = hasty(&servers).on_return(OnReturn::Invalidate);
    let mut cluster = builder.build().unwrap();
    let keys = keys_of(&cluster, &servers[0], "k", 10);
    set(&cluster, &keys[0], "old").await;
    servers[0].kill();
    let mut pipe = redis::pipe();
    for key in &keys {
        pipe.set(key, "new");
    }
    // What was under way when it died may be refused; nobody knows what came of it.
    eventually_some_written(&mut cluster, &pipe).await;
    eventually(SOON, || noted(&servers[1], &servers[0]) == 10).await;
    servers[0].restart();
    is_back(&cluster, &servers[0]).await;
    assert_eq!(get(&cluster, &keys[0]).await, None);
}

async fn eventually_some_written(cluster: &mut FlusterCluster, pipe: &redis::Pipeline) {
    for _ in 0..1000 {
        if pipe.query_async::<()>(cluster).await.is_ok() {
            return;
        }
    }
    panic!("it is never written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_back_with_its_last_save_before_anybody_missed_it_is_flushed_too() {
    let servers: [Server; 2] = std::array::from_fn(|_| Server::start());
    let builder = hasty(&servers).on_return(OnReturn::Invalidate);
    let cluster = builder.on_unknown(OnUnknown::Flush).build().unwrap();
    let mut events = cluster.events();
    let key = &keys_of(&cluster, &servers[0], "k", 1)[0];
    set(&cluster, key, "old").await;
    assert_eq!(servers[0].raw(["SAVE"]), "OK");
    set(&cluster, key, "new").await;
    // What it is is known from the first look.
    tokio::time::sleep(Duration::from_secs(2)).await;
    servers[0].kill();
    servers[0].restart();
    assert_eq!(servers[0].get(key).as_deref(), Some("old"), "it went back");
    let mut reads = 0;
    eventually_some(SOON, async || {
        reads += 1;
        let mut read = redis::cmd("GET");
        let read = cluster.run::<Option<String>>(read.arg(key)).await;
        matches!(read, Ok(None)).then_some(())
    })
    .await;
    is_back(&cluster, &servers[0]).await;
    assert_eq!(servers[0].get(key), None, "after {reads} reads");
    let told = async {
        loop {
            if let Some(Event::ReturnUnknown { reason, .. }) = events.next().await {
                return reason;
            }
        }
    };
    let told = tokio::time::timeout(SOON, told).await.unwrap();
    assert_eq!(told, UnknownReason::Rollback);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_goes_with_its_write_and_costs_no_further_round_trip() {
    let servers: [Server; 2] = durable();
    let mut spent = Vec::new();
    for on_return in [OnReturn::Serve, OnReturn::Invalidate] {
        let cluster = hasty(&servers).on_return(on_return).build().unwrap();
        let keys = keys_of(&cluster, &servers[0], "k", 300);
        cluster.drain_node(servers[0].name()).unwrap();
        set(&cluster, &keys[0], "warm").await;
        let before = servers[1].info("total_reads_processed");
        for key in &keys {
            set(&cluster, key, "value").await;
        }
        spent.push(servers[1].info("total_reads_processed") - before);
        cluster.shutdown(SOON).await;
    }
    let noted = noted(&servers[1], &servers[0]);
    assert_eq!(noted, 300, "all of them");
    // Beside them there are looks, and signs of life.
    assert!(spent[1] < spent[0] + 60, "{spent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_that_cannot_be_reached_is_out_and_it_is_said_once() {
    let servers: [Server; 2] = durable();
    let builder = hasty(&servers[..1]).on_return(OnReturn::Invalidate);
    let cluster = builder.build().unwrap();
    let mut events = cluster.events();
    set(&cluster, "key", "value").await;
    let name = servers[1].name();
    servers[1].kill();
    let node = fluster::Node::new(servers[1].url()).unwrap();
    cluster.add_node(node).unwrap();
    for i in 0..100 {
        set(&cluster, &format!("k{i}"), "nobody misses it").await;
    }
    let mut told = Vec::new();
    while told.last() != Some(&"up") {
        let event = tokio::time::timeout(SOON, events.next()).await.unwrap();
        match event.unwrap() {
            Event::NodeDown { node, .. } if node == *name.as_str() => told.push("down"),
            Event::NodeUp { node, .. } if node == *name.as_str() => told.push("up"),
            Event::NodeStillDown { node, .. }
                if node == *name.as_str() && servers[1].pid().is_none() =>
            {
                servers[1].restart();
            }
            _ => {}
        }
    }
    assert_eq!(told, ["down", "up"]);
    assert_eq!(cluster.status().active(), 2);
}
