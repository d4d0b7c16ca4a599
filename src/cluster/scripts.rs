//! The scripts that were loaded through this cluster, for nodes that have not got them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use redis::{Cmd, Value};

use crate::connection::args::args;
use crate::connection::reply::Reply;
use crate::connection::request::Request;
use crate::error::Error;

/// So many scripts are remembered at most, ...
const MOST: usize = 512;
/// ... and so many bytes of them; the oldest are forgotten first.
const MOST_BYTES: usize = 8 << 20;

/// Script bodies by their digests.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    /// Guards the bodies; held for a look-up.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    bodies: HashMap<Vec<u8>, Arc<[u8]>>,
    /// The digests, oldest first.
    order: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Scripts {
    /// A node has loaded `body` and named it `digest`.
    pub(crate) fn remember(&self, digest: &[u8], body: &[u8]) {
        if body.len() > MOST_BYTES {
            return;
        }
        let digest = digest.to_ascii_lowercase();
        let mut known = self.known.lock();
        if known.bodies.insert(digest.clone(), body.into()).is_some() {
            return;
        }
        known.bytes += body.len();
        known.order.push_back(digest);
        while known.order.len() > MOST || known.bytes > MOST_BYTES {
            let Some(oldest) = known.order.pop_front() else {
                break;
            };
            if let Some(body) = known.bodies.remove(&oldest) {
                known.bytes -= body.len();
            }
        }
    }

    /// After `SCRIPT FLUSH` no script exists any more.
    pub(crate) fn forget(&self) {
        *self.known.lock() = Known::default();
    }

    /// `EVAL` for an `EVALSHA` that the node did not execute because it does not know the script.
    pub(crate) fn instead_of(
        &self,
        request: Request<'_>,
        result: &Result<Reply, Error>,
    ) -> Option<Cmd> {
        match (request, result) {
            (Request::One(cmd), Ok(Reply::One(value))) if is_unknown_script(value) => {
                self.eval(cmd)
            }
            _ => None,
        }
    }

    /// The `EVAL` that does what this `EVALSHA` does; `None` for other commands and unknown scripts.
    pub(crate) fn eval(&self, cmd: &Cmd) -> Option<Cmd> {
        let mut words = args(cmd);
        let name = match words.next()? {
            name if name.eq_ignore_ascii_case(b"EVALSHA") => "EVAL",
            name if name.eq_ignore_ascii_case(b"EVALSHA_RO") => "EVAL_RO",
            _ => return None,
        };
        let digest = words.next()?.to_ascii_lowercase();
        let body = self.known.lock().bodies.get(&digest).map(Arc::clone)?;
        let mut eval = redis::cmd(name);
        eval.arg(&*body);
        for word in words {
            eval.arg(word);
        }
        Some(eval)
    }
}

/// The server's own refusal, and not an error of this code that a script made up: then it has run.
fn is_unknown_script(value: &Value) -> bool {
    matches!(value, Value::ServerError(e) if e.code() == "NOSCRIPT"
        && e.details().is_some_and(|text| text.starts_with("No matching script")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(cmd: &Cmd) -> Vec<String> {
        args(cmd)
            .map(|a| String::from_utf8_lossy(a).into_owned())
            .collect()
    }

    #[test]
    fn a_remembered_script_is_sent_in_place_of_its_digest() {
        let scripts = Scripts::default();
        scripts.remember(b"aB01", b"return 1");
        let mut sha = redis::cmd("evalsha");
        sha.arg("Ab01").arg(1).arg("k").arg("x");
        let eval = scripts.eval(&sha).expect("known");
        assert_eq!(words(&eval), ["EVAL", "return 1", "1", "k", "x"]);
        scripts.forget();
        assert!(scripts.eval(&sha).is_none());
        assert!(scripts.eval(redis::cmd("GET").arg("aB01")).is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let scripts = Scripts::default();
        for n in 0..2 * MOST {
            scripts.remember(n.to_string().as_bytes(), b"return 1");
        }
        assert_eq!(scripts.known.lock().bodies.len(), MOST);
        let big = vec![b'x'; MOST_BYTES / 2];
        for n in 0..5 {
            scripts.remember(format!("big{n}").as_bytes(), &big);
        }
        let known = scripts.known.lock();
        assert!(known.bytes <= MOST_BYTES && known.bodies.len() == known.order.len());
        assert_eq!(known.bodies.len(), 2);
    }
}
