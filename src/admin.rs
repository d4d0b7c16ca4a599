//! What the running application knows, for a person with a browser and for `fluster status --of`.
//!
//! [`FlusterCluster::admin`](crate::FlusterCluster::admin) makes one page and three answers in JSON, without a framework: on a port of its own
//! ([`listen`](AdminBuilder::listen)), or as a service to mount in one's own
//! ([`service`](AdminBuilder::service)). It only shows, unless [`allow_actions`](AdminBuilder::allow_actions) is
//! written out. [The guide](crate::guide::admin) has the paths, the rules, and a runbook.
//!
//! ```no_run
//! # async fn run(cluster: fluster::FlusterCluster) -> Result<(), Box<dyn std::error::Error>> {
//! // For this machine: a browser at http://127.0.0.1:9800, or `fluster status --of http://127.0.0.1:9800`.
//! let admin = cluster.admin().listen("127.0.0.1:9800")?;
//! println!("see http://{}", admin.address());
//! # Ok(()) }
//! ```

mod access;
mod act;
mod answer;
mod ask;
mod builder;
mod depths;
mod error;
mod host;
mod inner;
mod knocks;
mod paced;
mod reader;
mod refusal;
mod report;
mod route;
mod serve;
mod service;
mod token;
mod told;

pub use self::answer::AdminBody;
pub use self::builder::{Admin, AdminBuilder};
pub use self::error::{AdminError, AdminErrorKind};
pub use self::service::{AdminFuture, AdminService};
