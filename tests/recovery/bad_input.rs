//! What is wrong with the servers, or with the journal on them.

use super::*;
use crate::support::Warnings;

fn unknown(cluster: &FlusterCluster, server: &Server) -> Option<UnknownReason> {
    cluster.status().node(server.name()).unwrap().unknown
}

/// One key that is written while its owner is out, and what the owner has of it afterwards.
async fn outage(cluster: &FlusterCluster, servers: &[Server], meanwhile: usize) -> Option<String> {
    let keys = keys_of(cluster, &servers[0], "k", meanwhile);
    for key in &keys {
        set(cluster, key, "old").await;
    }
    servers[0].stop();
    is_out(cluster, &servers[0]).await;
    for key in &keys {
        set(cluster, key, "new").await;
    }
    servers[0].cont();
    is_back(cluster, &servers[0]).await;
    keys.iter().find_map(|key| servers[0].get(key))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forbids_what_is_needed_serves_and_it_is_said() {
    for forbidden in ["SADD", "SREM", "SRANDMEMBER", "RENAMENX", "MULTI", "UNLINK"] {
        let servers: [Server; 2] = durable();
        let builder = hasty(&servers).on_return(OnReturn::Invalidate);
        let cluster = builder.build().unwrap();
        let minus = format!("-{}", forbidden.to_lowercase());
        for server in &servers {
            assert_eq!(server.raw(["ACL", "SETUSER", "default", &minus]), "OK");
        }
        outage(&cluster, &servers, 3).await;
        let is_said = || unknown(&cluster, &servers[0]) == Some(UnknownReason::Refused);
        assert!(
            is_said(),
            "{forbidden}: {:?}",
            unknown(&cluster, &servers[0])
        );
        assert_eq!(cluster.status().active(), 2, "{forbidden}: it serves");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_info_and_dbsize_it_works() {
    let servers: [Server; 2] = durable();
    for server in &servers {
        let acl = ["ACL", "SETUSER", "default", "-info", "-dbsize"];
        assert_eq!(server.raw(acl), "OK");
    }
    let cluster = invalidating(&servers);
    assert_eq!(outage(&cluster, &servers, 5).await, None);
    assert_eq!(unknown(&cluster, &servers[0]), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_type_under_the_journals_name_is_left_alone_and_said() {
    let servers: [Server; 2] = durable();
    for server in &servers {
        assert_eq!(server.raw(["SET", "fluster:{return}", "mine"]), "OK");
    }
    let cluster = invalidating(&servers);
    outage(&cluster, &servers, 3).await;
    assert_eq!(unknown(&cluster, &servers[0]), Some(UnknownReason::Refused));
    assert_eq!(servers[1].get("fluster:{return}").as_deref(), Some("mine"));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_the_index_that_are_none_of_ours_do_nothing() {
    let servers: [Server; 2] = durable();
    let index = "fluster:{return}";
    let name = servers[0].name();
    for entry in [
        "",
        "x",
        ":open",
        "gone:open",
        &format!("{name}:what"),
        &format!("{name}:00"),
    ] {
        servers[1].raw(["SADD", index, entry]);
    }
    let cluster = invalidating(&servers);
    assert_eq!(outage(&cluster, &servers, 5).await, None);
    assert_eq!(unknown(&cluster, &servers[0]), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_keys_than_are_noted_are_said() {
    let servers: [Server; 2] = durable();
    let builder = hasty(&servers)
        .on_return(OnReturn::Invalidate)
        .return_limit(10);
    let cluster = builder.build().unwrap();
    outage(&cluster, &servers, 50).await;
    assert_eq!(
        unknown(&cluster, &servers[0]),
        Some(UnknownReason::Overflow)
    );
    let noted = format!("fluster:{{return}}:{}:open", servers[0].name());
    let noted: usize = servers[1].raw(["SCARD", &noted]).parse().unwrap();
    assert!(noted <= 12, "{noted} are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_memory_takes_deletes_and_no_notes_and_it_is_said() {
    let servers: [Server; 2] = durable();
    let cluster = invalidating(&servers);
    let keys = keys_of(&cluster, &servers[0], "k", 5);
    for key in &keys {
        set(&cluster, key, "old").await;
    }
    servers[0].stop();
    is_out(&cluster, &servers[0]).await;
    assert_eq!(servers[1].raw(["CONFIG", "SET", "maxmemory", "1"]), "OK");
    let deletes = cluster.del_many(&keys).await;
    assert!(deletes.iter().all(Result::is_ok), "they pass: {deletes:?}");
    servers[0].cont();
    is_back(&cluster, &servers[0]).await;
    assert_eq!(unknown(&cluster, &servers[0]), Some(UnknownReason::Refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_with_names_of_their_own_do_not_see_each_others_notes() {
    let servers: [Server; 2] = durable();
    let named = |name: &str| {
        hasty(&servers)
            .on_return(OnReturn::Invalidate)
            .return_name(name)
    };
    let (a, b) = (named("a").build().unwrap(), named("b").build().unwrap());
    let key = &keys_of(&a, &servers[0], "k", 1)[0];
    set(&b, key, "old").await;
    a.drain_node(servers[0].name()).unwrap();
    set(&a, key, "new").await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(get(&b, key).await.as_deref(), Some("old"), "it is not told");
    a.restore_node(servers[0].name()).unwrap();
    eventually(SOON, || servers[0].get(key).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_nodes_out_nothing_is_owed_and_all_come_back() {
    let servers: [Server; 2] = durable();
    let cluster = invalidating(&servers);
    let key = &keys_of(&cluster, &servers[0], "k", 1)[0];
    set(&cluster, key, "value").await;
    for server in &servers {
        server.kill();
        is_out(&cluster, server).await;
    }
    assert!(
        cluster
            .run::<()>(redis::cmd("SET").arg(key).arg("lost"))
            .await
            .is_err()
    );
    for server in &servers {
        server.restart();
    }
    eventually(SOON, || cluster.status().active() == 2).await;
    assert_eq!(get(&cluster, key).await.as_deref(), Some("value"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_removed_while_it_is_owed_and_added_again_forgets_all_the_same() {
    let servers: [Server; 3] = durable();
    let cluster = invalidating(&servers);
    let mut events = cluster.events();
    let key = &keys_of(&cluster, &servers[0], "k", 1)[0];
    set(&cluster, key, "old").await;
    cluster.drain_node(servers[0].name()).unwrap();
    set(&cluster, key, "new").await;
    let node = |server: &Server| fluster::Node::new(server.url()).unwrap();
    cluster
        .set_nodes([node(&servers[1]), node(&servers[2])])
        .unwrap();
    cluster.restore_node(servers[0].name()).unwrap();
    cluster.set_nodes(servers.iter().map(node)).unwrap();
    is_back(&cluster, &servers[0]).await;
    assert_eq!(servers[0].get(key), None);
    // With other data in it: nobody here knows where that is from.
    let told = loop {
        let event = tokio::time::timeout(SOON, events.next()).await;
        if let Ok(Some(Event::ReturnUnknown { reason, .. })) = event {
            break reason;
        }
        assert!(event.is_ok(), "it is said");
    };
    assert_eq!(told, UnknownReason::Added);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_placement_moves_keys_between_nodes_that_stay_it_is_off_and_said() {
    let warnings = Warnings::default();
    let servers: [Server; 2] = durable();
    let builder = hasty(&servers).on_return(OnReturn::Invalidate);
    let builder = builder.placement(fluster::Placement::modulo());
    let cluster = warnings.during(|| builder.build().unwrap());
    assert_eq!(warnings.with(&["never out"]).len(), 1);
    assert_eq!(outage(&cluster, &servers, 3).await.as_deref(), Some("old"));
}

/// The reasons that were told for a server until it was said that it is back.
async fn reasons(events: &mut fluster::Events, server: &Server) -> Vec<UnknownReason> {
    let mut all = Vec::new();
    loop {
        let event = tokio::time::timeout(SOON, events.next()).await.unwrap();
        match event.unwrap() {
            Event::ReturnUnknown { node, reason, .. } if node == *server.name().as_str() => {
                all.push(reason);
            }
            Event::NodeUp { node, .. } if node == *server.name().as_str() => return all,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_that_lie_with_a_node_that_is_out_itself_or_has_lost_them_are_said() {
    for is_lost in [false, true] {
        let servers: [Server; 3] = std::array::from_fn(|_| Server::start());
        let builder = hasty(&servers).on_return(OnReturn::Invalidate);
        let cluster = builder.build().unwrap();
        let mut events = cluster.events();
        for server in &servers {
            let key = &keys_of(&cluster, server, "k", 1)[0];
            set(&cluster, key, "old").await;
        }
        // What the servers are is known from the first look.
        tokio::time::sleep(Duration::from_secs(2)).await;
        servers[0].stop();
        is_out(&cluster, &servers[0]).await;
        if is_lost {
            servers[1].kill();
            is_out(&cluster, &servers[1]).await;
            servers[1].restart();
            is_back(&cluster, &servers[1]).await;
        } else {
            servers[1].stop();
            is_out(&cluster, &servers[1]).await;
        }
        servers[0].cont();
        is_back(&cluster, &servers[0]).await;
        let wanted = match is_lost {
            true => UnknownReason::Lost,
            false => UnknownReason::Unread,
        };
        assert_eq!(reasons(&mut events, &servers[0]).await, [wanted]);
        assert_eq!(unknown(&cluster, &servers[0]), Some(wanted));
        if !is_lost {
            servers[1].cont();
            is_back(&cluster, &servers[1]).await;
            assert_eq!(unknown(&cluster, &servers[1]), None, "the other is in");
        }
    }
}

#[test]
fn what_is_noted_taken_back_refused_and_unknown_is_counted() {
    let seen = crate::observability::Recorded::default();
    let servers: [Server; 2] = durable();
    let [out, in_its_place] = &servers;
    let of = |name: &str, node: &Server, more: &str| {
        seen.get(&format!(
            "fluster_return_{name}_total{{node={}{more}}}",
            node.name()
        ))
    };
    let refused = || of("unknown", out, ",reason=refused");
    let work = async {
        let builder = hasty(&servers).on_return(OnReturn::Invalidate);
        let cluster = builder.build().unwrap();
        let keys = keys_of(&cluster, out, "k", 5);
        // An empty node has nothing that is old.
        let other = &keys_of(&cluster, out, "other", 1)[0];
        set(&cluster, other, "stays").await;
        cluster.drain_node(out.name()).unwrap();
        for key in &keys {
            set(&cluster, key, "new").await;
        }
        cluster.restore_node(out.name()).unwrap();
        is_back(&cluster, out).await;
        assert_eq!(of("noted", in_its_place, ""), 5.0);
        assert_eq!(of("keys", out, ""), 5.0);
        assert_eq!((refused(), of("refused", in_its_place, "")), (0.0, 0.0));
        let index = "fluster:{return}";
        assert_eq!(in_its_place.raw(["DEL", index]), "1");
        assert_eq!(in_its_place.raw(["SET", index, "mine"]), "OK");
        cluster.drain_node(out.name()).unwrap();
        cluster.restore_node(out.name()).unwrap();
        is_back(&cluster, out).await;
        assert_eq!(refused(), 1.0);
        assert!(of("refused", in_its_place, "") >= 1.0);
    };
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    metrics::with_local_recorder(&seen, || runtime.block_on(work));
}
