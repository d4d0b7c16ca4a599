//! What a near cache is to be like.

use std::time::Duration;

/// How much of a cache this process keeps in its memory, and for how long; see [`near`](crate::cache::CacheBuilder::near).
///
/// ```
/// use std::time::Duration;
/// use fluster::cache::{Cache, Near};
///
/// # let cluster = fluster::FlusterCluster::from_urls(["redis://10.0.0.1", "redis://10.0.0.2"])?;
/// let near = Near::default().capacity(256 << 20).max_age(Duration::from_secs(300));
/// let pages: Cache<String> = cluster.cache("page:").near(near).raw()?;
/// # Ok::<(), fluster::BuildError>(())
/// ```
#[must_use = "hand it to `CacheBuilder::near`"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    pub(crate) capacity: u64,
    pub(crate) max_silence: Duration,
    pub(crate) max_age: Duration,
    pub(crate) negative: bool,
}

impl Default for Near {
    fn default() -> Self {
        Self {
            capacity: 64 << 20,
            max_silence: Duration::from_secs(1),
            max_age: Duration::from_secs(60),
            negative: false,
        }
    }
}

const LEAST_CAPACITY: u64 = 64 << 10;
const SILENCE: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(60)];
const OLDEST: Duration = Duration::from_secs(86_400);

impl Near {
    /// The most that is kept, in bytes: keys, values, and 100 bytes for each of them. Default: 64 MiB; at least 64 KiB.
    /// [Example](crate::guide::by_example#a-near-cache).
    ///
    /// A value that is larger than a sixteenth of it is not kept.
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = bytes;
        self
    }

    /// For how long values are served after a server last proved that it had told of all changes. Default: 1 s; 50 ms to
    /// 60 s. [Example](crate::guide::by_example#a-near-cache).
    ///
    /// It bounds how old an answer can be when a connection breaks and nobody notices, or this process stands still.
    pub fn max_silence(mut self, silence: Duration) -> Self {
        self.max_silence = silence;
        self
    }

    /// For how long a value is kept, whatever its time to live. Default: 60 s; `max_silence` to one day.
    /// [Example](crate::guide::by_example#a-near-cache).
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Whether it is kept, too, that there is no value. Default: no. [Example](crate::guide::by_example#a-near-cache).
    pub fn negative(mut self, negative: bool) -> Self {
        self.negative = negative;
        self
    }

    /// What is wrong with it, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (least, most) = (SILENCE[0], SILENCE[1]);
        if self.capacity < LEAST_CAPACITY {
            Err(format!(
                "a capacity of {} bytes keeps nothing: use at least {LEAST_CAPACITY}",
                self.capacity
            ))
        } else if !(least..=most).contains(&self.max_silence) {
            let is = self.max_silence;
            Err(format!(
                "a max_silence of {is:?}: use {least:?} to {most:?}"
            ))
        } else if !(self.max_silence..=OLDEST).contains(&self.max_age) {
            let (is, least) = (self.max_age, self.max_silence);
            Err(format!(
                "a max_age of {is:?}: use max_silence, which is {least:?}, to one day"
            ))
        } else {
            Ok(())
        }
    }

    /// In microseconds.
    pub(crate) fn silence(&self) -> u64 {
        micros(self.max_silence)
    }

    /// In microseconds.
    pub(crate) fn age(&self) -> u64 {
        micros(self.max_age)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_is_taken_and_what_cannot_is_named() {
        let near = Near::default;
        let ms = Duration::from_millis;
        for good in [
            near(),
            near().capacity(64 << 10),
            near().max_silence(ms(50)).max_age(ms(50)),
            near().max_silence(ms(60_000)).max_age(ms(86_400_000)),
        ] {
            assert_eq!(good.check(), Ok(()), "{good:?}");
        }
        for (bad, what) in [
            (near().capacity((64 << 10) - 1), "capacity"),
            (near().max_silence(ms(49)), "max_silence"),
            (near().max_silence(ms(60_001)), "max_silence"),
            (near().max_age(ms(999)), "max_age"),
            (near().max_age(ms(86_400_001)), "max_age"),
        ] {
            let why = bad.check().expect_err("it cannot be");
            assert!(why.contains(what), "{bad:?}: {why}");
        }
    }
}
