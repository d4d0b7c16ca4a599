//! The driver over rustls itself, on a pipe that takes a few bytes at once.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::*;

impl Stream for client::TlsStream<DuplexStream> {
    fn is_opaque(&self) -> bool {
        true
    }
}

/// The server's end comes later: it is waited for beside whoever reads what it sends.
type Ends = (
    client::TlsStream<DuplexStream>,
    JoinHandle<server::TlsStream<DuplexStream>>,
);

async fn encrypted(pipe: usize) -> Ends {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = || Arc::new(ring::default_provider());
    let versions = "the versions it was built for";
    let theirs = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect(versions)
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("its own key");
    let ours = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect(versions)
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let (client, server) = duplex(pipe);
    let acceptor = TlsAcceptor::from(Arc::new(theirs));
    let theirs = tokio::spawn(async move { acceptor.accept(server).await.expect("connected") });
    let ours = TlsConnector::from(Arc::new(ours)).connect(name, client);
    (ours.await.expect("connected"), theirs)
}

#[tokio::test(start_paused = true)]
async fn everybody_gets_an_own_reply_over_an_encrypted_pipe_of_any_size() {
    for pipe in [60, 3_000, 1 << 16] {
        let (ours, theirs) = encrypted(pipe).await;
        let (wire, driver) = driver_on(ours, Pushes::Never, false);
        let _task = tokio::spawn(driver);
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let notes = Arc::clone(&heard);
        tokio::spawn(async move { serve(theirs.await.expect("no panic"), 200, notes).await });
        let calls = (0..10_u64).map(|n| {
            let wire = Arc::clone(&wire);
            async move {
                for i in 0..4_u64 {
                    // Of sizes up to some records; every fifth one is not waited for.
                    let size = [1, 100, 3_000][(n * 5 + i) as usize % 3];
                    let text = format!("{n}-{i}-{}", "x".repeat(size));
                    let mut call = pin!(echoed_late(&wire, &text));
                    if (n + i) % 5 == 0 {
                        assert!(call.as_mut().now_or_never().is_none());
                        continue;
                    }
                    assert!(call.await.expect("a reply") == text, "another's reply");
                }
            }
        });
        join_all(calls).await;
        assert_eq!(wire.in_flight(), 0);
        assert_eq!(echoed_late(&wire, "end").await.expect("it lives"), "end");
        assert!(wire.is_clean() && wire.is_usable());
    }
}

/// The pipe takes its time.
async fn echoed_late(wire: &Wire, text: &str) -> Result<String, LinkError> {
    match ask(wire, Request::One(&echo(text)), Some(ms(3_600_000))).await? {
        Reply::One(Value::BulkString(bytes)) => Ok(String::from_utf8(bytes).expect("text")),
        other => panic!("{other:?}"),
    }
}

/// Whatever the cut leaves of a request, the account is never "not sent" of one that arrived.
#[tokio::test(start_paused = true)]
async fn what_was_offered_to_encryption_and_cut_may_have_been_executed() {
    for taken in [0, 1, 20, 60, 100] {
        let (ours, theirs) = encrypted(1 << 16).await;
        let mut theirs = theirs.await.expect("no panic");
        let (wire, driver) = driver_on(ours, Pushes::Never, false);
        let mut call = pin!(echoed_late(&wire, "abc"));
        assert!(call.as_mut().now_or_never().is_none());
        let _task = tokio::spawn(driver);
        sleep(ms(1)).await;
        let mut seen = vec![0; taken.max(1)];
        let n = theirs.read(&mut seen[..taken]).await.expect("requests");
        assert!(n <= taken);
        drop(theirs);
        let lost = call.await.expect_err("it was cut");
        assert_eq!((lost.fault, lost.unsent), (Fault::Lost, false), "{taken}");
        let later = echoed_late(&wire, "d").await.expect_err("it is over");
        assert!(later.unsent, "{taken}");
    }
}
