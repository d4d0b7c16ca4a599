//! What the environment says, or one line that says what is wrong with it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use fluster::FlusterCluster;

/// The settings, with their variables and defaults.
#[derive(Debug)]
pub struct Settings {
    /// `REDIS_URLS`: the servers, with commas between them. Must be set.
    pub redis_urls: Vec<String>,
    /// `LISTEN`: where Prometheus finds the metrics. Default: 127.0.0.1:9464.
    pub listen: SocketAddr,
    /// `TASKS`: how many tasks read and write keys at once. Default: 32.
    pub tasks: u32,
    /// `RATE`: reads and writes of all of them together, per second. Default: 500.
    pub rate: u32,
    /// `KEYS`: how many keys they read and write. Default: 10000.
    pub keys: u32,
    /// `PAGES_RATE`: pages asked for, per second. Default: 100.
    pub pages_rate: u32,
    /// `JOBS_RATE`: jobs pushed, per second. Default: 20.
    pub jobs_rate: u32,
    /// `REWEIGH_SECONDS`: how often the last server's weight goes from 1 to 2 or back, so that keys move.
    /// Default: 120; 0: never.
    pub reweigh: Option<Duration>,
}

/// Timers have a granularity of 1 ms.
const MOST_PER_TASK: u32 = 500;

impl Settings {
    /// Reads them through `lookup`, which is the environment.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used, by its name.
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, String> {
        let text = |name: &str| match lookup(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) if text.is_empty() => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(format!("{name} is not UTF-8")),
        };
        let number = |name: &str, default: u32, least: u32, most: u32| match text(name)? {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|n| (least..=most).contains(n))
                .ok_or_else(|| format!("{name}={text}: must be a number from {least} to {most}")),
        };
        let urls = text("REDIS_URLS")?.ok_or(
            "REDIS_URLS is not set: name the servers, as in redis://10.0.0.1,redis://10.0.0.2",
        )?;
        let listen = text("LISTEN")?.unwrap_or("127.0.0.1:9464".into());
        let settings = Self {
            redis_urls: urls.split(',').map(|url| url.trim().to_owned()).collect(),
            listen: listen.parse().map_err(|_| {
                format!("LISTEN={listen}: must be an address and a port, as in 0.0.0.0:9464")
            })?,
            tasks: number("TASKS", 32, 1, 10_000)?,
            rate: number("RATE", 500, 1, 1_000_000)?,
            keys: number("KEYS", 10_000, 1, 10_000_000)?,
            pages_rate: number("PAGES_RATE", 100, 1, MOST_PER_TASK)?,
            jobs_rate: number("JOBS_RATE", 20, 1, MOST_PER_TASK)?,
            reweigh: match number("REWEIGH_SECONDS", 120, 0, 86_400)? {
                0 => None,
                seconds => Some(Duration::from_secs(seconds.into())),
            },
        };
        // A cluster is made without any I/O: this one only says what is wrong with the list.
        FlusterCluster::from_urls(&settings.redis_urls).map_err(|e| format!("REDIS_URLS: {e}"))?;
        if settings.rate > settings.tasks.saturating_mul(MOST_PER_TASK) {
            return Err(format!(
                "RATE={}: {} tasks manage {MOST_PER_TASK} per second each; raise TASKS",
                settings.rate, settings.tasks
            ));
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(|name| {
            let (_, value) = set.iter().find(|(n, _)| *n == name)?;
            Some(value.into())
        })
    }

    #[test]
    fn servers_are_all_that_must_be_set() {
        let settings =
            read(&[("REDIS_URLS", "redis://a, redis://b"), ("RATE", "")]).expect("settings");
        assert_eq!(settings.redis_urls, ["redis://a", "redis://b"]);
        assert_eq!(settings.rate, 500, "an empty variable is none");
        assert_eq!(settings.reweigh, Some(Duration::from_secs(120)));
    }

    #[test]
    fn a_mistake_is_told_by_its_name() {
        assert!(read(&[]).expect_err("no servers").starts_with("REDIS_URLS"));
        for urls in ["http://a", "redis://a,", "redis://a,redis://a"] {
            let why = read(&[("REDIS_URLS", urls)]).expect_err(urls);
            assert!(why.starts_with("REDIS_URLS: "), "{why}");
        }
        let urls = ("REDIS_URLS", "redis://a");
        for (name, value) in [
            ("LISTEN", "9464"),
            ("TASKS", "0"),
            ("RATE", "many"),
            ("RATE", "-1"),
            ("RATE", "20000"),
            ("KEYS", "1.5"),
            ("PAGES_RATE", "1000"),
            ("JOBS_RATE", "0"),
            ("REWEIGH_SECONDS", "99999999999"),
        ] {
            let why = read(&[urls, (name, value)]).expect_err(value);
            assert!(why.starts_with(&format!("{name}={value}:")), "{why}");
        }
    }

    #[test]
    fn zero_seconds_never_move_keys() {
        let settings = read(&[("REDIS_URLS", "redis://a"), ("REWEIGH_SECONDS", "0")]);
        assert_eq!(settings.expect("settings").reweigh, None);
    }
}
