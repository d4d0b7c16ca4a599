//! What a sentinel says, and which of several answers is followed. Pure.

use std::fmt;
use std::io;
use std::time::Duration;

use redis::Value;

use crate::error::class_of;
use crate::error::text::one_line;
use crate::health::verdict::Class;

/// No host has more bytes.
const LONGEST_HOST: usize = 255;

/// Where a master is said to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) host: String,
    pub(super) port: u16,
}

/// One sentinel's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) named: Named,
    /// Counts the failovers that it has heard of; 0 where it does not say.
    pub(super) epoch: u64,
}

/// Why a sentinel named nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No connection, or no answer in time.
    Unreachable(String),
    /// It does not let us ask.
    Refused(String),
    /// It watches no master of that name.
    Unknown,
    /// It answers as no sentinel does.
    Odd(String),
}

impl Refusal {
    pub(super) fn unreachable(e: &io::Error) -> Self {
        Self::Unreachable(one_line(e.to_string()))
    }

    pub(super) fn silent(limit: Duration) -> Self {
        Self::Unreachable(format!("no answer within {limit:?}"))
    }

    /// For the metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::Unknown => "unknown",
            Self::Odd(_) => "odd",
        }
    }

    /// An error reply. Who is no sentinel does not know the command.
    pub(super) fn error(e: &redis::ServerError) -> Self {
        let words = one_line(format!("{} {}", e.code(), e.details().unwrap_or_default()));
        match class_of(e) {
            Class::UnknownCommand => Self::Odd(words),
            _ => Self::Refused(words),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "is not reached ({why})"),
            Self::Refused(words) => write!(f, "refuses the question ({words})"),
            Self::Unknown => write!(f, "watches no master of that name"),
            Self::Odd(words) => write!(f, "does not answer as a sentinel does ({words})"),
        }
    }
}

impl Answer {
    /// Whether it says what was found to be wrong, and is no newer.
    pub(super) fn is_as_wrong_as(&self, denied: &Self) -> bool {
        self.named == denied.named && self.epoch <= denied.epoch
    }

    /// From the replies to `GET-MASTER-ADDR-BY-NAME` and to `MASTER`, which need not be allowed.
    pub(super) fn of(address: &Value, about: &Value) -> Result<Self, Refusal> {
        let odd = || Refusal::Odd("an address that is none".into());
        let named = match address {
            Value::Nil => return Err(Refusal::Unknown),
            Value::ServerError(e) => return Err(Refusal::error(e)),
            Value::Array(parts) => match &parts[..] {
                [host, port] => {
                    let host = text(host).filter(|host| is_host(host)).ok_or_else(odd)?;
                    let port = text(port).and_then(|port| port.parse().ok());
                    Named {
                        host: host.to_owned(),
                        port: port.filter(|port| *port > 0).ok_or_else(odd)?,
                    }
                }
                _ => return Err(odd()),
            },
            _ => return Err(odd()),
        };
        Ok(Self {
            named,
            epoch: epoch(about).unwrap_or(0),
        })
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Whether it can be a host that somebody can dial; it is shown in logs, too.
fn is_host(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    let nobodys = ["0.0.0.0", "::"].contains(&text);
    (1..=LONGEST_HOST).contains(&text.len()) && text.chars().all(fits) && !nobodys
}

/// The `config-epoch` among the fields of a master, by pairs in RESP2 and as a map in RESP3.
fn epoch(about: &Value) -> Option<u64> {
    let is_epoch = |name: &Value| text(name) == Some("config-epoch");
    let value = match about {
        Value::Array(fields) => {
            let (pairs, _) = fields.as_chunks::<2>();
            let found = pairs.iter().find(|[name, _]| is_epoch(name));
            found.map(|[_, value]| value)
        }
        Value::Map(fields) => {
            let found = fields.iter().find(|(name, _)| is_epoch(name));
            found.map(|(_, value)| value)
        }
        _ => None,
    };
    text(value?)?.parse().ok()
}

/// The answer to follow, and its epoch. Of `all` sentinels these answered; `known` is the epoch that was followed last, and
/// `denied` was found to be wrong: its server was no master.
///
/// The newest news counts, then how many say so. Older news than what is known is followed only when more than half of all
/// sentinels have it: they were set up anew. Fewer may be cut off from the rest.
pub(super) fn best(
    answers: &[Answer],
    all: usize,
    known: u64,
    denied: Option<&Answer>,
) -> Option<(Named, u64)> {
    let votes = |answer: &Answer| answers.iter().filter(|other| *other == answer).count();
    let is_older = |answer: &Answer| answer.epoch < known;
    let older = answers.iter().filter(|a| is_older(a)).count();
    let followed = |answer: &&Answer| !is_older(answer) || older * 2 > all;
    let rank = |answer: &&Answer| {
        let is_denied = denied.is_some_and(|denied| answer.is_as_wrong_as(denied));
        (!is_denied, answer.epoch, votes(answer))
    };
    let answers = answers.iter().filter(followed);
    // Of equals the first one who answered: `max_by_key` would take the last.
    let best = answers.rev().max_by_key(rank)?;
    Some((best.named.clone(), best.epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Value {
        redis::parse_redis_value(text.as_bytes()).expect("a reply")
    }

    fn named(host: &str) -> Named {
        Named {
            host: host.into(),
            port: 6379,
        }
    }

    fn answer(host: &str, epoch: u64) -> Answer {
        Answer {
            named: named(host),
            epoch,
        }
    }

    #[test]
    fn an_address_and_an_epoch_are_read_and_nothing_else_is_believed() {
        let about = "*4\r\n$4\r\nname\r\n$1\r\nm\r\n$12\r\nconfig-epoch\r\n$2\r\n17\r\n";
        let good = reply("*2\r\n$8\r\n10.0.0.7\r\n$4\r\n6379\r\n");
        let of = |about: &str| Answer::of(&good, &reply(about));
        assert_eq!(of(about), Ok(answer("10.0.0.7", 17)));
        for about in ["-NOPERM no\r\n", "$-1\r\n", "*1\r\n$12\r\nconfig-epoch\r\n"] {
            assert_eq!(of(about), Ok(answer("10.0.0.7", 0)), "{about}");
        }
        let none = reply("$-1\r\n");
        for (address, reason) in [
            ("*-1\r\n", "unknown"),
            ("-NOAUTH Authentication required.\r\n", "refused"),
            ("-NOPERM this user\r\n", "refused"),
            ("-ERR unknown command 'SENTINEL'\r\n", "odd"),
            ("+OK\r\n", "odd"),
            ("*2\r\n$1\r\nh\r\n$1\r\n0\r\n", "odd"),
            ("*2\r\n$1\r\nh\r\n$5\r\n99999\r\n", "odd"),
            ("*2\r\n$1\r\nh\r\n$2\r\n-1\r\n", "odd"),
            ("*2\r\n$3\r\na\r\n\r\n$1\r\n1\r\n", "odd"),
            ("*2\r\n$3\r\n\u{1b}[m\r\n$1\r\n1\r\n", "odd"),
            ("*2\r\n$0\r\n\r\n$1\r\n1\r\n", "odd"),
            ("*2\r\n$7\r\n0.0.0.0\r\n$1\r\n1\r\n", "odd"),
            ("*3\r\n$1\r\nh\r\n$1\r\n1\r\n$1\r\n1\r\n", "odd"),
            ("*2\r\n:1\r\n:2\r\n", "odd"),
        ] {
            let refusal = Answer::of(&reply(address), &none).expect_err(address);
            assert_eq!(refusal.reason(), reason, "{address:?}: {refusal}");
            assert!(!refusal.to_string().contains(char::is_control));
        }
        let long = format!("*2\r\n$300\r\n{}\r\n$1\r\n1\r\n", "h".repeat(300));
        assert!(Answer::of(&reply(&long), &none).is_err());
    }

    #[test]
    fn the_newest_news_is_followed_and_not_the_most_voices() {
        let [old, new] = [answer("old", 3), answer("new", 4)];
        let all = [old.clone(), old.clone(), new.clone()];
        assert_eq!(best(&all, 3, 3, None), Some((named("new"), 4)));
        let equal = [answer("a", 4), answer("b", 4), answer("b", 4)];
        assert_eq!(best(&equal, 3, 0, None), Some((named("b"), 4)));
        assert_eq!(best(&equal[..2], 3, 0, None), Some((named("a"), 4)));
        assert_eq!(best(&[], 3, 0, None), None);
    }

    #[test]
    fn older_news_of_a_few_is_no_way_back() {
        let old = answer("old", 3);
        assert_eq!(best(std::slice::from_ref(&old), 3, 4, None), None);
        let most = [old.clone(), old.clone()];
        assert_eq!(best(&most, 3, 4, None), Some((named("old"), 3)));
        assert_eq!(best(&most, 4, 4, None), None, "half is not most");
        assert_eq!(best(&[old], 1, 4, None), Some((named("old"), 3)));
    }

    #[test]
    fn who_was_no_master_a_moment_ago_is_the_last_choice() {
        let denied = answer("liar", 9);
        let all = [answer("liar", 9), answer("true", 4)];
        let chosen = best(&all, 3, 0, Some(&denied));
        assert_eq!(chosen, Some((named("true"), 4)));
        let only = best(&all[..1], 3, 0, Some(&denied));
        assert_eq!(only, Some((named("liar"), 9)), "it may be one by now");
        let newer = [answer("liar", 10), answer("true", 4)];
        let promoted = best(&newer, 3, 0, Some(&denied));
        assert_eq!(promoted, Some((named("liar"), 10)), "it was promoted since");
    }
}
