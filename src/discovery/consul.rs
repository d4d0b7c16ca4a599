//! The services of a Consul catalogue.

mod answer;

use std::fmt;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use self::answer::{index_of, next_index};
use super::endpoint::MOST;
use super::http::{Answer, Ask, Http, LARGEST};
use super::{Discovery, DiscoveryError, DiscoveryErrorKind, Endpoint, NextSnapshot, Snapshot};

/// How long an agent may keep a question when nothing changes. Consul adds up to a sixteenth.
const WAIT: Duration = Duration::from_secs(55);
/// What an answer may take beside that.
const MARGIN: Duration = Duration::from_secs(5);
/// Between two questions, whatever changes: a busy service must not keep us and the agent busy.
const PACE: Duration = Duration::from_millis(200);
/// Between two questions that the agent cannot hold.
const POLL: Duration = Duration::from_secs(5);
/// So many services are read one by one, each with a question of its own.
const MOST_SERVICES: usize = 4_096;
/// All answers of one look at all services.
const LARGEST_SUM: usize = 8 * LARGEST;
/// What a part of a path may hold unescaped.
const PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The instances of one service, or of all, as a Consul agent knows them.
///
/// The agent is asked over one connection by
/// [blocking queries](https://developer.hashicorp.com/consul/api-docs/features/blocking): it answers when
/// something changes. By default only instances whose checks pass are listed.
///
/// An instance's id is `node/service-id`, as an id of Consul is unique on its node only; its weight is
/// `Weights.Passing` (`Warning` for one that is listed in that state), its `meta` the service's, its host
/// the service's address, or that of its node when the service has none.
///
/// `Debug` and errors never show the token.
///
/// ```
/// use fluster::discovery::Consul;
///
/// let source = Consul::new("http://127.0.0.1:8500", "cache")?
///     .token(std::env::var("CONSUL_HTTP_TOKEN").unwrap_or_default())?
///     .tag("primary");
/// # Ok::<(), fluster::discovery::DiscoveryError>(())
/// ```
pub struct Consul {
    http: Http,
    /// `None`: all services.
    service: Option<String>,
    table: Table,
    any_health: bool,
    datacenter: Option<String>,
    near: Option<String>,
    tags: Vec<String>,
    wait: Duration,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What has changed since; 0 asks for an answer at once.
    index: u64,
    asked: Option<Instant>,
    /// The agent's last answer had no index, so it cannot wait for the next one.
    blind: bool,
}

/// Which of Consul's two lists is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Health,
    Catalog,
}

impl Consul {
    /// The instances of `service`, from the agent at `url`: `http://host:8500`, or `https://` with the
    /// feature `tls`. The port is 8500 when left out; a path in the URL goes before all others. [Example](crate::guide::by_example#consul).
    ///
    /// # Errors
    ///
    /// [`DiscoveryErrorKind::Config`] when the URL cannot be used, or the name is empty.
    pub fn new(url: impl AsRef<str>, service: impl Into<String>) -> Result<Self, DiscoveryError> {
        let service = service.into();
        if service.is_empty() {
            let kind = DiscoveryErrorKind::Config;
            return Err(DiscoveryError::new(
                kind,
                "consul",
                "the name of the service is empty",
            ));
        }
        Self::build(url.as_ref(), Some(service))
    }

    /// The instances of all services, read anew every 5 s; one question per service. For a look around,
    /// and with a filter. More than 4096 services, 65 536 instances or 64 MiB are an error. [Example](crate::guide::by_example#consul).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn all_services(url: impl AsRef<str>) -> Result<Self, DiscoveryError> {
        Self::build(url.as_ref(), None)
    }

    fn build(url: &str, service: Option<String>) -> Result<Self, DiscoveryError> {
        let name = label(service.as_deref());
        Ok(Self {
            http: Http::new(&name, url, 8500)?,
            service,
            table: Table::Health,
            any_health: false,
            datacenter: None,
            near: None,
            tags: Vec::new(),
            wait: WAIT,
            headers: Vec::new(),
            index: 0,
            asked: None,
            blind: false,
        })
    }

    /// The ACL token to ask with; an empty one is none. Default: none, the agent's own. [Example](crate::guide::by_example#consul).
    ///
    /// # Errors
    ///
    /// [`DiscoveryErrorKind::Config`] when it has characters that no token has.
    pub fn token(mut self, token: impl Into<String>) -> Result<Self, DiscoveryError> {
        let token = token.into();
        if !token.is_empty() {
            let refuse = |_| {
                let why = "the token has a character that no token has; is there a line break at its end?";
                self.http.error(DiscoveryErrorKind::Config, why)
            };
            let mut value = HeaderValue::from_str(&token).map_err(refuse)?;
            value.set_sensitive(true);
            self.headers
                .push((HeaderName::from_static("x-consul-token"), value));
            self.http.add_secret(&token);
        }
        Ok(self)
    }

    /// The datacenter to ask about. Default: the agent's own. [Example](crate::guide::by_example#consul).
    #[must_use]
    pub fn datacenter(mut self, name: impl Into<String>) -> Self {
        self.datacenter = Some(name.into());
        self
    }

    /// Only instances with this tag; called twice, with both. [Example](crate::guide::by_example#consul).
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Sorts by the distance from this node (`_agent`: the agent's own) at the source. It makes no
    /// difference to a cluster, whose order is that of the ids. [Example](crate::guide::by_example#consul).
    #[must_use]
    pub fn near(mut self, node: impl Into<String>) -> Self {
        self.near = Some(node.into());
        self
    }

    /// Instances whose checks fail, too: fluster has its own health checks, and a node that is removed
    /// whenever its check fails loses its keys each time. One with a warning weighs `Weights.Warning`. [Example](crate::guide::by_example#consul).
    #[must_use]
    pub fn any_health(mut self) -> Self {
        self.any_health = true;
        self
    }

    /// Reads the catalogue, which knows no checks, in place of the health endpoint. [Example](crate::guide::by_example#consul).
    #[must_use]
    pub fn catalog(mut self) -> Self {
        self.table = Table::Catalog;
        self
    }

    /// How long the agent may keep a question when nothing changes, 1 s to 10 min. An agent that falls
    /// silent is noticed that much later. Default: 55 s. [Example](crate::guide::by_example#consul).
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait.clamp(Duration::from_secs(1), Duration::from_secs(600));
        self
    }

    /// What `https://` trusts, and the client's certificate. [Example](crate::guide::by_example#consul).
    ///
    /// # Errors
    ///
    /// [`DiscoveryErrorKind::Config`] when a file cannot be read.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: &crate::connection::tls::Tls) -> Result<Self, DiscoveryError> {
        self.http.trust(tls)?;
        Ok(self)
    }

    async fn read(&mut self) -> Result<Snapshot, DiscoveryError> {
        if let Some(asked) = self.asked {
            let pause = if self.blind { POLL } else { PACE };
            tokio::time::sleep_until(asked + pause).await;
        }
        self.asked = Some(Instant::now());
        let Some(service) = self.service.clone() else {
            return self.read_all().await;
        };
        let index = self.index;
        // Whatever happens now, the next question must not wait for a change that was missed.
        self.index = 0;
        let answer = self.ask(&self.path(&service, index), index).await?;
        let endpoints = self.endpoints(&answer)?;
        let next = index_of(&answer.headers);
        self.index = next_index(index, next);
        self.blind = next.is_none();
        Ok(endpoints.into_iter().collect())
    }

    async fn read_all(&mut self) -> Result<Snapshot, DiscoveryError> {
        self.blind = true;
        let answer = self
            .ask(
                &self.with_query("/v1/catalog/services".into(), Vec::new()),
                0,
            )
            .await?;
        let services = answer::services(&answer.body).map_err(|e| self.http.garbage(&e))?;
        if services.len() > MOST_SERVICES {
            let why = format!(
                "it has {} services, and at most {MOST_SERVICES} are read: name one",
                services.len()
            );
            return Err(self.http.error(DiscoveryErrorKind::Invalid, why));
        }
        let (mut all, mut bytes) = (Vec::new(), 0);
        for service in services {
            let answer = self.ask(&self.path(&service, 0), 0).await?;
            // Each answer has its limit; so has the sum.
            bytes += answer.body.len();
            if bytes > LARGEST_SUM || all.len() > MOST {
                let why = format!(
                    "its services have more than {MOST} instances or {LARGEST_SUM} bytes together: name one"
                );
                return Err(self.http.error(DiscoveryErrorKind::Invalid, why));
            }
            all.extend(self.endpoints(&answer)?.into_iter().map(|mut endpoint| {
                // The same id may belong to another service of another node.
                endpoint.id = format!("{service}/{}", endpoint.id);
                endpoint
            }));
        }
        Ok(all.into_iter().collect())
    }

    /// Asks; anything but 200 is an error, and nothing in it is believed, its index least of all.
    async fn ask(&mut self, path: &str, index: u64) -> Result<Answer, DiscoveryError> {
        let wait = if index == 0 {
            Duration::ZERO
        } else {
            self.wait + self.wait / 16
        };
        let ask = Ask {
            path,
            headers: &self.headers,
            body: None,
        };
        let answer = self.http.ask(ask, wait + MARGIN).await?;
        match answer.status {
            StatusCode::OK => Ok(answer),
            _ => Err(self.http.refused(&answer)),
        }
    }

    fn endpoints(&self, answer: &Answer) -> Result<Vec<Endpoint>, DiscoveryError> {
        match self.table {
            Table::Health => answer::health(&answer.body),
            Table::Catalog => answer::catalog(&answer.body),
        }
        .map_err(|e| self.http.garbage(&e))
    }

    fn path(&self, service: &str, index: u64) -> String {
        let service = utf8_percent_encode(service, PART);
        let mut query: Vec<_> = self.tags.iter().map(|tag| ("tag", tag.clone())).collect();
        query.extend(self.near.iter().map(|node| ("near", node.clone())));
        let path = match self.table {
            Table::Health => format!("/v1/health/service/{service}"),
            Table::Catalog => format!("/v1/catalog/service/{service}"),
        };
        if self.table == Table::Health && !self.any_health {
            query.push(("passing", "1".into()));
        }
        if index > 0 {
            query.push(("index", index.to_string()));
            query.push(("wait", format!("{}ms", self.wait.as_millis())));
        }
        self.with_query(path, query)
    }

    fn with_query(&self, path: String, mut query: Vec<(&str, String)>) -> String {
        query.extend(self.datacenter.iter().map(|name| ("dc", name.clone())));
        let pairs: Vec<_> = query
            .iter()
            .map(|(key, value)| format!("{key}={}", utf8_percent_encode(value, PART)))
            .collect();
        match pairs.is_empty() {
            true => path,
            false => format!("{path}?{}", pairs.join("&")),
        }
    }
}

fn label(service: Option<&str>) -> String {
    // A label without blanks, whatever the name.
    let name = service.unwrap_or("*").replace(char::is_whitespace, "_");
    format!("consul:{name}")
}

impl Discovery for Consul {
    fn source(&self) -> String {
        label(self.service.as_deref())
    }

    fn next(&mut self) -> NextSnapshot<'_> {
        Box::pin(self.read())
    }

    fn refresh(&mut self) {
        self.index = 0;
        self.asked = None;
    }
}

impl fmt::Debug for Consul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consul")
            .field("service", &self.service)
            .field("table", &self.table)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}
