//! Multi-key commands that can be cut into one call per node and put together again.

/// How a command is cut and how its answers are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scatter {
    /// One value per key, in the order of the keys (`MGET`); `tail` words behind the keys go with every
    /// part (the path of `JSON.MGET`).
    Values { tail: usize },
    /// Keys and values in turn; `OK` (`MSET`). Not atomic over several nodes.
    Pairs,
    /// A number of keys; the numbers are added (`DEL`, `EXISTS`, ...).
    Count,
}

impl Scatter {
    /// How the command of this name is cut; `None` when it is one piece.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            "MGET" => Some(Self::Values { tail: 0 }),
            "JSON.MGET" => Some(Self::Values { tail: 1 }),
            "MSET" => Some(Self::Pairs),
            "DEL" | "UNLINK" | "EXISTS" | "TOUCH" => Some(Self::Count),
            _ => None,
        }
    }

    /// Whether a call of so many words, its name included, falls into whole parts.
    pub(crate) fn cuts(self, words: usize) -> bool {
        words
            .checked_sub(1 + self.tail())
            .is_some_and(|rest| rest > 0 && rest.is_multiple_of(self.stride()))
    }

    /// How many words stand for one key: itself, and its value.
    pub(crate) fn stride(self) -> usize {
        match self {
            Self::Pairs => 2,
            Self::Values { .. } | Self::Count => 1,
        }
    }

    /// How many words stand behind the last key.
    pub(crate) fn tail(self) -> usize {
        match self {
            Self::Values { tail } => tail,
            Self::Pairs | Self::Count => 0,
        }
    }
}

/// Whether `SORT` reads keys that its call does not name: a pattern of `BY` or `GET` with a `*`.
///
/// Such keys live on whatever node they live, so the answer of one node would be wrong without a word.
pub(crate) fn sorts_by_other_keys<'a>(mut args: impl Iterator<Item = &'a [u8]>) -> bool {
    let name = args.next().unwrap_or_default();
    if !name.eq_ignore_ascii_case(b"SORT") && !name.eq_ignore_ascii_case(b"SORT_RO") {
        return false;
    }
    args.next();
    while let Some(arg) = args.next() {
        let is = |word: &str| arg.eq_ignore_ascii_case(word.as_bytes());
        if is("LIMIT") {
            args.nth(1);
        } else if is("STORE") {
            args.next();
        } else if (is("BY") || is("GET")) && args.next().is_some_and(|p| p.contains(&b'*')) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sort_by_other_keys_is_told_from_one_that_stays_at_home() {
        for (line, elsewhere) in [
            ("SORT k", false),
            ("SORT k BY nosort GET #", false),
            ("sort k by w_*", true),
            ("SORT k GET # GET o_*->f", true),
            ("SORT k LIMIT BY GET_* STORE d_*", false),
            ("SORT_RO k BY w_*", true),
            ("GET BY", false),
        ] {
            assert_eq!(
                sorts_by_other_keys(line.split(' ').map(str::as_bytes)),
                elsewhere,
                "{line}"
            );
        }
    }
}
