//! How a forwarder is made.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use http::request::Parts;

use super::arrival::OnDisagree;
use super::attempt::Unreachable;
use super::base::Base;
use super::dial::Secure;
use super::error::{ForwardError, ForwardErrorKind};
use super::forwarder::{Forwarder, Setup};
use super::peers::Peers;

pub(crate) type IsIdempotent = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;
pub(crate) type ClientOf = Arc<dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync>;

/// The longest deadline.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// How a forwarder is made; see [`Forwarder::builder`]. Only [`build`](Self::build) judges.
#[must_use]
pub struct ForwarderBuilder {
    peers: Arc<dyn Peers>,
    setup: Setup,
    secure: Secure,
    connect: Duration,
    in_flight: usize,
    /// What is wrong already.
    wrong: Option<ForwardError>,
}

impl ForwarderBuilder {
    pub(crate) fn new(peers: Arc<dyn Peers>) -> Self {
        Self {
            peers,
            setup: Setup {
                deadline: Duration::from_secs(5),
                replay_limit: 64 << 10,
                call_limit: 16 << 20,
                on_disagree: OnDisagree::default(),
                unreachable: Unreachable::default(),
                is_idempotent: None,
                client_of: None,
            },
            secure: Secure::default(),
            connect: Duration::from_millis(500),
            in_flight: 1024,
            wrong: None,
        }
    }

    /// How long a forwarded request may take until its answer begins, all attempts together. What streams after that has
    /// no limit. The owner stops when it is over, too. Default: 5 s. [Example](crate::guide::by_example#forwarding).
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.setup.deadline = limit;
        self
    }

    /// How many bytes of a request's body are kept, so that it can be sent again. Larger ones are sent once. Default:
    /// 64 KiB. [Example](crate::guide::by_example#forwarding).
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.setup.replay_limit = bytes;
        self
    }

    /// How many bytes the payload and the answer of a [`call`](Forwarder::call) may have. Default: 16 MiB. [Example](crate::guide::by_example#forwarding).
    pub fn call_limit(mut self, bytes: usize) -> Self {
        self.setup.call_limit = bytes;
        self
    }

    /// How many requests are forwarded at once; more are answered 503 `overloaded`. Default: 1024. [Example](crate::guide::by_example#forwarding).
    pub fn in_flight(mut self, most: usize) -> Self {
        self.in_flight = most;
        self
    }

    /// How long a connection may take to be made. Default: 500 ms. [Example](crate::guide::by_example#forwarding).
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect = limit;
        self
    }

    /// What this instance does with a request that another one sent and that is not its own. Default:
    /// [`OnDisagree::Refuse`]. [Example](crate::guide::by_example#forwarding).
    pub fn on_disagree(mut self, policy: OnDisagree) -> Self {
        self.setup.on_disagree = policy;
        self
    }

    /// What is done about an owner that cannot be reached. Default: [`Unreachable::Fail`]. [Example](crate::guide::by_example#forwarding).
    pub fn unreachable(mut self, policy: Unreachable) -> Self {
        self.setup.unreachable = policy;
        self
    }

    /// Which requests may be handled twice, and are therefore sent again after their connection broke. Default: those
    /// of the methods `GET`, `HEAD`, `OPTIONS`, `TRACE`, `PUT` and `DELETE`. [Example](crate::guide::by_example#forwarding).
    pub fn idempotent(mut self, is: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.setup.is_idempotent = Some(Arc::new(is));
        self
    }

    /// Finds the client's address, which `x-forwarded-for` is extended by, such as axum's `ConnectInfo` among the
    /// extensions of a request. Default: it is not known. [Example](crate::guide::by_example#forwarding).
    pub fn client_addr(
        mut self,
        of: impl Fn(&Extensions) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.setup.client_of = Some(Arc::new(of));
        self
    }

    /// Instances at `https://` are trusted by these settings. Default: there are none, and such instances are not
    /// reached. [Example](crate::guide::by_example#forwarding).
    #[cfg(feature = "forward-tls")]
    pub fn tls(mut self, tls: &crate::connection::tls::Tls) -> Self {
        match super::dial::Connectors::new(tls) {
            Ok(connectors) => self.secure.connectors = Some(connectors),
            Err(e) => self.wrong = Some(ForwardError::new(ForwardErrorKind::Option, e)),
        }
        self
    }

    /// Makes it. Nothing is connected yet. [Example](crate::guide::by_example#forwarding).
    ///
    /// # Errors
    ///
    /// [`ForwardErrorKind::Option`]: this instance does not say where it takes requests, so that the others could not
    /// forward to it; a time or a number that makes no sense.
    pub fn build(self) -> Result<Forwarder, ForwardError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let refuse = |why: &str| Err(ForwardError::new(ForwardErrorKind::Option, why));
        let me = self.peers.me();
        match me.base.as_deref() {
            None => {
                return refuse(
                    "this instance does not say where it takes requests: give it an `http` base, such as \
                     http://10.0.0.1:8080",
                );
            }
            Some(base) if Base::parse(base).is_none() => {
                return refuse("`http` is not http(s)://host[:port]");
            }
            Some(_) => {}
        }
        for (name, time) in [
            ("deadline", self.setup.deadline),
            ("connect_timeout", self.connect),
        ] {
            if time < Duration::from_millis(1) || time > LONGEST {
                return refuse(&format!("`{name}` is between a millisecond and a day"));
            }
        }
        if self.in_flight == 0 {
            return refuse("`in_flight` is at least 1: with 0 nothing is ever forwarded");
        }
        Ok(Forwarder::made(
            self.peers,
            self.setup,
            self.secure,
            self.connect,
            self.in_flight,
        ))
    }
}

impl Setup {
    pub(crate) fn is_idempotent(&self, parts: &Parts) -> bool {
        match &self.is_idempotent {
            Some(is) => is(parts),
            None => parts.method.is_idempotent(),
        }
    }

    pub(crate) fn client(&self, extensions: &Extensions) -> Option<IpAddr> {
        self.client_of.as_ref().and_then(|of| of(extensions))
    }
}

impl fmt::Debug for ForwarderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwarderBuilder")
            .field("me", &self.peers.me())
            .field("setup", &self.setup)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("deadline", &self.deadline)
            .field("replay_limit", &self.replay_limit)
            .field("on_disagree", &self.on_disagree)
            .field("unreachable", &self.unreachable)
            .finish_non_exhaustive()
    }
}
