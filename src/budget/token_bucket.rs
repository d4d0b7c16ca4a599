//! The bucket behind every budget: what is earned goes in up to a limit, what is spent goes out.

/// Tokens, at most `burst` of them.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    tokens: f64,
    burst: f64,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn full(burst: f64) -> Self {
        Self {
            tokens: burst,
            burst,
        }
    }

    /// A bucket with `tokens` in it.
    pub(crate) fn with(tokens: f64, burst: f64) -> Self {
        Self { tokens, burst }
    }

    pub(crate) fn add(&mut self, tokens: f64) {
        self.tokens = (self.tokens + tokens).min(self.burst);
    }

    /// Takes one token; `false` when there is none.
    pub(crate) fn take(&mut self) -> bool {
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_burst_is_saved_and_no_part_of_a_token_is_lost() {
        let mut bucket = TokenBucket::full(2.0);
        bucket.add(100.0);
        assert_eq!((0..9).filter(|_| bucket.take()).count(), 2);
        let taken = (0..100).filter(|_| {
            bucket.add(0.25);
            bucket.take()
        });
        assert_eq!(taken.count(), 25);
    }
}
