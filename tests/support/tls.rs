//! Certificates for TLS tests, made afresh: the repository holds no private key.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

use fluster::testing::{TlsFiles, new_dir};

/// A certificate authority, a server certificate for `127.0.0.1` and `localhost`, and a client
/// certificate, as PEM files in a directory of their own.
///
/// Two values do not trust each other, which makes a wrong authority for a test.
#[derive(Debug)]
pub struct TlsPki {
    dir: PathBuf,
}

impl From<&TlsPki> for TlsFiles {
    fn from(pki: &TlsPki) -> Self {
        Self {
            cert: pki.server_cert(),
            key: pki.server_key(),
            ca: pki.ca(),
        }
    }
}

impl Default for TlsPki {
    fn default() -> Self {
        Self::new()
    }
}

impl TlsPki {
    pub fn new() -> Self {
        Self::for_names(["127.0.0.1", "localhost"])
    }

    /// Like [`new`](Self::new), with a server certificate for other names or IP addresses.
    pub fn for_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let pki = Self {
            dir: new_dir("tls"),
        };
        pki.write(names.into_iter().map(Into::into).collect())
            .expect("make test certificates");
        pki
    }

    fn write(&self, names: Vec<String>) -> Result<(), Box<dyn std::error::Error>> {
        let mut ca = CertificateParams::new([])?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A name of its own: OpenSSL takes a certificate whose issuer has its own name for self-signed.
        ca.distinguished_name
            .push(DnType::CommonName, "fluster test authority");
        ca.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
        fs::write(self.ca(), ca.pem())?;

        for (cert, key, names) in [
            (self.server_cert(), self.server_key(), names),
            (
                self.client_cert(),
                self.client_key(),
                vec!["fluster-client".into()],
            ),
        ] {
            let pair = KeyPair::generate()?;
            let signed = CertificateParams::new(names)?.signed_by(&pair, &ca)?;
            fs::write(cert, signed.pem())?;
            fs::write(key, pair.serialize_pem())?;
        }
        Ok(())
    }

    /// The authority's certificate, which a client must trust.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    pub fn server_cert(&self) -> PathBuf {
        self.dir.join("server.crt")
    }

    pub fn server_key(&self) -> PathBuf {
        self.dir.join("server.key")
    }

    pub fn client_cert(&self) -> PathBuf {
        self.dir.join("client.crt")
    }

    pub fn client_key(&self) -> PathBuf {
        self.dir.join("client.key")
    }

    /// The directory of all five files; it stays until the process ends, since servers restart.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}
