//! The keys below a prefix of etcd.

mod answer;
mod lines;

use std::fmt;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use tokio::time::{Instant, timeout};

use self::answer::{Heard, Listed};
use self::lines::Lines;
use super::http::{Answer, Ask, Http};
use super::{Discovery, DiscoveryError, DiscoveryErrorKind, NextSnapshot, Snapshot};

/// What an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Without a word from the watch for this long, everything is read again: it may be dead.
const SILENCE: Duration = Duration::from_secs(30);
/// Between two full reads, however much changes.
const PACE: Duration = Duration::from_millis(200);
/// The same where watches end as soon as they begin, as where we may read but not watch.
const SLOW_PACE: Duration = Duration::from_secs(1);

/// The servers that are listed below a prefix of etcd v3 (3.4 or later), by its JSON gateway.
///
/// Each key is an endpoint; its id is what follows the prefix. Its value is `host:port`, or JSON:
///
/// ```json
/// {"host": "10.0.0.1", "port": 6379, "weight": 2, "tags": ["a"], "meta": {"zone": "west"}}
/// {"Op": 0, "Addr": "10.0.0.1:6379", "Metadata": null}
/// ```
///
/// The second form is that of etcd's own `naming/endpoints` package. Only the address is required. A
/// value that is neither is left out, with a warning.
///
/// All keys are read, then a watch says when one of them changes (is put, deleted, or expires with its
/// lease), and all are read again. So it does not matter what a watch misses: when it ends, for example
/// since the revision it began at was compacted away, everything is read and a new one begins.
///
/// ```
/// use fluster::discovery::Etcd;
///
/// let source = Etcd::new("http://127.0.0.1:2379", "/services/cache/")?;
/// # Ok::<(), fluster::discovery::DiscoveryError>(())
/// ```
pub struct Etcd {
    /// For questions; the watch has a connection of its own, as its answer never ends.
    http: Http,
    watching: Http,
    prefix: String,
    credentials: Option<(String, String)>,
    /// What `authenticate` gave us.
    token: Vec<(HeaderName, HeaderValue)>,
    watch: Option<Watch>,
    read_at: Option<Instant>,
    pace: Duration,
    /// Something has changed that was not read yet, or nobody can tell.
    stale: bool,
    /// What was said of keys that are no endpoints: once, not per reading.
    left_out: Option<(usize, String)>,
}

/// A running watch: the body of its answer, and what it said up to now.
struct Watch {
    body: Incoming,
    lines: Lines,
}

impl Etcd {
    /// The keys that begin with `prefix`, from the server at `url`: `http://host:2379`, or `https://`
    /// with the feature `tls`. The port is 2379 when left out. [Example](crate::guide::by_example#etcd).
    ///
    /// # Errors
    ///
    /// [`DiscoveryErrorKind::Config`] when the URL cannot be used, or the prefix is empty.
    pub fn new(url: impl AsRef<str>, prefix: impl Into<String>) -> Result<Self, DiscoveryError> {
        let (url, prefix) = (url.as_ref(), prefix.into());
        if prefix.is_empty() {
            let why =
                "the prefix is empty; name the keys that are servers, such as /services/cache/";
            return Err(DiscoveryError::new(DiscoveryErrorKind::Config, "etcd", why));
        }
        let name = label(&prefix);
        Ok(Self {
            http: Http::new(&name, url, 2379)?,
            watching: Http::new(&name, url, 2379)?,
            prefix,
            credentials: None,
            token: Vec::new(),
            watch: None,
            read_at: None,
            pace: PACE,
            stale: true,
            left_out: None,
        })
    }

    /// The user and password to log in with. Default: none. [Example](crate::guide::by_example#etcd).
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        let password = password.into();
        self.http.add_secret(&password);
        self.credentials = Some((user.into(), password));
        self
    }

    /// What `https://` trusts, and the client's certificate. [Example](crate::guide::by_example#etcd).
    ///
    /// # Errors
    ///
    /// [`DiscoveryErrorKind::Config`] when a file cannot be read.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: &crate::connection::tls::Tls) -> Result<Self, DiscoveryError> {
        self.http.trust(tls)?;
        self.watching.trust(tls)?;
        Ok(self)
    }

    async fn read(&mut self) -> Result<Snapshot, DiscoveryError> {
        if !self.stale {
            self.wait_for_change().await;
            // Kept over a drop of this future: the watch does not say it twice.
            self.stale = true;
        }
        if let Some(at) = self.read_at {
            tokio::time::sleep_until(at + self.pace).await;
        }
        self.read_at = Some(Instant::now());
        let listed = self.read_all().await?;
        if self.watch.is_none() {
            // From the revision that was read on, so that nothing falls between the two.
            self.watch = Some(self.open_watch(listed.next).await?);
        }
        self.stale = false;
        if listed.left_out != self.left_out {
            if let Some((keys, first)) = &listed.left_out {
                let source = self.source();
                tracing::warn!(%source, keys, "keys are left out, as they are no endpoints; the first: {first}");
            }
            self.left_out = listed.left_out;
        }
        Ok(listed.snapshot)
    }

    /// Returns when something has changed, or nobody can tell.
    async fn wait_for_change(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let heard = timeout(SILENCE, watch.next_change(&self.watching)).await;
        let why = match heard {
            // Silence is what a healthy watch does most of the time; if it is dead, reading says so.
            Err(_) | Ok(Ok(Heard::Change | Heard::Nothing)) => {
                self.pace = PACE;
                return;
            }
            Ok(Ok(Heard::Over(why))) => why,
            Ok(Err(e)) => e.to_string(),
        };
        tracing::debug!(prefix = %self.prefix, "the watch is over, reading everything: {why}");
        let lived = self.read_at.map_or(Duration::ZERO, |at| at.elapsed());
        self.pace = if lived < SLOW_PACE { SLOW_PACE } else { PACE };
        self.end_watch();
    }

    async fn read_all(&mut self) -> Result<Listed, DiscoveryError> {
        if self.credentials.is_some() && self.token.is_empty() {
            self.log_in().await?;
        }
        let question = answer::range_of(&self.prefix);
        let mut answer = self.ask("/v3/kv/range", question.clone()).await?;
        // A token expires, and dies with the server that gave it.
        if answer.status == StatusCode::UNAUTHORIZED && self.credentials.is_some() {
            self.log_in().await?;
            answer = self.ask("/v3/kv/range", question).await?;
        }
        if answer.status != StatusCode::OK {
            self.end_watch();
            return Err(self.refused(&answer));
        }
        answer::endpoints(&answer.body, &self.prefix).map_err(|e| self.http.garbage(&e))
    }

    async fn log_in(&mut self) -> Result<(), DiscoveryError> {
        let Some((user, password)) = &self.credentials else {
            return Ok(());
        };
        self.token.clear();
        let question = answer::log_in(user, password);
        let answer = self.ask("/v3/auth/authenticate", question).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refused(&answer));
        }
        let token = answer::token(&answer.body).map_err(|e| self.http.garbage(&e))?;
        let mut value = HeaderValue::from_str(&token).map_err(|_| {
            let why = "it gives out a token that cannot be sent";
            self.http.error(DiscoveryErrorKind::Invalid, why)
        })?;
        value.set_sensitive(true);
        self.http.set_session(&token);
        self.token.push((AUTHORIZATION, value));
        Ok(())
    }

    async fn ask(&mut self, path: &str, body: String) -> Result<Answer, DiscoveryError> {
        let ask = Ask {
            path,
            headers: &self.token,
            body: Some(body),
        };
        let result = self.http.ask(ask, PATIENCE).await;
        if result.is_err() {
            // The server is gone or hangs: its watch has nothing to say either.
            self.end_watch();
        }
        result
    }

    async fn open_watch(&mut self, revision: u64) -> Result<Watch, DiscoveryError> {
        let ask = Ask {
            path: "/v3/watch",
            headers: &self.token,
            body: Some(answer::watch_from(&self.prefix, revision)),
        };
        let response = self.watching.open(ask, PATIENCE).await?;
        if response.status() != StatusCode::OK {
            self.watching.close();
            let why = format!("it answers {} to a watch", response.status());
            return Err(self.http.error(DiscoveryErrorKind::Unavailable, why));
        }
        Ok(Watch {
            body: response.into_body(),
            lines: Lines::default(),
        })
    }

    fn end_watch(&mut self) {
        self.watch = None;
        self.watching.close();
    }

    /// The gateway says some things by its own status codes.
    fn refused(&self, answer: &Answer) -> DiscoveryError {
        let error = self.http.refused(answer);
        let text = String::from_utf8_lossy(&answer.body);
        match text.contains("authentication failed") || text.contains("user name is empty") {
            true => self.http.error(
                DiscoveryErrorKind::Denied,
                "it refuses our user and password, or wants some; set them with `Etcd::credentials`",
            ),
            false => error,
        }
    }
}

impl Watch {
    /// Reads up to the next line that matters.
    ///
    /// Dropping it loses nothing: what was read is kept here.
    async fn next_change(&mut self, http: &Http) -> Result<Heard, DiscoveryError> {
        self.lines.begin();
        loop {
            match self.lines.heard() {
                Heard::Nothing => {}
                heard => return Ok(heard),
            }
            match http.piece(&mut self.body).await? {
                Some(piece) => self.lines.add(&piece),
                None => return Ok(Heard::Over("the server has ended it".into())),
            }
        }
    }
}

fn label(prefix: &str) -> String {
    format!("etcd:{}", prefix.replace(char::is_whitespace, "_"))
}

impl Discovery for Etcd {
    fn source(&self) -> String {
        label(&self.prefix)
    }

    fn next(&mut self) -> NextSnapshot<'_> {
        Box::pin(self.read())
    }

    fn refresh(&mut self) {
        self.stale = true;
        self.read_at = None;
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd")
            .field("prefix", &self.prefix)
            .field("watching", &self.watch.is_some())
            .finish_non_exhaustive()
    }
}
