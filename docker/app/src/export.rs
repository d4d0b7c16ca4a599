//! The metrics over HTTP, in Prometheus's text format.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use metrics::counter;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Upper bounds in seconds: close together where commands between a service and its Redis take their time, up to
/// the response time-out (0.5 s) and what a call with its repetitions may take. A quantile is as exact as the
/// bucket that it falls into is narrow.
const DURATIONS: [f64; 20] = [
    0.000_1, 0.000_2, 0.000_3, 0.000_5, 0.000_75, 0.001, 0.001_5, 0.002, 0.003, 0.005, 0.007_5,
    0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5,
];

/// Makes all metrics from now on go to Prometheus; the future serves them.
///
/// # Errors
///
/// The address cannot be listened on.
pub fn install(listen: SocketAddr) -> Result<impl Future<Output = ()>, Box<dyn Error>> {
    // Without buckets a histogram would be a summary, whose quantiles cannot be put together over nodes and processes.
    let duration = Matcher::Full("fluster_command_duration_seconds".into());
    let (recorder, exporter) = PrometheusBuilder::new()
        .set_buckets_for_metric(duration, &DURATIONS)?
        .with_http_listener(listen)
        .build()
        .map_err(|e| format!("LISTEN={listen}: {e}"))?;
    metrics::set_global_recorder(recorder)?;
    Ok(async move {
        if let Err(e) = exporter.await {
            tracing::error!("the metrics are served no longer: {e:?}");
        }
    })
}

/// Counts what the application saw of one operation, after all repetitions.
pub fn saw<T, E>(operation: &'static str, result: &Result<T, E>) {
    let result = if result.is_ok() { "ok" } else { "failed" };
    counter!("demo_operations_total", "operation" => operation, "result" => result).increment(1);
}

/// Both results of an operation, from the start: a rate needs to see the 0 before the 1.
pub fn announce(operation: &'static str) {
    for result in ["ok", "failed"] {
        counter!("demo_operations_total", "operation" => operation, "result" => result)
            .increment(0);
    }
}

/// Asks the service on this address for a sign of life.
///
/// # Errors
///
/// There is none within 2 s.
pub async fn check(mut listen: SocketAddr) -> Result<(), Box<dyn Error>> {
    if listen.ip().is_unspecified() {
        listen.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let ask = async {
        let mut stream = TcpStream::connect(listen).await?;
        let request =
            format!("GET /health HTTP/1.1\r\nHost: {listen}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        // An answer is a line; whatever talks for longer is not ours.
        stream.take(4096).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(2), ask)
        .await
        .map_err(|_| format!("no answer from {listen} within 2 s"))?
        .map_err(|e| format!("no answer from {listen}: {e}"))?;
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        let line = String::from_utf8_lossy(&answer);
        return Err(format!(
            "{listen} answered {:?}",
            line.lines().next().unwrap_or_default()
        )
        .into());
    }
    Ok(())
}
