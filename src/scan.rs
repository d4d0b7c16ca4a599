//! The keys of all nodes, as one stream.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use redis::{Cmd, ScanOptions};

use crate::clock;
use crate::cluster::FlusterCluster;
use crate::connection::reply::parse;
use crate::connection::request::LaneRequest;
use crate::error::{Error, ErrorKind, Outcome};
use crate::node::NodeId;

/// What a token begins with.
const VERSION: &str = "1";
const DONE: &str = "done";
/// A page that was lost with its connection, or came too late, is asked for once more.
const TRIES: usize = 2;

impl FlusterCluster {
    /// The keys of all nodes, node by node.
    ///
    /// As `SCAN` has it: a key that is there all the time comes at least once, and may come more than
    /// once; one that was written to a stand-in while its owner was out comes from both. A node that is
    /// out, or fails on the way, is an `Err` item that names it, and the stream goes on with the next;
    /// [`Scan::skipped`] lists them, and a scan resumed from [`Scan::token`] reads what is missing.
    ///
    /// ```no_run
    /// # async fn run(cluster: fluster::FlusterCluster) -> Result<(), fluster::Error> {
    /// let options = redis::ScanOptions::default().with_pattern("user:*").with_count(1_000);
    /// let mut scan = cluster.scan(options);
    /// while let Some(key) = scan.next().await {
    ///     println!("{}", String::from_utf8_lossy(&key?));
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn scan(&self, options: ScanOptions) -> Scan {
        Scan::new(self, options, &BTreeMap::new())
    }

    /// Goes on where [`Scan::token`] was taken, also in another process or under other nodes: new nodes
    /// are read from their beginning, removed ones are left out. [Example](crate::guide::by_example#scanning).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for a text that is no token.
    pub fn scan_from(&self, token: &str, options: ScanOptions) -> Result<Scan, Error> {
        let places = places(token).ok_or_else(|| {
            let text = "the token is none that `Scan::token` gave";
            Error::new(ErrorKind::Invalid, Outcome::NotSent, text)
        })?;
        Ok(Scan::new(self, options, &places))
    }
}

/// A stream of keys; see [`scan`](FlusterCluster::scan).
pub struct Scan {
    cluster: FlusterCluster,
    options: ScanOptions,
    /// The nodes still to be read, the present one in front.
    places: VecDeque<Place>,
    done: Vec<NodeId>,
    /// The nodes that failed, and how far they were read.
    failed: Vec<Place>,
    skipped: Vec<NodeId>,
    keys: VecDeque<Vec<u8>>,
    /// The cursor behind the keys at hand.
    next: Option<u64>,
    page: Option<Pin<Box<dyn Future<Output = Page> + Send>>>,
}

type Page = Result<(u64, VecDeque<Vec<u8>>), Error>;

#[derive(Clone)]
struct Place {
    node: NodeId,
    cursor: u64,
}

impl Scan {
    fn new(
        cluster: &FlusterCluster,
        options: ScanOptions,
        from: &BTreeMap<String, Option<u64>>,
    ) -> Self {
        let (mut places, mut done) = (VecDeque::new(), Vec::new());
        for backend in cluster.engine().topology().nodes.iter() {
            let node = backend.id().clone();
            match from.get(&node.to_string()) {
                Some(None) => done.push(node),
                Some(Some(cursor)) => places.push_back(Place {
                    node,
                    cursor: *cursor,
                }),
                None => places.push_back(Place { node, cursor: 0 }),
            }
        }
        Self {
            cluster: cluster.clone(),
            options,
            places,
            done,
            failed: Vec::new(),
            skipped: Vec::new(),
            keys: VecDeque::new(),
            next: None,
            page: None,
        }
    }

    /// The next key, or the node that could not be read; `None` when all nodes were. [Example](crate::guide::by_example#scanning).
    ///
    /// # Cancellation
    ///
    /// Safe: no key is lost.
    pub async fn next(&mut self) -> Option<Result<Vec<u8>, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The nodes that could not be read, or not to their end. [Example](crate::guide::by_example#scanning).
    #[must_use]
    pub fn skipped(&self) -> &[NodeId] {
        &self.skipped
    }

    /// Where the scan stands, for [`scan_from`](FlusterCluster::scan_from): some keys that came already
    /// come again, none is left out, and nodes that failed are tried again. Plain ASCII. [Example](crate::guide::by_example#scanning).
    #[must_use]
    pub fn token(&self) -> String {
        let mut token = VERSION.to_owned();
        let name = |node: &NodeId| utf8_percent_encode(node.as_ref(), NON_ALPHANUMERIC).to_string();
        let done = self.keys.is_empty() && self.next == Some(0);
        for node in &self.done {
            let _ = write!(token, ";{}={DONE}", name(node));
        }
        for (i, place) in self.places.iter().enumerate() {
            let node = name(&place.node);
            let _ = match (i, self.next) {
                (0, _) if done => write!(token, ";{node}={DONE}"),
                (0, Some(next)) if self.keys.is_empty() => write!(token, ";{node}={next}"),
                _ => write!(token, ";{node}={}", place.cursor),
            };
        }
        for place in &self.failed {
            let _ = write!(token, ";{}={}", name(&place.node), place.cursor);
        }
        token
    }

    fn ask(&self, place: &Place) -> Pin<Box<dyn Future<Output = Page> + Send>> {
        let mut cmd = redis::cmd("SCAN");
        cmd.arg(place.cursor).arg(&self.options);
        Box::pin(page(self.cluster.clone(), place.node.clone(), cmd))
    }
}

async fn page(cluster: FlusterCluster, node: NodeId, cmd: Cmd) -> Page {
    let engine = cluster.engine();
    let backend = engine
        .topology()
        .nodes
        .iter()
        .find(|b| *b.id() == node)
        .map(Arc::clone);
    let Some(backend) = backend else {
        let text = "the node was removed";
        return Err(Error::new(ErrorKind::NodeOut, Outcome::NotSent, text).at(&node));
    };
    let mut tries = 1;
    loop {
        let deadline = clock::now() + cluster.deadline();
        match backend.call(LaneRequest::ours(&cmd), deadline).await {
            Ok(reply) => {
                let (cursor, keys): (u64, Vec<Vec<u8>>) = parse(reply.into_value(), &node)?;
                return Ok((cursor, keys.into()));
            }
            Err(e) if e.outcome() == Outcome::MaybeExecuted && tries < TRIES => tries += 1,
            Err(e) => return Err(e),
        }
    }
}

impl Stream for Scan {
    type Item = Result<Vec<u8>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(key) = this.keys.pop_front() {
                return Poll::Ready(Some(Ok(key)));
            }
            match (this.next.take(), this.places.front_mut()) {
                (Some(0), _) => {
                    let place = this.places.pop_front();
                    this.done.extend(place.map(|p| p.node));
                }
                (Some(next), Some(place)) => place.cursor = next,
                _ => {}
            }
            let Some(place) = this.places.front() else {
                return Poll::Ready(None);
            };
            let mut page = match this.page.take() {
                Some(page) => page,
                None => this.ask(place),
            };
            let Poll::Ready(result) = page.as_mut().poll(cx) else {
                this.page = Some(page);
                return Poll::Pending;
            };
            match result {
                Ok((next, keys)) => {
                    this.next = Some(next);
                    this.keys = keys;
                }
                Err(error) => {
                    if let Some(place) = this.places.pop_front() {
                        this.skipped.push(place.node.clone());
                        this.failed.push(place);
                    }
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("token", &self.token())
            .field("skipped", &self.skipped)
            .finish_non_exhaustive()
    }
}

/// The nodes of a token and how far each was read; `None` for those that were read to their end.
fn places(token: &str) -> Option<BTreeMap<String, Option<u64>>> {
    let mut parts = token.split(';');
    if parts.next() != Some(VERSION) {
        return None;
    }
    let place = |part: &str| {
        let (name, cursor) = part.split_once('=')?;
        let name = percent_decode_str(name).decode_utf8().ok()?.into_owned();
        let cursor = match cursor {
            DONE => None,
            cursor => Some(cursor.parse().ok()?),
        };
        Some((name, cursor))
    };
    parts.map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nonsense_is_none() {
        let read = places("1;a%3A6379=done;b%3B%3D=17").expect("a token");
        assert_eq!(read["a:6379"], None);
        assert_eq!(read["b;="], Some(17));
        assert_eq!(places("1"), Some(BTreeMap::new()));
        for nonsense in ["", "2;a=1", "1;a", "1;a=x", "1;a=-1", "1;%ff=1", "1;;"] {
            assert_eq!(places(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_fresh_scan_stands_at_the_beginning_of_every_node() {
        let cluster = FlusterCluster::from_urls(["redis://a", "redis://b"]).expect("nodes");
        let scan = cluster.scan(ScanOptions::default());
        assert_eq!(scan.token(), "1;a%3A6379=0;b%3A6379=0");
        let scan = cluster
            .scan_from("1;a%3A6379=done;gone=5", ScanOptions::default())
            .expect("a token");
        assert_eq!(scan.token(), "1;a%3A6379=done;b%3A6379=0");
    }
}
