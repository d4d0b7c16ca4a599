//! How much may be read for one answer.

use std::io;

/// The set-up of a connection is answered with some lines, and so is a probe.
pub(crate) const MOST_OF_SETUP: u64 = 64 << 10;

/// What was read for one answer so far: for the set-up as a whole, for one call, for one pushed message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meal {
    /// Which answer it belongs to.
    of: u64,
    bytes: u64,
}

impl Meal {
    /// Adds what was read just now; `of` is another number for each answer.
    ///
    /// # Errors
    ///
    /// When it is more than `most` bytes for one answer.
    pub(super) fn add(&mut self, bytes: usize, of: u64, most: u64) -> io::Result<()> {
        if self.of != of {
            *self = Self { of, bytes: 0 };
        }
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes <= most {
            return Ok(());
        }
        let text = format!("the server sent more than {most} bytes for one answer");
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_the_limit_for_itself() {
        let mut meal = Meal::default();
        for of in 0..100 {
            assert!(meal.add(40, of, 100).is_ok());
            assert!(meal.add(60, of, 100).is_ok());
        }
        assert!(meal.add(1, 99, 100).is_err(), "of the same answer");
        assert!(meal.add(1, 100, 100).is_ok());
        assert!(meal.add(usize::MAX, 100, u64::MAX).is_ok());
        assert!(meal.add(usize::MAX, 100, u64::MAX - 1).is_err());
    }
}
