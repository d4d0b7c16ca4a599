//! Rows of words in columns.

use std::io::{self, Write as _};

use crate::out::{Ink, Out};

/// One word of a row.
pub struct Cell {
    text: String,
    ink: Ink,
}

impl Cell {
    pub fn inked(ink: Ink, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ink,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::inked(Ink::Plain, text)
    }
}

/// A table that is as wide as what it holds.
pub struct Grid {
    /// Heading, and whether what stands below it is a number.
    columns: Vec<(&'static str, bool)>,
    rows: Vec<Vec<Cell>>,
}

impl Grid {
    /// With these headings. A `>` in front puts the column to the right, as numbers are.
    pub fn new(columns: &[&'static str]) -> Self {
        let column = |heading: &&'static str| match heading.strip_prefix('>') {
            Some(heading) => (heading, true),
            None => (*heading, false),
        };
        Self {
            columns: columns.iter().map(column).collect(),
            rows: Vec::new(),
        }
    }

    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.columns.len(), "a cell per column");
        self.rows.push(cells.into());
    }

    pub fn print(&self, out: &mut Out) -> io::Result<()> {
        let widths: Vec<usize> = (0..self.columns.len()).map(|n| self.width(n)).collect();
        let headings = self.columns.iter().map(|(heading, _)| (*heading, Ink::Dim));
        self.line(&widths, headings, out)?;
        for row in &self.rows {
            let cells = row.iter().map(|cell| (cell.text.as_str(), cell.ink));
            self.line(&widths, cells, out)?;
        }
        Ok(())
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let cells = cells.map(|cell| length(&cell.text));
        cells
            .chain([length(self.columns[column].0)])
            .max()
            .unwrap_or(0)
    }

    fn line<'a>(
        &self,
        widths: &[usize],
        cells: impl Iterator<Item = (&'a str, Ink)>,
        out: &mut Out,
    ) -> io::Result<()> {
        let mut line = String::new();
        for (n, (text, ink)) in cells.enumerate() {
            let padding = " ".repeat(widths[n].saturating_sub(length(text)));
            let text = out.inked(ink, text);
            let gap = if n == 0 { "" } else { "  " };
            line.push_str(gap);
            match self.columns[n].1 {
                true => line.extend([padding, text]),
                false => line.extend([text, padding]),
            }
        }
        writeln!(out, "{}", line.trim_end())
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// A share of 1 as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}
