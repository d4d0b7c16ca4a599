//! Telling the first delivery of a message from its copies.

use std::time::Duration;

use crate::error::Error;
use crate::queue::message::MessageId;
use crate::queue::schedule::millis;
use crate::queue::{Queue, refused};

const LONGEST: Duration = Duration::from_secs(366 * 86_400);

impl Queue {
    /// Whether `id` is asked for the first time in `memory` (up to a year): `SET NX PX` on the node that the cluster
    /// places it on.
    ///
    /// For consumers that must not do a job twice. Whoever gets `true` and dies before the job is done has used the
    /// only `true`: do the work first and ask where its result is committed, or [`forget_id`](Self::forget_id) the id when
    /// the job fails. While the node of the id is out its stand-in is asked, which knows nothing of what was before.
    ///
    /// # Errors
    ///
    /// Those of [`run`](crate::FlusterCluster::run); [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for no time, or a
    /// longer one.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn run(jobs: fluster::queue::Queue, job: fluster::queue::Delivery) -> Result<(), fluster::Error> {
    /// if jobs.is_first(job.id(), Duration::from_secs(86_400)).await? {
    ///     // This job, and no copy of it.
    /// }
    /// job.ack().await?;
    /// # Ok(()) }
    /// ```
    pub async fn is_first(&self, id: MessageId, memory: Duration) -> Result<bool, Error> {
        self.usable()?;
        let memory = millis("memory", memory, LONGEST).map_err(refused)?;
        if memory == 0 {
            return Err(refused(
                "nothing can be remembered for no time: use at least 1 ms",
            ));
        }
        let mut cmd = redis::cmd("SET");
        cmd.arg(self.keys().seen(id))
            .arg(1)
            .arg("NX")
            .arg("PX")
            .arg(memory);
        let set: Option<String> = self.cluster.run(&cmd).await?;
        Ok(set.is_some())
    }

    /// Forgets that [`is_first`](Self::is_first) was asked for `id`. [Example](crate::guide::by_example#a-worker).
    ///
    /// # Errors
    ///
    /// Those of [`run`](crate::FlusterCluster::run).
    pub async fn forget_id(&self, id: MessageId) -> Result<(), Error> {
        let mut cmd = redis::cmd("DEL");
        cmd.arg(self.keys().seen(id));
        self.cluster.run(&cmd).await
    }
}
