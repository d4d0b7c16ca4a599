//! A list that is known from the start.

use std::time::Duration;

use super::{Discovery, Endpoint, NextSnapshot, Snapshot};
use crate::build_error::BuildError;
use crate::node::Node;

/// The list is confirmed this often, so that its age says that it is in force.
const AGAIN: Duration = Duration::from_secs(10);

/// A list of endpoints that never changes: for tests, and where one setting chooses the source.
///
/// ```
/// use fluster::discovery::Static;
///
/// let source = Static::from_urls(["redis://10.0.0.1", "redis://10.0.0.2"])?;
/// # Ok::<(), fluster::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Static {
    snapshot: Snapshot,
    asked: bool,
}

impl Static {
    /// The list. [Example](crate::guide::by_example#sources).
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        Self {
            snapshot: endpoints.into_iter().collect(),
            asked: false,
        }
    }

    /// The list, as URLs of nodes. [Example](crate::guide::by_example#sources).
    ///
    /// # Errors
    ///
    /// [`BuildError::Url`] for the first that is none.
    pub fn from_urls<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> Result<Self, BuildError> {
        let nodes = urls.into_iter().map(Node::new);
        let endpoints = nodes.map(|node| node.map(Endpoint::from));
        Ok(Self::new(endpoints.collect::<Result<Vec<_>, _>>()?))
    }
}

impl Discovery for Static {
    fn source(&self) -> String {
        "static".into()
    }

    fn next(&mut self) -> NextSnapshot<'_> {
        Box::pin(async {
            if self.asked {
                tokio::time::sleep(AGAIN).await;
            }
            self.asked = true;
            Ok(self.snapshot.clone())
        })
    }

    fn refresh(&mut self) {
        self.asked = false;
    }
}
