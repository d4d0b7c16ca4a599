//! The clients that are compared, each as its documentation shows it, with its defaults.

use std::future::Future;
use std::pin::Pin;

use redis::{AsyncCommands, RedisError};

use crate::scenarios::{KEY, Load, Scene};

pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;
pub type Making<'a> = Pin<Box<dyn Future<Output = Box<dyn Contestant>> + 'a>>;

/// A client as a task holds it.
pub trait Client: Send + Sync {
    /// One command of the load.
    fn call(&self, load: Load) -> Answer<'_>;
}

pub trait Contestant {
    fn client(&self) -> Box<dyn Client>;
}

impl<C: Client + Clone + 'static> Contestant for C {
    fn client(&self) -> Box<dyn Client> {
        Box::new(self.clone())
    }
}

async fn command(c: &mut impl redis::aio::ConnectionLike, load: Load) -> Result<(), RedisError> {
    if load == Load::Mistyped {
        // The application's own mistake; what follows must not suffer from it.
        drop(redis::cmd("GET").arg(KEY).query_async::<u64>(c).await);
    }
    match load {
        Load::Write => redis::cmd("SET").arg(KEY).arg("text").query_async(c).await,
        Load::Read | Load::Mistyped => redis::cmd("GET")
            .arg(KEY)
            .query_async::<Option<String>>(c)
            .await
            .map(drop),
    }
}

pub fn deadpool(scene: &Scene) -> Making<'_> {
    #[derive(Clone)]
    struct Deadpool(deadpool_redis::Pool);
    impl Client for Deadpool {
        fn call(&self, load: Load) -> Answer<'_> {
            Box::pin(async move {
                let mut connection = self.0.get().await.map_err(|e| e.to_string())?;
                command(&mut connection, load)
                    .await
                    .map_err(|e| e.to_string())
            })
        }
    }
    Box::pin(async move {
        let config = deadpool_redis::Config::from_url(scene.url());
        let pool = config
            .create_pool(Some(deadpool_redis::Runtime::Tokio1))
            .expect("a pool");
        Box::new(Deadpool(pool)) as Box<dyn Contestant>
    })
}

pub fn manager(scene: &Scene) -> Making<'_> {
    #[derive(Clone)]
    struct Manager(redis::aio::ConnectionManager);
    impl Client for Manager {
        fn call(&self, load: Load) -> Answer<'_> {
            let mut connection = self.0.clone();
            Box::pin(async move {
                command(&mut connection, load)
                    .await
                    .map_err(|e| e.to_string())
            })
        }
    }
    Box::pin(async move {
        let client = redis::Client::open(scene.url()).expect("a URL");
        let manager = client.get_connection_manager().await.expect("a manager");
        Box::new(Manager(manager)) as Box<dyn Contestant>
    })
}

pub fn fluster(scene: &Scene) -> Making<'_> {
    #[derive(Clone)]
    struct Fluster(fluster::FlusterCluster);
    impl Client for Fluster {
        fn call(&self, load: Load) -> Answer<'_> {
            let mut cluster = self.0.clone();
            Box::pin(async move { command(&mut cluster, load).await.map_err(|e| e.to_string()) })
        }
    }
    Box::pin(async move {
        // The node at fault is the owner of the key.
        let cluster = fluster::FlusterCluster::builder()
            .node(fluster::Node::new(scene.url()).expect("a URL").weight(64))
            .node(fluster::Node::new(scene.second.url()).expect("a URL"))
            .build()
            .expect("two good URLs");
        assert_eq!(
            cluster.get_node(KEY).expect("nodes").as_str(),
            scene.name(),
            "owner of {KEY}"
        );
        let mut warm = cluster.clone();
        let _: Option<String> = warm.get(KEY).await.expect("a live server");
        Box::new(Fluster(cluster)) as Box<dyn Contestant>
    })
}
