//! A request, and commands of ours behind it in the same breath.

use parking_lot::Mutex;
use redis::{Cmd, Pipeline, Value};

use super::redis_rs;
use super::request::Request;

/// Commands of ours, as they are written: behind many writes they are always the same but for a key.
#[derive(Debug, Default)]
pub(crate) struct Ours {
    bytes: Vec<u8>,
    commands: usize,
}

impl Ours {
    /// With room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            commands: 0,
        }
    }

    /// Begins a command of so many words, which come next.
    pub(crate) fn begin(&mut self, words: usize) {
        self.commands += 1;
        head(&mut self.bytes, b'*', words);
    }

    pub(crate) fn word(&mut self, word: &[u8]) {
        pack_word(&mut self.bytes, word);
    }

    /// Words that are packed already.
    pub(crate) fn packed(&mut self, words: &[u8]) {
        self.bytes.extend_from_slice(words);
    }

    pub(crate) fn command(&mut self, cmd: &Cmd) {
        self.commands += 1;
        cmd.write_packed_command(&mut self.bytes);
    }

    pub(crate) fn commands(&mut self, pipeline: &Pipeline) {
        redis_rs::commands(pipeline).for_each(|cmd| self.command(cmd));
    }

    /// How many commands there are, of which each has one reply.
    pub(crate) fn len(&self) -> usize {
        self.commands
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A word, as it is written.
pub(crate) fn pack_word(out: &mut Vec<u8>, word: &[u8]) {
    head(out, b'$', word.len());
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

/// How many come of what.
fn head(out: &mut Vec<u8>, what: u8, mut number: usize) {
    // The digits of the largest number, from behind.
    let mut text = [0; 23];
    let mut at = text.len() - 2;
    text[at..].copy_from_slice(b"\r\n");
    loop {
        at -= 1;
        text[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    at -= 1;
    text[at] = what;
    out.extend_from_slice(&text[at..]);
}

/// A caller's request, and what follows it on the same connection: both are taken back whole or not at all, and the call
/// has ended when all was answered. Whether anything was executed is judged by the caller's own commands alone.
#[derive(Debug)]
pub(crate) struct Followed<'a> {
    own: Request<'a>,
    behind: &'a Ours,
    /// Guards what was answered to the commands behind, to be taken by whoever sent them.
    said: Mutex<Option<Vec<Value>>>,
}

impl<'a> Followed<'a> {
    /// `behind` has commands.
    pub(crate) fn new(own: Request<'a>, behind: &'a Ours) -> Self {
        debug_assert!(behind.len() > 0, "commands");
        Self {
            // Of two that follow each other, the first is the caller's.
            own: own.own(),
            behind,
            said: Mutex::new(None),
        }
    }

    pub(super) fn own(&self) -> Request<'a> {
        self.own
    }

    pub(super) fn behind(&self) -> &'a Ours {
        self.behind
    }

    pub(super) fn answered(&self, values: Vec<Value>) {
        *self.said.lock() = Some(values);
    }

    /// What was answered to the commands behind; `None` when they were not.
    pub(crate) fn said(self) -> Option<Vec<Value>> {
        self.said.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_by_hand_is_what_redis_rs_packs() {
        let long = vec![b'x'; 1_234_567];
        for words in [
            &[b"PING".as_slice()][..],
            &[b"SADD", b"", b"a\r\n\xff", &long],
        ] {
            let mut cmd = Cmd::new();
            let mut ours = Ours::default();
            ours.begin(words.len());
            for word in words {
                cmd.arg(*word);
                ours.word(word);
            }
            assert_eq!(ours.bytes(), cmd.get_packed_command());
            ours.command(&cmd);
            assert_eq!(ours.len(), 2);
            assert_eq!(ours.bytes(), cmd.get_packed_command().repeat(2));
        }
        let mut out = Vec::new();
        head(&mut out, b'*', usize::MAX);
        assert_eq!(out, format!("*{}\r\n", usize::MAX).into_bytes());
    }
}
