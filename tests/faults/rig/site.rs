//! Where most scenarios with a proxy happen.

use fluster::FlusterCluster;

use super::Scene;
use crate::faults::proxy::Proxy;
use crate::support::{Server, fleet};

/// Three servers, the first of them behind a proxy.
pub struct Site {
    pub servers: [Server; 3],
    pub proxy: Proxy,
}

impl Site {
    pub fn new() -> Self {
        let servers = fleet();
        let proxy = Proxy::start(&servers[0]);
        Self { servers, proxy }
    }

    pub fn urls(&self) -> [String; 3] {
        let [_, b, c] = &self.servers;
        [self.proxy.url(), b.url(), c.url()]
    }

    pub async fn scene(&self, title: &'static str) -> Scene {
        Scene::begin(title, FlusterCluster::from_urls(self.urls()).unwrap()).await
    }
}
