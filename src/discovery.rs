//! Where the list of nodes comes from when it is not written down: Consul, etcd, DNS, a file.
//!
//! A [`Discovery`] gives whole [`Snapshot`]s of [`Endpoint`]s;
//! [`FlusterCluster::follow`](crate::FlusterCluster::follow) makes nodes of them and keeps the cluster
//! up to date. The [guide](crate::guide::discovery) has an example per source.

pub(crate) mod caught;
#[cfg(feature = "discovery-consul")]
mod consul;
mod dns;
mod endpoint;
mod error;
#[cfg(feature = "discovery-etcd")]
mod etcd;
mod file;
#[cfg(feature = "discovery-filter")]
mod filter;
mod fixed;
mod follow;
mod following;
mod guards;
#[cfg(any(feature = "discovery-consul", feature = "discovery-etcd"))]
mod http;
#[cfg(any(feature = "discovery-consul", feature = "discovery-etcd"))]
mod json;
mod retry;
#[cfg(feature = "discovery-srv")]
mod srv;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use tokio::runtime::Handle;

#[cfg(feature = "discovery-consul")]
pub use self::consul::Consul;
pub use self::dns::{Dns, Family};
#[cfg(all(feature = "gossip", feature = "serde"))]
pub(crate) use self::endpoint::host_and_port;
pub use self::endpoint::{Endpoint, Snapshot};
pub use self::error::{DiscoveryError, DiscoveryErrorKind};
#[cfg(feature = "discovery-etcd")]
pub use self::etcd::Etcd;
pub use self::file::File;
#[cfg(feature = "discovery-filter")]
pub use self::filter::{Filter, Filtered};
pub use self::fixed::Static;
pub use self::follow::{EmptyPolicy, Follow};
pub use self::following::Following;
use self::retry::Retry;
#[cfg(feature = "discovery-srv")]
pub use self::srv::Srv;

/// What [`Discovery::next`] returns.
pub type NextSnapshot<'a> =
    Pin<Box<dyn Future<Output = Result<Snapshot, DiscoveryError>> + Send + 'a>>;

/// A source of endpoints: an endless row of whole snapshots.
///
/// Whoever asks it waits between attempts that fail; a source only has to say what is there. One that
/// panics is asked again like one that fails. An own source is a few lines:
///
/// ```
/// use fluster::discovery::{Discovery, DiscoveryError, Endpoint, NextSnapshot, Snapshot};
///
/// /// One server more with every second.
/// struct Growing(u16);
///
/// impl Discovery for Growing {
///     fn source(&self) -> String {
///         "growing".into()
///     }
///
///     fn next(&mut self) -> NextSnapshot<'_> {
///         Box::pin(async {
///             if self.0 > 0 {
///                 tokio::time::sleep(std::time::Duration::from_secs(1)).await;
///             }
///             self.0 += 1;
///             Ok((0..self.0).map(|n| Endpoint::new("10.0.0.1", 7000 + n)).collect())
///         })
///     }
/// }
/// ```
pub trait Discovery: Send {
    /// What is asked, in a few words without spaces or secrets: `consul:cache`. It labels the metrics.
    fn source(&self) -> String;

    /// The next snapshot. The first one comes as soon as the source can be asked; each later one when
    /// something has changed, or may have.
    ///
    /// # Errors
    ///
    /// One per attempt that failed. The next call tries again, from scratch where necessary.
    ///
    /// # Cancellation
    ///
    /// An implementation must allow for its future to be dropped at any await: the next call then gives
    /// what this one would have given, or something newer.
    fn next(&mut self) -> NextSnapshot<'_>;

    /// Makes the next call of [`next`](Self::next) ask at once, whatever has changed. Without an
    /// implementation it does nothing, and a snapshot that is looked at twice comes with the next change.
    fn refresh(&mut self) {}
}

impl<D: Discovery + ?Sized> Discovery for Box<D> {
    fn source(&self) -> String {
        (**self).source()
    }

    fn next(&mut self) -> NextSnapshot<'_> {
        (**self).next()
    }

    fn refresh(&mut self) {
        (**self).refresh();
    }
}

/// Asks a source once: what is there now?
///
/// ```no_run
/// use std::time::Duration;
///
/// use fluster::FlusterCluster;
/// use fluster::discovery::{self, Dns, Follow};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let mut source = Dns::new("cache.internal:6379")?;
/// let found = discovery::once(&mut source, Duration::from_secs(5)).await?;
/// let nodes = Follow::new().nodes(&found);
/// let cluster = nodes.into_iter().fold(FlusterCluster::builder(), |b, node| b.node(node)).build()?;
/// let _following = cluster.follow(source)?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// What the source says, after one attempt; [`DiscoveryErrorKind::TimedOut`] when it says nothing
/// within `deadline`, [`DiscoveryErrorKind::NotFound`] when it has no endpoint.
///
/// # Cancellation
///
/// Safe.
pub async fn once<D: Discovery + ?Sized>(
    source: &mut D,
    deadline: Duration,
) -> Result<Snapshot, DiscoveryError> {
    if Handle::try_current().is_err() {
        let why = "there is no tokio runtime here, and a source needs one: call from inside one";
        let kind = DiscoveryErrorKind::Config;
        return Err(DiscoveryError::new(kind, source.source(), why.to_owned()));
    }
    caught::refresh(source)?;
    let answer = tokio::time::timeout(deadline, caught::next(source)).await;
    let error = |kind, why: String| DiscoveryError::new(kind, source.source(), why);
    match answer {
        Err(_) => Err(error(
            DiscoveryErrorKind::TimedOut,
            format!("no answer within {deadline:?}"),
        )),
        Ok(Ok(snapshot)) if snapshot.is_empty() => Err(error(
            DiscoveryErrorKind::NotFound,
            "it has no endpoint for us".into(),
        )),
        Ok(result) => result,
    }
}

/// The snapshots of a source as a stream that never ends. After an error it waits, 0.2 s at first and
/// 30 s at most, before it asks again. [Example](crate::guide::by_example#sources).
///
/// It is for those who do something else with them; a cluster follows a source by itself.
pub fn snapshots<D: Discovery>(source: D) -> impl Stream<Item = Result<Snapshot, DiscoveryError>> {
    let state = (source, Retry::default(), Duration::ZERO);
    futures_util::stream::unfold(state, |(mut source, mut retry, wait)| async move {
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let result = caught::next(&mut source).await;
        let wait = retry.after(result.is_ok(), fastrand::f64());
        Some((result, (source, retry, wait)))
    })
}
