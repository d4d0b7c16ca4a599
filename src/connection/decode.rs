//! From bytes to replies: RESP2 and RESP3, piece by piece, as they come.
//!
//! A [`Decoder`] owns whatever is half read. It takes all bytes that it is given, wherever the network has cut
//! them, and looks at none of them twice: the aggregates that are open stand on a stack (nothing here calls
//! itself), an unfinished line and an unfinished string in memory of their own. Whoever reads the socket may so use
//! any buffer again at once; for a large string it reads straight into the [`room`](Decoder::room) lent to it.
//!
//! What a server announces is believed up to 1 MiB in all, which is reserved, and not touched; beyond that,
//! memory grows with the bytes that came. What is not RESP, or more than the [limits](DecodeLimits) allow, is
//! [`Garbage`], by name: the connection is of no more use.
//!
//! Where this is not redis-rs's own parser: attributes are read and dropped; a push inside a reply is garbage; so
//! is what RESP does not have (`*-2`, `_x`, a big number of letters). An error's text need not be UTF-8, and a
//! status that is none comes as the bytes it is.

mod aggregate;
mod bulk;
#[cfg(test)]
mod fuzz;
mod garbage;
mod limits;
mod number;
mod scalar;
#[cfg(test)]
mod tests;

use bytes::buf::Limit;
use redis::{PushKind, Value};

use self::aggregate::{Aggregate, Closed};
use self::bulk::Bulk;
pub(crate) use self::garbage::Garbage;
pub(crate) use self::limits::DecodeLimits;
use self::number::Length;

/// Announced lengths are believed up to here, all that are open together. In bytes.
const BELIEVED: usize = 1 << 20;

/// An empty stack, or line, that has grown beyond this is not kept.
const KEPT: usize = 16;

/// What comes whole from a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// The answer to a command, or, in RESP2, a message of a subscription; errors are values in it.
    Reply(Value),
    /// RESP3: something that answers nobody.
    Push { kind: PushKind, data: Vec<Value> },
}

/// What has come of a frame that is not whole yet.
#[derive(Debug)]
pub(crate) struct Decoder {
    limits: DecodeLimits,
    /// Aggregates that lack values, the innermost last.
    open: Vec<Aggregate>,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// A string whose end has not come.
    bulk: Option<Bulk>,
    /// How many bytes of the frame have come, or are announced by a string.
    bytes: usize,
    /// How many values of the frame have come, or are announced by aggregates.
    values: usize,
    /// How much may still be reserved for what is only announced.
    belief: usize,
    /// How many bytes were looked at or copied.
    #[cfg(test)]
    looked: usize,
}

/// What a line turned out to be.
enum Read {
    Value(Value),
    /// The bytes that follow are a string of this kind and so many bytes.
    String(u8, usize),
    /// So many values follow, or pairs of them.
    Aggregate(u8, usize),
}

impl Decoder {
    pub(crate) fn new(limits: DecodeLimits) -> Self {
        Self {
            limits,
            open: Vec::new(),
            line: Vec::new(),
            bulk: None,
            bytes: 0,
            values: 0,
            belief: BELIEVED,
            #[cfg(test)]
            looked: 0,
        }
    }

    /// Other limits from now on, also for what is half read.
    pub(crate) fn set_limits(&mut self, limits: DecodeLimits) {
        self.limits = limits;
    }

    /// Whether a frame has begun that is not whole: a peer that hangs up now has cut it.
    pub(crate) fn is_amid(&self) -> bool {
        !self.open.is_empty() || !self.line.is_empty() || self.bulk.is_some() || self.bytes > 0
    }

    /// The next whole frame; `bytes` moves behind what was used. `None` when all of it was used, and more is needed.
    ///
    /// # Errors
    ///
    /// [`Garbage`]: nothing that follows can be understood any more, and nothing may be read again.
    #[inline]
    pub(crate) fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, Garbage> {
        if (self.bulk.is_some() || !self.line.is_empty())
            && let Some(frame) = self.resume(bytes)?
        {
            return Ok(Some(frame));
        }
        while !bytes.is_empty() {
            let Some(end) = end_of_line(bytes) else {
                self.look_at(bytes.len());
                self.begin_line(bytes)?;
                return Ok(None);
            };
            let (line, rest) = (&bytes[..end], &bytes[end + 2..]);
            *bytes = rest;
            if let Some(frame) = self.take_line(line, bytes)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Room for the rest of a large string, to be read into from the socket; the next [`read`](Self::read), also one
    /// of nothing, sees what has come. `None`: read into a buffer.
    ///
    /// Never more than the string lacks: what follows it is in nobody's way.
    pub(crate) fn room(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        self.bulk.as_mut()?.room()
    }

    /// Goes on with what was left unfinished.
    fn resume(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, Garbage> {
        if let Some(bulk) = &mut self.bulk {
            let came = bulk.take(bytes);
            let is_whole = bulk.missing() == 0;
            self.look_at(came);
            return match self.bulk.take_if(|_| is_whole) {
                Some(bulk) => {
                    let value = scalar::string(bulk.kind, bulk.whole()?)?;
                    self.place(value)
                }
                None => Ok(None),
            };
        }
        let split = self.line.last() == Some(&b'\r') && bytes.first() == Some(&b'\n');
        let (end, used) = match end_of_line(bytes) {
            _ if split => (0, 1),
            Some(end) => (end, end + 2),
            None => {
                self.look_at(bytes.len());
                self.begin_line(bytes)?;
                return Ok(None);
            }
        };
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(&bytes[..end]);
        if split {
            line.pop();
        }
        *bytes = &bytes[used..];
        self.take_line(&line, bytes)
    }

    /// Keeps the beginning of a line: all there is.
    fn begin_line(&mut self, bytes: &mut &[u8]) -> Result<(), Garbage> {
        let kind = self.line.first().or(bytes.first());
        if !kind.is_some_and(|kind| is_type(*kind)) {
            return Err(Garbage::no_resp(bytes));
        }
        // Its type and a CR are no part of what the limit is for.
        if self.line.len() + bytes.len() > self.limits.line.saturating_add(2) {
            let mut said = std::mem::take(&mut self.line);
            said.extend_from_slice(&bytes[..bytes.len().min(Garbage::KEPT)]);
            return Err(Garbage::line(self.limits.line, &said));
        }
        self.line.extend_from_slice(bytes);
        *bytes = &[];
        Ok(())
    }

    /// A whole line, its end taken off, with what follows it.
    #[inline]
    fn take_line(&mut self, line: &[u8], rest: &mut &[u8]) -> Result<Option<Frame>, Garbage> {
        self.look_at(line.len() + 2);
        if line.len() > self.limits.line.saturating_add(1) {
            return Err(Garbage::line(self.limits.line, line));
        }
        self.bytes = self.bytes.saturating_add(line.len() + 2);
        if self.bytes > self.limits.reply {
            return Err(Garbage::reply(self.limits.reply, line));
        }
        match understood(line)? {
            Read::Value(value) => self.place(value),
            Read::String(kind, len) => {
                self.begin_string(kind, len, line)?;
                let whole = len + 2;
                if let Some((string, after)) = rest.split_at_checked(whole) {
                    self.look_at(whole);
                    *rest = after;
                    let string = bulk::without_end(string)?.to_vec();
                    return self.place(scalar::string(kind, string)?);
                }
                let mut bulk = Bulk::new(kind, whole, self.belief);
                let came = bulk.take(rest);
                self.look_at(came);
                self.bulk = Some(bulk);
                Ok(None)
            }
            Read::Aggregate(kind, len) => self.begin_aggregate(kind, len, line),
        }
    }

    /// Whether a string of so many bytes may come.
    #[inline]
    fn begin_string(&mut self, kind: u8, len: usize, line: &[u8]) -> Result<(), Garbage> {
        self.bytes = self.bytes.saturating_add(len).saturating_add(2);
        if len > self.limits.bulk || self.bytes > self.limits.reply {
            return Err(Garbage::reply(
                self.limits.reply.min(self.limits.bulk),
                line,
            ));
        }
        // An error is text, and made anew from its bytes: it is held as short as one in a line.
        if kind == b'!' && len > self.limits.line {
            return Err(Garbage::line(self.limits.line, line));
        }
        Ok(())
    }

    /// An aggregate of so many values, or pairs.
    fn begin_aggregate(
        &mut self,
        kind: u8,
        len: usize,
        line: &[u8],
    ) -> Result<Option<Frame>, Garbage> {
        if kind == b'>' && !self.open.is_empty() {
            return Err(Garbage::new("a push inside a reply", line));
        }
        if self.open.len() >= self.limits.nesting {
            let why = format!("nested deeper than {} (`max_nesting`)", self.limits.nesting);
            return Err(Garbage::new(why, line));
        }
        let pairs = matches!(kind, b'%' | b'|');
        let left = len.saturating_mul(if pairs { 2 } else { 1 });
        // What they take in memory is bounded by the same number as what they take on the wire.
        self.values = self.values.saturating_add(left);
        if self.values.saturating_mul(size_of::<Value>()) > self.limits.reply {
            return Err(Garbage::reply(self.limits.reply, line));
        }
        // The half: those inside it get their part, however deep they are.
        let aggregate = Aggregate::new(kind, left, self.belief / 2);
        self.belief -= aggregate.believed();
        self.open.push(aggregate);
        match left {
            0 => self.close(),
            _ => Ok(None),
        }
    }

    /// Puts a value where it belongs; the outermost one comes back.
    #[inline]
    fn place(&mut self, value: Value) -> Result<Option<Frame>, Garbage> {
        match self.open.last_mut() {
            None => Ok(Some(self.whole(Frame::Reply(value)))),
            Some(innermost) => match innermost.add(value) {
                true => self.close(),
                false => Ok(None),
            },
        }
    }

    /// Closes the innermost aggregate, and those that it was the last value of.
    fn close(&mut self) -> Result<Option<Frame>, Garbage> {
        while let Some(full) = self.open.pop() {
            self.belief += full.believed();
            let value = match full.close()? {
                Closed::Value(value) => value,
                Closed::Push(kind, data) => {
                    return Ok(Some(self.whole(Frame::Push { kind, data })));
                }
                // What it belongs to is still to come.
                Closed::Attribute => return Ok(None),
            };
            match self.open.last_mut() {
                None => return Ok(Some(self.whole(Frame::Reply(value)))),
                Some(outer) => {
                    if !outer.add(value) {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(None)
    }

    /// The next byte begins another frame.
    #[inline]
    fn whole(&mut self, frame: Frame) -> Frame {
        self.bytes = 0;
        self.values = 0;
        if self.open.capacity() > KEPT {
            self.open = Vec::new();
        }
        frame
    }

    #[inline]
    fn look_at(&mut self, _bytes: usize) {
        #[cfg(test)]
        {
            self.looked += _bytes;
        }
    }
}

/// Where the CR LF stands that ends a line; either of them alone is a part of it.
#[inline]
fn end_of_line(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let lf = from + bytes[from..].iter().position(|byte| *byte == b'\n')?;
        if lf > 0 && bytes[lf - 1] == b'\r' {
            return Some(lf - 1);
        }
        from = lf + 1;
    }
}

/// Whether RESP has a type that begins so.
fn is_type(byte: u8) -> bool {
    b"+-:$*_#,(!=%~>|".contains(&byte)
}

/// What a whole line says.
#[inline]
fn understood(line: &[u8]) -> Result<Read, Garbage> {
    let Some((&kind, text)) = line.split_first() else {
        return Err(Garbage::no_resp(line));
    };
    match kind {
        b'$' | b'=' | b'!' => match number::length(text) {
            Length::Of(len) => Ok(Read::String(kind, len)),
            Length::Null if kind == b'$' => Ok(Read::Value(Value::Nil)),
            Length::Streamed => Err(Garbage::new("a streamed string", line)),
            _ => Err(Garbage::new("a length that is none", line)),
        },
        b'*' | b'%' | b'~' | b'>' | b'|' => match number::length(text) {
            Length::Of(len) => Ok(Read::Aggregate(kind, len)),
            Length::Null if kind == b'*' => Ok(Read::Value(Value::Nil)),
            Length::Streamed => Err(Garbage::new("a streamed aggregate", line)),
            _ => Err(Garbage::new("a length that is none", line)),
        },
        _ => scalar::of_line(line).map(Read::Value),
    }
}
