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
    rows: Vec<Row>,
}

/// What stands in a row.
enum Row {
    Cells(Vec<Cell>),
    /// Something about the row above that is too long for a column.
    Note(Cell),
}

impl Row {
    fn cell(&self, column: usize) -> Option<&Cell> {
        match self {
            Self::Cells(cells) => cells.get(column),
            Self::Note(_) => None,
        }
    }
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

    pub fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        let cells = cells.into();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell per column");
        self.rows.push(Row::Cells(cells));
    }

    /// A line of its own below the last row.
    pub fn note(&mut self, cell: Cell) {
        self.rows.push(Row::Note(cell));
    }

    /// How wide the rows are, notes aside.
    pub fn total_width(&self) -> usize {
        let widths = (0..self.columns.len()).map(|n| self.width(n));
        widths.sum::<usize>() + 2 * self.columns.len().saturating_sub(1)
    }

    pub fn print(&self, out: &mut Out) -> io::Result<()> {
        let widths: Vec<usize> = (0..self.columns.len()).map(|n| self.width(n)).collect();
        let headings = self.columns.iter().map(|(heading, _)| (*heading, Ink::Dim));
        self.line(&widths, headings, out)?;
        for row in &self.rows {
            match row {
                Row::Cells(cells) => {
                    let cells = cells.iter().map(|cell| (cell.text.as_str(), cell.ink));
                    self.line(&widths, cells, out)?;
                }
                Row::Note(cell) => writeln!(out, "  {}", out.inked(cell.ink, &cell.text))?,
            }
        }
        Ok(())
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.cell(column));
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
