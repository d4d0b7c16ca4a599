//! A real Consul agent as a source.

use std::ffi::OsString;

use fluster::discovery::{self, Consul, Discovery, DiscoveryErrorKind};
#[cfg(feature = "discovery-filter")]
use fluster::discovery::{Filter, Filtered};

use super::registry::{Registry, nodes_follow_the_registry_and_survive_it};
use crate::support::{Daemon, PortClaim, Server, eventually_some, http, need};
use crate::workload::SOON;

/// An agent in development mode: alone, in memory, empty after a restart.
struct Agent {
    daemon: Daemon,
    ports: [PortClaim; 2],
}

impl Agent {
    /// `None` where there is no Consul to start.
    fn start() -> Option<Self> {
        Self::start_with("")
    }

    fn start_with(config: &str) -> Option<Self> {
        let program = need("consul")?;
        let ports: [PortClaim; 2] = std::array::from_fn(|_| PortClaim::new());
        let [api, server] = [0, 1].map(|n: usize| ports[n].port());
        // Gossip needs the UDP port, too, which a claim holds: nobody in this process gets it again.
        let serf = PortClaim::new().port();
        let daemon = Daemon::start(
            program,
            |_| {
                let api_flag = if config.contains("https") {
                    "-1".into()
                } else {
                    api.to_string()
                };
                let dns_flag = match config.contains("dns") {
                    true => "",
                    false => "-dns-port -1 ",
                };
                let text = format!(
                    "agent -dev -node vm -bind 127.0.0.1 -client 127.0.0.1 -log-level err -http-port {api_flag} \
                     {dns_flag}-grpc-port -1 -server-port {server} -serf-lan-port {serf} -serf-wan-port -1"
                );
                let mut args: Vec<OsString> = text.split(' ').map(Into::into).collect();
                if !config.is_empty() {
                    args.extend([
                        "-hcl".into(),
                        config.replace("{api}", &api.to_string()).into(),
                    ]);
                }
                args
            },
            move || has_leader(api),
        );
        Some(Self { daemon, ports })
    }

    fn port(&self) -> u16 {
        self.ports[0].port()
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    fn put(&self, path: &str, body: &str) {
        let (status, said) = http(self.port(), "PUT", path, body).expect("the agent answers");
        assert_eq!(status, 200, "{path}: {said}");
    }

    fn register_service(&self, json: &str) {
        self.put("/v1/agent/service/register", json);
    }
}

/// Whether it answers, and has a leader; one with TLS only refuses in its own way.
fn has_leader(port: u16) -> bool {
    let answer = http(port, "GET", "/v1/catalog/services", "");
    answer.is_ok_and(|(status, _)| matches!(status, 200 | 400))
}

impl Registry for Agent {
    fn source(&self) -> Box<dyn Discovery> {
        Box::new(Consul::new(self.url(), "cache").unwrap())
    }

    fn register(&self, id: &str, server: &Server) {
        let port = server.port();
        self.register_service(&format!(
            r#"{{"ID": "{id}", "Name": "cache", "Address": "127.0.0.1", "Port": {port}}}"#
        ));
    }

    fn deregister(&self, id: &str) {
        self.put(&format!("/v1/agent/service/deregister/{id}"), "");
    }

    fn kill(&self) {
        self.daemon.kill();
    }

    fn restart(&self) {
        let port = self.port();
        self.daemon.restart(move || has_leader(port));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_follow_an_agent_and_survive_its_death() {
    let Some(agent) = Agent::start() else { return };
    nodes_follow_the_registry_and_survive_it("consul", &agent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_tags_weights_and_addresses_are_read_from_both_lists() {
    let Some(agent) = Agent::start() else { return };
    agent.register_service(
        r#"{"ID": "r1", "Name": "redis", "Tags": ["v1", "shard-a"], "Address": "10.0.0.1", "Port": 6379,
            "Meta": {"zone": "west"}, "Weights": {"Passing": 10, "Warning": 3}, "Check": {"CheckID": "c1", "TTL": "60s", "Status": "passing"}}"#,
    );
    agent.register_service(
        r#"{"ID": "r2", "Name": "redis", "Tags": ["v2"], "Port": 6380, "Check": {"CheckID": "c2", "TTL": "60s", "Status": "critical"}}"#,
    );
    let of = |service: &str| Consul::new(agent.url(), service).unwrap();
    let list = async |source: Consul| {
        let mut source = source;
        let found = source.next().await.unwrap();
        let each = found.endpoints().iter();
        each.map(|e| (e.id.clone(), e.address(), e.weight))
            .collect::<Vec<_>>()
    };
    let r1 = ("vm/r1".to_owned(), "10.0.0.1:6379".to_owned(), 10);
    let r2 = ("vm/r2".to_owned(), "127.0.0.1:6380".to_owned(), 1);
    // The agent tells its servers a moment later.
    eventually_some(SOON, async || {
        (list(of("redis").any_health()).await.len() == 2).then_some(())
    })
    .await;
    assert_eq!(
        list(of("redis")).await,
        std::slice::from_ref(&r1),
        "only those that pass"
    );
    assert_eq!(
        list(of("redis").any_health()).await,
        [r1.clone(), r2.clone()],
        "its node's address"
    );
    assert_eq!(list(of("redis").catalog()).await, [r1.clone(), r2.clone()]);
    assert_eq!(list(of("redis").catalog().tag("v2")).await, [r2]);
    assert_eq!(
        list(of("redis").tag("v1").tag("shard-a")).await,
        std::slice::from_ref(&r1)
    );
    assert_eq!(list(of("redis").tag("v1").tag("v2")).await, [], "both");
    assert_eq!(
        list(of("redis").near("_agent").datacenter("dc1")).await,
        std::slice::from_ref(&r1)
    );
    let elsewhere = of("redis").datacenter("no such").next().await.unwrap_err();
    assert_eq!(
        elsewhere.kind(),
        DiscoveryErrorKind::Unavailable,
        "{elsewhere}"
    );
    assert_eq!(list(of("b c?d#e%2F")).await, [], "an odd name is a name");
    agent.put("/v1/agent/check/warn/c1", "");
    eventually_some(SOON, async || {
        let found = list(of("redis").any_health()).await;
        (found[0].2 == 3).then_some(())
    })
    .await;
    let found = of("redis").catalog().next().await.unwrap();
    let e = &found.endpoints()[0];
    assert_eq!(
        (e.service.as_deref(), &*e.meta["zone"]),
        (Some("redis"), "west")
    );
    assert_eq!(e.tags, ["v1", "shard-a"]);
    // All services, as proxenos reads them.
    let mut all = Consul::all_services(agent.url()).unwrap().catalog();
    let found = all.next().await.unwrap();
    let names: Vec<_> = found
        .endpoints()
        .iter()
        .filter_map(|e| e.service.clone())
        .collect();
    assert_eq!(names, ["consul", "redis", "redis"]);
    #[cfg(feature = "discovery-filter")]
    {
        let filter = Filter::new().name("red").unwrap().tag("v1|shard").unwrap();
        let found = Filtered::new(all, filter).next().await.unwrap();
        assert_eq!(found.endpoints()[0].address(), "10.0.0.1:6379");
        assert_eq!(found.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_missing_is_said_to_be() {
    let acl = r#"acl { enabled = true default_policy = "deny" tokens { master = "11111111-2222-3333-4444-555555555555" } }"#;
    let Some(agent) = Agent::start_with(acl) else {
        return;
    };
    let token = "11111111-2222-3333-4444-555555555555";
    let source = || Consul::all_services(agent.url()).unwrap().catalog();
    eventually_some(SOON, async || {
        let found = source().token(token).unwrap().next().await.ok()?;
        (!found.is_empty()).then_some(())
    })
    .await;
    let mut wrong = source()
        .token("22222222-2222-3333-4444-555555555555")
        .unwrap();
    let error = discovery::once(&mut wrong, SOON).await.unwrap_err();
    assert_eq!(error.kind(), DiscoveryErrorKind::Denied, "{error}");
    let shown = format!("{error} {error:?} {wrong:?}");
    assert!(!shown.contains("22222222-"), "{shown}");
    // Consul hides what may not be seen: to nobody the catalogue is empty.
    let error = discovery::once(&mut source(), SOON).await.unwrap_err();
    assert_eq!(error.kind(), DiscoveryErrorKind::NotFound, "{error}");
}

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_with_tls_only_says_so_and_is_read_over_tls() {
    use crate::support::TlsPki;
    let pki = TlsPki::new();
    let config = format!(
        "ports {{ https = {{api}} }} ca_file = {:?} cert_file = {:?} key_file = {:?} verify_incoming = false",
        pki.ca(),
        pki.server_cert(),
        pki.server_key(),
    );
    let Some(agent) = Agent::start_with(&config) else {
        return;
    };
    let error = discovery::once(&mut Consul::new(agent.url(), "consul").unwrap(), SOON)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("write https://") && text.contains("consul:consul at http://127.0.0.1:"),
        "{text}"
    );
    let secure = agent.url().replace("http", "https");
    let tls = fluster::Tls::new().ca_file(pki.ca());
    let mut source = Consul::new(&secure, "consul").unwrap().tls(&tls).unwrap();
    let found = eventually_some(SOON, async || {
        source.next().await.ok().filter(|s| !s.is_empty())
    })
    .await;
    assert_eq!(found.len(), 1);
    // An authority that has not signed it.
    let tls = fluster::Tls::new().ca_file(TlsPki::new().ca());
    let mut source = Consul::new(&secure, "consul").unwrap().tls(&tls).unwrap();
    let error = discovery::once(&mut source, SOON).await.unwrap_err();
    assert!(error.to_string().contains("no TLS: "), "{error}");
    assert_eq!(error.kind(), DiscoveryErrorKind::Unreachable);
}

/// Consul lists three servers at random where an answer has the size of old DNS, and says nothing of the
/// others.
#[cfg(all(feature = "discovery-srv", target_os = "linux"))]
#[test]
fn its_srv_records_are_the_whole_list() {
    use crate::support::{Dns, in_a_network, test_name};
    use fluster::discovery::Srv;

    let name = test_name!("its_srv_records_are_the_whole_list");
    in_a_network(name, async |net| {
        let machine = Dns::start(&net);
        let config = r#"ports { dns = 53 } addresses { dns = "127.0.0.2" }"#;
        let Some(agent) = Agent::start_with(config) else {
            return;
        };
        for n in 0..120 {
            agent.register_service(&format!(
                r#"{{"ID": "cache-{n}", "Name": "cache", "Address": "10.0.0.{n}", "Port": {}}}"#,
                7000 + n
            ));
        }
        machine.resolv_conf("nameserver 127.0.0.2\n");
        let named = Srv::new("cache.service.consul.").unwrap();
        let named = named.name_server(([127, 0, 0, 2], 53).into());
        // The machine's own way has other settings.
        for mut source in [named, Srv::new("cache.service.consul.").unwrap()] {
            for _ in 0..3 {
                let found = discovery::once(&mut source, SOON).await.unwrap();
                assert_eq!(found.len(), 120, "{found:?}");
            }
        }
    });
}
