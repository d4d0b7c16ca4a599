//! How large the terminal is, and what fits on it.

/// Where nothing says otherwise.
const COLUMNS: usize = 80;
const LINES: usize = 24;

/// The columns and lines of the terminal that the answer goes to.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    pub columns: usize,
    pub lines: usize,
}

impl Screen {
    pub fn now() -> Self {
        let of = |name: &str| std::env::var(name).ok()?.parse().ok().filter(|n| *n > 0);
        let size = terminal_size::terminal_size();
        let (columns, lines) = match size {
            Some((width, height)) => (Some(width.0.into()), Some(height.0.into())),
            None => (of("COLUMNS"), of("LINES")),
        };
        Self {
            // A terminal that knows nothing of itself says 0.
            columns: columns.filter(|n| *n > 0).unwrap_or(COLUMNS),
            lines: lines.filter(|n| *n > 0).unwrap_or(LINES),
        }
    }
}

/// The text in so many characters, with a mark where it was cut.
pub fn cut(text: &str, longest: usize) -> String {
    match text.chars().count() <= longest {
        true => text.to_owned(),
        false => {
            let start: String = text.chars().take(longest.saturating_sub(1)).collect();
            start + "\u{2026}"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_with_a_mark() {
        assert_eq!(cut("cache-a", 7), "cache-a");
        assert_eq!(cut("cache-a", 6), "cache\u{2026}");
        assert_eq!(cut("\u{e4}\u{e4}\u{e4}", 2), "\u{e4}\u{2026}");
    }
}
