//! A small service that keeps several Redis servers busy through fluster, and shows Prometheus how that goes:
//! keys read and written, pages cached on two servers each, jobs over a queue.
//!
//! `REDIS_URLS=redis://10.0.0.1,redis://10.0.0.2 cargo run --release --manifest-path docker/app/Cargo.toml`
//!
//! Every setting is an environment variable, see `settings.rs`. SIGTERM and SIGINT end it in order. With the
//! argument `check` it asks the one that runs whether it lives: the health check of a container without curl.

mod export;
mod jobs;
mod pages;
mod settings;
mod traffic;
mod weights;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use fluster::FlusterCluster;
use fluster::gossip::{Gossip, Keyring};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

/// How long calls under way may take when the service ends; Docker waits for 10 s before it kills.
const GRACE: Duration = Duration::from_secs(3);

/// What runs until it is told to stop.
type Tasks = JoinSet<Result<(), Box<dyn Error + Send + Sync>>>;

#[tokio::main]
async fn main() -> ExitCode {
    let settings = match Settings::read(|name| std::env::var_os(name)) {
        Ok(settings) => settings,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(2);
        }
    };
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => serve(settings).await,
        ["check"] => export::check(settings.listen).await,
        _ => {
            eprintln!(
                "error: the only argument is `check`; all settings are environment variables"
            );
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: Settings) -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    // First of all: what is made before there is a recorder stays silent for ever.
    let exporter = export::install(settings.listen)?;
    let cluster = FlusterCluster::builder()
        .urls(&settings.redis_urls)
        .build()?;
    // One instance, which is alone until others are given its key and its address; for its metrics.
    let _instance = Gossip::builder("demo")
        .keyring(Keyring::generate())
        .start()
        .await?;
    let nodes = settings.redis_urls.len();
    let (mut ends, stop) = (signals()?, CancellationToken::new());

    let mut tasks = Tasks::new();
    traffic::start(&mut tasks, &cluster, &settings, &stop);
    pages::start(&mut tasks, &cluster, &settings, &stop)?;
    jobs::start(&mut tasks, &cluster, &settings, &stop)?;
    weights::start(&mut tasks, &cluster, &settings, &stop);
    tracing::info!(nodes, listen = %settings.listen, "started");

    let result = tokio::select! {
        signal = ends.recv() => {
            tracing::info!(signal = signal.unwrap_or("none"), "ending");
            Ok(())
        }
        () = exporter => Err("the HTTP listener of the metrics ended".into()),
        // None of them ends before it is told to.
        Some(ended) = tasks.join_next() => Err(match ended {
            Ok(Ok(())) => "a task ended early".into(),
            Ok(Err(e)) => e.to_string().into(),
            Err(e) => format!("a task failed: {e}").into(),
        }),
    };
    stop.cancel();
    let all_ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all_ended).await.is_err() {
        tracing::warn!(
            left = tasks.len(),
            "tasks that did not end in time are dropped"
        );
        tasks.shutdown().await;
    }
    cluster.shutdown(GRACE).await;
    result
}

/// The names of the signals that end the service, as they come.
fn signals() -> std::io::Result<tokio::sync::mpsc::Receiver<&'static str>> {
    // Both are caught from here on, also while nobody waits for them.
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let (tell, told) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        // Nobody listens any more when the service ends by itself.
        let _ = tell.send(name).await;
    });
    Ok(told)
}
