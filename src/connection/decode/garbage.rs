//! What a server sent that cannot be understood, or must not be.

use std::borrow::Cow;
use std::fmt;

use crate::error::text::escaped;

/// Why nothing more is read from a connection.
///
/// In a box: who returns it returns values a thousand million times first, and they should be small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Garbage(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    why: Cow<'static, str>,
    said: Box<[u8]>,
    is_flood: bool,
}

impl Garbage {
    /// How much of what came is shown, in characters.
    const SHOWN: usize = 60;

    /// How much of it is kept, in bytes: who takes a secret out of it must find the whole of it.
    pub(super) const KEPT: usize = 256;

    #[cold]
    pub(super) fn new(why: impl Into<Cow<'static, str>>, said: &[u8]) -> Self {
        Self(Box::new(Inner {
            why: why.into(),
            said: said[..said.len().min(Self::KEPT)].into(),
            is_flood: false,
        }))
    }

    /// It begins with nothing that RESP knows.
    #[cold]
    pub(super) fn no_resp(said: &[u8]) -> Self {
        Self::new("nothing of RESP begins so", said)
    }

    /// A line has no end.
    #[cold]
    pub(super) fn line(most: usize, said: &[u8]) -> Self {
        Self::new(
            format!("a line of more than {most} bytes (`max_line`)"),
            said,
        )
    }

    /// More came, or was announced, than one reply may have.
    #[cold]
    pub(super) fn reply(most: usize, said: &[u8]) -> Self {
        let mut garbage = Self::new(format!("a reply of more than {most} bytes"), said);
        garbage.0.is_flood = true;
        garbage
    }

    /// It was RESP, and only too much: another limit would let it pass.
    pub(crate) fn is_flood(&self) -> bool {
        self.0.is_flood
    }

    /// The first bytes of what was wrong, 256 at most, as they came.
    #[cfg(test)]
    pub(crate) fn said(&self) -> &[u8] {
        &self.0.said
    }
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: \"{}\"",
            self.0.why,
            escaped(&self.0.said, Self::SHOWN)
        )
    }
}

impl std::error::Error for Garbage {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_shown_in_one_short_line() {
        let garbage = Garbage::no_resp(b"HTTP/1.1 400 Bad Request\r\n\x1b[2J\xff");
        let text = garbage.to_string();
        assert!(text.contains(r"400 Bad Request\r\n\u{1b}[2J\xff"), "{text}");
        let long = Garbage::line(9, &[b'x'; 10_000]);
        assert!(long.to_string().len() < 120, "{long}");
        assert_eq!(long.said().len(), 256);
        assert!(!long.is_flood() && Garbage::reply(1, b"").is_flood());
    }
}
