//! How a command is found by its name.

use std::sync::LazyLock;

use super::name::{LONGEST, Name};
use super::spec::Spec;
use super::table::TABLE;
use super::{Block, State, block, state};
use crate::hash::xxh3_64;

/// The table by hash: open addressing over four times as many slots as commands.
struct Index {
    // Of a known length: a slot of a hash needs no check of bounds, in each call of `run`.
    slots: Box<[Slot; SLOTS]>,
}

#[derive(Clone, Copy)]
struct Slot {
    spec: Option<&'static Spec>,
    /// Its subcommands are commands of their own.
    has_subcommands: bool,
    /// Whatever follows its name, it neither waits at the server nor changes its connection.
    is_plain: bool,
}

const SLOTS: usize = 2048;

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let empty = Slot {
        spec: None,
        has_subcommands: false,
        is_plain: false,
    };
    let mut index = Index {
        slots: Box::new([empty; SLOTS]),
    };
    for spec in TABLE {
        let at = index.slot(spec.name.as_bytes());
        index.slots[at].spec = Some(spec);
        if let Some((parent, _)) = spec.name.split_once(' ') {
            let at = index.slot(parent.as_bytes());
            index.slots[at].has_subcommands = true;
        }
    }
    for slot in index.slots.iter_mut().filter(|s| !s.has_subcommands) {
        slot.is_plain = slot.spec.is_some_and(|spec| {
            let words = || spec.name.split(' ').map(str::as_bytes);
            // These two wait only when they are told to.
            !spec.name.starts_with("XREAD")
                && block(words()) == Block::No
                && state(words()) == State::Unchanged
        });
    }
    index
});

impl Index {
    /// The slot of a name, or the free one where it would be.
    fn slot(&self, name: &[u8]) -> usize {
        let mut at = xxh3_64(name) as usize % SLOTS;
        while self.slots[at]
            .spec
            .is_some_and(|s| s.name.as_bytes() != name)
        {
            at = (at + 1) % SLOTS;
        }
        at
    }
}

impl Spec {
    /// The command that these words call, by name and subcommand, in any case.
    ///
    /// A container without a known subcommand (`CLIENT NONSENSE`) is itself. No allocation.
    pub(crate) fn find<'a>(args: impl Iterator<Item = &'a [u8]>) -> Option<&'static Self> {
        Self::find_plain(args).map(|(spec, _)| spec)
    }

    /// The command, and whether it can be put on a shared connection without looking any further.
    pub(crate) fn find_plain<'a>(
        mut args: impl Iterator<Item = &'a [u8]>,
    ) -> Option<(&'static Self, bool)> {
        let name = Name::new(args.next()?);
        let slot = INDEX.slots[INDEX.slot(name.as_bytes())];
        if !slot.has_subcommands {
            return Some((slot.spec?, slot.is_plain));
        }
        let sub = Name::new(args.next().unwrap_or_default());
        let mut both = [b' '; 2 * LONGEST + 1];
        let (a, b) = (name.as_bytes(), sub.as_bytes());
        both[..a.len()].copy_from_slice(a);
        both[a.len() + 1..][..b.len()].copy_from_slice(b);
        let both = &both[..a.len() + 1 + b.len()];
        let found = INDEX.slots[INDEX.slot(both)];
        match found.spec {
            Some(spec) => Some((spec, found.is_plain)),
            None => Some((slot.spec?, false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name_in_any_case() {
        let found = |name: &str| Spec::find(name.split(' ').map(str::as_bytes)).map(|s| s.name);
        for spec in TABLE {
            assert_eq!(found(spec.name), Some(spec.name));
            assert_eq!(found(&spec.name.to_lowercase()), Some(spec.name));
        }
    }

    #[test]
    fn what_needs_a_closer_look_is_known_by_its_name() {
        let plain = |line: &str| Spec::find_plain(line.split(' ').map(str::as_bytes));
        for line in [
            "GET k",
            "set k v",
            "CLIENT LIST",
            "EVAL s 0",
            "object encoding k",
            "XADD",
        ] {
            assert!(plain(line).is_some_and(|(_, plain)| plain), "{line}");
        }
        for line in [
            "BLPOP k 0",
            "xread STREAMS s 0",
            "XREADGROUP",
            "WAIT 1 1",
            "WATCH k",
            "MULTI",
            "SUBSCRIBE c",
            "MONITOR",
            "CLIENT REPLY OFF",
            "CLIENT NONSENSE",
            "CLIENT",
            "SCRIPT DEBUG YES",
        ] {
            assert!(plain(line).is_none_or(|(_, plain)| !plain), "{line}");
        }
        assert_eq!(plain("NOSUCH k"), None);
        // Every other one was judged without its arguments, which must not change the verdict.
        for spec in TABLE {
            let words = format!("{} a b c 1 2", spec.name);
            let words = || words.split(' ').map(str::as_bytes);
            if Spec::find_plain(words()).is_some_and(|(_, plain)| plain) {
                assert_eq!(block(words()), Block::No, "{}", spec.name);
                assert_eq!(state(words()), State::Unchanged, "{}", spec.name);
            }
        }
    }
}
