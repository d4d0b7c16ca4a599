//! The scripts of the queue, and how they are run: by digest, with their text when a server asks for it.

use std::sync::OnceLock;
use std::time::Instant;

use redis::{Cmd, FromRedisValue, Value};

use crate::client::Client;
use crate::connection::reply::{Reply, parse};
use crate::connection::request::Shared;
use crate::error::Error;

/// A Lua script. Its digest is what the first server that loads it says.
pub(crate) struct Script {
    text: &'static str,
    digest: OnceLock<String>,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)*) => {
        $($(#[$doc])*
        pub(crate) static $name: Script = Script {
            text: concat!(include_str!("scripts/prelude.lua"), include_str!(concat!("scripts/", $file, ".lua"))),
            digest: OnceLock::new(),
        };)*
    };
}

scripts! {
    /// Adds a message: for later, or where there is a limit.
    PUSH = "push";
    ACK = "ack";
    NACK = "nack";
    /// Gives back what a consumer does not know that it has.
    RECLAIM = "reclaim";
    /// Gives back what nobody popped.
    RELEASE = "release";
    /// Makes a group on a node.
    JOIN = "join";
    LEAVE = "leave";
    EXTEND = "extend";
    /// The chores of a group on a node.
    TICK = "tick";
    DEPTH = "depth";
    PURGE = "purge";
    RETRY = "retry";
    BURY = "bury";
}

impl Script {
    /// Runs the script on the client's node; `fill` adds the number of keys, the keys and the arguments.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        client: &Client,
        deadline: Instant,
        fill: impl Fn(&mut Cmd),
    ) -> Result<T, Error> {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(self.digest(client, deadline).await?);
        fill(&mut cmd);
        let mut value = raw(client, &cmd, deadline).await?;
        // Not executed: the server was restarted, or its scripts were flushed.
        if is_unknown(&value) {
            let mut cmd = redis::cmd("EVAL");
            cmd.arg(self.text);
            fill(&mut cmd);
            value = raw(client, &cmd, deadline).await?;
        }
        parse(value, client.node())
    }

    /// The command that loads it.
    pub(crate) fn load(&self) -> Cmd {
        let mut cmd = redis::cmd("SCRIPT");
        cmd.arg("LOAD").arg(self.text);
        cmd
    }

    pub(crate) async fn digest(&self, client: &Client, deadline: Instant) -> Result<&str, Error> {
        if let Some(digest) = self.digest.get() {
            return Ok(digest);
        }
        let digest = parse(raw(client, &self.load(), deadline).await?, client.node())?;
        Ok(self.digest.get_or_init(|| digest))
    }
}

/// The raw answer of the client's node; an error reply is a value.
pub(crate) async fn raw(client: &Client, cmd: &Cmd, deadline: Instant) -> Result<Value, Error> {
    client
        .answer(Shared::ours(cmd), deadline)
        .await
        .map(Reply::into_value)
}

fn is_unknown(value: &Value) -> bool {
    matches!(value, Value::ServerError(e) if e.code() == "NOSCRIPT")
}
