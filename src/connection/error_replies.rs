//! How many error replies a node gave, by their codes.

use std::sync::OnceLock;

use metrics::{Counter, Label, counter};
use redis::Value;

use super::reply::Reply;

/// The codes that have a series of their own; a server, or a script, can make up any other.
const CODES: &[&str] = &[
    "ERR",
    "WRONGTYPE",
    "OOM",
    "READONLY",
    "MISCONF",
    "NOREPLICAS",
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "NOSCRIPT",
    "EXECABORT",
    "LOADING",
    "BUSY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "MOVED",
    "ASK",
    "TRYAGAIN",
    "CROSSSLOT",
    "BUSYGROUP",
    "NOGROUP",
    "BUSYKEY",
    "UNKILLABLE",
    "NOTBUSY",
    "INPROG",
];

/// `fluster_error_replies_total` of one node; a series begins with its first error.
#[derive(Debug)]
pub(super) struct ErrorReplies(OnceLock<Box<[OnceLock<Counter>; CODES.len() + 1]>>);

impl ErrorReplies {
    pub(super) fn new() -> Self {
        Self(OnceLock::new())
    }

    /// With these labels, when it is the first one of its code.
    pub(super) fn count(&self, code: &str, labels: impl FnOnce(&'static str) -> Vec<Label>) {
        let at = CODES.iter().position(|c| *c == code);
        let at = at.unwrap_or(CODES.len());
        let code = CODES.get(at).copied().unwrap_or("other");
        let register = || counter!("fluster_error_replies_total", labels(code));
        let all = self
            .0
            .get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
        all[at].get_or_init(register).increment(1);
    }

    /// Keeps what has begun from being taken for idle.
    pub(super) fn alive(&self) {
        let begun = self.0.get().into_iter().flat_map(|all| all.iter());
        for counter in begun.filter_map(OnceLock::get) {
            counter.increment(0);
        }
    }
}

/// Tells `count` the code of each error in a reply.
pub(super) fn each_code(reply: &Reply, mut count: impl FnMut(&str)) {
    let mut of = |value: &Value| {
        if let Value::ServerError(e) = value {
            count(e.code());
        }
    };
    match reply {
        Reply::One(value) => of(value),
        Reply::Many(values) => values.iter().for_each(|value| match value {
            Value::Array(inner) => inner.iter().for_each(&mut of),
            value => of(value),
        }),
        // The refusals of its commands, and that of all.
        Reply::Aborted(e) => {
            for (_, e) in e
                .clone()
                .into_server_errors()
                .iter()
                .flat_map(|all| all.iter())
            {
                count(e.code());
            }
            count(e.code().unwrap_or("EXECABORT"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::redis_rs;

    #[test]
    fn every_error_of_a_reply_is_counted() {
        let error = |line: &str| redis::parse_redis_value(line.as_bytes()).expect("an error");
        let reply = Reply::Many(vec![
            Value::Okay,
            error("-OOM no memory\r\n"),
            Value::Array(vec![error("-WRONGTYPE x\r\n"), Value::Nil]),
        ]);
        let mut codes = Vec::new();
        each_code(&reply, |code| codes.push(code.to_owned()));
        assert_eq!(codes, ["OOM", "WRONGTYPE"]);
    }

    #[test]
    fn an_error_is_the_one_that_redis_rs_makes_of_it() {
        let odd = [
            "",
            " ",
            "A",
            "err",
            "ERROR x",
            "WRONGTYPE  two",
            "\u{fffd} \r\n",
        ];
        for code in CODES.iter().chain(&redis_rs::KINDS).chain(&odd) {
            for line in [code.to_string(), format!("{code} "), format!("{code} a b")] {
                let reply = format!("!{}\r\n{line}\r\n", line.len());
                let theirs = redis::parse_redis_value(reply.as_bytes()).expect("an error");
                let ours = redis_rs::server_error(&line).map(Value::ServerError);
                assert_eq!(ours, Some(theirs), "{line:?}");
            }
        }
    }
}
