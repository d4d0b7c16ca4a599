//! Leases that begin anew: a command of the server's own, which needs no script.

use redis::Cmd;

use super::{Seat, ids};
use crate::client::Client;
use crate::connection::reply::parse;
use crate::error::Error;
use crate::queue::message::{EntryId, Place};
use crate::queue::scripts::settle;

/// Claims once more what is this consumer's already.
pub(crate) struct Claim<'a> {
    pub(crate) seat: Seat<'a>,
    pub(crate) places: &'a [Place],
    /// Notes that their work begins, so that it counts if their worker dies of it.
    pub(crate) begins: bool,
}

impl Claim<'_> {
    /// Those that are still in the stream, as far as the server says.
    pub(crate) async fn run(
        &self,
        client: &Client,
        deadline: std::time::Instant,
    ) -> Result<Vec<EntryId>, Error> {
        let value = settle(client, &self.command(), deadline).await?;
        let held: Vec<Vec<u8>> = parse(value, client.node())?;
        Ok(held.iter().filter_map(|id| EntryId::parse(id)).collect())
    }

    fn command(&self) -> Cmd {
        let mut cmd = redis::cmd("XCLAIM");
        cmd.arg(self.seat.stream());
        cmd.arg(self.seat.group).arg(self.seat.consumer);
        cmd.arg(0);
        ids(&mut cmd, self.places);
        if self.begins {
            // The server keeps a count per lease, which is 1 for what was read and otherwise not touched.
            cmd.arg("RETRYCOUNT").arg(2);
        }
        cmd.arg("JUSTID");
        cmd
    }
}
