//! What is known of one command, and how it is found by name.

/// What a command does to the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only reads.
    Read,
    /// It writes, and twice is the same as once.
    Repeatable,
    /// It writes.
    Write,
    /// The server does not say: scripts, administration, connection.
    Other,
}

/// Where some of a command's keys are. Positions count from the command's name, which is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// From position `first` to `last` (relative to it, or to the end when negative), every `step`-th.
    At { first: u8, last: i8, step: u8 },
    /// The number of keys stands at this position, the keys behind it.
    Counted { count: u8 },
    /// Behind a word, which is looked for from a position on (from the end, when negative); the last
    /// key is that one, or the end; with a limit of n the keys are the first n-th of the rest.
    After {
        word: &'static str,
        from: i8,
        last: i8,
        limit: u8,
    },
}

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Upper case; with its subcommand, where it has one, after a space.
    pub(crate) name: &'static str,
    /// The number of words, name included; negative: at least so many.
    pub(crate) arity: i8,
    pub(crate) effect: Effect,
    pub(crate) keys: &'static [Where],
    /// Its only key is the word behind its name, whatever follows: true of most commands, and of nearly
    /// all that are sent.
    pub(crate) keyed_by_first: bool,
}

pub(super) const fn row(
    name: &'static str,
    arity: i8,
    effect: Effect,
    keys: &'static [Where],
) -> Spec {
    Spec {
        name,
        arity,
        effect,
        keys,
        keyed_by_first: matches!(
            keys,
            [Where::At {
                first: 1,
                last: 0,
                ..
            }]
        ) && !has_other_keys(name),
    }
}

/// Commands whose options name further keys.
const fn has_other_keys(name: &str) -> bool {
    matches!(
        name.as_bytes(),
        b"SORT" | b"SORT_RO" | b"GEORADIUS" | b"GEORADIUSBYMEMBER" | b"MIGRATE"
    )
}

pub(super) const fn at(first: u8, last: i8, step: u8) -> Where {
    Where::At { first, last, step }
}

pub(super) const fn counted(count: u8) -> Where {
    Where::Counted { count }
}

pub(super) const fn after(word: &'static str, from: i8, last: i8, limit: u8) -> Where {
    Where::After {
        word,
        from,
        last,
        limit,
    }
}

impl Spec {
    /// Whether a call of so many words, name included, can be right.
    pub(crate) fn accepts(&self, words: usize) -> bool {
        let words = i64::try_from(words).unwrap_or(i64::MAX);
        match i64::from(self.arity) {
            least if least < 0 => words >= -least,
            exact => words == exact,
        }
    }
}
