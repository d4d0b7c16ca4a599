//! Where user and password come from when they do not stand in the URL.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::node::NodeId;

/// A user and a password, as `AUTH` takes them.
///
/// `Debug` never shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    username: Option<String>,
    password: String,
}

impl Credentials {
    /// The password of the default user. [Example](crate::guide::by_example#building).
    #[must_use]
    pub fn password(password: impl Into<String>) -> Self {
        Self {
            username: None,
            password: password.into(),
        }
    }

    /// The password of an ACL user. [Example](crate::guide::by_example#building).
    #[must_use]
    pub fn user(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            username: Some(username.into()),
            password: password.into(),
        }
    }

    pub(crate) fn into_parts(self) -> (Option<String>, String) {
        (self.username, self.password)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// What [`CredentialsProvider::credentials`] returns.
pub type CredentialsFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Credentials, Box<dyn Error + Send + Sync>>> + Send + 'a>>;

/// Supplies credentials at every dial, so that short-lived tokens and rotated passwords just work.
///
/// It is asked before each connection is set up, probes included, and once more at once when the
/// server refuses what it gave; its time counts towards the connect time-out. What it returns takes
/// the place of the URL's user and password.
///
/// ```
/// use fluster::{Credentials, CredentialsFuture, CredentialsProvider, NodeId};
///
/// struct FromEnvironment;
///
/// impl CredentialsProvider for FromEnvironment {
///     fn credentials<'a>(&'a self, _node: &'a NodeId) -> CredentialsFuture<'a> {
///         Box::pin(async { Ok(Credentials::password(std::env::var("REDIS_PASSWORD")?)) })
///     }
/// }
/// ```
pub trait CredentialsProvider: Send + Sync + 'static {
    /// The credentials for a new connection to `node`.
    fn credentials<'a>(&'a self, node: &'a NodeId) -> CredentialsFuture<'a>;
}
