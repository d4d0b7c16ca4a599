//! What a command does to the connection that carries it: how long it blocks, what it leaves behind.

use std::time::Duration;

use super::name::Name;

/// How long a blocking command may wait at the server before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// It answers at once.
    No,
    /// It answers within this time.
    AtMost(Duration),
    /// It may wait for ever.
    Forever,
}

/// What a command does to the connection that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing: the next command finds the connection as it was.
    Unchanged,
    /// It leaves something behind (WATCH, SELECT, ...): an exclusive connection may carry it, and is
    /// closed rather than handed to the next user.
    Changes,
    /// It ends what `MULTI` or `WATCH` began.
    Ends,
    /// It breaks the pairing of commands and replies (SUBSCRIBE, MONITOR, CLIENT REPLY): no pooled
    /// connection may carry it.
    Breaks,
}

/// How long the server may hold the command back before it answers.
///
/// A time that does not parse counts as [`Block::Forever`]: the server will answer with an error at
/// once, and until then no guess can make the wait wrong.
pub(crate) fn block<'a>(mut args: impl Iterator<Item = &'a [u8]>) -> Block {
    let name = Name::new(args.next().unwrap_or_default());
    match name.as_bytes() {
        b"BLPOP" | b"BRPOP" | b"BLMOVE" | b"BRPOPLPUSH" | b"BZPOPMIN" | b"BZPOPMAX" => {
            seconds(args.last())
        }
        b"BLMPOP" | b"BZMPOP" => seconds(args.next()),
        b"WAIT" => millis(args.nth(1)),
        b"WAITAOF" => millis(args.nth(2)),
        b"XREAD" | b"XREADGROUP" => {
            while let Some(arg) = args.next() {
                match Name::new(arg).as_bytes() {
                    b"BLOCK" => return millis(args.next()),
                    b"STREAMS" => break,
                    // The names of a group and a consumer are not options.
                    b"GROUP" => drop(args.nth(1)),
                    _ => {}
                }
            }
            Block::No
        }
        _ => Block::No,
    }
}

fn seconds(arg: Option<&[u8]>) -> Block {
    let parsed = arg
        .and_then(|a| std::str::from_utf8(a).ok())
        .and_then(|a| a.parse::<f64>().ok());
    match parsed.map(Duration::try_from_secs_f64) {
        Some(Ok(wait)) if !wait.is_zero() => Block::AtMost(wait),
        _ => Block::Forever,
    }
}

fn millis(arg: Option<&[u8]>) -> Block {
    let parsed = arg
        .and_then(|a| std::str::from_utf8(a).ok())
        .and_then(|a| a.parse::<u64>().ok());
    match parsed {
        Some(wait) if wait > 0 => Block::AtMost(Duration::from_millis(wait)),
        _ => Block::Forever,
    }
}

/// What the command leaves behind on its connection.
pub(crate) fn state<'a>(mut args: impl Iterator<Item = &'a [u8]>) -> State {
    let name = Name::new(args.next().unwrap_or_default());
    let mut sub = || Name::new(args.next().unwrap_or_default());
    match name.as_bytes() {
        b"SUBSCRIBE" | b"PSUBSCRIBE" | b"SSUBSCRIBE" | b"UNSUBSCRIBE" | b"PUNSUBSCRIBE"
        | b"SUNSUBSCRIBE" | b"MONITOR" | b"SYNC" | b"PSYNC" | b"REPLCONF" => State::Breaks,
        b"MULTI" | b"WATCH" | b"SELECT" | b"AUTH" | b"HELLO" | b"RESET" | b"QUIT" | b"READONLY"
        | b"READWRITE" | b"ASKING" => State::Changes,
        b"EXEC" | b"DISCARD" | b"UNWATCH" => State::Ends,
        b"CLIENT" => match sub().as_bytes() {
            b"REPLY" => State::Breaks,
            b"TRACKING" | b"NO-EVICT" | b"NO-TOUCH" | b"SETNAME" | b"CACHING" | b"CAPA"
            | b"IMPORT-SOURCE" => State::Changes,
            _ => State::Unchanged,
        },
        b"SCRIPT" if sub().as_bytes() == b"DEBUG" => State::Changes,
        _ => State::Unchanged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> impl Iterator<Item = &[u8]> {
        line.split(' ').map(str::as_bytes)
    }

    #[test]
    fn a_blocking_command_says_how_long() {
        let s = |n| Block::AtMost(Duration::from_secs(n));
        for (line, expected) in [
            ("BLPOP a b 2", s(2)),
            ("brpop a 0", Block::Forever),
            (
                "BLMOVE a b LEFT RIGHT 0.5",
                Block::AtMost(Duration::from_millis(500)),
            ),
            ("BZMPOP 1 1 z MIN", s(1)),
            ("BLMPOP 3 1 l LEFT", s(3)),
            ("XREAD BLOCK 1000 STREAMS s $", s(1)),
            ("XREAD COUNT 1 block 0 STREAMS s $", Block::Forever),
            (
                "XREADGROUP GROUP BLOCK c COUNT 2 BLOCK 2000 STREAMS s >",
                s(2),
            ),
            ("XREADGROUP GROUP g c STREAMS block 0", Block::No),
            ("XREAD STREAMS s 0", Block::No),
            ("WAIT 1 1000", s(1)),
            ("WAITAOF 1 0 0", Block::Forever),
            ("BLPOP a nan", Block::Forever),
            ("BLPOP a -1", Block::Forever),
            ("BLPOP a 1e300", Block::Forever),
            ("GET BLOCK", Block::No),
        ] {
            assert_eq!(block(words(line)), expected, "{line}");
        }
    }

    #[test]
    fn connection_state_is_told_by_name_and_subcommand() {
        for (line, expected) in [
            ("GET k", State::Unchanged),
            ("CLIENT LIST", State::Unchanged),
            ("SCRIPT LOAD x", State::Unchanged),
            ("script debug yes", State::Changes),
            ("client setname x", State::Changes),
            ("CLIENT REPLY OFF", State::Breaks),
            ("multi", State::Changes),
            ("EXEC", State::Ends),
            ("ssubscribe c", State::Breaks),
        ] {
            assert_eq!(state(words(line)), expected, "{line}");
        }
    }
}
