//! A command's name in upper case, on the stack.

/// The longest command or subcommand name there is, with some room; anything longer is unknown.
pub(super) const LONGEST: usize = 24;

/// An upper-case copy, so that `get` and `GET` are one command and asking costs no allocation.
pub(super) struct Name {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Name {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut bytes = [0; LONGEST];
        let len = if text.len() <= LONGEST { text.len() } else { 0 };
        for (to, from) in bytes.iter_mut().zip(&text[..len]) {
            *to = from.to_ascii_uppercase();
        }
        Self { bytes, len }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
