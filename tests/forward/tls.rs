//! Instances that take requests at https://.

use std::io;

use fluster::Tls;
use http::Version;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::observability::Recorded;
use crate::support::TlsPki;

fn acceptor(pki: &TlsPki) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(pki.server_cert()).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(pki.server_key()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let mut config = config.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Serves an application behind TLS, at a place whose base says so.
fn secured(place: Place, app: Router, pki: &TlsPki) -> Ends {
    let (listener, acceptor) = (place.listener(), acceptor(pki));
    ends(async move {
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, app) = (acceptor.clone(), app.clone());
            tasks.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = hyper_util::service::TowerToHyperService::new(app);
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let talk = builder.serve_connection(TokioIo::new(stream), service);
                drop(talk.await);
            });
        }
    })
}

fn https((name, base): (String, String)) -> (String, String) {
    (name, base.replace("http://", "https://"))
}

fn trusting(pki: &TlsPki) -> Tls {
    Tls::new().ca_file(pki.ca())
}

/// A slow machine may take long to shake hands.
fn patient(builder: ForwarderBuilder) -> ForwarderBuilder {
    builder.connect_timeout(LONG / 3).deadline(LONG)
}

/// Two of them behind TLS, each of which trusts the other by `tls`.
fn pair(log: &Log, pki: &TlsPki, tls: &Tls) -> (Vec<FixedPeers>, Vec<String>, Vec<Ends>) {
    let places = [place("a"), place("b")];
    let list: Vec<_> = places.iter().map(|place| https(place.entry())).collect();
    let (mut all, mut servers) = (Vec::new(), Vec::new());
    for place in places {
        let peers = peers(place.name, &list);
        let forward = patient(Forwarder::builder(peers.clone()).tls(tls));
        let layer = forward.build().unwrap().layer(path_segment(1));
        let app = echo(place.name, log).layer(layer);
        all.push(peers);
        servers.push(secured(place, app, pki));
    }
    let bases = list.into_iter().map(|(_, base)| base).collect();
    (all, bases, servers)
}

/// One request over TLS.
async fn ask_https(base: &str, pki: &TlsPki, two: bool, target: &str) -> io::Result<Answer> {
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_file_iter(pki.ca()).unwrap() {
        roots.add(ca.unwrap()).unwrap();
    }
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let version = if two { "h2" } else { "http/1.1" };
    config.alpn_protocols = vec![version.into()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let address = base.strip_prefix("https://").unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TcpStream::connect(address).await?;
    let io = TokioIo::new(connector.connect(name, stream).await?);
    if two {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(io::Error::other)?;
        let _connection = ends(async move { drop(connection.await) });
        let target = format!("https://limiter.example{target}");
        let answer = sender.send_request(request("POST", &target, &[], b"two"));
        return Ok(read(answer.await.map_err(io::Error::other)?).await);
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .map_err(io::Error::other)?;
    let _connection = ends(async move { drop(connection.await) });
    let host = [("host", "limiter.example")];
    let answer = sender.send_request(request("POST", target, &host, b"one"));
    Ok(read(answer.await.map_err(io::Error::other)?).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_over_tls_by_both_versions_of_http() {
    let (log, pki) = (Log::default(), TlsPki::new());
    let (all, bases, _servers) = pair(&log, &pki, &trusting(&pki));
    for (owner, via) in [("b", 0), ("a", 1)] {
        let target = format!("/x/{}", key_of(owner, &all[0]));
        for two in [false, true, false, true] {
            let answer = ask_https(&bases[via], &pki, two, &target).await.unwrap();
            assert_eq!(
                (answer.status, answer.instance()),
                (200, owner),
                "{answer:?}"
            );
            let seen = log.lock().unwrap().pop().unwrap();
            let (version, body) = match two {
                true => (Version::HTTP_2, "two"),
                false => (Version::HTTP_11, "one"),
            };
            assert_eq!((seen.version, &*seen.body), (version, body.as_bytes()));
            assert_eq!(seen.headers["x-forwarded-host"], "limiter.example");
            nothing_of_ours(&seen.headers);
        }
    }
    assert_eq!(log.lock().unwrap().len(), 0, "each was handled once");
}

/// What a sender tells of an owner: its kind, the cause, how long it took, and what it counted.
fn told(
    run: impl FnOnce(Place, Place) -> (Vec<(String, String)>, ForwarderBuilder, Ends),
) -> (String, String, Recorded) {
    let seen = Recorded::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let work = async {
        let (list, builder, _server) = run(place("a"), place("b"));
        let forward = builder.build().unwrap();
        let key = key_of("b", &peers("a", &list));
        let request = http::Request::post(format!("/x/{key}")).header("host", "x");
        let request = request.body(Bytes::from_static(b"body")).unwrap();
        let handle = |_| async { http::Response::new(ForwardBody::empty()) };
        let key = [key.as_bytes()];
        let asked = forward.handle_or_forward(&key, request, handle);
        let error = tokio::time::timeout(LONG, asked)
            .await
            .expect("no hang")
            .unwrap_err();
        assert_eq!(forward.in_flight(), 0);
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        (error.kind().as_str().to_owned(), cause.unwrap_or_default())
    };
    let (kind, cause) = metrics::with_local_recorder(&seen, || runtime.block_on(work));
    (kind, cause, seen)
}

fn attempts(seen: &Recorded, result: &str) -> f64 {
    seen.get(&format!(
        "fluster_forward_attempts_total{{cluster=test,result={result}}}"
    ))
}

#[test]
fn a_certificate_of_another_authority_or_name_is_not_trusted_and_nothing_is_sent() {
    let (wrong, other) = (TlsPki::new(), TlsPki::for_names(["other.example"]));
    let ours = TlsPki::new();
    for (server, trusted, word) in [
        (&ours, &wrong, "invalid peer certificate"),
        (&other, &other, "not valid for name"),
    ] {
        let log = Log::default();
        let (kind, cause, seen) = told(|a, b| {
            let list = vec![a.entry(), https(b.entry())];
            let builder = Forwarder::builder(peers("a", &list)).tls(&trusting(trusted));
            let server = secured(b, echo("b", &log), server);
            (list, patient(builder), server)
        });
        assert_eq!(kind, "unreachable", "{cause}");
        assert!(cause.contains(word), "{cause}");
        assert_eq!(log.lock().unwrap().len(), 0);
        assert_eq!(attempts(&seen, "unreachable"), 4.0, "the whole schedule");
    }
}

#[test]
fn tls_against_a_plain_port_and_plain_against_tls_end_with_a_clear_error() {
    let pki = TlsPki::new();
    let log = Log::default();
    let (kind, cause, seen) = told(|a, b| {
        let list = vec![a.entry(), https(b.entry())];
        let builder = Forwarder::builder(peers("a", &list)).tls(&trusting(&pki));
        let (app, listener) = (echo("b", &log), b.listener());
        let server = ends(async move { axum::serve(listener, app).await.unwrap() });
        (list, patient(builder), server)
    });
    assert_eq!(kind, "unreachable", "{cause}");
    assert!(
        cause.contains("InvalidContentType") || cause.contains("corrupt"),
        "{cause}"
    );
    assert_eq!(attempts(&seen, "unreachable"), 4.0);

    let (kind, cause, seen) = told(|a, b| {
        let list = vec![a.entry(), b.entry()];
        let builder = Forwarder::builder(peers("a", &list));
        let server = secured(b, echo("b", &log), &pki);
        (list, patient(builder), server)
    });
    // It was sent, and what came back is no HTTP.
    assert_eq!(kind, "outcome-unknown", "{cause}");
    assert_eq!(attempts(&seen, "broken"), 1.0, "{cause}");

    // An https:// base, and nobody said whom to trust.
    let (kind, _, _) = told(|a, b| {
        let list = vec![a.entry(), https(b.entry())];
        let builder = Forwarder::builder(peers("a", &list));
        let server = secured(b, echo("b", &log), &pki);
        (list, patient(builder), server)
    });
    assert_eq!(kind, "no-address");
    assert_eq!(log.lock().unwrap().len(), 0, "nobody handled it");
}
