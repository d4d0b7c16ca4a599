//! What an operator may do from the page, and with what.

use fluster::{FlusterCluster, NodeState};

use super::{SOON, TOKEN, bearer, get, post};
use crate::support::{Server, eventually, fleet, urls};

#[tokio::test(flavor = "multi_thread")]
async fn with_the_token_nodes_are_drained_restored_and_probed() {
    let servers: [Server; 2] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    let admin = cluster
        .admin()
        .token(TOKEN)
        .allow_actions()
        .listen("127.0.0.1:0")
        .unwrap();
    let (at, name) = (admin.address(), servers[0].name());
    let body = format!(r#"{{"node":"{name}"}}"#);
    for path in ["/drain", "/restore", "/probe"] {
        assert_eq!(post(at, path, &body, &[]).status, 401, "without it");
        assert_eq!(get(at, path, &[&bearer()]).status, 405, "as a link");
        let elsewhere = [bearer(), "origin: http://evil.example".to_owned()];
        let lines: Vec<&str> = elsewhere.iter().map(String::as_str).collect();
        assert_eq!(post(at, path, &body, &lines).status, 403, "of another page");
    }
    assert_eq!(cluster.status().active(), 2, "none of that did anything");

    let drained = post(at, "/drain", &body, &[&bearer()]);
    assert_eq!(
        (drained.status, &drained.json()["done"]),
        (200, &"drain".into())
    );
    assert!(cluster.status().node(&name).unwrap().drained);
    assert_eq!(post(at, "/restore", &body, &[&bearer()]).status, 200);
    assert_eq!(cluster.status().active(), 2);
    for (body, status) in [
        (r#"{"node":"nobody"}"#, 404),
        (r#"{"node":"<img src=x onerror=alert(1)>"}"#, 404),
        ("{}", 400),
        ("", 400),
        ("node=a", 400),
        (r#"{"node":1}"#, 400),
    ] {
        let answer = post(at, "/drain", body, &[&bearer()]);
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(
            !answer.body.contains("onerror"),
            "it is not repeated: {}",
            answer.body
        );
    }
}

/// Without anybody else who uses the cluster: the page's probe is what finds out.
#[tokio::test(flavor = "multi_thread")]
async fn probing_now_finds_a_node_that_is_gone_and_one_that_is_back() {
    let servers: [Server; 2] = fleet();
    let mut penalty = fluster::Penalty::default();
    // So long that nothing but the demand brings it back.
    penalty.min_wait = std::time::Duration::from_secs(3600);
    penalty.max_wait = penalty.min_wait;
    penalty.flap_count = 0;
    let cluster = FlusterCluster::builder()
        .urls(urls(&servers))
        .penalty(penalty)
        .build()
        .unwrap();
    let admin = cluster
        .admin()
        .token(TOKEN)
        .allow_actions()
        .listen("127.0.0.1:0")
        .unwrap();
    let (at, name) = (admin.address(), servers[0].name());
    let body = format!(r#"{{"node":"{name}"}}"#);
    let state = || cluster.status().node(&name).unwrap().state;
    servers[0].kill();
    assert_eq!(post(at, "/probe", &body, &[&bearer()]).status, 200);
    eventually(SOON, || state() == NodeState::Down).await;
    servers[0].restart();
    eventually(SOON, || {
        assert_eq!(post(at, "/probe", &body, &[&bearer()]).status, 200);
        state() == NodeState::Up || state() == NodeState::Probation
    })
    .await;
    let error = cluster.probe_node("nobody").expect_err("no such node");
    assert_eq!(error.kind(), fluster::ErrorKind::Invalid);
}
