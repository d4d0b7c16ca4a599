//! Asking instances from outside: what `fluster gossip` does.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::admin::{Act, Answer, Ask, HEAD, MOST_KEYS, Question, What};
use super::builder::wall;
use super::error::{GossipError, GossipErrorKind};
use super::frame::{Kind, LARGEST, PAYLOAD, Seal};
use super::identity::{Id, NOWHERE};
use super::share::NodeReport;
use super::status::{GossipStatus, MemberStatus};
use crate::keys::chance;
use crate::sealed::Keyring;

/// How long one answer is waited for, and how often it is asked.
const PATIENCE: Duration = Duration::from_millis(500);
const TRIES: usize = 3;
/// More members than a cluster has.
const MOST_MEMBERS: usize = 100_000;
/// What the length of a key takes in a question, at most.
const LENGTH: usize = 2;
const LONGEST_KEY: usize = PAYLOAD - HEAD - LENGTH;

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
    /// What instances advertise that are reached by other addresses.
    known_as: BTreeMap<SocketAddr, SocketAddr>,
}

impl Operator {
    /// For a cluster of this name; without keys for one in plaintext. [Example](crate::guide::by_example#asking-from-outside).
    #[must_use]
    pub fn new(cluster: impl AsRef<str>, keyring: Option<Keyring>) -> Self {
        Self {
            seal: Seal::new(cluster.as_ref(), keyring),
            known_as: BTreeMap::new(),
        }
    }

    /// The instance that is reached at one address advertises another one: a port is mapped, or addresses are
    /// translated on the way. Without this it takes questions for another one's: an instance answers what was asked of
    /// the address that it advertises or is bound to, and no other; what was asked of one of them is not answered by
    /// another, whoever passes it on. [Example](crate::guide::by_example#asking-from-outside).
    #[must_use]
    pub fn known_as(mut self, at: SocketAddr, advertised: SocketAddr) -> Self {
        self.known_as.insert(at, advertised);
        self
    }

    /// How the instance at this address is. [Example](crate::guide::by_example#asking-from-outside).
    ///
    /// # Errors
    ///
    /// No answer in three tries of 500 ms: nobody is there, with another key or another cluster, it advertises another
    /// address ([`known_as`](Self::known_as)), or the clocks of the two machines are more than 30 s apart.
    pub async fn status(&self, at: SocketAddr) -> Result<GossipStatus, GossipError> {
        match self.ask(&self.line(at).await?, Ask::Status).await? {
            What::Status(status) => Ok(*status),
            _ => Err(silent(at)),
        }
    }

    /// Whom the instance at this address knows, by ring id. [Example](crate::guide::by_example#asking-from-outside).
    ///
    /// # Errors
    ///
    /// As [`status`](Self::status).
    pub async fn members(&self, at: SocketAddr) -> Result<Vec<MemberStatus>, GossipError> {
        let line = self.line(at).await?;
        let mut all: Vec<MemberStatus> = Vec::new();
        loop {
            let What::Members(of, some) = self.ask(&line, Ask::Members(all.len() as u32)).await?
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

    /// What the instance at this address thinks of the nodes whose health it shares, by scope. [Example](crate::guide::by_example#asking-from-outside).
    ///
    /// # Errors
    ///
    /// As [`status`](Self::status); an instance of an earlier version does not answer either.
    pub async fn nodes(&self, at: SocketAddr) -> Result<Vec<NodeReport>, GossipError> {
        let line = self.line(at).await?;
        let mut all: Vec<NodeReport> = Vec::new();
        loop {
            let What::Nodes(of, some) = self.ask(&line, Ask::Nodes(all.len() as u32)).await? else {
                return Err(silent(at));
            };
            let is_all = some.is_empty();
            all.extend(some);
            if is_all || all.len() >= of as usize || all.len() >= MOST_MEMBERS {
                return Ok(all);
            }
        }
    }

    /// The first `n` candidates of each key, at most 16 of each, as the instance at this address sees them. [Example](crate::guide::by_example#asking-from-outside).
    ///
    /// # Errors
    ///
    /// As [`status`](Self::status); [`GossipErrorKind::Option`] for a key that does not fit a question, which has place
    /// for about a kilobyte.
    pub async fn lookup(
        &self,
        at: SocketAddr,
        keys: &[Vec<u8>],
        n: usize,
    ) -> Result<Vec<Vec<String>>, GossipError> {
        if let Some(key) = keys.iter().find(|key| key.len() > LONGEST_KEY) {
            let why = format!(
                "a key of {} bytes does not fit a question: {LONGEST_KEY} at most",
                key.len()
            );
            return Err(GossipError::new(GossipErrorKind::Option, why));
        }
        let n = u8::try_from(n).unwrap_or(u8::MAX);
        let line = self.line(at).await?;
        let mut all = Vec::with_capacity(keys.len());
        while let Some(rest) = keys.get(all.len()..).filter(|rest| !rest.is_empty()) {
            let asked = at_once(rest);
            // The answer is about as many of them as fit it.
            match self.ask(&line, Ask::Lookup(asked.to_vec(), n)).await? {
                What::Lookup(names) if !names.is_empty() => {
                    all.extend(names.into_iter().take(asked.len()));
                }
                _ => return Err(silent(at)),
            }
        }
        Ok(all)
    }

    /// Tells the instance at this address to do something; whether there was something to do. It is done once, however
    /// often it has to be said until an answer comes. [Example](crate::guide::by_example#asking-from-outside).
    ///
    /// # Errors
    ///
    /// As [`status`](Self::status). When an instance that answered before does not answer this, it may have done it, or
    /// do it within the next ten seconds; the error says so.
    pub async fn act(&self, at: SocketAddr, act: Act) -> Result<bool, GossipError> {
        let line = self.line(at).await?;
        let What::Ticket(ticket) = self.ask(&line, Ask::Ticket).await? else {
            return Err(silent(at));
        };
        // A ticket is good for one act: what is said again with it is not done again.
        match self.ask(&line, Ask::Act(ticket, act)).await {
            Ok(What::Done(done)) => Ok(done),
            Ok(_) => Err(unsaid(at)),
            Err(e) if e.kind() == GossipErrorKind::Timeout => Err(unsaid(at)),
            Err(e) => Err(e),
        }
    }

    /// A socket to the instance there, and which start of it it is.
    async fn line(&self, at: SocketAddr) -> Result<Line, GossipError> {
        let to = self.known_as.get(&at).copied().unwrap_or(at);
        let mut line = Line::to(at, to).await?;
        match self.ask(&line, Ask::Start).await? {
            What::Start(start) => line.start = start,
            _ => return Err(silent(at)),
        }
        Ok(line)
    }

    async fn ask(&self, line: &Line, ask: Ask) -> Result<What, GossipError> {
        for _ in 1..TRIES {
            match self.once(line, ask.clone()).await {
                Err(e) if e.kind() == GossipErrorKind::Timeout => {}
                other => return other,
            }
        }
        self.once(line, ask).await
    }

    async fn once(&self, line: &Line, ask: Ask) -> Result<What, GossipError> {
        let Line { at, socket, .. } = line;
        let broken = |why: String| broken(*at, why);
        let id = u64::from_le_bytes(chance().map_err(|e| broken(e.to_string()))?);
        let nonce = chance().map_err(|e| broken(e.to_string()))?;
        let question = Question {
            to: line.to,
            start: line.start,
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
        socket.send(&datagram).await.map_err(|_| silent(*at))?;
        let answer = async {
            let mut buffer = [0; 2 * LARGEST];
            loop {
                let length = socket.recv(&mut buffer).await.ok()?;
                let frame = self.seal.open(&buffer[..length]).ok();
                // What an instance says, and not a question that comes back.
                let frame = frame.filter(|f| f.kind == Kind::Admin && f.sender.addr != NOWHERE);
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
            .ok_or_else(|| silent(*at))
    }
}

/// A socket to one instance, for all that is asked of it in a call. Answers that are late for one question are not
/// those of the next: each has its id.
struct Line {
    at: SocketAddr,
    /// By which address the instance knows itself.
    to: SocketAddr,
    /// Which start of it is asked; 0 until that is known.
    start: u64,
    socket: UdpSocket,
}

impl Line {
    async fn to(at: SocketAddr, to: SocketAddr) -> Result<Self, GossipError> {
        let any: IpAddr = match at {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))
            .await
            .map_err(|e| broken(at, e.to_string()))?;
        socket
            .connect(at)
            .await
            .map_err(|e| broken(at, e.to_string()))?;
        Ok(Self {
            at,
            to,
            start: 0,
            socket,
        })
    }
}

/// As many of the keys as fit a question; one of them is no longer than [`LONGEST_KEY`].
fn at_once(keys: &[Vec<u8>]) -> &[Vec<u8>] {
    let mut room = PAYLOAD - HEAD;
    let fits = |key: &&Vec<u8>| {
        let left = room.checked_sub(key.len() + LENGTH);
        room = left.unwrap_or(room);
        left.is_some()
    };
    let n = keys.iter().take(MOST_KEYS).take_while(fits).count();
    &keys[..n]
}

fn broken(at: SocketAddr, why: String) -> GossipError {
    GossipError::new(
        GossipErrorKind::Address,
        format!("{at} cannot be asked: {why}"),
    )
}

fn silent(at: SocketAddr) -> GossipError {
    GossipError::new(
        GossipErrorKind::Timeout,
        format!(
            "{at} does not answer: nobody is there, or it has another key or cluster name, or it advertises another \
             address and that is to be named, or the clocks differ by more than 30 s"
        ),
    )
}

fn unsaid(at: SocketAddr) -> GossipError {
    GossipError::new(
        GossipErrorKind::Timeout,
        format!(
            "{at} was told and does not answer any more: it may have done it, or do it within ten seconds; ask for its status"
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
