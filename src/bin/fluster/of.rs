//! A running application, asked over its admin page.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::args;
use crate::configured;
use crate::fault::{Fault, UNREACHABLE};
use crate::foreign::one_line;

/// Ten thousand nodes have less.
const LARGEST: usize = 32 << 20;
/// Unless --timeout says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Where to ask, and with which token.
pub struct Application {
    /// As messages call it: without what may be secret.
    pub name: String,
    host: String,
    port: u16,
    /// What all paths begin with; no '/' at its end.
    base: String,
    authority: String,
    token: Option<HeaderValue>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    limit: Duration,
}

impl Application {
    /// `None` without --of.
    pub fn from_args(args: &args::Of, limit: Option<Duration>) -> Result<Option<Self>, Fault> {
        let Some(text) = &args.of else {
            return match (&args.token_file, &args.ca_file) {
                (None, None) => Ok(None),
                _ => Err(Fault::usage(
                    "--token-file and --ca-file are for an application: give --of URL",
                )),
            };
        };
        let wrong = |why: &str| Fault::usage(format!("--of: {why}"));
        // Not the text that was given: it may hold a secret.
        let url = Url::parse(text).map_err(|e| {
            wrong(&format!(
                "that is no URL ({e}): write http://127.0.0.1:9800"
            ))
        })?;
        let is_tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("that is no URL of http: write http://127.0.0.1:9800")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "the URL has a user: a token comes from --token-file or FLUSTER_ADMIN_TOKEN",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(
                "the URL has a query: write http://127.0.0.1:9800, and the token into --token-file",
            ));
        }
        let (host, is_here) = match url.host() {
            Some(url::Host::Domain(name)) => (name.to_owned(), name == "localhost"),
            Some(url::Host::Ipv4(ip)) => (ip.to_string(), ip.is_loopback()),
            Some(url::Host::Ipv6(ip)) => (
                ip.to_string(),
                IpAddr::from(ip).to_canonical().is_loopback(),
            ),
            None => return Err(wrong("the URL has no host: write http://127.0.0.1:9800")),
        };
        let token = token(args)?;
        if token.is_some() && !is_tls && !is_here {
            return Err(wrong(
                "a token goes over plain http to this machine alone: write https://, or tunnel the port and ask localhost",
            ));
        }
        let port = url.port_or_known_default().unwrap_or(80);
        let shown = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let tls = match is_tls {
            true => Some((connector(args)?, server_name(&host)?)),
            false => None,
        };
        Ok(Some(Self {
            name: format!("{}://{shown}", url.scheme()),
            host,
            port,
            base: url.path().trim_end_matches('/').to_owned(),
            authority: shown,
            token,
            tls,
            limit: limit.unwrap_or(PATIENCE),
        }))
    }

    /// The whole document.
    pub async fn status(&self) -> Result<Value, Fault> {
        let status = self.ask("/status", None).await?;
        match status["schema"].as_u64().is_some() && status["nodes"].is_array() {
            true => Ok(status),
            false => Err(self.is_none()),
        }
    }

    /// Who serves a key, and why.
    pub async fn explain(&self, key_hex: &str) -> Result<Value, Fault> {
        let body = serde_json::json!({ "key_hex": key_hex }).to_string();
        let said = self.ask("/explain", Some(body)).await?;
        match said["candidates"].is_array() {
            true => Ok(said),
            false => Err(self.is_none()),
        }
    }

    fn fault(&self, why: impl std::fmt::Display) -> Fault {
        Fault::new(UNREACHABLE, format!("{}: {why}", self.name))
    }

    fn is_none(&self) -> Fault {
        self.fault("what answers there is no admin page of fluster")
    }

    async fn ask(&self, path: &str, body: Option<String>) -> Result<Value, Fault> {
        let late = || self.fault(format!("no whole answer within {:?}", self.limit));
        let answer = tokio::time::timeout(self.limit, self.answer(path, body));
        answer.await.unwrap_or_else(|_| Err(late()))
    }

    async fn answer(&self, path: &str, body: Option<String>) -> Result<Value, Fault> {
        let unreachable = |e: io::Error| self.fault(format!("cannot connect: {e}"));
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(unreachable)?;
        let (status, bytes) = match &self.tls {
            None => self.exchange(TokioIo::new(stream), path, body).await?,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                let stream = stream.map_err(unreachable)?;
                self.exchange(TokioIo::new(stream), path, body).await?
            }
        };
        let said: Option<Value> = serde_json::from_slice(&bytes).ok();
        match status {
            StatusCode::OK => said.ok_or_else(|| self.is_none()),
            // To follow would hand the token to whoever is named there.
            status if status.is_redirection() => Err(self.fault(format!(
                "it answers {} and names another place, which is not followed: give that one",
                status.as_u16()
            ))),
            StatusCode::UNAUTHORIZED => Err(self.fault(match self.token {
                None => "it wants a token: give --token-file FILE, or set FLUSTER_ADMIN_TOKEN",
                Some(_) => "it has another token than this one",
            })),
            status => {
                let why = said.as_ref().and_then(|said| said["error"].as_str());
                let why = why
                    .map(one_line)
                    .unwrap_or_else(|| "no admin page of fluster".into());
                Err(self.fault(format!("it answers {}: {why}", status.as_u16())))
            }
        }
    }

    async fn exchange<S>(
        &self,
        stream: S,
        path: &str,
        body: Option<String>,
    ) -> Result<(StatusCode, Bytes), Fault>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let broken = |e: hyper::Error| {
            self.fault(format!(
                "what answers there speaks no HTTP, or broke off: {e}"
            ))
        };
        let (mut sender, connection) = http1::handshake::<S, Full<Bytes>>(stream)
            .await
            .map_err(broken)?;
        let task = tokio::spawn(async move { connection.await.ok() });
        let mut request = Request::builder()
            .uri(format!("{}{path}", self.base))
            .header(HOST, &self.authority);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = match body {
            None => request.method(Method::GET).body(Full::default()),
            Some(json) => request
                .method(Method::POST)
                .header(CONTENT_TYPE, "application/json")
                .body(Full::from(json)),
        };
        let request = request.map_err(|e| Fault::usage(format!("--of: {e}")))?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let whole = Limited::new(answer.into_body(), LARGEST).collect().await;
        let whole =
            whole.map_err(|e| self.fault(format!("its answer broke off, or is too large: {e}")))?;
        task.abort();
        Ok((status, whole.to_bytes()))
    }
}

/// From the file, or from the environment.
fn token(args: &args::Of) -> Result<Option<HeaderValue>, Fault> {
    let token = match &args.token_file {
        Some(file) => Some(configured::secret("--token-file", file)?),
        None => std::env::var("FLUSTER_ADMIN_TOKEN")
            .ok()
            .filter(|token| !token.is_empty()),
    };
    let Some(token) = token else {
        return Ok(None);
    };
    let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
    let mut value =
        value.map_err(|_| Fault::usage("the token has signs that no header carries"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn server_name(host: &str) -> Result<ServerName<'static>, Fault> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| Fault::usage("--of: no certificate can have this host's name"))
}

fn connector(args: &args::Of) -> Result<TlsConnector, Fault> {
    let mut roots = RootCertStore::empty();
    match &args.ca_file {
        Some(file) => {
            let wrong = |why: String| Fault::usage(format!("--ca-file {}: {why}", file.display()));
            let certs = CertificateDer::pem_file_iter(file).map_err(|e| wrong(e.to_string()))?;
            for cert in certs {
                let cert = cert.map_err(|e| wrong(e.to_string()))?;
                roots.add(cert).map_err(|e| wrong(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(wrong("no PEM certificate in it".into()));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Fault::other(format!("TLS: {e}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
