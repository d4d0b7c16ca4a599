//! Which words of a call are its keys.

use std::fmt;

use super::spec::{Spec, Where};

/// Why the keys of a call cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadKeys {
    /// The number of keys is no number, negative, or larger than the call.
    Count,
    /// There are too few words for the command.
    Arity,
}

impl fmt::Display for BadKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "the number of keys is no number, negative, or larger than the call",
            Self::Arity => "wrong number of arguments",
        })
    }
}

/// Positions `first`, `first + step`, ... up to and including `last`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Range {
    first: usize,
    last: usize,
    step: usize,
}

/// The positions of a call's keys. At most three ranges (GEORADIUS), so no allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Positions {
    ranges: [Range; 3],
    len: usize,
}

impl Positions {
    fn push(&mut self, first: usize, last: usize, step: usize) {
        if first <= last {
            self.ranges[self.len] = Range { first, last, step };
            self.len += 1;
        }
    }

    /// Whether the word at `position` is a key.
    pub(crate) fn contains(&self, position: usize) -> bool {
        self.ranges[..self.len].iter().any(|r| {
            position >= r.first && position <= r.last && (position - r.first).is_multiple_of(r.step)
        })
    }

    /// The position of the first key.
    pub(crate) fn first(&self) -> Option<usize> {
        self.ranges[..self.len].first().map(|r| r.first)
    }

    /// How many keys there are.
    pub(crate) fn count(&self) -> usize {
        self.ranges[..self.len]
            .iter()
            .map(|r| (r.last - r.first) / r.step + 1)
            .sum()
    }

    /// The keys, in the order of the call.
    pub(crate) fn pick<'a>(
        self,
        args: impl Iterator<Item = &'a [u8]>,
    ) -> impl Iterator<Item = &'a [u8]> {
        args.enumerate()
            .filter(move |(i, _)| self.contains(*i))
            .map(|(_, arg)| arg)
    }
}

impl Spec {
    /// The keys of a call with these words, as `COMMAND GETKEYS` of a server gives them.
    ///
    /// # Errors
    ///
    /// [`BadKeys`] when the call is too short or lies about its number of keys. An empty result is a call
    /// without keys: a keyless command, or `EVAL ... 0`.
    pub(crate) fn key_positions<'a>(
        &self,
        args: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> Result<Positions, BadKeys> {
        let words = args.len();
        let mut found = Positions::default();
        if !self.accepts(words) {
            return Err(BadKeys::Arity);
        }
        match self.name {
            "SORT" => {
                found.push(1, 1, 1);
                if let Some(at) =
                    last_store(args, 2, &[("LIMIT", 2), ("GET", 1), ("BY", 1)], &["STORE"])
                {
                    found.push(at, at, 1);
                }
                return Ok(found);
            }
            "GEORADIUS" | "GEORADIUSBYMEMBER" => {
                found.push(1, 1, 1);
                if let Some(at) = last_store(args, 5, &[], &["STORE", "STOREDIST"]) {
                    found.push(at, at, 1);
                }
                return Ok(found);
            }
            "MIGRATE" => {
                migrate(args, words, &mut found);
                return Ok(found);
            }
            "XREAD" | "XREADGROUP" => {
                if let Some(at) = streams(args) {
                    let rest = words - at - 1;
                    found.push(at + 1, at + rest / 2, 1);
                }
                return Ok(found);
            }
            "MSETEX" => {
                let keys = number(args.clone().nth(1).ok_or(BadKeys::Arity)?);
                let keys = keys.filter(|keys| *keys <= (words - 2) / 2);
                let keys = keys.ok_or(BadKeys::Count)?;
                if keys > 0 {
                    found.push(2, 2 * keys, 2);
                }
                return Ok(found);
            }
            _ => {}
        }
        for place in self.keys {
            match *place {
                Where::At { first, last, step } => {
                    let first = usize::from(first);
                    let last = match last {
                        0.. => first + last.unsigned_abs() as usize,
                        _ => words.saturating_sub(last.unsigned_abs() as usize),
                    };
                    if first < words {
                        found.push(first, last.min(words - 1), usize::from(step));
                    }
                }
                Where::Counted { count } => {
                    let at = usize::from(count);
                    let text = args.clone().nth(at).ok_or(BadKeys::Arity)?;
                    let keys = number(text).ok_or(BadKeys::Count)?;
                    if keys > words - at - 1 {
                        return Err(BadKeys::Count);
                    }
                    found.push(at + 1, at + keys, 1);
                }
                Where::After {
                    word, from, limit, ..
                } => {
                    let start = usize::try_from(from).unwrap_or(1);
                    let at = args
                        .clone()
                        .enumerate()
                        .skip(start)
                        .find(|(_, a)| a.eq_ignore_ascii_case(word.as_bytes()));
                    if let Some((at, _)) = at {
                        let rest = words - at - 1;
                        found.push(at + 1, at + rest / usize::from(limit.max(1)), 1);
                    }
                }
            }
        }
        Ok(found)
    }
}

/// A count of keys: plain digits, as the server reads it.
fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The position behind the last of `words`, stepping over options that take arguments of their own.
fn last_store<'a>(
    args: impl ExactSizeIterator<Item = &'a [u8]>,
    from: usize,
    options: &[(&str, usize)],
    words: &[&str],
) -> Option<usize> {
    let count = args.len();
    let (mut skip, mut found) = (0, None);
    for (i, arg) in args.enumerate().skip(from) {
        if skip > 0 {
            skip -= 1;
            continue;
        }
        let is = |word: &str| arg.eq_ignore_ascii_case(word.as_bytes());
        if let Some((_, n)) = options.iter().find(|(word, _)| is(word)) {
            skip = *n;
        } else if words.iter().any(|w| is(w)) && i + 1 < count {
            found = Some(i + 1);
            skip = 1;
        }
    }
    found
}

/// One key at position 3, or, when that is empty, all behind `KEYS`.
fn migrate<'a>(args: impl Iterator<Item = &'a [u8]> + Clone, words: usize, found: &mut Positions) {
    let many = args.clone().nth(3).is_some_and(<[u8]>::is_empty);
    let behind = position(args, 6, "KEYS", &[("AUTH", 1), ("AUTH2", 2)]);
    match behind {
        Some(at) if many => found.push(at + 1, words - 1, 1),
        _ if many => {}
        _ => found.push(3, 3, 1),
    }
}

/// Where `STREAMS` stands as an option: a group or a consumer may be named so too.
fn streams<'a>(args: impl Iterator<Item = &'a [u8]>) -> Option<usize> {
    let options = [("GROUP", 2), ("COUNT", 1), ("BLOCK", 1), ("CLAIM", 1)];
    position(args, 1, "STREAMS", &options)
}

/// The position of `word`, stepping over options that take arguments of their own.
fn position<'a>(
    args: impl Iterator<Item = &'a [u8]>,
    from: usize,
    word: &str,
    options: &[(&str, usize)],
) -> Option<usize> {
    let mut skip = 0;
    for (i, arg) in args.enumerate().skip(from) {
        let is = |word: &str| arg.eq_ignore_ascii_case(word.as_bytes());
        if skip > 0 {
            skip -= 1;
        } else if is(word) {
            return Some(i);
        } else if let Some((_, n)) = options.iter().find(|(option, _)| is(option)) {
            skip = *n;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(line: &str) -> Result<Vec<&str>, BadKeys> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let spec = Spec::find(words.iter().copied()).expect(line);
        let found = spec.key_positions(words.iter().copied())?;
        let keys = found.pick(words.iter().copied());
        let keys: Vec<&str> = keys.map(|k| std::str::from_utf8(k).unwrap()).collect();
        assert_eq!(found.count(), keys.len(), "{line}");
        Ok(keys)
    }

    #[test]
    fn keys_stand_where_each_command_has_them() {
        for (line, expected) in [
            ("GET k", "k"),
            ("get k", "k"),
            ("MGET a b c", "a b c"),
            ("MSET a 1 b 2", "a b"),
            ("BLPOP a b 0", "a b"),
            ("BITOP AND d a b", "d a b"),
            ("EVAL s 2 a b c d", "a b"),
            ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", "d a b"),
            ("XREAD COUNT 1 STREAMS a b 0 0", "a b"),
            ("XREADGROUP GROUP streams c STREAMS a >", "a"),
            ("OBJECT ENCODING k", "k"),
            ("object encoding k", "k"),
            ("XINFO STREAM k", "k"),
            ("SORT k BY store GET store STORE d", "k d"),
            ("SORT k STORE a STORE b", "k b"),
            ("GEORADIUS k 1 1 1 km STORE a STOREDIST b", "k b"),
            ("MIGRATE h 1 k 0 10", "k"),
            ("LMPOP 2 a b LEFT", "a b"),
            ("JSON.MGET a b $", "a b"),
            ("MEMORY USAGE k", "k"),
            ("ZRANK k m WITHSCORE", "k"),
            ("ZREVRANK k m WITHSCORE", "k"),
            ("XREADGROUP COUNT 1 GROUP streams c STREAMS k >", "k"),
            (
                "XREADGROUP COUNT 1 GROUP g streams BLOCK 5 NOACK STREAMS streams b > >",
                "streams b",
            ),
            ("XREAD STREAMS streams b 0 0", "streams b"),
            ("MSETEX 2 a 1 b 2 EX 5", "a b"),
            ("JSON.MSET a $ 1 b $ 2", "a b"),
            ("JSON.SET k $ 1", "k"),
            ("VSIM k ELE e", "k"),
            ("INCREX k BYINT 1", "k"),
            ("XNACK k g FAIL IDS 1 1-1", "k"),
            ("BF.ADD k x", "k"),
            ("CMS.MERGE d 2 a b WEIGHTS 1 2", "d a b"),
            ("TS.MADD a * 1 b * 2", "a b"),
            ("TS.CREATERULE a b AGGREGATION avg 1", "a b"),
            ("FT.SUGADD k s 1", "k"),
        ] {
            assert_eq!(keys(line).unwrap().join(" "), expected, "{line}");
        }
        assert_eq!(keys("MIGRATE h 1  0 10 KEYS a b").unwrap(), ["a", "b"]);
        let secret = "MIGRATE h 1  0 10 COPY AUTH KEYS KEYS a b";
        assert_eq!(keys(secret).unwrap(), ["a", "b"]);
        let secret = "MIGRATE h 1  0 10 AUTH2 KEYS KEYS KEYS a b";
        assert_eq!(keys(secret).unwrap(), ["a", "b"]);
    }

    #[test]
    fn a_call_without_keys_has_none() {
        for line in [
            "PING",
            "EVAL s 0",
            "EVAL s 0 a b",
            "INFO",
            "CLIENT LIST",
            "PUBLISH c m",
            "FT.CREATE i SCHEMA t TEXT",
            "HOTKEYS GET",
            "CLUSTERSCAN 0",
        ] {
            assert_eq!(keys(line).unwrap(), [""; 0], "{line}");
        }
    }

    #[test]
    fn a_call_that_lies_about_its_keys_is_told_apart() {
        for line in [
            "EVAL s 3 a b",
            "EVAL s -1 a",
            "EVAL s x a",
            "ZUNION 99999999999999999999 a",
            "MSETEX 3 a 1 b 2",
            "MSETEX x a 1",
            "LMPOP 2 a LEFT",
        ] {
            let expected = if line.starts_with("LMPOP") {
                Ok(vec!["a", "LEFT"])
            } else {
                Err(BadKeys::Count)
            };
            assert_eq!(keys(line), expected, "{line}");
        }
        for line in ["GET", "GET a b", "EVAL s", "MSET", "XREAD STREAMS"] {
            assert_eq!(keys(line), Err(BadKeys::Arity), "{line}");
        }
    }
}
