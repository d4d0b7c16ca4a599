//! Standard output: buffered, with colours where somebody sees them.

use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};

/// How a word is to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ink {
    #[default]
    Plain,
    Bold,
    Dim,
    Good,
    Doubtful,
    Bad,
}

/// The answer's way out.
pub struct Out {
    writer: BufWriter<StdoutLock<'static>>,
    /// It is a terminal that understands where to put the cursor.
    pub is_screen: bool,
    colours: bool,
}

impl Out {
    pub fn new() -> Self {
        let stdout = io::stdout();
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let is_screen = stdout.is_terminal() && !is_dumb;
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            writer: BufWriter::with_capacity(1 << 16, stdout.lock()),
            is_screen,
            colours: is_screen && !refused,
        }
    }

    /// The text in its colour, where there are colours.
    pub fn inked(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Bold => 1,
            Ink::Dim => 2,
            Ink::Good => 32,
            Ink::Doubtful => 33,
            Ink::Bad => 31,
            Ink::Plain => return text.to_owned(),
        };
        match self.colours {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
