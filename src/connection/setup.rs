//! The set-up of a connection: one pipeline, whose steps are told apart when one is refused.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::try_join;
use redis::{Pipeline, ServerError, Value};

use super::dial::DialError;
use super::fault::LinkError;
use super::link::send;
use super::proof::{Proof, Unproven};
use super::queue::Purpose;
use super::request::Request;
use super::step::{Progress, SetupStep};
use super::wire::Wire;
use crate::clock;

/// Who we are, and what the connection is to be like.
#[derive(Clone)]
pub(super) struct Greeting {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) db: i64,
    pub(super) resp3: bool,
    /// What `CLIENT LIST` calls us; empty for nothing.
    pub(super) name: Arc<str>,
}

/// A step that the server may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// `HELLO 3`, with the credentials.
    Hello,
    Auth,
    Select,
}

/// Why a set-up failed.
#[derive(Debug)]
pub(super) enum SetupFault {
    Lost(LinkError),
    Refused(Part, ServerError),
    /// `AUTH` was answered, but not with `OK`.
    NoAuth(String),
    Unproven(Unproven),
    /// The task that drives the connection could not be started.
    NotDriven(DialError),
}

impl Greeting {
    /// Its steps that must be taken, in the order of their replies; what comes after them is best effort.
    fn steps(&self) -> (Pipeline, Vec<Part>) {
        let (mut steps, mut parts) = (Pipeline::new(), Vec::new());
        if self.resp3 {
            steps.cmd("HELLO").arg("3");
            if let Some(password) = &self.password {
                let user = self.user.as_deref().unwrap_or("default");
                steps.arg("AUTH").arg(user).arg(password);
            }
            parts.push(Part::Hello);
        } else if let Some(password) = &self.password {
            steps.cmd("AUTH");
            if let Some(user) = &self.user {
                steps.arg(user);
            }
            steps.arg(password);
            parts.push(Part::Auth);
        }
        if self.db != 0 {
            steps.cmd("SELECT").arg(self.db);
            parts.push(Part::Select);
        }
        (steps, parts)
    }

    /// Sets the connection up, and asks for a proof in the same breath. `drive` starts what drives it, once all is
    /// ready to be written.
    ///
    /// `true` when it is news that nothing can be proved here.
    ///
    /// # Cancellation
    ///
    /// What was driven has to be ended by who started it.
    pub(super) async fn give(
        mut self,
        wire: &Wire,
        proof: &Proof,
        progress: &Progress,
        drive: impl FnOnce() -> Result<(), DialError>,
    ) -> Result<bool, SetupFault> {
        let first = {
            let mut both = pin!(self.once(wire, proof, progress));
            // Both are put into the queue before anything drives it: they leave in one piece.
            let begun = poll_fn(|cx| Poll::Ready(both.as_mut().poll(cx))).await;
            drive().map_err(SetupFault::NotDriven)?;
            match begun {
                Poll::Ready(result) => result,
                Poll::Pending => both.await,
            }
        };
        match first {
            // A server from before there were users.
            Err(SetupFault::Refused(Part::Auth, e)) if self.user.is_some() && is_too_many(&e) => {
                self.user = None;
                self.once(wire, proof, progress).await
            }
            result => result,
        }
    }

    async fn once(
        &self,
        wire: &Wire,
        proof: &Proof,
        progress: &Progress,
    ) -> Result<bool, SetupFault> {
        progress.at(SetupStep::LogIn);
        let (mut steps, parts) = self.steps();
        let told = proof.forbidden().tell(&self.name, &mut steps);
        let login = async {
            let request = Request::Many(&steps);
            let sent = send(wire, clock::now(), request, None, Purpose::User);
            let replies = sent.await.map_err(SetupFault::Lost)?.into_values();
            let mut replies = replies.into_iter();
            for (part, reply) in parts.iter().zip(replies.by_ref()) {
                check(*part, reply)?;
            }
            proof.forbidden().note(&told, replies);
            progress.at(SetupStep::Proof);
            Ok(())
        };
        let proven = async {
            let asked = proof.ask(wire, self.password.is_some()).await;
            asked.map_err(SetupFault::Unproven)
        };
        let ((), is_news) = try_join(login, proven).await?;
        Ok(is_news)
    }
}

fn check(part: Part, reply: Value) -> Result<(), SetupFault> {
    match (part, reply) {
        (part, Value::ServerError(e)) => Err(SetupFault::Refused(part, e)),
        (Part::Auth, Value::Okay) => Ok(()),
        (Part::Auth, other) => Err(SetupFault::NoAuth(format!("{other:?}"))),
        _ => Ok(()),
    }
}

/// Whether a server from before there were users says that a password alone is what `AUTH` takes.
fn is_too_many(e: &ServerError) -> bool {
    let words = e.details().unwrap_or_default();
    words.contains("wrong number of arguments for 'auth' command")
}
