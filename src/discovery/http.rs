//! One server, asked over HTTP/1.1 by one connection that is kept open.
//!
//! Everything has an end: a request has a deadline, an answer a largest size, and what is dropped closes
//! its connection.

mod budget;
mod errors;

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
#[cfg(feature = "tls")]
use tokio_rustls::TlsConnector;
use url::Url;

use self::budget::{Bounded, Budget};
use super::error::{DiscoveryError, DiscoveryErrorKind};

/// To connect, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// For a connection that was kept open to say whether it still is: it has just to be looked at.
const READY: Duration = Duration::from_millis(500);
/// How much of an answer is read; a thousand services are half a megabyte.
pub(super) const LARGEST: usize = 8 << 20;

/// Where a server is asked, and over which connection.
pub(super) struct Http {
    /// What errors begin with.
    name: String,
    host: String,
    port: u16,
    /// The Host header: without the user-info that a URL may have.
    authority: String,
    /// What all paths begin with; no '/' at its end.
    base: String,
    /// Replaced by a mark wherever an answer repeats one.
    secrets: Vec<String>,
    /// The same, while a login lasts.
    session: Vec<String>,
    /// With `https://`.
    #[cfg(feature = "tls")]
    tls: Option<Trust>,
    link: Option<Link>,
}

/// How servers are verified; the platform's way is made when it is first needed, as not every machine
/// has one.
#[cfg(feature = "tls")]
type Trust = Option<TlsConnector>;

struct Link {
    sender: SendRequest<Full<Bytes>>,
    budget: Budget,
    /// The task that reads and writes; it ends with us.
    task: AbortHandle,
}

impl Link {
    /// The beginning of the answer.
    async fn ask(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.budget.asked();
        let response = self.sender.send_request(request).await?;
        self.budget.answered();
        Ok(response)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    #[cfg(feature = "discovery-consul")]
    pub(super) headers: hyper::HeaderMap,
    pub(super) body: Vec<u8>,
}

/// What to ask.
pub(super) struct Ask<'a> {
    pub(super) path: &'a str,
    pub(super) headers: &'a [(HeaderName, HeaderValue)],
    /// POST with this JSON text; GET without.
    pub(super) body: Option<String>,
}

impl Http {
    /// The server at `url`; `name` is what errors call it.
    pub(super) fn new(name: &str, url: &str, default_port: u16) -> Result<Self, DiscoveryError> {
        let refuse = |why: String| {
            // Not the text that was given: it may hold a password.
            DiscoveryError::new(DiscoveryErrorKind::Config, name, why)
        };
        let parsed = Url::parse(url).map_err(|e| {
            refuse(format!(
                "its URL does not parse ({e}); write http://host:port"
            ))
        })?;
        let is_tls = match parsed.scheme() {
            "http" => false,
            "https" => true,
            _ => {
                return Err(refuse(
                    "its URL has an unknown scheme; write http://host:port".into(),
                ));
            }
        };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(refuse(
                "its URL has a user; name a token or credentials by their own setting".into(),
            ));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(refuse(
                "its URL has a query; write http://host:port alone".into(),
            ));
        }
        let host = match parsed.host() {
            Some(url::Host::Ipv6(ip)) => ip.to_string(),
            Some(host) => host.to_string(),
            None => return Err(refuse("its URL has no host; write http://host:port".into())),
        };
        if is_tls && !cfg!(feature = "tls") {
            return Err(refuse(
                "https:// needs fluster's feature `tls`; enable it, or use http://".into(),
            ));
        }
        // The parser drops the port when it is the scheme's own, which is written here all the same.
        let written = parsed.port().or_else(|| {
            let authority = url.split("://").nth(1)?.split(['/', '?', '#']).next()?;
            [("http", 80), ("https", 443)]
                .iter()
                .find_map(|(scheme, port)| {
                    (parsed.scheme() == *scheme && authority.ends_with(&format!(":{port}")))
                        .then_some(*port)
                })
        });
        let port = written.unwrap_or(default_port);
        let bracketed = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        Ok(Self {
            name: format!("{name} at {}://{bracketed}", parsed.scheme()),
            authority: bracketed,
            host,
            port,
            base: parsed.path().trim_end_matches('/').to_owned(),
            secrets: Vec::new(),
            session: Vec::new(),
            #[cfg(feature = "tls")]
            tls: is_tls.then(Trust::default),
            link: None,
        })
    }

    /// What `https://` trusts; no matter for `http://`.
    #[cfg(feature = "tls")]
    pub(super) fn trust(
        &mut self,
        tls: &crate::connection::tls::Tls,
    ) -> Result<(), DiscoveryError> {
        if self.tls.is_some() {
            self.tls = Some(Some(self.connector(tls)?));
        }
        Ok(())
    }

    #[cfg(feature = "tls")]
    fn connector(&self, tls: &crate::connection::tls::Tls) -> Result<TlsConnector, DiscoveryError> {
        let made = tls.connector(false);
        made.map_err(|e| self.error(DiscoveryErrorKind::Config, e))
    }

    /// Asks, and reads the whole answer; all of it within `limit`.
    ///
    /// A connection that was kept open may have been closed by the server meanwhile: then it is asked
    /// once more over a new one, as all that is asked here may be asked twice.
    pub(super) async fn ask(
        &mut self,
        ask: Ask<'_>,
        limit: Duration,
    ) -> Result<Answer, DiscoveryError> {
        let until = Instant::now() + limit;
        let late = |http: &Self| {
            http.error(
                DiscoveryErrorKind::TimedOut,
                format!("no whole answer within {limit:?}"),
            )
        };
        let result = timeout_at(until, async {
            let response = self.send(&ask).await?;
            let (head, mut body) = response.into_parts();
            let mut whole = Vec::new();
            while let Some(piece) = self.piece(&mut body).await? {
                if whole.len() + piece.len() > LARGEST {
                    let why = format!("it answers with more than {LARGEST} bytes");
                    return Err(self.error(DiscoveryErrorKind::Invalid, why));
                }
                whole.extend_from_slice(&piece);
            }
            Ok(Answer {
                status: head.status,
                #[cfg(feature = "discovery-consul")]
                headers: head.headers,
                body: whole,
            })
        });
        let result = result.await.unwrap_or_else(|_| Err(late(self)));
        if result.is_err() {
            // What is left of the answer must not become the next one.
            self.link = None;
        }
        result
    }

    /// Asks, and returns as soon as the answer begins; `limit` is for that.
    #[cfg(feature = "discovery-etcd")]
    pub(super) async fn open(
        &mut self,
        ask: Ask<'_>,
        limit: Duration,
    ) -> Result<Response<Incoming>, DiscoveryError> {
        match timeout(limit, self.send(&ask)).await {
            Ok(result) => result,
            Err(_) => {
                self.link = None;
                let why = format!("no answer within {limit:?}");
                Err(self.error(DiscoveryErrorKind::TimedOut, why))
            }
        }
    }

    /// Closes the connection.
    #[cfg(feature = "discovery-etcd")]
    pub(super) fn close(&mut self) {
        self.link = None;
    }

    async fn send(&mut self, ask: &Ask<'_>) -> Result<Response<Incoming>, DiscoveryError> {
        // Taken while in use: a request that is dropped half-way takes its connection along.
        if let Some(mut link) = self.link.take()
            && matches!(timeout(READY, link.sender.ready()).await, Ok(Ok(())))
        {
            match link.ask(self.request(ask)?).await {
                Ok(response) => {
                    self.link = Some(link);
                    return Ok(response);
                }
                Err(e) if link.budget.is_spent() => return Err(self.broken(&e)),
                Err(e) => tracing::debug!("{}: asking over a new connection: {e}", self.name),
            }
        }
        let mut link = match timeout(CONNECT, self.connect()).await {
            Ok(link) => link?,
            Err(_) => {
                let why = format!("no connection within {CONNECT:?}");
                return Err(self.error(DiscoveryErrorKind::Unreachable, why));
            }
        };
        let sent = link.ask(self.request(ask)?).await;
        let response = sent.map_err(|e| self.broken(&e))?;
        self.link = Some(link);
        Ok(response)
    }

    /// The next piece of a body; `None` at its end.
    pub(super) async fn piece(&self, body: &mut Incoming) -> Result<Option<Bytes>, DiscoveryError> {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| self.broken(&e))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    fn request(&self, ask: &Ask<'_>) -> Result<Request<Full<Bytes>>, DiscoveryError> {
        let mut request = Request::builder()
            .uri(format!("{}{}", self.base, ask.path))
            .header(HOST, &self.authority);
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        let request = match &ask.body {
            None => request.method(Method::GET).body(Full::default()),
            Some(json) => request
                .method(Method::POST)
                .header(CONTENT_TYPE, "application/json")
                .body(Full::from(json.clone())),
        };
        request.map_err(|e| self.error(DiscoveryErrorKind::Config, e))
    }

    async fn connect(&self) -> Result<Link, DiscoveryError> {
        let unreachable = |e: std::io::Error| {
            self.error(
                DiscoveryErrorKind::Unreachable,
                format!("cannot connect: {e}"),
            )
        };
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        // A peer that is gone without a word is noticed between two questions, too.
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(15))
            .with_interval(Duration::from_secs(5));
        socket2::SockRef::from(&stream)
            .set_tcp_keepalive(&keepalive)
            .map_err(unreachable)?;
        #[cfg(feature = "tls")]
        if let Some(trust) = &self.tls {
            let connector = match trust {
                Some(connector) => connector.clone(),
                None => self.connector(&crate::connection::tls::Tls::new())?,
            };
            let stream = crate::connection::tls::handshake(&connector, &self.host, stream).await;
            let stream = stream.map_err(|e| {
                let why = format!(
                    "no TLS: {e}; is the port the one for https://, and the authority trusted?"
                );
                self.error(DiscoveryErrorKind::Unreachable, why)
            })?;
            return self.shake_hands(stream).await;
        }
        self.shake_hands(stream).await
    }

    async fn shake_hands<S>(&self, stream: S) -> Result<Link, DiscoveryError>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let budget = Budget::default();
        let bounded = Bounded {
            stream,
            budget: budget.clone(),
        };
        let (sender, connection) = http1::handshake(TokioIo::new(bounded))
            .await
            .map_err(|e| self.broken(&e))?;
        let task = tokio::spawn(async move {
            // Whoever asks is told.
            if let Err(e) = connection.await {
                tracing::debug!("a connection of discovery ended: {e}");
            }
        });
        Ok(Link {
            sender,
            budget,
            task: task.abort_handle(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_port_and_shows_no_secret() {
        let of = |url: &str| Http::new("consul", url, 8500);
        for (url, authority) in [
            ("http://10.0.0.1", "10.0.0.1:8500"),
            ("http://10.0.0.1:80/", "10.0.0.1:80"),
            ("http://[::1]:7000/consul/", "[::1]:7000"),
            ("http://agent", "agent:8500"),
        ] {
            assert_eq!(of(url).ok().unwrap().authority, authority, "{url}");
        }
        for url in [
            "",
            "10.0.0.1:8500",
            "ftp://h",
            "http://",
            "http://u:hunter2@h",
            "http://h?token=hunter2",
            "http://h:99999",
        ] {
            let text = of(url).err().unwrap().to_string();
            assert!(
                text.starts_with("consul: ") && !text.contains("hunter2"),
                "{text}"
            );
        }
        #[cfg(not(feature = "tls"))]
        assert!(
            of("https://h")
                .err()
                .unwrap()
                .to_string()
                .contains("feature `tls`")
        );
    }

    #[test]
    fn what_a_server_says_is_shown_in_one_short_line_without_the_token() {
        let mut http = Http::new("consul", "http://h", 1).ok().unwrap();
        http.add_secret("hunter2");
        let mut answer = Answer {
            status: StatusCode::FORBIDDEN,
            #[cfg(feature = "discovery-consul")]
            headers: hyper::HeaderMap::new(),
            body: format!("token\n hunter2 {}", "x".repeat(10_000)).into_bytes(),
        };
        let error = http.refused(&answer);
        assert_eq!(error.kind(), DiscoveryErrorKind::Denied);
        let text = error.to_string();
        assert!(
            text.len() < 300 && text.contains("403") && !text.contains("hunter2"),
            "{text}"
        );
        answer.status = StatusCode::BAD_REQUEST;
        answer.body = b"Client sent an HTTP request to an HTTPS server.\n".to_vec();
        assert!(
            http.refused(&answer)
                .to_string()
                .ends_with("write https://")
        );
    }
}
