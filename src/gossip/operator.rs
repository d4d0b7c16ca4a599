//! Asking instances from outside: what `fluster gossip` does.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::admin::{Act, Answer, Ask, Question, What};
use super::builder::wall;
use super::error::{GossipError, GossipErrorKind};
use super::frame::{Kind, LARGEST, Seal};
use super::identity::{Id, NOWHERE};
use super::keys::chance;
use super::status::{GossipStatus, MemberStatus};
use crate::sealed::Keyring;

/// How long one answer is waited for, and how often it is asked.
const PATIENCE: Duration = Duration::from_millis(500);
const TRIES: usize = 3;
/// More members than a cluster has.
const MOST_MEMBERS: usize = 100_000;

/// Asks the instances of a cluster, and tells them what to do. Who has the key of a cluster may.
///
/// ```no_run
/// use fluster::gossip::{Keyring, Operator};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let operator = Operator::new("limiter", Some(Keyring::from_file("gossip.key")?));
/// for member in operator.members("10.0.0.1:7946".parse()?).await? {
///     println!("{} {}", member.ring_id, member.state);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Operator {
    seal: Seal,
}

impl Operator {
    /// For a cluster of this name; without keys for one in plaintext.
    #[must_use]
    pub fn new(cluster: impl AsRef<str>, keyring: Option<Keyring>) -> Self {
        Self {
            seal: Seal::new(cluster.as_ref(), keyring),
        }
    }

    /// How the instance at this address is.
    ///
    /// # Errors
    ///
    /// No answer in three tries of 500 ms: nobody is there, with another key or another cluster, or the clocks of the
    /// two machines are more than 30 s apart.
    pub async fn status(&self, at: SocketAddr) -> Result<GossipStatus, GossipError> {
        match self.ask(at, Ask::Status).await? {
            What::Status(status) => Ok(*status),
            _ => Err(silent(at)),
        }
    }

    /// Whom the instance at this address knows, by ring id.
    ///
    /// # Errors
    ///
    /// As [`status`](Self::status).
    pub async fn members(&self, at: SocketAddr) -> Result<Vec<MemberStatus>, GossipError> {
        let mut all: Vec<MemberStatus> = Vec::new();
        loop {
            let What::Members(of, some) = self.ask(at, Ask::Members(all.len() as u32)).await?
            else {
                return Err(silent(at));
            };
            let is_all = some.is_empty();
            all.extend(some);
            if is_all || all.len() >= of as usize || all.len() >= MOST_MEMBERS {
                // Somebody may have come between two answers.
                all.sort_by(|a, b| (&a.ring_id, a.address).cmp(&(&b.ring_id, b.address)));
                all.dedup_by(|a, b| a.address == b.address);
                return Ok(all);
            }
        }
    }

    /// The first `n` candidates of each key, at most 16 of each, as the instance at this address sees them.
    ///
    /// # Errors
    ///
    /// As [`status`](Self::status); keys of more than a kilobyte do not fit a question.
    pub async fn lookup(
        &self,
        at: SocketAddr,
        keys: &[Vec<u8>],
        n: usize,
    ) -> Result<Vec<Vec<String>>, GossipError> {
        let n = u8::try_from(n).unwrap_or(u8::MAX);
        let mut all = Vec::with_capacity(keys.len());
        // One by one: the answers have names of any length.
        for key in keys {
            match self.ask(at, Ask::Lookup(vec![key.clone()], n)).await? {
                What::Lookup(names) => all.push(names.into_iter().next().unwrap_or_default()),
                _ => return Err(silent(at)),
            }
        }
        Ok(all)
    }

    /// Tells the instance at this address to do something; whether there was something to do.
    ///
    /// # Errors
    ///
    /// As [`status`](Self::status).
    pub async fn act(&self, at: SocketAddr, act: Act) -> Result<bool, GossipError> {
        for _ in 0..TRIES {
            let What::Ticket(ticket) = self.ask(at, Ask::Ticket).await? else {
                return Err(silent(at));
            };
            // A ticket is good once, so an act whose answer was lost is not repeated with it.
            if let Ok(What::Done(done)) = self.once(at, Ask::Act(ticket, act)).await {
                return Ok(done);
            }
        }
        Err(silent(at))
    }

    async fn ask(&self, at: SocketAddr, ask: Ask) -> Result<What, GossipError> {
        for _ in 1..TRIES {
            match self.once(at, ask.clone()).await {
                Err(e) if e.kind() == GossipErrorKind::Timeout => {}
                other => return other,
            }
        }
        self.once(at, ask).await
    }

    async fn once(&self, at: SocketAddr, ask: Ask) -> Result<What, GossipError> {
        let broken = |why: String| {
            GossipError::new(
                GossipErrorKind::Address,
                format!("{at} cannot be asked: {why}"),
            )
        };
        let any: IpAddr = match at {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))
            .await
            .map_err(|e| broken(e.to_string()))?;
        socket
            .connect(at)
            .await
            .map_err(|e| broken(e.to_string()))?;
        let id = u64::from_le_bytes(chance().map_err(|e| broken(e.to_string()))?);
        let nonce = chance().map_err(|e| broken(e.to_string()))?;
        let question = Question {
            id,
            at: wall(),
            ask,
        };
        let question = postcard::to_allocvec(&question).map_err(|e| broken(e.to_string()))?;
        let sender = Id::new(NOWHERE, id);
        let datagram = self.seal.close(Kind::Admin, sender, id, &question, &nonce);
        let datagram =
            datagram.ok_or_else(|| broken("the question does not fit a datagram".into()))?;
        // Nobody listens there: as if nobody answered.
        socket.send(&datagram).await.map_err(|_| silent(at))?;
        let answer = async {
            let mut buffer = [0; 2 * LARGEST];
            loop {
                let length = socket.recv(&mut buffer).await.ok()?;
                let frame = self.seal.open(&buffer[..length]).ok();
                let frame = frame.filter(|frame| frame.kind == Kind::Admin);
                let answer = frame.and_then(|f| {
                    postcard::take_from_bytes::<Answer>(&f.payload)
                        .ok()
                        .map(|(a, _)| a)
                });
                if let Some(answer) = answer.filter(|answer| answer.id == id) {
                    return Some(answer.what);
                }
            }
        };
        timeout(PATIENCE, answer)
            .await
            .ok()
            .flatten()
            .ok_or_else(|| silent(at))
    }
}

fn silent(at: SocketAddr) -> GossipError {
    GossipError::new(
        GossipErrorKind::Timeout,
        format!(
            "{at} does not answer: nobody is there, or it has another key or cluster name, or the clocks differ by \
             more than 30 s"
        ),
    )
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operator")
            .field("keyring", &self.seal.ring())
            .finish_non_exhaustive()
    }
}
