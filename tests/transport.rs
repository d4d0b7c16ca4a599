//! Every way to reach a server: sockets, TLS, credentials, databases, protocols.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use fluster::{
    Client, Credentials, CredentialsFuture, CredentialsProvider, Error, ErrorKind, FlusterCluster,
    NodeId, NodeState, Outcome, Reason,
};
use redis::{AsyncCommands, RedisError, Value};

#[cfg(feature = "tls")]
use crate::support::TlsPki;
use crate::support::{Server, eventually};
use crate::workload::SOON;

fn cluster(url: &str) -> FlusterCluster {
    FlusterCluster::from_urls([url]).unwrap_or_else(|e| panic!("{url}: {e}"))
}

fn client(cluster: &FlusterCluster) -> Client {
    cluster.get_client("k").expect("nobody was ejected yet")
}

fn at(server: &Server, user_info: &str, rest: &str) -> String {
    format!("redis://{user_info}127.0.0.1:{}{rest}", server.port())
}

async fn works(cluster: &FlusterCluster) {
    let mut client = client(cluster);
    let _: () = client
        .set("k", "lane")
        .await
        .unwrap_or_else(|e| panic!("on the lane: {e}"));
    let mut own = client
        .dedicated()
        .await
        .unwrap_or_else(|e| panic!("exclusive: {e}"));
    let value: String = own.get("k").await.unwrap();
    assert_eq!(value, "lane");
}

/// Only who asks finds out.
async fn goes_out(cluster: &FlusterCluster) {
    let mut client = client(cluster);
    assert!(
        client.get::<_, Option<String>>("k").await.is_err(),
        "nobody is there"
    );
    assert_eq!(cluster.status().active(), 0, "a refused dial is proof");
}

/// The node is out because of how it is configured; the text is the server's or the library's own.
async fn is_misconfigured(cluster: &FlusterCluster, text: &str) {
    let mut asked = client(cluster);
    let e: RedisError = asked
        .set::<_, _, ()>("k", "v")
        .await
        .expect_err("it cannot connect");
    let error = Error::from_redis(&e).expect("ours");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
    assert!(
        error.to_string().contains(text),
        "has the cause, \"{text}\": {error}"
    );
    let node = &cluster.status().nodes[0];
    assert_eq!(
        (node.state, node.reason),
        (NodeState::Down, Some(Reason::Config))
    );
    // Not transient: it waits the longest wait at once, and nobody hammers the server.
    let wait = node.retry_after.expect("it is out");
    assert!(
        wait >= Duration::from_secs(2),
        "the next probe is in {wait:?}"
    );
    tokio::time::sleep(Duration::from_millis(400)).await;
    let node = &cluster.status().nodes[0];
    assert!(node.dials + node.probes <= 2, "no retry loop: {node:?}");
}

#[tokio::test]
async fn a_unix_socket_works_and_one_that_is_missing_ejects_at_once() {
    let server = Server::builder().unix_only().start();
    let cluster = cluster(&server.url());
    works(&cluster).await;
    server.kill();
    goes_out(&cluster).await;
    server.restart();
    eventually(SOON, || {
        // Asking is the demand that brings it back soon.
        drop(cluster.get_client("k"));
        cluster.status().active() == 1
    })
    .await;
    works(&cluster).await;
}

#[tokio::test]
async fn a_password_is_used_everywhere() {
    let server = Server::builder().password("p%40ss").start();
    // As in any URL, percent-encoded: the password is p%40ss.
    let url = at(&server, ":p%2540ss@", "");
    let cluster = cluster(&url);
    works(&cluster).await;
    server.kill();
    goes_out(&cluster).await;
    server.restart();
    // The probe has to authenticate too.
    eventually(SOON, || {
        drop(cluster.get_client("k"));
        cluster.status().active() == 1
    })
    .await;
    works(&cluster).await;
}

#[tokio::test]
async fn an_acl_user_is_used() {
    let server = Server::start();
    server.raw(["ACL", "SETUSER", "app", "on", ">secret", "+@all", "~*"]);
    for rest in ["", "?protocol=resp3"] {
        let cluster = cluster(&at(&server, "app:secret@", rest));
        works(&cluster).await;
        let user: String = redis::cmd("ACL")
            .arg("WHOAMI")
            .query_async(&mut client(&cluster))
            .await
            .unwrap();
        assert_eq!(user, "app");
    }
}

#[tokio::test]
async fn wrong_credentials_are_a_matter_of_configuration() {
    let server = Server::builder().password("right").start();
    for protocol in ["resp2", "resp3"] {
        for (user_info, text) in [(":wrong@", "WRONGPASS"), ("nobody:wrong@", "WRONGPASS")] {
            let url = at(&server, user_info, &format!("?protocol={protocol}"));
            let cluster = cluster(&url);
            is_misconfigured(&cluster, text).await;
        }
    }
}

#[tokio::test]
async fn a_missing_password_and_an_impossible_database_are_a_matter_of_configuration() {
    let server = Server::builder().password("right").start();
    is_misconfigured(&cluster(&at(&server, "", "/1")), "NOAUTH").await;
    let server = Server::start();
    is_misconfigured(&cluster(&at(&server, "", "/999")), "DB index").await;
}

#[tokio::test]
async fn without_a_password_the_servers_refusal_is_an_answer() {
    let server = Server::builder().password("right").start();
    let cluster = cluster(&at(&server, "", ""));
    let e = client(&cluster)
        .get::<_, Option<String>>("k")
        .await
        .unwrap_err();
    assert_eq!(e.code(), Some("NOAUTH"), "verbatim: {e}");
    assert_eq!(cluster.status().nodes[0].ejections, 0, "it answers");
}

#[tokio::test]
async fn the_database_of_the_url_is_used_and_part_of_the_name() {
    let server = Server::start();
    let cluster = FlusterCluster::from_urls([at(&server, "", "/3")]).unwrap();
    assert_eq!(
        client(&cluster).node(),
        &*format!("127.0.0.1:{}/3", server.port())
    );
    works(&cluster).await;
    assert_eq!(
        server
            .raw(["INFO", "keyspace"])
            .matches("db3:keys=1")
            .count(),
        1
    );
    assert_eq!(server.get("k"), None, "nothing in database 0");
}

#[tokio::test]
async fn resp3_is_spoken_when_asked_for() {
    let server = Server::start();
    for (rest, protocol) in [("?protocol=resp3", "resp=3"), ("", "resp=2")] {
        let cluster = cluster(&at(&server, "", rest));
        works(&cluster).await;
        let mut client = client(&cluster);
        let info: String = redis::cmd("CLIENT")
            .arg("INFO")
            .query_async(&mut client)
            .await
            .unwrap();
        assert!(info.contains(protocol), "{rest}: {info}");
        let _: () = client.hset("h", "f", "v").await.unwrap();
        let map: Value = client.hgetall("h").await.unwrap();
        assert_eq!(
            matches!(map, Value::Map(_)),
            !rest.is_empty(),
            "{rest}: {map:?}"
        );
    }
}

/// Hands out passwords as if they expired; counts how often it was asked.
struct Rotating {
    asked: Arc<AtomicUsize>,
    file: std::path::PathBuf,
}

impl CredentialsProvider for Rotating {
    fn credentials<'a>(&'a self, _node: &'a NodeId) -> CredentialsFuture<'a> {
        Box::pin(async move {
            self.asked.fetch_add(1, Relaxed);
            Ok(Credentials::password(std::fs::read_to_string(&self.file)?))
        })
    }
}

#[tokio::test]
async fn a_rotated_password_reaches_the_next_dial() {
    let server = Server::builder().password("first").start();
    let (asked, file) = (Arc::new(AtomicUsize::new(0)), server.dir().join("password"));
    std::fs::write(&file, "first").unwrap();
    let provider = Rotating {
        asked: Arc::clone(&asked),
        file: file.clone(),
    };
    let cluster = FlusterCluster::builder()
        .urls([at(&server, "", "")])
        .credentials(provider)
        .build()
        .unwrap();
    works(&cluster).await;
    let mut raw = server.connect().unwrap();
    raw.call(["CONFIG", "SET", "requirepass", "second"])
        .unwrap();
    works(&cluster).await;
    let before = asked.load(Relaxed);
    std::fs::write(&file, "second").unwrap();
    raw.call(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    works(&cluster).await;
    assert!(asked.load(Relaxed) > before, "asked at every dial");
    assert_eq!(cluster.status().nodes[0].ejections, 0);
}

#[tokio::test]
async fn a_service_that_is_not_redis_is_told_from_one() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let web = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut stream, _)) = listener.accept().await {
            // Whoever hung up already needs no answer.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let cluster = cluster(&url);
    let asked = client(&cluster).get::<_, Option<String>>("k").await;
    let error = asked.unwrap_err().to_string();
    let said = r#"does not speak Redis's protocol (it said "HTTP/1.1 400 Bad Request")"#;
    assert!(error.contains(said), "{error}");
    let node = &cluster.status().nodes[0];
    assert_eq!(
        (node.state, node.reason),
        (NodeState::Down, Some(Reason::NotRedis))
    );
    web.abort();
}

#[tokio::test]
async fn a_connection_that_takes_too_long_says_how_far_it_came() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = cluster(&format!("redis://{}", listener.local_addr().unwrap()));
    let e = client(&silent).get::<_, Value>("k").await.unwrap_err();
    let text = "connected, no answer to the log-in within 500ms";
    assert!(e.to_string().contains(text), "{e}");
    drop(listener);
    let hangs_up = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rude = cluster(&format!("redis://{}", hangs_up.local_addr().unwrap()));
    let web = tokio::spawn(async move { while hangs_up.accept().await.is_ok() {} });
    let e = client(&rude).get::<_, Value>("k").await.unwrap_err();
    assert!(e.to_string().contains("connected, hung up on"), "{e}");
    web.abort();
}

#[tokio::test]
async fn a_servers_error_through_redis_rs_names_its_node_and_keeps_its_code() {
    let server = Server::start();
    let mut by_cluster = cluster(&server.url());
    let mut by_client = client(&by_cluster);
    let mut own = by_client.dedicated().await.unwrap();
    let _: () = by_client.set("k", "text").await.unwrap();
    let signature = format!("(node {})", server.name());
    let mut errors = vec![
        by_client.lpush::<_, _, i64>("k", 1).await.unwrap_err(),
        own.lpush::<_, _, i64>("k", 1).await.unwrap_err(),
        by_cluster.lpush::<_, _, i64>("k", 1).await.unwrap_err(),
    ];
    for atomic in [false, true] {
        let mut pipe = redis::pipe();
        pipe.get("k").lpush("k", 1);
        if atomic {
            pipe.atomic();
        }
        errors.push(pipe.query_async::<Value>(&mut by_client).await.unwrap_err());
        errors.push(pipe.query_async::<Value>(&mut own).await.unwrap_err());
        errors.push(
            pipe.query_async::<Value>(&mut by_cluster)
                .await
                .unwrap_err(),
        );
    }
    for (n, e) in errors.into_iter().enumerate() {
        assert_eq!(e.to_string().matches(&signature).count(), 1, "{n}: {e}");
        assert_eq!(e.kind(), redis::ErrorKind::Extension, "{n}: {e}");
        let inner = e.into_server_errors().expect("a server's");
        assert_eq!(inner[0].1.code(), "WRONGTYPE");
    }
    let mut lpush = redis::cmd("LPUSH");
    let error = by_cluster
        .run::<i64>(lpush.arg("k").arg(1))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert_eq!(text.matches(&server.name()).count(), 1, "{text}");
    let redis: RedisError = error.into();
    assert_eq!(redis.code(), Some("WRONGTYPE"));
    assert!(redis.to_string().ends_with(&signature), "{redis}");
}

#[cfg(feature = "tls")]
fn tls(server: &Server, user_info: &str, tls: fluster::Tls) -> FlusterCluster {
    let url = format!("rediss://{user_info}127.0.0.1:{}", server.port());
    FlusterCluster::builder()
        .urls([url])
        .tls(tls)
        .build()
        .unwrap()
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_with_a_custom_authority_a_client_certificate_and_an_acl_user() {
    use fluster::Tls;
    let pki = TlsPki::new();
    let server = Server::builder()
        .tls(&pki)
        .arg("--tls-auth-clients", "yes")
        .start();
    server.raw(["ACL", "SETUSER", "app", "on", ">secret", "+@all", "~*"]);
    let files = Tls::new()
        .ca_file(pki.ca())
        .client_cert_files(pki.client_cert(), pki.client_key());
    works(&tls(&server, "", files.clone())).await;
    let with_user = tls(&server, "app:secret@", files);
    works(&with_user).await;
    let read = |path: &Path| std::fs::read(path).unwrap();
    let bytes = Tls::new()
        .ca_pem(read(&pki.ca()))
        .client_cert_pem(read(&pki.client_cert()), read(&pki.client_key()));
    works(&tls(&server, "", bytes)).await;

    server.kill();
    goes_out(&with_user).await;
    server.restart();
    server.raw(["ACL", "SETUSER", "app", "on", ">secret", "+@all", "~*"]);
    // The probe has to do all of it too. It may have met the server before its user was there.
    eventually(SOON, || {
        drop(with_user.get_client("k"));
        with_user.status().active() == 1
    })
    .await;
    works(&with_user).await;
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_certificate_that_does_not_verify_is_a_matter_of_configuration() {
    use fluster::Tls;
    let (pki, stranger) = (TlsPki::new(), TlsPki::new());
    let server = Server::builder().tls(&pki).start();
    is_misconfigured(
        &tls(&server, "", Tls::new().ca_file(stranger.ca())),
        "certificate",
    )
    .await;
    // The platform's authorities do not know it either; a machine without any says so at build.
    let other_name = TlsPki::for_names(["elsewhere.example"]);
    let server = Server::builder().tls(&other_name).start();
    is_misconfigured(
        &tls(&server, "", Tls::new().ca_file(other_name.ca())),
        "certificate",
    )
    .await;
    let url = format!("rediss://127.0.0.1:{}#insecure", server.port());
    works(&cluster(&url)).await;
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_missing_client_certificate_is_refused_by_the_server() {
    use fluster::Tls;
    let pki = TlsPki::new();
    let server = Server::builder()
        .tls(&pki)
        .arg("--tls-auth-clients", "yes")
        .start();
    is_misconfigured(
        &tls(&server, "", Tls::new().ca_file(pki.ca())),
        "ertificate",
    )
    .await;
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_and_plain_do_not_mix_and_nobody_hammers_the_server() {
    use fluster::Tls;
    let pki = TlsPki::new();
    let encrypted = Server::builder().tls(&pki).start();
    let plain = Server::start();
    for cluster in [
        cluster(&format!("redis://127.0.0.1:{}", encrypted.port())),
        tls(&plain, "", Tls::new().ca_file(pki.ca())),
    ] {
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_secs(1) {
            if let Ok(mut client) = cluster.get_client("k") {
                assert!(client.get::<_, Option<String>>("k").await.is_err());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let node = &cluster.status().nodes[0];
        assert!(node.dials <= 11, "at most ten dials a second: {node:?}");
    }
}
