//! The scripts of the queue, and how they are run: by digest, with their text when a server asks for it.
//! What each of them is given, and what it says, is in `calls.rs`.

use std::sync::OnceLock;
use std::time::Instant;

use redis::{Cmd, FromRedisValue, Value};

use crate::client::Client;
use crate::connection::reply::{Reply, parse};
use crate::connection::request::LaneRequest;
use crate::error::Error;

/// A script with all that it is given. It alone knows in which order, and how its reply is to be read.
pub(crate) trait Call {
    /// The script.
    fn script(&self) -> &'static Script;
    /// The keys; they are counted here and nowhere else.
    fn keys(&self) -> impl AsRef<[&str]>;
    /// Adds the arguments.
    fn arguments(&self, cmd: &mut Cmd);

    /// What the script says, as the server's client reads it.
    type Reply: FromRedisValue;
    /// The same, as the queue's.
    type Answer;
    fn answer(reply: Self::Reply) -> Self::Answer;

    /// The command that runs it, on a server that has the script under this digest.
    fn by_digest(&self, digest: &str) -> Cmd {
        self.by("EVALSHA", digest)
    }

    /// The command that runs it on any server.
    fn by_text(&self) -> Cmd {
        self.by("EVAL", self.script().text)
    }

    fn by(&self, command: &str, script: &str) -> Cmd {
        let mut cmd = redis::cmd(command);
        let keys = self.keys();
        let keys = keys.as_ref();
        cmd.arg(script).arg(keys.len()).arg(keys);
        self.arguments(&mut cmd);
        cmd
    }
}

/// Makes a call on the client's node.
pub(crate) async fn run<C: Call>(
    call: C,
    client: &Client,
    deadline: Instant,
) -> Result<C::Answer, Error> {
    let script = call.script();
    let digest = script.digest(client, deadline).await?;
    let mut value = script
        .send(client, &call.by_digest(digest), deadline)
        .await?;
    // Not executed: the server was restarted, or its scripts were flushed.
    if is_unknown(&value) {
        value = script.send(client, &call.by_text(), deadline).await?;
    }
    parse(value, client.node()).map(C::answer)
}

/// A Lua script. Its digest is what the first server that loads it says.
pub(crate) struct Script {
    text: &'static str,
    /// The text without what all of them share.
    #[cfg(test)]
    own: &'static str,
    digest: OnceLock<String>,
    /// It settles what a node gave out, and runs while that node is drained.
    settles: bool,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal $(, $settles:ident)?;)*) => {
        $($(#[$doc])*
        pub(crate) static $name: Script = Script {
            text: concat!(include_str!("scripts/prelude.lua"), include_str!(concat!("scripts/", $file, ".lua"))),
            #[cfg(test)]
            own: include_str!(concat!("scripts/", $file, ".lua")),
            digest: OnceLock::new(),
            settles: false $(|| scripts!(@ $settles))?,
        };)*
    };
    (@ settles) => { true };
}

scripts! {
    /// Adds a message: for later, or where there is a limit.
    PUSH = "push";
    ACK = "ack", settles;
    NACK = "nack", settles;
    /// Gives back what a consumer does not know that it has.
    RECLAIM = "reclaim", settles;
    /// Gives back what nobody popped.
    RELEASE = "release", settles;
    /// Makes a group on a node.
    JOIN = "join";
    LEAVE = "leave", settles;
    EXTEND = "extend", settles;
    /// The chores of a group on a node.
    TICK = "tick";
    DEPTH = "depth";
    PURGE = "purge";
    RETRY = "retry";
    BURY = "bury", settles;
}

impl Script {
    #[cfg(test)]
    pub(crate) fn own_text(&self) -> &'static str {
        self.own
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
        let digest = self.send(client, &self.load(), deadline).await?;
        let digest = parse(digest, client.node())?;
        Ok(self.digest.get_or_init(|| digest))
    }

    async fn send(&self, client: &Client, cmd: &Cmd, deadline: Instant) -> Result<Value, Error> {
        match self.settles {
            true => settle(client, cmd, deadline).await,
            false => raw(client, cmd, deadline).await,
        }
    }
}

/// The raw answer of the client's node; an error reply is a value.
pub(crate) async fn raw(client: &Client, cmd: &Cmd, deadline: Instant) -> Result<Value, Error> {
    client
        .answer(LaneRequest::ours(cmd), deadline)
        .await
        .map(Reply::into_value)
}

/// [`raw`] for what settles that which the node gave out: it passes while the node is drained.
pub(crate) async fn settle(client: &Client, cmd: &Cmd, deadline: Instant) -> Result<Value, Error> {
    client
        .answer(LaneRequest::settling(cmd), deadline)
        .await
        .map(Reply::into_value)
}

fn is_unknown(value: &Value) -> bool {
    matches!(value, Value::ServerError(e) if e.code() == "NOSCRIPT")
}
