//! The page as a part of an application's own service.

use axum::Router;
use fluster::FlusterCluster;
use fluster::admin::AdminService;

use super::{TOKEN, bearer, get, post};

async fn served(service: AdminService) -> std::net::SocketAddr {
    let app: Router = Router::new().nest_service("/fluster", service);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn in_axum_it_is_below_its_path_and_wants_its_token() {
    let cluster =
        FlusterCluster::from_urls(["redis://127.0.0.1:1", "redis://127.0.0.1:2"]).unwrap();
    let admin = cluster
        .admin()
        .token(TOKEN)
        .allow_actions()
        .allow_hosts(["127.0.0.1"]);
    let at = served(admin.service().unwrap()).await;
    let (token, close) = (bearer(), "connection: close");
    for path in ["/fluster", "/fluster/"] {
        let page = get(at, path, &[close]);
        assert_eq!(page.status, 200, "{path}");
        assert!(
            page.head
                .contains("content-security-policy: default-src 'none'"),
            "{}",
            page.head
        );
    }
    assert_eq!(get(at, "/fluster/status", &[close]).status, 401);
    let status = get(at, "/fluster/status", &[close, &token]);
    assert_eq!((status.status, &status.json()["active"]), (200, &2.into()));
    let body = r#"{"node":"127.0.0.1:1"}"#;
    assert_eq!(post(at, "/fluster/drain", body, &[close]).status, 401);
    assert_eq!(
        post(at, "/fluster/drain", body, &[close, &token]).status,
        200
    );
    assert_eq!(cluster.status().active(), 1);
    assert_eq!(
        get(
            at,
            "/fluster/status",
            &[close, &token, "host: evil.example"]
        )
        .status,
        421,
        "two names"
    );
    assert_eq!(
        get(at, "/status", &[close, &token]).status,
        404,
        "that is the application's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_an_auth_of_ones_own_it_shows_and_does_not_act() {
    let cluster = FlusterCluster::from_urls(["redis://127.0.0.1:1"]).unwrap();
    let at = served(cluster.admin().behind_own_auth().service().unwrap()).await;
    let close = "connection: close";
    assert_eq!(get(at, "/fluster/status", &[close]).status, 200);
    assert_eq!(
        get(
            at,
            "/fluster/status",
            &[close, "origin: http://evil.example"]
        )
        .status,
        403
    );
    assert_eq!(
        post(at, "/fluster/drain", r#"{"node":"127.0.0.1:1"}"#, &[close]).status,
        403
    );
    drop(cluster);
    assert_eq!(
        get(at, "/fluster/status", &[close]).status,
        503,
        "the service keeps no cluster alive"
    );
}
