//! How much is taken from a server that may be none, or out of its mind.

/// Redis's own limit of a string; a server may be set higher.
const BULK: usize = 512 << 20;

/// The most that is read for one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecodeLimits {
    /// Aggregates inside one another. Default: 128.
    pub(crate) nesting: usize,
    /// The bytes of one line, which is all there is of statuses, errors and numbers. Default: 64 KiB.
    pub(crate) line: usize,
    /// The bytes of one string. Default: 512 MiB.
    pub(crate) bulk: usize,
    /// The bytes of one frame on the wire, and of its values, without what is in their strings, in memory.
    /// Default: 1 GiB.
    pub(crate) reply: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            nesting: 128,
            line: 64 << 10,
            bulk: BULK,
            reply: 1 << 30,
        }
    }
}

impl DecodeLimits {
    /// A set-up is answered with some lines, and so is a probe.
    pub(crate) fn of_setup() -> Self {
        Self::default().reply(64 << 10)
    }

    /// Another limit for a frame as a whole; who raises it means strings, too.
    pub(crate) fn reply(self, most: u64) -> Self {
        let reply = usize::try_from(most).unwrap_or(usize::MAX);
        let bulk = match reply > self.reply {
            true => reply,
            false => self.bulk.min(reply),
        };
        Self {
            bulk,
            reply,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_limit_of_replies_is_one_of_strings() {
        let limits = DecodeLimits::default();
        assert_eq!(limits.reply(1 << 30), limits, "the default");
        assert_eq!(limits.reply(2 << 30).bulk, 2 << 30);
        assert_eq!(limits.reply(600 << 20).bulk, BULK);
        assert_eq!(limits.reply(64 << 10).bulk, 64 << 10);
    }
}
