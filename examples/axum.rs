//! A web service: a rate limit, a page as JSON that is costly to make and cached, a worker, metrics, an orderly end.
//!
//! ```text
//! REDIS_URLS=redis://10.0.0.1,redis://10.0.0.2 cargo run --features serde --example axum
//! curl -i http://127.0.0.1:8080/pages/home -H 'x-user: ann'
//! curl -i http://127.0.0.1:8080/mails -d 'ann@example.org'
//! curl http://127.0.0.1:8080/metrics
//! ```

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use fluster::FlusterCluster;
use fluster::cache::JsonCache;
use fluster::queue::{Consumer, Queue};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

const REQUESTS_A_MINUTE: u64 = 20;
const FIVE_MINUTES: Duration = Duration::from_secs(300);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Page {
    title: String,
    rendered_ms: u128,
}

#[derive(Clone)]
struct App {
    cluster: FlusterCluster,
    pages: JsonCache<Page>,
    mails: Queue,
    metrics: PrometheusHandle,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Before the cluster, whose metrics would go nowhere otherwise.
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let urls = std::env::var("REDIS_URLS").unwrap_or("redis://127.0.0.1:6379".into());
    let cluster = FlusterCluster::from_urls(urls.split(','))?;
    let copies = urls.split(',').count().min(2);
    let app = App {
        pages: cluster.cache("page:").replicas(copies).json()?,
        mails: cluster.queue("mails"),
        cluster: cluster.clone(),
        metrics,
    };

    // The first requests find connections; a server that is dead is no reason not to start.
    for (node, e) in app.cluster.warm_up().await.failed {
        eprintln!("starting without {node}: {e}");
    }
    let (stop, stopping) = watch::channel(false);
    let consumer = app.mails.consumer("senders", "sender-1")?;
    let worker = tokio::spawn(work(consumer, stopping.clone()));
    let limited = middleware::from_fn_with_state(app.clone(), limit);
    let router = Router::new()
        .route("/pages/{title}", get(page))
        .route("/mails", post(mail))
        .route_layer(limited)
        .route(
            "/metrics",
            get(|State(app): State<App>| async move { app.metrics.render() }),
        )
        .route("/ready", get(ready))
        .with_state(app);

    let address = std::env::var("LISTEN").unwrap_or("127.0.0.1:8080".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, router)
        .with_graceful_shutdown(end())
        .await?;

    // Requests are done. The worker ends with its job, gives back what it had fetched, and then Redis may go.
    stop.send(true)?;
    worker.await?;
    cluster.shutdown(Duration::from_secs(2)).await;
    println!("all done");
    Ok(())
}

/// Ctrl-C, or what a supervisor sends.
async fn end() {
    let mut term = signal(SignalKind::terminate()).expect("signals can be had");
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// Lets a user make so many requests a minute.
async fn limit(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let user = request.headers().get("x-user");
    let user = user.map_or(&b"anonymous"[..], |user| user.as_bytes());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let minute = now.unwrap_or_default().as_secs() / 60;
    let key = [b"rate:", user, b":", minute.to_string().as_bytes()].concat();
    let count: redis::RedisResult<(u64,)> = redis::pipe()
        .atomic()
        .incr(&key, 1)
        .expire(&key, 60)
        .ignore()
        .query_async(&mut app.cluster.clone())
        .await;
    match count {
        Ok((count,)) if count > REQUESTS_A_MINUTE => Err(StatusCode::TOO_MANY_REQUESTS),
        // Without an answer of Redis nobody is sent away.
        Ok(_) | Err(_) => Ok(next.run(request).await),
    }
}

/// Rendered once for all who ask at the same time, and kept on two servers.
async fn page(State(app): State<App>, Path(title): Path<String>) -> Result<Json<Page>, StatusCode> {
    let page = app
        .pages
        .get_or_compute(&title, FIVE_MINUTES, || render(&title));
    page.await
        .map(Json)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn render(title: &str) -> Result<Page, std::io::Error> {
    tokio::time::sleep(Duration::from_millis(200)).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(Page {
        title: title.to_owned(),
        rendered_ms: now.unwrap_or_default().as_millis(),
    })
}

/// Accepted when a server has it.
async fn mail(State(app): State<App>, body: String) -> StatusCode {
    match app.mails.push(body).await {
        Ok(_) => StatusCode::ACCEPTED,
        Err(e) => {
            eprintln!("not queued: {e}");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

async fn work(consumer: Consumer, mut stopping: watch::Receiver<bool>) {
    loop {
        let job = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            job = consumer.pop(Duration::from_secs(5)) => job,
        };
        match job {
            Ok(Some(job)) => {
                println!("mail to {}", String::from_utf8_lossy(job.payload()));
                if let Err(e) = job.ack().await {
                    eprintln!("it will come again: {e}");
                }
            }
            Ok(None) => {}
            Err(e) => {
                eprintln!("{e}; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    consumer.close().await;
}

/// Whether a load balancer may send requests: while any server can be used.
async fn ready(State(app): State<App>) -> StatusCode {
    match app.cluster.is_ready() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}
