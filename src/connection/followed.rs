//! A request, and commands of ours behind it in the same breath.

use parking_lot::Mutex;
use redis::{Pipeline, Value};

use super::request::Request;

/// A caller's request, and what follows it on the same connection: both are taken back whole or not at all, and the call
/// has ended when all was answered. Whether anything was executed is judged by the caller's own commands alone.
#[derive(Debug)]
pub(crate) struct Followed<'a> {
    own: Request<'a>,
    behind: &'a Pipeline,
    /// Guards what was answered to the commands behind, to be taken by whoever sent them.
    said: Mutex<Option<Vec<Value>>>,
}

impl<'a> Followed<'a> {
    /// `behind` has commands, and is no transaction.
    pub(crate) fn new(own: Request<'a>, behind: &'a Pipeline) -> Self {
        debug_assert!(!behind.is_empty() && !behind.is_transaction(), "commands");
        Self {
            // Of two that follow each other, the first is the caller's.
            own: own.own(),
            behind,
            said: Mutex::new(None),
        }
    }

    pub(super) fn own(&self) -> Request<'a> {
        self.own
    }

    pub(super) fn behind(&self) -> &'a Pipeline {
        self.behind
    }

    pub(super) fn answered(&self, values: Vec<Value>) {
        *self.said.lock() = Some(values);
    }

    /// What was answered to the commands behind; `None` when they were not.
    pub(crate) fn said(self) -> Option<Vec<Value>> {
        self.said.into_inner()
    }
}
