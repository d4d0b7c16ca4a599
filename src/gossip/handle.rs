//! The handle of an instance.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
#[cfg(feature = "admin")]
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::builder::GossipBuilder;
use super::endpoints::MemberEndpoints;
use super::error::{GossipError, GossipErrorKind};
use super::events::GossipEvents;
use super::heal::HealReport;
use super::identity::Id;
use super::leave::LeaveReport;
use super::record::{Phase, Record};
use super::shared::Shared;
use super::status::GossipStatus;
use super::view::{Member, MemberState, MemberView};
use crate::discovery::Endpoint;
use crate::sealed::Keyring;
use crate::tasks::{NO_RUNTIME, Tasks};

/// How long [`heal_now`](Gossip::heal_now) waits in all.
const HEALED: Duration = Duration::from_secs(60);

/// This instance among the others. It is cheap to clone, and all methods take `&self`.
///
/// It ends with its last handle, which looks like a crash to the others; [`leave`](Self::leave) says good-bye.
#[derive(Clone)]
pub struct Gossip {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    tasks: Arc<Tasks>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody waits for them: they hold nothing but a socket.
        drop(self.tasks.close());
    }
}

/// A handle that does not keep the instance alive.
#[cfg(feature = "admin")]
#[derive(Clone)]
pub(crate) struct WeakGossip(Weak<Inner>);

#[cfg(feature = "admin")]
impl WeakGossip {
    pub(crate) fn upgrade(&self) -> Option<Gossip> {
        let inner = self.0.upgrade()?;
        Some(Gossip { inner })
    }
}

impl Gossip {
    #[cfg(feature = "admin")]
    pub(crate) fn downgrade(&self) -> WeakGossip {
        WeakGossip(Arc::downgrade(&self.inner))
    }

    /// An instance of the cluster of this name, which keeps others from mixing in: 1 to 64 bytes. [Example](crate::guide::by_example#an-instance).
    pub fn builder(cluster: impl Into<String>) -> GossipBuilder {
        GossipBuilder::new(cluster.into())
    }

    pub(crate) fn new(shared: Arc<Shared>, tasks: Tasks) -> Self {
        let tasks = Arc::new(tasks);
        shared.can_leave_by(&tasks);
        Self {
            inner: Arc::new(Inner { shared, tasks }),
        }
    }

    pub(super) fn shared_arc(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    /// This instance, as the others see it. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn whoami(&self) -> Arc<Member> {
        Arc::clone(self.shared().view.load().me())
    }

    /// Everybody, at this moment. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn view(&self) -> Arc<MemberView> {
        self.shared().view.load_full()
    }

    /// Everybody, whenever that changes. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<MemberView>> {
        self.shared().changes.subscribe()
    }

    /// The owner of a key: the first candidate among those who are there and ready. `None` while nobody is. [Example](crate::guide::by_example#asking-an-instance).
    ///
    /// Some tens of nanoseconds, without a lock. For a few seconds after a change two instances may see two owners.
    #[inline]
    #[must_use]
    pub fn lookup(&self, key: impl AsRef<[u8]>) -> Option<Arc<Member>> {
        self.shared().view.load().lookup(key)
    }

    /// The first `n` candidates of a key, all different, the owner first. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn lookup_n(&self, key: impl AsRef<[u8]>, n: usize) -> Vec<Arc<Member>> {
        self.shared().view.load().lookup_n(key, n)
    }

    /// Whether this instance owns the key. [Example](crate::guide::by_example#asking-an-instance).
    #[inline]
    #[must_use]
    pub fn owns(&self, key: impl AsRef<[u8]>) -> bool {
        self.shared().view.load().owns(key)
    }

    /// The reachable members that `keep` says yes to, by ring id. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn members(&self, keep: impl Fn(&Member) -> bool) -> Vec<Arc<Member>> {
        let view = self.shared().view.load();
        let reachable = view.members().iter().filter(|member| member.is_reachable());
        reachable.filter(|member| keep(member)).cloned().collect()
    }

    /// Sets a label that the others see within a second. [Example](crate::guide::by_example#asking-an-instance).
    ///
    /// # Errors
    ///
    /// [`GossipErrorKind::Label`] when it is too long, is one too many, or cannot be seen; [`GossipErrorKind::Left`].
    pub fn set_label(&self, key: &str, value: &str) -> Result<(), GossipError> {
        self.say(|record| drop(record.labels.insert(key.into(), value.into())))
    }

    /// Takes a label away; whether there was one. [Example](crate::guide::by_example#asking-an-instance).
    pub fn remove_label(&self, key: &str) -> bool {
        let had = self.shared().wishes.lock().said.labels.contains_key(key);
        had && self.say(|record| drop(record.labels.remove(key))).is_ok()
    }

    /// Owns no keys from now on, and goes on to answer; or owns them again. Without effect once leaving has begun. [Example](crate::guide::by_example#asking-an-instance).
    pub fn set_draining(&self, on: bool) {
        self.shared().wish(|wishes| wishes.drain(on));
    }

    /// The share of the keys relative to the others, 1 to 256. [Example](crate::guide::by_example#asking-an-instance).
    ///
    /// # Errors
    ///
    /// [`GossipErrorKind::Option`] above 256, or where the placement rule has no weights, or not so large ones;
    /// [`GossipErrorKind::Left`].
    pub fn set_weight(&self, weight: NonZeroU16) -> Result<(), GossipError> {
        self.say(|record| record.weight = weight.get())
    }

    fn say(&self, change: impl FnOnce(&mut Record)) -> Result<(), GossipError> {
        if self.shared().is_leaving() {
            return Err(GossipError::left());
        }
        self.shared().wish(|wishes| {
            let mut record = wishes.said.clone();
            change(&mut record);
            record.check().map_err(GossipError::of_record)?;
            let rule = &self.shared().rule;
            let address = self.shared().view.load().me().address;
            let node = rule.named(&record.ring_id, address, record.weight);
            rule.check(&node).map_err(GossipError::of_rule)?;
            (wishes.said, wishes.is_new) = (record, true);
            Ok(())
        })
    }

    /// Seals with other keys from now on. In a plaintext cluster it seals from now on, and the others do not hear it
    /// until they do. [Example](crate::guide::by_example#asking-an-instance).
    pub fn set_keyring(&self, keyring: Keyring) {
        #[cfg(feature = "forward")]
        self.shared().keyring.store(Some(Arc::new(keyring.clone())));
        self.shared().wish(|wishes| wishes.keyring = Some(keyring));
    }

    #[cfg(feature = "forward")]
    pub(crate) fn current_keyring(&self) -> Option<Keyring> {
        self.shared().keyring.load().as_deref().cloned()
    }

    #[cfg(feature = "forward")]
    pub(crate) fn cluster_name(&self) -> &str {
        &self.shared().cluster
    }

    /// Says that a member refuses connections, as the kernel tells when its process is gone. It is suspected at once, and
    /// down when it does not object in time. Not for time-outs, which may be ours. [Example](crate::guide::by_example#asking-an-instance).
    pub fn doubt(&self, member: &Member) {
        if !member.is_me {
            let id = Id::new(member.address, member.generation);
            self.shared().wish(|wishes| wishes.doubt(id));
        }
    }

    /// Forgets a member that is down or has left, here and at all others. Without it, that happens after a day. [Example](crate::guide::by_example#asking-an-instance).
    ///
    /// # Errors
    ///
    /// [`GossipErrorKind::Option`] when nobody there is known to be down; [`GossipErrorKind::Left`].
    pub fn forget(&self, address: SocketAddr) -> Result<(), GossipError> {
        if self.shared().is_leaving() {
            return Err(GossipError::left());
        }
        let view = self.shared().view.load();
        if view.at(address).is_none_or(|member| member.is_reachable()) {
            let why = format!("nobody at {address} is known to be down");
            return Err(GossipError::new(GossipErrorKind::Option, why));
        }
        self.shared().wish(|wishes| wishes.forget(address));
        Ok(())
    }

    /// Knocks now wherever somebody may be who was lost: the source's addresses, and members that are down. It gives up
    /// after ten that do not answer within a second. Who leaves does not knock: that report is empty. [Example](crate::guide::by_example#asking-an-instance).
    ///
    /// # Cancellation
    ///
    /// Safe: the knocking goes on.
    pub async fn heal_now(&self) -> HealReport {
        let tasks = &self.inner.tasks;
        if self.shared().is_leaving() || !tasks.has_runtime() {
            return HealReport::default();
        }
        let (done, report) = oneshot::channel();
        self.shared().wish(|wishes| wishes.heals.push(done));
        // A timer is made where there is a runtime, which the caller need not be in.
        let limit = async { tokio::time::timeout(HEALED, report).await };
        let report = tasks.enter(limit).await;
        report.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Waits until this instance and so many in all are ready. [Example](crate::guide::by_example#an-instance).
    ///
    /// # Errors
    ///
    /// [`GossipErrorKind::Timeout`]; [`GossipErrorKind::Left`] as soon as leaving begins; [`GossipErrorKind::NoRuntime`]
    /// when the instance's has ended.
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub async fn wait_ready(&self, members: usize, limit: Duration) -> Result<(), GossipError> {
        let mut changes = self.changes();
        let goes = |view: &Arc<MemberView>| {
            let me = view.me();
            me.phase == Phase::Leaving || me.state == MemberState::Left
        };
        let is_ready =
            |view: &Arc<MemberView>| view.me().is_ready() && view.ring().len() >= members;
        let wait = async {
            let view = changes.wait_for(|view| goes(view) || is_ready(view)).await;
            view.map(|view| goes(&view))
        };
        let tasks = &self.inner.tasks;
        if self.shared().is_leaving() {
            return Err(GossipError::left());
        }
        if !tasks.has_runtime() {
            return Err(GossipError::new(GossipErrorKind::NoRuntime, NO_RUNTIME));
        }
        match tasks
            .enter(async { tokio::time::timeout(limit, wait).await })
            .await
        {
            Ok(Ok(false)) => Ok(()),
            Ok(Ok(true) | Err(_)) => Err(GossipError::left()),
            Err(_) => {
                let ready = self.view().ring().len();
                let why = format!("{ready} of {members} instances are ready after {limit:?}");
                Err(GossipError::new(GossipErrorKind::Timeout, why))
            }
        }
    }

    /// Leaves: out of every ring first, then a good-bye, then a while for requests that are still under way to us. A
    /// second call waits for the first. Lookups go on to answer afterwards; changes are refused. [Example](crate::guide::by_example#asking-an-instance).
    ///
    /// # Cancellation
    ///
    /// Safe: the leaving goes on while there is a handle.
    pub async fn leave(&self) -> LeaveReport {
        let mut left = self.shared().left.subscribe();
        self.inner.shared.ask_to_leave();
        let report = left
            .wait_for(Option::is_some)
            .await
            .map(|report| report.clone());
        report.ok().flatten().unwrap_or_default()
    }

    /// What happens from now on. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn events(&self) -> GossipEvents {
        GossipEvents::new(self.shared().events.subscribe())
    }

    /// This instance and its numbers, for a page of the application's own. Numbers are those of the last second. [Example](crate::guide::by_example#asking-an-instance).
    #[must_use]
    pub fn status(&self) -> GossipStatus {
        GossipStatus::of(self.shared())
    }

    /// The reachable members as a source of endpoints, such as the Redis nodes that they announce by a label.
    ///
    /// ```no_run
    /// # fn run(gossip: &fluster::gossip::Gossip, cluster: &fluster::FlusterCluster) -> Result<(), fluster::BuildError> {
    /// use fluster::discovery::Endpoint;
    ///
    /// let nodes = gossip.endpoints(|member| {
    ///     let (host, port) = member.labels.get("redis")?.rsplit_once(':')?;
    ///     Some(Endpoint::new(host, port.parse().ok()?))
    /// });
    /// let _following = cluster.follow(nodes)?;
    /// # Ok(()) }
    /// ```
    pub fn endpoints(
        &self,
        of: impl Fn(&Member) -> Option<Endpoint> + Send + Sync + 'static,
    ) -> MemberEndpoints {
        MemberEndpoints::new(self.changes(), of)
    }
}

impl fmt::Debug for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gossip")
            .field("cluster", &self.shared().cluster)
            .field("view", &self.shared().view.load())
            .finish_non_exhaustive()
    }
}
