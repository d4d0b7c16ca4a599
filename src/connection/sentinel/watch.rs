//! Hearing of a switch when it happens: a connection to each sentinel that is subscribed to its news.
//!
//! The news itself is not followed, only taken as a reason to ask them all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::Value;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::Sentinels;
use super::answer::Refusal;
use crate::clock::{self, half_jitter, later};

/// What says that the master is, or may be, another one: the failover is over; its new master was promoted, which its
/// leader knows first; the operator gave the name to another master.
const NEWS: [&str; 4] = [
    "+switch-master",
    "+failover-state-reconf-slaves",
    "+monitor",
    "+reset-master",
];
/// A sentinel that has said nothing for this long is asked for a sign of life.
const QUIET: Duration = Duration::from_secs(2);
/// A line that ended is made again after this long at most, and after half of it at least.
const AGAIN: Duration = Duration::from_secs(1);
/// After this long the others have the news, too: they are asked once more.
const SPREAD: Duration = Duration::from_millis(300);

/// The task that listens; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Watching(AbortHandle);

impl Watching {
    pub(in crate::connection) fn new(task: AbortHandle) -> Self {
        Self(task)
    }

    /// Whether it has ended, with its runtime for one.
    pub(in crate::connection) fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Sentinels {
    /// Listens to all of them for ever; `doubt` is called when the master may be another one.
    pub(in crate::connection) async fn watch(self: Arc<Self>, doubt: impl Fn() + Send + Sync) {
        let all = (0..self.places.len()).map(|n| self.watch_one(n, &doubt));
        join_all(all).await;
    }

    async fn watch_one(&self, n: usize, doubt: &(impl Fn() + Send + Sync)) {
        let mut is_again = false;
        loop {
            let Err(refusal) = self.listen(n, doubt, is_again).await;
            self.refused(n, &refusal);
            is_again = true;
            sleep(half_jitter(AGAIN, fastrand::f64())).await;
        }
    }

    async fn listen(
        &self,
        n: usize,
        doubt: &(impl Fn() + Send + Sync),
        is_again: bool,
    ) -> Result<std::convert::Infallible, Refusal> {
        let limit = self.setting.limit;
        let subscribed = async {
            let mut line = self.line(n).await?;
            let mut words = vec!["SUBSCRIBE"];
            words.extend(NEWS);
            line.say(&words);
            line.flush().await?;
            for _ in NEWS {
                if let Value::ServerError(e) = line.hear().await? {
                    return Err(Refusal::error(&e));
                }
            }
            Ok(line)
        };
        let subscribed = timeout(limit, subscribed).await;
        let mut line = subscribed.map_err(|_| Refusal::silent(limit))??;
        self.answered(n);
        if is_again {
            // What was said meanwhile was missed.
            doubt();
        }
        let (mut asked, mut once_more) = (false, None::<Instant>);
        loop {
            let wait = match once_more {
                Some(at) => at.saturating_duration_since(clock::now()),
                None if asked => limit,
                None => QUIET,
            };
            match timeout(wait, line.hear()).await {
                Ok(said) => {
                    asked = false;
                    // Of a burst the first is told at once, and one for all the others.
                    if is_about(&said?, self.master()) && once_more.is_none() {
                        doubt();
                        once_more = Some(later(clock::now(), SPREAD));
                    }
                }
                Err(_) if once_more.take().is_some() => doubt(),
                Err(_) if asked => return Err(Refusal::silent(limit)),
                Err(_) => {
                    asked = true;
                    line.say(&["PING"]);
                    let said = timeout(limit, line.flush()).await;
                    said.map_err(|_| Refusal::silent(limit))??;
                }
            }
        }
    }
}

/// Whether the message has the master's name in it.
fn is_about(said: &Value, master: &str) -> bool {
    let Value::Array(parts) = said else {
        return false;
    };
    let [Value::BulkString(kind), _, Value::BulkString(words)] = &parts[..] else {
        return false;
    };
    kind == b"message"
        && words
            .split(|b| *b == b' ')
            .any(|word| word == master.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_another_master_is_none() {
        let said = |text: &str| {
            let text = format!(
                "*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n${}\r\n{text}\r\n",
                text.len()
            );
            redis::parse_redis_value(text.as_bytes()).expect("a message")
        };
        let is = |text: &str| is_about(&said(text), "mymaster");
        assert!(is("mymaster 10.0.0.1 6379 10.0.0.2 6379"));
        assert!(is("master mymaster 10.0.0.2 6379"));
        assert!(!is("mymaster2 10.0.0.1 6379 10.0.0.2 6379"));
        assert!(!is(""));
        assert!(!is_about(&Value::Okay, "mymaster"));
        assert!(!is_about(&Value::Array(vec![Value::Nil]), "mymaster"));
    }
}
