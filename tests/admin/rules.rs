//! Who gets nothing. Each rule by itself is in `src/admin/access/tests.rs`; here it is asked over a socket.

use fluster::FlusterCluster;
use fluster::admin::AdminErrorKind;

use super::{TOKEN, bearer, get, nobody, post, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_name_a_foreign_page_a_form_and_an_image_are_refused() {
    let (_cluster, admin) = nobody();
    let at = admin.address();
    let port = at.port();
    assert_eq!(get(at, "/status", &[]).status, 200);
    for host in [
        "evil.example",
        &format!("evil.example:{port}"),
        "127.0.0.2",
        "0.0.0.0",
        "",
    ] {
        let answer = send(at, format!("GET /status HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        assert_eq!(answer.status, 421, "{host}: {}", answer.body);
    }
    assert_eq!(
        send(at, "GET /status HTTP/1.0\r\n\r\n").status,
        421,
        "no name at all"
    );
    for line in [
        "origin: http://evil.example",
        "origin: null",
        &format!("origin: http://localhost:{port}"),
        "sec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\nsec-fetch-dest: image",
        "sec-fetch-site: same-site",
    ] {
        for path in ["/status", "/events", "/explain?key=a"] {
            let answer = get(at, path, &[line]);
            assert_eq!(answer.status, 403, "{path} {line}: {}", answer.body);
            assert!(!answer.body.contains("127.0.0.1:1"), "{}", answer.body);
        }
    }
    let preflight = send(
        at,
        format!(
            "OPTIONS /status HTTP/1.1\r\nhost: {at}\r\norigin: http://evil.example\r\naccess-control-request-method: GET\r\n\r\n"
        ),
    );
    assert_eq!(preflight.status, 403);
    assert!(
        !preflight.head.contains("access-control"),
        "{}",
        preflight.head
    );
    for kind in [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
    ] {
        let form = format!(
            "POST /explain HTTP/1.1\r\nhost: {at}\r\ncontent-type: {kind}\r\ncontent-length: 5\r\n\r\nkey=a"
        );
        assert_eq!(send(at, form).status, 415, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_nothing_but_the_bare_page_is_shown_without_it() {
    let cluster = FlusterCluster::from_urls(["redis://127.0.0.1:1"]).unwrap();
    let admin = cluster.admin().token(TOKEN).listen("127.0.0.1:0").unwrap();
    let at = admin.address();
    let page = get(at, "/", &[]);
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("127.0.0.1:1"), "the page has no data");
    let in_url = format!("/status?token={TOKEN}");
    let cookie = format!("cookie: token={TOKEN}");
    for (path, line) in [
        ("/status", "accept: */*"),
        ("/events", "accept: */*"),
        ("/explain?key=a", "accept: */*"),
        (in_url.as_str(), "accept: */*"),
        ("/status", cookie.as_str()),
        ("/status", "authorization: Bearer hunter2-admin-tokeN"),
    ] {
        let answer = get(at, path, &[line]);
        assert_eq!(answer.status, 401, "{path} {line}");
        assert!(
            answer.head.contains("www-authenticate: bearer"),
            "{}",
            answer.head
        );
        assert!(!answer.body.contains("127.0.0.1:1"));
    }
    assert_eq!(post(at, "/explain", r#"{"key":"a"}"#, &[]).status, 401);
    assert_eq!(get(at, "/status", &[&bearer()]).status, 200);
    let body = r#"{"node":"127.0.0.1:1"}"#;
    assert_eq!(
        post(at, "/drain", body, &[&bearer()]).status,
        403,
        "it only shows"
    );
    assert_eq!(cluster.status().active(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_open_to_others_is_not_built() {
    let cluster = FlusterCluster::from_urls(["redis://127.0.0.1:1"]).unwrap();
    let free = cluster.admin().listen("127.0.0.1:0").unwrap();
    let taken = free.address().to_string();
    for (what, refused, kind, words) in [
        (
            "everywhere",
            cluster.admin().listen("0.0.0.0:0"),
            AdminErrorKind::Access,
            "token",
        ),
        (
            "everywhere, IPv6",
            cluster.admin().listen("[::]:0"),
            AdminErrorKind::Access,
            "token",
        ),
        (
            "a short token",
            cluster.admin().token("hunter2").listen("127.0.0.1:0"),
            AdminErrorKind::Access,
            "16 to 1024",
        ),
        (
            "a token with blanks",
            cluster
                .admin()
                .token("hunter2 hunter2 hunter2")
                .listen("127.0.0.1:0"),
            AdminErrorKind::Access,
            "blanks",
        ),
        (
            "actions without one",
            cluster.admin().allow_actions().listen("127.0.0.1:0"),
            AdminErrorKind::Access,
            "`allow_actions` wants `token`",
        ),
        (
            "own auth on a port of its own",
            cluster.admin().behind_own_auth().listen("127.0.0.1:0"),
            AdminErrorKind::Access,
            "`service()`",
        ),
        (
            "no host",
            cluster
                .admin()
                .allow_hosts(["http://x/"])
                .listen("127.0.0.1:0"),
            AdminErrorKind::Access,
            "allow_hosts",
        ),
        (
            "a port that is taken",
            cluster.admin().listen(&taken),
            AdminErrorKind::Address,
            taken.as_str(),
        ),
        (
            "no port",
            cluster.admin().listen("127.0.0.1"),
            AdminErrorKind::Address,
            "write 127.0.0.1:9800",
        ),
        (
            "a name",
            cluster.admin().listen("admin.internal:9800"),
            AdminErrorKind::Address,
            "write 127.0.0.1:9800",
        ),
        (
            "an address of somebody else",
            cluster.admin().token(TOKEN).listen("192.0.2.1:9800"),
            AdminErrorKind::Address,
            "192.0.2.1:9800",
        ),
    ] {
        let error = refused.err().unwrap_or_else(|| panic!("{what} is refused"));
        println!("{what}: {error}");
        assert_eq!(error.kind(), kind, "{what}");
        let text = error.to_string();
        assert!(
            text.contains(words) && !text.contains("hunter2"),
            "{what}: {text}"
        );
        assert_eq!(text.lines().count(), 1);
    }
    let bare = cluster
        .admin()
        .service()
        .expect_err("mounted, it wants one or the other");
    assert_eq!(bare.kind(), AdminErrorKind::Access);
    assert!(bare.to_string().contains("behind_own_auth"), "{bare}");
    cluster.admin().listen("localhost:0").unwrap();
    let everywhere = cluster.admin().token(TOKEN).listen("0.0.0.0:0").unwrap();
    let here = std::net::SocketAddr::from(([127, 0, 0, 1], everywhere.address().port()));
    assert_eq!(
        get(here, "/status", &[&bearer()]).status,
        200,
        "by the address that it was reached at"
    );
    let foreign = format!(
        "GET /status HTTP/1.1\r\nhost: evil.example\r\n{}\r\n\r\n",
        bearer()
    );
    assert_eq!(send(here, foreign).status, 421);
    assert!(!format!("{:?}", cluster.admin().token(TOKEN)).contains("hunter2"));

    cluster.shutdown(std::time::Duration::ZERO).await;
    let closed = cluster
        .admin()
        .listen("127.0.0.1:0")
        .expect_err("it is shut down");
    assert_eq!(closed.kind(), AdminErrorKind::Closed);
}

#[test]
fn without_a_runtime_it_says_so() {
    let cluster = FlusterCluster::from_urls(["redis://127.0.0.1:1"]).unwrap();
    let error = cluster
        .admin()
        .listen("127.0.0.1:0")
        .expect_err("nobody would answer");
    assert_eq!(error.kind(), AdminErrorKind::NoRuntime);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_behind_a_proxy_are_answered_where_they_are_told() {
    let cluster = FlusterCluster::from_urls(["redis://127.0.0.1:1"]).unwrap();
    let admin = cluster
        .admin()
        .allow_hosts(["Admin.internal"])
        .listen("127.0.0.1:0")
        .unwrap();
    let ask = |host: &str| {
        let head =
            format!("GET /status HTTP/1.1\r\nhost: {host}\r\norigin: https://{host}\r\n\r\n");
        send(admin.address(), head).status
    };
    assert_eq!(
        (
            ask("admin.internal"),
            ask("admin.internal:8443"),
            ask("ADMIN.internal.")
        ),
        (200, 200, 200)
    );
    assert_eq!(
        (ask("other.internal"), ask("admin.internal.evil.example")),
        (421, 421)
    );
}
