//! What one connection per node costs, by what goes over it: `cargo run --release --bin wire [-- --rounds N]
//! [--slice-ms N] [--only tls,1MB] [--fresh]`.
//!
//! fluster, one redis-rs connection per node, picked by hand, and one of fred's (but for TLS and pipelines); plain for 1 to 1024 tasks, and then over TLS, in
//! RESP3, with values of 1 MB, pipelines of 10 000 commands, and on a runtime of one thread. Rounds, order and noise
//! are those of `throughput`.

use std::time::Duration;

use fluster::{FlusterCluster, Node, Tls};
use fluster_peers::counting::Counting;
use fluster_peers::load::{self, Contestant, Op, VALUE, quiet_slice};
use fluster_peers::results::Results;
use fluster_peers::rivals::{self, Got, Kv};
use fluster_peers::support::{Server, TlsPki, fleet, urls};
use fluster_peers::{machine, summary};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Client, TlsCertificates};
use serde_json::json;
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Field = Vec<(&'static str, Box<dyn Contestant>)>;

/// The bytes of a large value.
const LARGE: usize = 1_000_000;
/// How many of them there are.
const LARGES: usize = 30;
/// The commands of a long pipeline.
const LONG: usize = 10_000;

/// GET and SET of 1 MB, in the place of those of 64 B.
#[derive(Clone)]
struct Large<K>(K);

impl<K: Kv> Kv for Large<K> {
    async fn get(&self, key: &str) -> Got {
        let got = self.0.get(&large(key)).await?;
        assert_eq!(got, Some(LARGE), "the length of a large value");
        Ok(Some(VALUE.len()))
    }

    async fn set(&self, key: &str, _: &[u8]) -> Result<(), String> {
        static BYTES: [u8; LARGE] = [b'v'; LARGE];
        self.0.set(&large(key), &BYTES).await
    }
}

fn large(key: &str) -> String {
    let n = key.bytes().fold(0_usize, |n, b| n * 31 % 1009 + b as usize);
    format!("large:{}", n % LARGES)
}

/// A pipeline of 10 000 GETs, in the place of one.
#[derive(Clone)]
struct Pipelined<C>(C);

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Kv for Pipelined<C> {
    async fn get(&self, key: &str) -> Got {
        let mut pipe = redis::Pipeline::with_capacity(LONG);
        for _ in 0..LONG {
            pipe.get(key);
        }
        let values: Vec<Vec<u8>> = pipe
            .query_async(&mut self.0.clone())
            .await
            .map_err(|e| e.to_string())?;
        assert!(values.len() == LONG && values.iter().all(|v| v.len() == VALUE.len()));
        Ok(Some(VALUE.len()))
    }

    async fn set(&self, _: &str, _: &[u8]) -> Result<(), String> {
        Err("only GETs are pipelined here".into())
    }
}

/// What is measured: its name, on which runtime, which operation, for how many tasks, by whom.
struct Scene {
    name: &'static str,
    runtime: usize,
    op: Op,
    tasks: &'static [usize],
    field: Field,
}

fn three(cluster: &FlusterCluster, mux: &rivals::Mux, fred: Option<&rivals::Fred>) -> Field {
    let fred = fred.map(|fred| {
        (
            summary::FRED_ONE,
            Box::new(fred.clone()) as Box<dyn Contestant>,
        )
    });
    let mut field = vec![
        (
            summary::RUN,
            Box::new(rivals::Run(cluster.clone())) as Box<dyn Contestant>,
        ),
        (
            summary::GET_CLIENT,
            Box::new(rivals::GetClient(cluster.clone())),
        ),
        (summary::MUX, Box::new(mux.clone()) as Box<dyn Contestant>),
        (summary::MUX_AGAIN, Box::new(mux.clone())),
    ];
    field.extend(fred);
    field
}

fn of_large((cluster, mux, fred): &(FlusterCluster, rivals::Mux, rivals::Fred)) -> Field {
    vec![
        (
            summary::RUN,
            Box::new(Large(rivals::Run(cluster.clone()))) as Box<dyn Contestant>,
        ),
        (summary::MUX, Box::new(Large(mux.clone()))),
        (summary::MUX_AGAIN, Box::new(Large(mux.clone()))),
        (summary::FRED_ONE, Box::new(Large(fred.clone()))),
    ]
}

async fn plain(servers: &[Server]) -> (FlusterCluster, rivals::Mux, rivals::Fred) {
    let urls = urls(servers);
    (
        rivals::cluster(&urls, None),
        rivals::mux(&urls, None).await,
        rivals::fred(&urls, None, 1, false).await,
    )
}

async fn scenes(plain_servers: &[Server], tls_servers: &[Server], pki: &TlsPki) -> Vec<Scene> {
    let (cluster, mux, fred) = plain(plain_servers).await;
    let seconds = Some(Duration::from_secs(20));
    let urls_of = urls(plain_servers);
    let patient = (
        rivals::cluster(&urls_of, seconds),
        rivals::mux(&urls_of, seconds).await,
        rivals::fred(&urls_of, seconds, 1, false).await,
    );
    let resp3_fred = rivals::fred(&urls_of, None, 1, true).await;
    let resp3: Vec<String> = urls_of
        .iter()
        .map(|url| format!("{url}?protocol=resp3"))
        .collect();
    let resp3 = (
        rivals::cluster(&resp3, None),
        rivals::mux(&resp3, None).await,
    );
    let one = [urls_of[0].clone()];
    let one_connection = |url: String| async move {
        let client = Client::open(url).expect("a URL");
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(seconds);
        let made = client.get_multiplexed_async_connection_with_config(&config);
        made.await.expect("a server")
    };
    let pipelined: (FlusterCluster, MultiplexedConnection) = (
        rivals::cluster(&one, seconds),
        one_connection(one[0].clone()).await,
    );
    vec![
        Scene {
            name: "GET",
            runtime: 2,
            op: Op::Get,
            tasks: &[1, 4, 16, 64, 256, 1024],
            field: three(&cluster, &mux, Some(&fred)),
        },
        Scene {
            name: "GET, one thread",
            runtime: 1,
            op: Op::Get,
            tasks: &[1, 16, 64, 256],
            // Set up on that runtime, below.
            field: Vec::new(),
        },
        Scene {
            name: "GET, RESP3",
            runtime: 2,
            op: Op::Get,
            tasks: &[16, 256],
            field: three(&resp3.0, &resp3.1, Some(&resp3_fred)),
        },
        Scene {
            name: "GET, TLS",
            runtime: 2,
            op: Op::Get,
            tasks: &[1, 16, 64, 256],
            field: three(
                &encrypted(tls_servers, pki),
                &hand_sharded(tls_servers, pki).await,
                // Its own TLS is a feature, with a stack of its own, that nothing else here needs.
                None,
            ),
        },
        Scene {
            name: "GET of 1 MB",
            runtime: 2,
            op: Op::Get,
            tasks: &[1, 4],
            field: of_large(&patient),
        },
        Scene {
            name: "SET of 1 MB",
            runtime: 2,
            op: Op::Set,
            tasks: &[1, 4],
            field: of_large(&patient),
        },
        Scene {
            name: "pipeline of 10 000 GETs",
            runtime: 2,
            op: Op::Get,
            tasks: &[1, 4],
            field: vec![
                (summary::RUN, Box::new(Pipelined(pipelined.0.clone()))),
                (
                    summary::GET_CLIENT,
                    Box::new(Pipelined(pipelined.0.get_client("").expect("a node"))),
                ),
                (summary::MUX, Box::new(Pipelined(pipelined.1.clone()))),
                (summary::MUX_AGAIN, Box::new(Pipelined(pipelined.1))),
            ],
        },
    ]
}

fn encrypted(servers: &[Server], pki: &TlsPki) -> FlusterCluster {
    let mut builder = FlusterCluster::builder().tls(Tls::new().ca_file(pki.ca()));
    for (server, name) in servers.iter().zip(["a", "b", "c"]) {
        builder = builder.node(Node::new(server.url()).expect("a URL").name(name));
    }
    builder.build().expect("good URLs")
}

async fn hand_sharded(servers: &[Server], pki: &TlsPki) -> rivals::Mux {
    rivals::each(&urls(servers), |url| async move {
        let ca = std::fs::read(pki.ca()).expect("the authority's file");
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: Some(ca),
        };
        let client = Client::build_with_tls(url, certificates).expect("a URL");
        let made = client.get_multiplexed_async_connection();
        made.await.expect("a server")
    })
    .await
}

fn main() {
    let (mut rounds, mut length, mut fresh) = (11, Duration::from_millis(150), false);
    let mut only: Option<String> = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--rounds" => rounds = value().parse().expect("a number of rounds"),
            "--slice-ms" => length = Duration::from_millis(value().parse().expect("milliseconds")),
            "--only" => only = Some(value()),
            "--fresh" => fresh = true,
            other => panic!("{other}: see the first lines of benches/peers/src/wire.rs"),
        }
    }
    let servers: [Server; 3] = fleet();
    let pki = TlsPki::new();
    let over_tls: [Server; 3] = std::array::from_fn(|_| Server::builder().tls(&pki).start());
    let keys = load::keys_on(&servers);
    load::keys_on(&over_tls);
    let value = vec![b'v'; LARGE];
    for server in &servers {
        let mut raw = server.connect().expect("a connection");
        for n in 0..LARGES {
            let key = format!("large:{n}");
            raw.call([b"SET".as_slice(), key.as_bytes(), &value])
                .expect("SET");
        }
    }
    let both = load::runtime();
    let alone: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut scenes = both.block_on(scenes(&servers, &over_tls, &pki));
    for scene in scenes.iter_mut().filter(|scene| scene.runtime == 1) {
        let (cluster, mux, fred) = alone.block_on(plain(&servers));
        scene.field = three(&cluster, &mux, Some(&fred));
    }
    let about = json!({
        "what": "wire",
        "machine": machine::describe(),
        "server": machine::version_of("redis-server", "--version"),
        "slice_ms": length.as_millis() as u64,
        "packages": summary::versions(),
    });
    let mut results = Results::open("wire.jsonl", &about, fresh);
    for round in 0..rounds {
        for scene in &scenes {
            let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(&**only));
            if !wanted(scene.name) {
                continue;
            }
            let runtime = if scene.runtime == 1 { &alone } else { &both };
            for &tasks in scene.tasks {
                let mut order: Vec<_> = scene.field.iter().collect();
                fastrand::shuffle(&mut order);
                for (who, contestant) in order {
                    let cell =
                        json!({"round": round, "op": scene.name, "tasks": tasks, "who": who});
                    if results.has(&cell) {
                        continue;
                    }
                    let what = (scene.op, tasks);
                    let mut row = quiet_slice(runtime, &**contestant, what, &keys, length);
                    for (field, value) in cell.as_object().expect("fields") {
                        row[field] = value.clone();
                    }
                    results.push(row);
                }
            }
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    println!("{}", summary::wire(results.rows()));
    drop(scenes);
    alone.shutdown_timeout(Duration::from_secs(1));
    both.shutdown_timeout(Duration::from_secs(1));
}
