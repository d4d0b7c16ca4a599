//! How an instance is started.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;

use super::Gossip;
use super::admin::Desk;
use super::driver::{Driver, Gate};
use super::error::{GossipError, GossipErrorKind};
use super::identity::{is_reachable, plain};
use super::instance::{Instance, Setup};
use super::profile::GossipProfile;
use super::record::{Phase, Record};
use super::rule::Rule;
use super::shared::{Leaving, Shared};
use crate::clock;
use crate::discovery::Discovery;
use crate::keys::chance;
use crate::placement::Placement;
use crate::sealed::Keyring;
use crate::tasks::{NO_RUNTIME, Tasks};

/// Bytes of a cluster's name.
const LONGEST_NAME: usize = 64;
/// What the kernel keeps for us while we do something else.
const SOCKET_BUFFER: usize = 1 << 20;
/// The longest `drain` and `linger`.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// What is called before or after leaving.
pub(crate) type Hook =
    Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send>;

/// How an instance is started; see [`Gossip::builder`]. Only [`start`](Self::start) judges.
#[must_use]
pub struct GossipBuilder {
    cluster: String,
    bind: SocketAddr,
    advertise: Option<SocketAddr>,
    ring_id: Option<String>,
    http: Option<String>,
    weight: u16,
    labels: BTreeMap<Box<str>, Box<str>>,
    seeds: Option<Box<dyn Discovery>>,
    keyring: Option<Keyring>,
    plaintext: bool,
    on_network: bool,
    placement: Placement,
    profile: GossipProfile,
    gate: Option<Gate>,
    drain: Duration,
    linger: Duration,
    before: Vec<Hook>,
    after: Vec<Hook>,
    runtime: Option<Handle>,
    /// What is wrong already, such as a file of keys that cannot be read.
    wrong: Option<GossipError>,
}

impl GossipBuilder {
    pub(crate) fn new(cluster: String) -> Self {
        Self {
            cluster,
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: None,
            ring_id: None,
            http: None,
            weight: 1,
            labels: BTreeMap::new(),
            seeds: None,
            keyring: None,
            plaintext: false,
            on_network: false,
            placement: Placement::ring(),
            profile: GossipProfile::default(),
            gate: None,
            drain: Duration::from_secs(1),
            linger: Duration::from_secs(2),
            before: Vec::new(),
            after: Vec::new(),
            runtime: None,
            wrong: None,
        }
    }

    /// The UDP address to listen at. Default: a free port of 127.0.0.1, which is for trying things out. [Example](crate::guide::by_example#an-instance).
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = address;
        self
    }

    /// The address at which the others reach this instance, where that is another one. Default: what it is bound to. [Example](crate::guide::by_example#an-instance).
    pub fn advertise(mut self, address: SocketAddr) -> Self {
        self.advertise = Some(address);
        self
    }

    /// The name by which this instance owns keys, 1 to 64 bytes. With one that survives a redeployment, such as the
    /// name of a pod, the keys do too. Default: the advertised address. [Example](crate::guide::by_example#an-instance).
    pub fn ring_id(mut self, name: impl Into<String>) -> Self {
        self.ring_id = Some(name.into());
        self
    }

    /// Where this instance takes requests: `http://host:port`. Default: none. [Example](crate::guide::by_example#an-instance).
    pub fn http(mut self, base: impl Into<String>) -> Self {
        self.http = Some(base.into());
        self
    }

    /// The share of the keys relative to the others, 1 to 256. Default: 1. [Example](crate::guide::by_example#an-instance).
    pub fn weight(mut self, weight: NonZeroU16) -> Self {
        self.weight = weight.get();
        self
    }

    /// A label that the others see: at most 8, keys of 32 bytes, values of 128, 512 together. Default: none. [Example](crate::guide::by_example#an-instance).
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into().into(), value.into().into());
        self
    }

    /// Where others are found. Own addresses among them are passed over; a source that fails is asked again for ever.
    /// Default: nowhere; such an instance waits to be found. [Example](crate::guide::by_example#an-instance).
    pub fn seeds(mut self, source: impl Discovery + 'static) -> Self {
        self.seeds = Some(Box::new(source));
        self
    }

    /// The keys that datagrams are sealed with. There is no default: see
    /// [`insecure_plaintext`](Self::insecure_plaintext). [Example](crate::guide::by_example#an-instance).
    pub fn keyring(mut self, keyring: Keyring) -> Self {
        self.keyring = Some(keyring);
        self
    }

    /// Without keys: everybody who reaches the port can say anything. For loopback, in tests. [Example](crate::guide::by_example#an-instance).
    pub fn insecure_plaintext(mut self) -> Self {
        self.plaintext = true;
        self
    }

    /// The same, on a network. Whoever reaches the port can take all keys of the cluster over. [Example](crate::guide::by_example#an-instance).
    pub fn insecure_plaintext_on_network(mut self) -> Self {
        (self.plaintext, self.on_network) = (true, true);
        self
    }

    /// The rule by which keys have owners; the same at all instances. Default: [`Placement::ring`]. [Example](crate::guide::by_example#an-instance).
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// How fast the others are watched; the same at all instances. Default: [`GossipProfile::Lan`]. [Example](crate::guide::by_example#an-instance).
    pub fn profile(mut self, profile: GossipProfile) -> Self {
        self.profile = profile;
        self
    }

    /// Asked once a second: while it says false this instance owns no keys, and goes on to answer. It must not block.
    /// Default: it always may. [Example](crate::guide::by_example#an-instance).
    pub fn ready_gate(mut self, gate: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.gate = Some(Arc::new(gate));
        self
    }

    /// How long a leaving instance waits, out of all rings, before it says good-bye. Default: 1 s; an hour at most. [Example](crate::guide::by_example#an-instance).
    pub fn drain(mut self, wait: Duration) -> Self {
        self.drain = wait.min(LONGEST_WAIT);
        self
    }

    /// How long it goes on after that, for requests that are still under way to it. Default: 2 s; an hour at most. [Example](crate::guide::by_example#an-instance).
    pub fn linger(mut self, wait: Duration) -> Self {
        self.linger = wait.min(LONGEST_WAIT);
        self
    }

    /// Called while leaving, after the keys are gone and before the others are told. It gets 5 s; several are called
    /// in order, and an error stops none of them. [Example](crate::guide::by_example#an-instance).
    pub fn before_leave<F, T>(mut self, hook: F) -> Self
    where
        F: FnOnce() -> T + Send + 'static,
        T: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.before.push(Box::new(|| Box::pin(hook())));
        self
    }

    /// Called at the end of leaving, in the same way. [Example](crate::guide::by_example#an-instance).
    pub fn after_leave<F, T>(mut self, hook: F) -> Self
    where
        F: FnOnce() -> T + Send + 'static,
        T: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.after.push(Box::new(|| Box::pin(hook())));
        self
    }

    /// The runtime to live on. Default: the one that [`start`](Self::start) is called in. [Example](crate::guide::by_example#an-instance).
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    #[cfg(feature = "serde")]
    pub(crate) fn wrong(mut self, error: GossipError) -> Self {
        self.wrong = self.wrong.or(Some(error));
        self
    }

    /// Binds, and begins to look for the others. To be alone is no error:
    /// [`wait_ready`](Gossip::wait_ready) waits for company. [Example](crate::guide::by_example#an-instance).
    ///
    /// # Errors
    ///
    /// What is ours: an option that makes no sense, an address that is taken, no runtime.
    ///
    /// # Cancellation
    ///
    /// Safe: nothing is left.
    pub async fn start(self) -> Result<Gossip, GossipError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        check_cluster(&self.cluster)?;
        let Some(runtime) = Tasks::new(self.runtime).runtime() else {
            return Err(GossipError::new(GossipErrorKind::NoRuntime, NO_RUNTIME));
        };
        // All of it lives there, leaving included: the runtime of a later caller may be gone before that ends.
        let tasks = Tasks::new(Some(runtime.clone()));
        let socket = bound(self.bind)?;
        let address = address(&socket, self.bind, self.advertise)?;
        check_secrecy(
            &self.keyring,
            self.plaintext,
            self.on_network,
            self.bind,
            address,
        )?;
        let record = Record {
            ring_id: self.ring_id.unwrap_or_else(|| address.to_string()).into(),
            http: self.http.map(|http| http.trim_end_matches('/').into()),
            phase: Phase::Joining,
            weight: self.weight,
            labels: self.labels,
        };
        record.check().map_err(GossipError::of_record)?;
        let rule = Rule::new(self.placement);
        let node = rule.named(&record.ring_id, address, record.weight);
        rule.check(&node).map_err(GossipError::of_rule)?;
        let key_error = |e| GossipError::new(GossipErrorKind::Key, e);
        let setup = Setup {
            cluster: self.cluster.clone(),
            address,
            wall: wall(),
            record: record.clone(),
            times: self.profile.times(),
            keyring: self.keyring,
            seed: chance().map_err(key_error)?,
        };
        let start = chance().map_err(key_error)?;
        let socket = {
            let _inside = runtime.enter();
            tokio::net::UdpSocket::from_std(socket).map_err(|e| {
                GossipError::new(
                    GossipErrorKind::Address,
                    format!("the socket cannot be used: {e}"),
                )
            })?
        };
        let leaving = Leaving {
            drain: self.drain,
            linger: self.linger,
            before: self.before,
            after: self.after,
        };
        let instance = Instance::new(setup, clock::now());
        let shared =
            Shared::new(self.cluster, record, leaving, &instance, &rule).ok_or_else(|| {
                GossipError::new(
                    GossipErrorKind::Option,
                    "`placement` cannot place instances",
                )
            })?;
        let shared = Arc::new(shared);
        let bound = socket.local_addr().unwrap_or(address);
        let desk = Desk::new(bound, u64::from_le_bytes(start));
        let driver = Driver::new(Arc::clone(&shared), instance, socket, rule, self.gate, desk);
        let spawned = tasks.spawn(driver.run());
        let spawned = spawned.and_then(|_| match self.seeds {
            Some(source) => tasks
                .spawn(super::seeds::follow(source, Arc::clone(&shared)))
                .map(drop),
            None => Ok(()),
        });
        match spawned {
            Ok(()) => Ok(Gossip::new(shared, tasks)),
            Err(_) => Err(GossipError::new(GossipErrorKind::NoRuntime, NO_RUNTIME)),
        }
    }
}

/// The wall clock in milliseconds.
pub(crate) fn wall() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn check_cluster(name: &str) -> Result<(), GossipError> {
    let why = match crate::error::text::refuse_name(name) {
        _ if name.len() > LONGEST_NAME => format!(
            "it has {} bytes, and {LONGEST_NAME} are allowed",
            name.len()
        ),
        Some(why) => format!("it {why}"),
        None => return Ok(()),
    };
    Err(GossipError::new(
        GossipErrorKind::Option,
        format!("`cluster`: {why}"),
    ))
}

fn bound(bind: SocketAddr) -> Result<UdpSocket, GossipError> {
    let refuse = |e: std::io::Error| {
        let hint = match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                ": another process has it; give each instance a port of its own"
            }
            std::io::ErrorKind::AddrNotAvailable => {
                ": no interface of this machine has it; `bind` one of ours, and `advertise` the other"
            }
            _ => "",
        };
        GossipError::new(
            GossipErrorKind::Address,
            format!("{bind} cannot be bound ({e}){hint}"),
        )
    };
    let socket = UdpSocket::bind(bind).map_err(refuse)?;
    socket.set_nonblocking(true).map_err(refuse)?;
    // The kernel gives what it has; with less, more is lost while we are busy.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER);
    Ok(socket)
}

fn address(
    socket: &UdpSocket,
    bind: SocketAddr,
    advertise: Option<SocketAddr>,
) -> Result<SocketAddr, GossipError> {
    let refuse = |why: String| Err(GossipError::new(GossipErrorKind::Address, why));
    if let Some(advertise) = advertise {
        return match is_reachable(advertise) {
            true => Ok(plain(advertise)),
            false => refuse(format!(
                "nobody can reach {advertise}: `advertise` an address and a port of this instance"
            )),
        };
    }
    match socket.local_addr() {
        Ok(own) if is_reachable(own) => Ok(plain(own)),
        Ok(_) => refuse(format!(
            "{bind} is every address of this machine: `advertise` the one that the others reach"
        )),
        Err(e) => refuse(format!("the socket has no address: {e}")),
    }
}

fn check_secrecy(
    keyring: &Option<Keyring>,
    plaintext: bool,
    on_network: bool,
    bind: SocketAddr,
    address: SocketAddr,
) -> Result<(), GossipError> {
    let refuse = |why: &str| Err(GossipError::new(GossipErrorKind::Key, why));
    match (keyring, plaintext) {
        (None, false) => refuse(
            "there is no key: give a `keyring`, which `fluster gossip keygen` makes, or say `insecure_plaintext()`",
        ),
        (Some(_), true) => {
            refuse("there are keys, and plaintext is asked for: leave one of the two out")
        }
        (None, true) if !(on_network || bind.ip().is_loopback() && address.ip().is_loopback()) => {
            refuse(
                "plaintext on a network lets anybody take all keys over: give a `keyring`, or say \
             `insecure_plaintext_on_network()`",
            )
        }
        _ => Ok(()),
    }
}

impl fmt::Debug for GossipBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GossipBuilder")
            .field("cluster", &self.cluster)
            .field("bind", &self.bind)
            .field("advertise", &self.advertise)
            .field("ring_id", &self.ring_id)
            .field("keyring", &self.keyring)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}
