//! Counts RESP frames in a byte stream that arrives in pieces.

/// Where a stream of RESP frames stands.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Whole frames seen so far.
    pub(super) done: u64,
    /// Bytes of the header line that is not complete yet.
    line: Vec<u8>,
    /// Bytes of a bulk string, its CRLF included, that are still to come.
    skip: usize,
    /// How many elements each open aggregate still waits for, outermost first.
    open: Vec<u64>,
}

impl Frames {
    /// Takes the next bytes; whatever is no RESP counts as nothing.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len());
                self.skip -= n;
                bytes = &bytes[n..];
                if self.skip == 0 {
                    self.element();
                }
                continue;
            }
            let end = bytes.iter().position(|b| *b == b'\n');
            let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |i| i + 1));
            self.line.extend(line);
            bytes = rest;
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                self.header(&line);
            }
        }
    }

    fn header(&mut self, line: &[u8]) {
        let number = std::str::from_utf8(line.get(1..).unwrap_or_default())
            .ok()
            .and_then(|text| text.trim_end().parse::<i64>().ok());
        match (line.first(), number.and_then(|n| u64::try_from(n).ok())) {
            (Some(b'$' | b'=' | b'!'), Some(n)) => self.skip = n as usize + 2,
            (Some(b'*' | b'~' | b'>'), Some(n)) if n > 0 => self.open.push(n),
            (Some(b'%'), Some(n)) if n > 0 => self.open.push(2 * n),
            _ => self.element(),
        }
    }

    /// A value is complete, and with it perhaps the aggregates around it.
    fn element(&mut self) {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return;
            }
            self.open.pop();
        }
        self.done += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let wire = b"+OK\r\n$5\r\na\r\nbc\r\n*2\r\n$1\r\nx\r\n:7\r\n*-1\r\n$-1\r\n%1\r\n+k\r\n*0\r\n*1\r\n*1\r\n+deep\r\n";
        for piece in 1..wire.len() {
            let mut frames = Frames::default();
            wire.chunks(piece).for_each(|bytes| frames.feed(bytes));
            assert_eq!(frames.done, 7, "in pieces of {piece}");
        }
    }
}
