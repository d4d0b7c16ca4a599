//! Clusters that follow a source of nodes: what they believe, when, and what never happens to them.

#[cfg(feature = "discovery-consul")]
mod consul;
#[cfg(feature = "discovery-consul")]
mod consul_ill;
#[cfg(target_os = "linux")]
mod descriptors;
#[cfg(target_os = "linux")]
mod dns;
#[cfg(feature = "discovery-etcd")]
mod etcd;
#[cfg(feature = "discovery-etcd")]
mod etcd_ill;
mod file;
mod follow;
mod hostile;
mod logs;
mod registry;
#[cfg(any(feature = "discovery-consul", feature = "discovery-etcd"))]
mod scripted;
#[cfg(feature = "discovery-srv")]
mod srv;
