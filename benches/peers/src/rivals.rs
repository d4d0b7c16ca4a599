//! The clients that are compared, each set up as its documentation shows it.
//!
//! All but fluster and the proxy know one server each: the task that uses them picks the node, as a
//! hand-sharded application does. Pools have 16 connections per node.

use std::future::Future;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fluster::{FlusterCluster, Node};
use fred::prelude::{Builder, ClientLike as _, Config, KeysInterface as _, ReconnectPolicy};
use fred::types::RespVersion;
use redis::aio::{
    ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection,
};
use redis::{AsyncConnectionConfig, IntoConnectionInfo as _, RedisConnectionInfo};

use crate::support::PortClaim;

/// Connections per node of everything that has exclusive ones.
pub const POOL: usize = 16;

/// The length of the value, `None` for no value.
pub type Got = Result<Option<usize>, String>;

/// A client as a task holds it.
pub trait Kv: Clone + Send + Sync + 'static {
    fn get(&self, key: &str) -> impl Future<Output = Got> + Send;
    fn set(&self, key: &str, value: &[u8]) -> impl Future<Output = Result<(), String>> + Send;
}

/// How long anything may take; `None`: the library's defaults.
pub type Limit = Option<Duration>;

async fn get_over(connection: &mut (impl ConnectionLike + Send), key: &str) -> Got {
    let value: Option<Vec<u8>> = redis::cmd("GET")
        .arg(key)
        .query_async(connection)
        .await
        .map_err(|e| e.to_string())?;
    Ok(value.map(|value| value.len()))
}

async fn set_over(
    connection: &mut (impl ConnectionLike + Send),
    key: &str,
    value: &[u8],
) -> Result<(), String> {
    let set = redis::cmd("SET")
        .arg(key)
        .arg(value)
        .query_async(connection)
        .await;
    set.map_err(|e| e.to_string())
}

async fn within<T>(
    limit: Limit,
    call: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    match limit {
        None => call.await,
        Some(limit) => tokio::time::timeout(limit, call)
            .await
            .unwrap_or_else(|_| Err("timed out".into())),
    }
}

/// One of something per node, and the rule of those who shard by hand: a hash modulo the number.
#[derive(Debug)]
pub struct Sharded<T>(Arc<[T]>);

impl<T> Clone for Sharded<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Sharded<T> {
    fn of(&self, key: &str) -> &T {
        let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // FNV's low bits are weak.
        &self.0[((hash >> 32) % self.0.len() as u64) as usize]
    }
}

/// One for each URL.
pub async fn each<T, F: Future<Output = T>>(
    urls: &[String],
    make: impl Fn(String) -> F,
) -> Sharded<T> {
    let mut all = Vec::new();
    for url in urls {
        all.push(make(url.clone()).await);
    }
    Sharded(all.into())
}

/// fluster's `run`.
#[derive(Clone)]
pub struct Run(pub FlusterCluster);

impl Kv for Run {
    async fn get(&self, key: &str) -> Got {
        let value: Option<Vec<u8>> = self
            .0
            .run(redis::cmd("GET").arg(key))
            .await
            .map_err(|e| e.to_string())?;
        Ok(value.map(|value| value.len()))
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        let set = self.0.run(redis::cmd("SET").arg(key).arg(value)).await;
        set.map_err(|e| e.to_string())
    }
}

/// fluster's `get_client`, and one try again.
#[derive(Clone)]
pub struct GetClient(pub FlusterCluster);

impl Kv for GetClient {
    async fn get(&self, key: &str) -> Got {
        let mut client = self.0.get_client(key).map_err(|e| e.to_string())?;
        match get_over(&mut client, key).await {
            Ok(value) => Ok(value),
            Err(_) => {
                let mut client = self.0.get_client(key).map_err(|e| e.to_string())?;
                get_over(&mut client, key).await
            }
        }
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        let mut client = self.0.get_client(key).map_err(|e| e.to_string())?;
        match set_over(&mut client, key, value).await {
            Ok(()) => Ok(()),
            Err(_) => {
                let mut client = self.0.get_client(key).map_err(|e| e.to_string())?;
                set_over(&mut client, key, value).await
            }
        }
    }
}

/// fluster's exclusive connections, one checkout per command.
#[derive(Clone)]
pub struct Dedicated(pub FlusterCluster);

impl Kv for Dedicated {
    async fn get(&self, key: &str) -> Got {
        let client = self.0.get_client(key).map_err(|e| e.to_string())?;
        let mut own = client.dedicated().await.map_err(|e| e.to_string())?;
        get_over(&mut own, key).await
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        let client = self.0.get_client(key).map_err(|e| e.to_string())?;
        let mut own = client.dedicated().await.map_err(|e| e.to_string())?;
        set_over(&mut own, key, value).await
    }
}

/// A cluster of these servers.
#[must_use]
pub fn cluster(urls: &[String], limit: Limit) -> FlusterCluster {
    let nodes = urls.iter().zip(["a", "b", "c"]);
    // Ports differ from run to run: with names of their own, the nodes own the same keys in each.
    let named = nodes.map(|(url, name)| Node::new(url).expect("a URL").name(name));
    let mut builder = FlusterCluster::builder();
    for node in named {
        builder = builder.node(node);
    }
    if let Some(limit) = limit {
        builder = builder.response_timeout(limit).connect_timeout(limit);
    }
    builder.build().expect("good URLs")
}

/// One `MultiplexedConnection` per node.
pub type Mux = Sharded<MultiplexedConnection>;

impl Kv for Mux {
    async fn get(&self, key: &str) -> Got {
        get_over(&mut self.of(key).clone(), key).await
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        set_over(&mut self.of(key).clone(), key, value).await
    }
}

pub async fn mux(urls: &[String], limit: Limit) -> Mux {
    let config = limit.map_or_else(AsyncConnectionConfig::new, |limit| {
        AsyncConnectionConfig::new()
            .set_response_timeout(Some(limit))
            .set_connection_timeout(Some(limit))
    });
    each(urls, |url| {
        let config = config.clone();
        async move {
            let client = redis::Client::open(url).expect("a URL");
            client
                .get_multiplexed_async_connection_with_config(&config)
                .await
                .expect("a server")
        }
    })
    .await
}

/// One `ConnectionManager` per node.
pub type Manager = Sharded<ConnectionManager>;

impl Kv for Manager {
    async fn get(&self, key: &str) -> Got {
        get_over(&mut self.of(key).clone(), key).await
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        set_over(&mut self.of(key).clone(), key, value).await
    }
}

pub async fn manager(urls: &[String], limit: Limit) -> Manager {
    let config = limit.map_or_else(ConnectionManagerConfig::new, |limit| {
        ConnectionManagerConfig::new()
            .set_response_timeout(Some(limit))
            .set_connection_timeout(Some(limit))
    });
    each(urls, |url| {
        let config = config.clone();
        async move {
            let client = redis::Client::open(url).expect("a URL");
            client
                .get_connection_manager_with_config(config)
                .await
                .expect("a server")
        }
    })
    .await
}

/// One pool of deadpool-redis per node.
#[derive(Clone)]
pub struct Deadpool(Sharded<deadpool_redis::Pool>, Limit);

impl Kv for Deadpool {
    async fn get(&self, key: &str) -> Got {
        within(self.1, async {
            let mut own = self.0.of(key).get().await.map_err(|e| e.to_string())?;
            get_over(&mut own, key).await
        })
        .await
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        within(self.1, async {
            let mut own = self.0.of(key).get().await.map_err(|e| e.to_string())?;
            set_over(&mut own, key, value).await
        })
        .await
    }
}

pub async fn deadpool(urls: &[String], limit: Limit) -> Deadpool {
    let pools = each(urls, |url| async move {
        let config = deadpool_redis::Config::from_url(url);
        let builder = config.builder().expect("a configuration").max_size(POOL);
        builder
            .runtime(deadpool_redis::Runtime::Tokio1)
            .build()
            .expect("a pool")
    });
    Deadpool(pools.await, limit)
}

/// One pool of bb8 per node.
#[derive(Clone)]
pub struct Bb8(
    Sharded<bb8_redis::bb8::Pool<bb8_redis::RedisConnectionManager>>,
    Limit,
);

impl Kv for Bb8 {
    async fn get(&self, key: &str) -> Got {
        within(self.1, async {
            let mut own = self.0.of(key).get().await.map_err(|e| e.to_string())?;
            get_over(&mut *own, key).await
        })
        .await
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        within(self.1, async {
            let mut own = self.0.of(key).get().await.map_err(|e| e.to_string())?;
            set_over(&mut *own, key, value).await
        })
        .await
    }
}

pub async fn bb8(urls: &[String], limit: Limit) -> Bb8 {
    let pools = each(urls, |url| async move {
        let manager = bb8_redis::RedisConnectionManager::new(url).expect("a URL");
        let mut builder = bb8_redis::bb8::Pool::builder().max_size(POOL as u32);
        if let Some(limit) = limit {
            builder = builder.connection_timeout(limit);
        }
        builder.build(manager).await.expect("a server")
    });
    Bb8(pools.await, limit)
}

/// One pool of fred per node.
pub type Fred = Sharded<fred::clients::Pool>;

impl Kv for Fred {
    async fn get(&self, key: &str) -> Got {
        let value: Option<Vec<u8>> = self.of(key).get(key).await.map_err(|e| e.to_string())?;
        Ok(value.map(|value| value.len()))
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        let set = self.of(key).set(key, value, None, None, false).await;
        set.map_err(|e| e.to_string())
    }
}

/// `size` connections per node, each shared by the tasks that it is given to in turn.
pub async fn fred(urls: &[String], limit: Limit, size: usize, is_resp3: bool) -> Fred {
    each(urls, |url| async move {
        let mut config = Config::from_url(&url).expect("a URL");
        if is_resp3 {
            config.version = RespVersion::RESP3;
        }
        let mut builder = Builder::from_config(config);
        builder.set_policy(ReconnectPolicy::new_exponential(0, 100, 30_000, 2));
        if let Some(limit) = limit {
            builder.with_performance_config(|config| config.default_command_timeout = limit);
            builder.with_connection_config(|config| {
                config.connection_timeout = limit;
                config.internal_command_timeout = limit;
            });
        }
        let pool = builder.build_pool(size).expect("a pool");
        pool.init().await.expect("a server");
        pool
    })
    .await
}

/// One `MultiplexedConnection` to a proxy, twemproxy, that shards.
#[derive(Clone)]
pub struct Twemproxy {
    connection: MultiplexedConnection,
    _process: Arc<Ended>,
}

/// A process that ends with its last user.
struct Ended {
    child: Child,
    _port: PortClaim,
}

impl Drop for Ended {
    fn drop(&mut self) {
        // That it is gone already is no error.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Kv for Twemproxy {
    async fn get(&self, key: &str) -> Got {
        get_over(&mut self.connection.clone(), key).await
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        set_over(&mut self.connection.clone(), key, value).await
    }
}

/// Whether the proxy is installed.
#[must_use]
pub fn has_twemproxy() -> bool {
    Command::new("nutcracker")
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// With a limit the proxy also ejects; without, as without in its own defaults, it does not.
pub async fn twemproxy(urls: &[String], limit: Limit) -> Twemproxy {
    let port = PortClaim::new();
    let eject = limit.map_or(String::new(), |limit| {
        format!(
            "  timeout: {}\n  auto_eject_hosts: true\n  server_failure_limit: 1\n  server_retry_timeout: 1000\n",
            limit.as_millis()
        )
    });
    let servers: String = urls
        .iter()
        .zip(["a", "b", "c"])
        .map(|(url, name)| format!("   - {}:1 {name}\n", url.trim_start_matches("redis://")))
        .collect();
    let text = format!(
        "bench:\n  listen: 127.0.0.1:{}\n  redis: true\n  hash: fnv1a_64\n  distribution: ketama\n  preconnect: true\n{eject}  servers:\n{servers}",
        port.port()
    );
    let file = std::env::temp_dir().join(format!("fluster-bench-{}.yml", port.port()));
    std::fs::write(&file, text).expect("a file for the proxy");
    // Statistics listen on a port too; 22222 for everybody unless told otherwise.
    let stats = PortClaim::new();
    let child = Command::new("nutcracker")
        .arg("-c")
        .arg(&file)
        .args(["-s", &stats.port().to_string(), "-a", "127.0.0.1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start the proxy");
    let process = Arc::new(Ended { child, _port: port });
    let info = format!("redis://127.0.0.1:{}", process._port.port())
        .into_connection_info()
        .expect("a URL")
        // It hangs up on commands that it does not know, such as this one's.
        .set_redis_settings(RedisConnectionInfo::default().set_skip_set_lib_name());
    let client = redis::Client::open(info).expect("a URL");
    let mut tries = 0;
    let connection = loop {
        match client.get_multiplexed_async_connection().await {
            Ok(connection) => break connection,
            Err(e) if tries > 100 => panic!("the proxy does not start: {e}"),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    drop(std::fs::remove_file(&file));
    Twemproxy {
        connection,
        _process: process,
    }
}
