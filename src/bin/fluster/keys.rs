//! The keys that `locate` is asked about.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::args::Locate;
use crate::fault::Fault;
use crate::out::Out;
use crate::text::unhex;

/// Keys in the arguments, then those in the file.
pub struct Keys<'a> {
    args: &'a Locate,
}

impl<'a> Keys<'a> {
    pub fn new(args: &'a Locate) -> Result<Self, Fault> {
        if args.keys.is_empty() && args.keys_from.is_none() {
            return Err(Fault::usage(
                "which keys? Name some, or give --keys-from FILE (- for standard input)",
            ));
        }
        Ok(Self { args })
    }

    /// Calls `see` for each.
    pub fn each(
        &self,
        out: &mut Out,
        mut see: impl FnMut(&[u8], &mut Out) -> io::Result<()>,
    ) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        for key in &self.args.keys {
            let key = key.as_encoded_bytes();
            if self.args.hex {
                unhex(key, &mut bytes).map_err(|why| Fault::usage(format!("key {why}")))?;
                see(&bytes, out)?;
            } else {
                see(key, out)?;
            }
        }
        match self.args.keys_from.as_deref() {
            None => Ok(()),
            Some(path) if path == Path::new("-") => {
                self.lines("standard input", io::stdin().lock(), out, see)
            }
            Some(path) => {
                let name = path.display().to_string();
                let file = File::open(path).map_err(|e| {
                    Fault::usage(format!(
                        "{name}: the keys cannot be read: {e}; `-` is standard input"
                    ))
                })?;
                self.lines(&name, file, out, see)
            }
        }
    }

    fn lines(
        &self,
        name: &str,
        input: impl Read,
        out: &mut Out,
        mut see: impl FnMut(&[u8], &mut Out) -> io::Result<()>,
    ) -> Result<(), Fault> {
        let mut input = BufReader::with_capacity(1 << 16, input);
        let (mut line, mut bytes) = (Vec::new(), Vec::new());
        for number in 1_u64.. {
            // Whoever writes the keys one by one reads the answers one by one.
            if input.buffer().is_empty() {
                io::Write::flush(out)?;
            }
            line.clear();
            let read = input.read_until(b'\n', &mut line);
            let read =
                read.map_err(|e| Fault::usage(format!("{name}: the keys cannot be read: {e}")))?;
            if read == 0 {
                break;
            }
            let key = line.strip_suffix(b"\n").unwrap_or(&line);
            if self.args.hex {
                unhex(key, &mut bytes)
                    .map_err(|why| Fault::usage(format!("{name}, line {number}: {why}")))?;
                see(&bytes, out)?;
            } else {
                see(key, out)?;
            }
        }
        Ok(())
    }
}
