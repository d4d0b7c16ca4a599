//! Whether a server says of itself that it is a master: what sentinels say may be old, or wrong.

use std::fmt;

use redis::{Cmd, Value};

use super::fault::LinkError;
use super::link::send;
use super::queue::Purpose;
use super::reply::Reply;
use super::request::Request;
use super::wire::Wire;
use crate::clock;
use crate::error::class_of;
use crate::error::text::one_line;
use crate::health::verdict::Class;

/// What a server says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Master,
    /// Something else, in its words.
    Other(String),
    /// It does not say.
    Unknown,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master => f.write_str("master"),
            Self::Other(words) => f.write_str(words),
            Self::Unknown => f.write_str("nothing"),
        }
    }
}

/// Asks on a connection that is being set up, by `ROLE`; where our user may not, by `HELLO`, which anybody may say.
pub(super) async fn ask(wire: &Wire, resp3: bool) -> Result<Role, LinkError> {
    let mut role = Cmd::new();
    role.arg("ROLE");
    let said = one(wire, &role).await?;
    if !is_refused(&said) {
        return Ok(of_role(&said));
    }
    let mut hello = Cmd::new();
    hello.arg("HELLO").arg(if resp3 { "3" } else { "2" });
    Ok(of_hello(&one(wire, &hello).await?))
}

async fn one(wire: &Wire, cmd: &Cmd) -> Result<Value, LinkError> {
    let asked = send(wire, clock::now(), Request::One(cmd), None, Purpose::User);
    Ok(match asked.await? {
        Reply::One(value) => value,
        other => other.into_value(),
    })
}

fn is_refused(said: &Value) -> bool {
    let Value::ServerError(e) = said else {
        return false;
    };
    matches!(class_of(e), Class::NoPerm | Class::UnknownCommand)
}

fn of_role(said: &Value) -> Role {
    match said {
        Value::Array(parts) => parts.first().map_or(Role::Unknown, named),
        _ => Role::Unknown,
    }
}

fn of_hello(said: &Value) -> Role {
    let is_role = |key: &Value| text(key).is_some_and(|key| key == "role");
    match said {
        Value::Array(fields) => {
            let (pairs, _) = fields.as_chunks::<2>();
            let found = pairs.iter().find(|[key, _]| is_role(key));
            found.map_or(Role::Unknown, |[_, role]| named(role))
        }
        Value::Map(fields) => {
            let found = fields.iter().find(|(key, _)| is_role(key));
            found.map_or(Role::Unknown, |(_, role)| named(role))
        }
        _ => Role::Unknown,
    }
}

fn named(role: &Value) -> Role {
    match text(role).as_deref() {
        Some("master") => Role::Master,
        Some(other) => Role::Other(one_line(other)),
        None => Role::Unknown,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Value {
        redis::parse_redis_value(text.as_bytes()).expect("a reply")
    }

    #[test]
    fn a_role_is_read_from_either_answer() {
        let role = |text: &str| of_role(&said(text));
        assert_eq!(role("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"), Role::Master);
        let replica = "*2\r\n$5\r\nslave\r\n$1\r\nh\r\n";
        assert_eq!(role(replica), Role::Other("slave".into()));
        assert_eq!(
            role("*2\r\n$8\r\nsentinel\r\n*0\r\n"),
            Role::Other("sentinel".into())
        );
        for odd in ["*0\r\n", "$6\r\nmaster\r\n", "*1\r\n:1\r\n", "-ERR no\r\n"] {
            assert_eq!(role(odd), Role::Unknown, "{odd}");
        }
        let hello = |text: &str| of_hello(&said(text));
        assert_eq!(
            hello("*4\r\n$5\r\nproto\r\n:2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"),
            Role::Master
        );
        assert_eq!(
            hello("%1\r\n$4\r\nrole\r\n$7\r\nreplica\r\n"),
            Role::Other("replica".into())
        );
        assert_eq!(hello("-NOPERM no\r\n"), Role::Unknown);
        assert!(is_refused(&said("-NOPERM this user\r\n")));
        assert!(!is_refused(&said("-LOADING x\r\n")));
    }
}
