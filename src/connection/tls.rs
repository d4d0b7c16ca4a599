//! What `rediss://` nodes trust, and how they prove who we are.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::build_error::BuildError;
use crate::error::text::one_line;

/// TLS settings of `rediss://` nodes: which authorities are trusted, and the client's certificate.
///
/// Default: the platform's trusted authorities, no client certificate. The server's certificate and
/// name are always verified; only a URL that ends in `#insecure` turns that off, with a warning in
/// the log each time a cluster is built with it.
///
/// ```no_run
/// use fluster::{FlusterCluster, Tls};
///
/// let cluster = FlusterCluster::builder()
///     .urls(["rediss://10.0.0.1", "rediss://10.0.0.2"])
///     .tls(Tls::new().ca_file("/etc/redis/ca.pem").client_cert_files("me.pem", "me.key"))
///     .build()?;
/// # Ok::<(), fluster::BuildError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    ca: Option<Pem>,
    client: Option<(Pem, Pem)>,
}

#[derive(Clone, PartialEq, Eq)]
enum Pem {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Pem {
    fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::File(path) => std::fs::read(path)
                .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display()))),
            Self::Bytes(bytes) => Ok(bytes.clone()),
        }
    }
}

impl Tls {
    /// The platform's authorities, and no client certificate. [Example](crate::guide::by_example#tls).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trust the authorities in this PEM file, and no others. Read when the cluster is built. [Example](crate::guide::by_example#tls).
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca = Some(Pem::File(path.into()));
        self
    }

    /// Trust the authorities in this PEM text, and no others. [Example](crate::guide::by_example#tls).
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(Pem::Bytes(pem.into()));
        self
    }

    /// Present this certificate chain, with this private key: two PEM files, read when the cluster is
    /// built. [Example](crate::guide::by_example#tls).
    #[must_use]
    pub fn client_cert_files(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client = Some((Pem::File(chain.into()), Pem::File(key.into())));
        self
    }

    /// Present this certificate chain, with this private key: two PEM texts. [Example](crate::guide::by_example#tls).
    #[must_use]
    pub fn client_cert_pem(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.client = Some((Pem::Bytes(chain.into()), Pem::Bytes(key.into())));
        self
    }

    pub(crate) fn connector(&self, insecure: bool) -> Result<TlsConnector, BuildError> {
        let refuse = |why: String| BuildError::Option {
            name: "tls",
            why: one_line(why),
        };
        let provider = Arc::new(ring::default_provider());
        // The provider is named, not taken from the process: two TLS stacks in one application
        // must not be able to break each other.
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| refuse(e.to_string()))?;
        let builder = if insecure {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
        } else {
            builder.with_root_certificates(self.roots().map_err(refuse)?)
        };
        let config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = certificates(chain, "client certificate").map_err(refuse)?;
                let key = key.read().map_err(|e| refuse(format!("client key: {e}")))?;
                let key = PrivateKeyDer::from_pem_slice(&key)
                    .map_err(|e| refuse(format!("client key: no PEM private key in it ({e})")))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| refuse(format!("client certificate and key: {e}")))?
            }
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        if let Some(ca) = &self.ca {
            for cert in certificates(ca, "certificate authority")? {
                roots
                    .add(cert)
                    .map_err(|e| format!("certificate authority: {e}"))?;
            }
            return Ok(roots);
        }
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err("this machine has no trusted certificate authorities; \
                        install them (ca-certificates) or name yours with `Tls::ca_file`"
                .into());
        }
        Ok(roots)
    }
}

fn certificates(pem: &Pem, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = pem.read().map_err(|e| format!("{what}: {e}"))?;
    let certs: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("{what}: {e}"))?;
    if certs.is_empty() {
        return Err(format!("{what}: no PEM certificate in it"));
    }
    Ok(certs)
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("custom_ca", &self.ca.is_some())
            .field("client_cert", &self.client.is_some())
            .finish()
    }
}

/// The handshake over an established TCP connection.
pub(crate) async fn handshake(
    connector: &TlsConnector,
    host: &str,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    // The zone of an IPv6 address is this machine's own; no certificate has it.
    let host = host.split('%').next().unwrap_or(host);
    let name = ServerName::try_from(host.to_owned())
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    connector.connect(name, stream).await
}

/// Accepts whatever certificate the server shows; signatures are still checked.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
