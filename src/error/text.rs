//! Foreign words, such as what a server, a registry or a caller said: fit to be printed and kept.

/// How much of foreign words is shown, in characters.
const LONGEST: usize = 300;
/// Stands where words were cut.
const MARK: &str = "...";
/// Longer names only cost memory and lines, once per message and per log entry. In bytes.
const LONGEST_NAME: usize = 256;

/// Foreign words as one line of at most 300 characters.
///
/// What would break the line, steer a terminal or change how the rest is read is escaped as Rust writes it
/// (`\n`, `\u{1b}`), and bytes that are no UTF-8 as `\xff`; what is longer is cut and ends in `...`. A line
/// that went through it stays as it is, so nobody must know whether somebody else has done it.
pub(crate) fn one_line(words: impl AsRef<[u8]>) -> String {
    escaped(words, LONGEST)
}

/// The same, of at most so many characters: for a whole message that holds several of them.
pub(crate) fn escaped(words: impl AsRef<[u8]>, longest: usize) -> String {
    let words = words.as_ref();
    // The usual case, on the way of each error reply: nothing in it has to be looked at twice.
    // Without an early end, so that it is done sixteen at a time.
    let is_plain = |all, byte: &u8| all & matches!(byte, b' '..=b'~');
    if words.len() <= longest
        && words.iter().fold(true, is_plain)
        && let Ok(plain) = std::str::from_utf8(words)
    {
        return plain.to_owned();
    }
    let mut line = Line {
        longest,
        ..Line::default()
    };
    for chunk in words.utf8_chunks() {
        for c in chunk.valid().chars() {
            let went_in = match is_unseen(c) {
                true => line.push(c.escape_default()),
                false => line.push(std::iter::once(c)),
            };
            if !went_in {
                return line.cut();
            }
        }
        for byte in chunk.invalid() {
            if !line.push(format!("\\x{byte:02x}").chars()) {
                return line.cut();
            }
        }
    }
    line.text
}

/// A line that grows by whole characters and whole escapes.
#[derive(Default)]
struct Line {
    text: String,
    chars: usize,
    longest: usize,
    /// Where the mark still has room behind it.
    end: usize,
}

impl Line {
    /// Whether the characters found room.
    fn push(&mut self, piece: impl Iterator<Item = char> + Clone) -> bool {
        let chars = self.chars + piece.clone().count();
        if chars > self.longest {
            return false;
        }
        self.text.extend(piece);
        self.chars = chars;
        if chars + MARK.len() <= self.longest {
            self.end = self.text.len();
        }
        true
    }

    fn cut(mut self) -> String {
        self.text.truncate(self.end);
        self.text + MARK
    }
}

/// Whether a reader would not see the character, or see others differently because of it: control
/// characters, line separators, and the format characters of Unicode (category Cf), which turn the
/// direction of text, join, hide or tag.
pub(crate) fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{8e2}' | '\u{feff}'
            | '\u{600}'..='\u{605}' | '\u{890}'..='\u{891}' | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// What is wrong with the name of a node, a queue, a group or a consumer; `None` when nothing is.
///
/// One rule for all of them: a name stands in keys, logs, labels of metrics and on the command line.
pub(crate) fn refuse_name(name: &str) -> Option<String> {
    let is_usual = |all, byte: u8| all & matches!(byte, b'!'..=b'z' | b'|' | b'~');
    match name {
        "" => Some("is empty".to_owned()),
        // The usual case: each change of the nodes looks at all their names.
        n if n.len() <= LONGEST_NAME && n.bytes().fold(true, is_usual) => None,
        n if n.len() > LONGEST_NAME => {
            Some(format!("has {} bytes, {LONGEST_NAME} are allowed", n.len()))
        }
        n if n.contains(|c: char| "{}".contains(c) || c.is_whitespace() || is_unseen(c)) => Some(
            "has braces, white space, control characters or others that cannot be seen".to_owned(),
        ),
        _ => None,
    }
}

/// A foreign name or value between quotes, as messages show it.
pub(crate) fn quoted(words: impl AsRef<[u8]>) -> String {
    format!("\"{}\"", one_line(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_breaks_a_line_or_turns_it_is_escaped() {
        for (words, line) in [
            (&b"WRONGTYPE Operation"[..], "WRONGTYPE Operation"),
            (b"a\r\nb\tc", r"a\r\nb\tc"),
            (b"\x1b[31mred\x07", r"\u{1b}[31mred\u{7}"),
            (b"\0\x7f", r"\u{0}\u{7f}"),
            (b"\xffa\xc3", r"\xffa\xc3"),
            ("a\u{202e}b\u{2066}".as_bytes(), r"a\u{202e}b\u{2066}"),
            (
                "\u{200b}\u{feff}\u{2028}".as_bytes(),
                r"\u{200b}\u{feff}\u{2028}",
            ),
            (
                "gr\u{f6}\u{df}e \u{1f511} \\ \"q\"".as_bytes(),
                "gr\u{f6}\u{df}e \u{1f511} \\ \"q\"",
            ),
            (b"", ""),
        ] {
            assert_eq!(one_line(words), line);
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_so() {
        assert_eq!(one_line("x".repeat(300)), "x".repeat(300), "it fits");
        let line = one_line("\u{f6}".repeat(10 << 20));
        assert_eq!(line, "\u{f6}".repeat(297) + "...");
        // No escape is cut in two.
        let line = one_line("\x1b".repeat(1000));
        assert_eq!(line, r"\u{1b}".repeat(49) + "...");
    }

    #[test]
    fn nothing_that_a_reader_sees_is_escaped() {
        // Letters to Unicode, and blank: the fillers of Hangul.
        const BLANK: [char; 4] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}'];
        for c in '\0'..=char::MAX {
            let printable = c.escape_debug().len() == 1 && !BLANK.contains(&c);
            assert!(
                !(is_unseen(c) && printable),
                "{} is seen",
                c.escape_unicode()
            );
        }
        for c in [
            '\u{200e}',
            '\u{200f}',
            '\u{61c}',
            '\u{2069}',
            '\u{e0041}',
            '\u{1d173}',
        ] {
            assert!(is_unseen(c), "{}", c.escape_unicode());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_short_line_that_stays(words in proptest::collection::vec(any::<u8>(), 0..700)) {
            let line = one_line(&words);
            prop_assert!(line.chars().count() <= 300);
            prop_assert!(!line.contains(is_unseen));
            prop_assert_eq!(one_line(&line), line);
        }

        #[test]
        fn any_text_becomes_one_short_line_that_stays(words in "\\PC{0,20}.{0,400}") {
            let line = one_line(&words);
            prop_assert!(line.chars().count() <= 300);
            prop_assert!(!line.contains(is_unseen));
            prop_assert_eq!(one_line(&line), line);
        }
    }

    #[test]
    fn names_that_nobody_could_read_or_write_are_refused() {
        for bad in [
            "",
            "a{b",
            "a}b",
            "a b",
            "a\n",
            "a\u{1b}[31m",
            "a\u{202e}b",
            "a\u{200b}b",
            "\u{feff}a",
            "a\u{3000}b",
            "a\u{e0041}",
            &"x".repeat(257),
            &"\u{f6}".repeat(129),
        ] {
            assert!(refuse_name(bad).is_some(), "{bad:?}");
        }
        for good in [
            "jobs",
            "10.0.0.1:6379/2",
            "[fe80::1%eth0]:6379",
            "gr\u{f6}\u{df}e",
            &"x".repeat(256),
        ] {
            assert_eq!(refuse_name(good), None, "{good}");
        }
    }
}
