//! What a command is: read-only, blocking, or about the state of its connection.
//!
//! Commands are told apart by name, in any case, and where needed by subcommand or option. The facts
//! are those of `COMMAND` in Redis 7; `tests/command.rs` compares them with a real server.

mod connection;
#[cfg(test)]
mod fuzz;
mod index;
mod keyless;
mod keys;
mod name;
mod scatter;
mod spec;
mod table;

pub(crate) use self::connection::{Block, State, block, state};
pub(crate) use self::keyless::{Gather, Keyless, is_anybodys, keyless};
pub(crate) use self::keys::BadKeys;
pub(crate) use self::scatter::{Scatter, sorts_by_other_keys};
pub(crate) use self::spec::{Effect, Spec};

/// Whether sending the command twice, or to another node, changes nothing at any server.
///
/// Unknown commands (modules) count as writes: a write that is taken for a read could be applied twice.
pub(crate) fn is_read_only<'a>(args: impl Iterator<Item = &'a [u8]>) -> bool {
    match Spec::find(args) {
        Some(spec) if spec.effect == Effect::Read => true,
        // The server does not flag these, since they touch no key; they have no effect all the same.
        Some(spec) => {
            is_anybodys(spec.name)
                || matches!(
                    spec.name,
                    "PING" | "INFO" | "ROLE" | "MEMORY STATS" | "MEMORY DOCTOR"
                )
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> impl Iterator<Item = &[u8]> {
        line.split(' ').map(str::as_bytes)
    }

    #[test]
    fn reads_are_known_in_any_case_and_the_unknown_counts_as_a_write() {
        for line in [
            "GET k",
            "get k",
            "Object Encoding k",
            "xinfo stream s",
            "EVAL_RO s 0",
        ] {
            assert!(is_read_only(words(line)), "{line}");
        }
        for line in [
            "SET k v",
            "GETDEL k",
            "GETEX k",
            "EVAL s 0",
            "SORT k STORE d",
            "FT.SEARCH i q",
            "",
            "SPOP k",
        ] {
            assert!(!is_read_only(words(line)), "{line}");
        }
    }
}
