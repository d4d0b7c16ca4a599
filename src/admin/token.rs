//! The word that opens the page.

use std::fmt;
use std::hint::black_box;

/// Shorter ones can be guessed.
const SHORTEST: usize = 16;
/// What comes in a header has 8 KiB with all others.
const LONGEST: usize = 1024;

/// A token; it is never shown.
#[derive(Clone)]
pub(super) struct Token(Box<[u8]>);

impl Token {
    /// The token, or why it is none.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if !(SHORTEST..=LONGEST).contains(&text.len()) {
            return Err(format!(
                "the token has {} characters: make one of {SHORTEST} to {LONGEST}, e.g. with `openssl rand -hex 32`",
                text.len()
            ));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(
                "the token has blanks or signs that no header carries: use letters and digits"
                    .into(),
            );
        }
        Ok(Self(text.as_bytes().into()))
    }

    /// Whether these are the same bytes. How long it takes depends on what was given alone, and not on how much of it is
    /// right: all of it is looked at.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        let mut differs = u8::from(self.0.len() != given.len());
        for (at, byte) in given.iter().enumerate() {
            // Of a length that is wrong some bytes are compared twice; a token is never empty.
            differs |= black_box(byte ^ self.0[at % self.0.len()]);
        }
        black_box(differs) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const WORD: &str = "hunter2hunter2hunter2";

    #[test]
    fn only_the_whole_word_opens() {
        let token = Token::new(WORD).expect("a token");
        assert!(token.is(WORD.as_bytes()));
        let twice = WORD.repeat(2);
        for wrong in [
            "",
            "h",
            "hunter2",
            &WORD[1..],
            &WORD[..20],
            &twice,
            "hunter2hunter2hunter3",
        ] {
            assert!(!token.is(wrong.as_bytes()), "{wrong:?}");
        }
        assert_eq!(format!("{token:?}"), "<redacted>");
    }

    #[test]
    fn what_is_short_or_no_word_is_refused_and_not_repeated() {
        for wrong in [
            "",
            "hunter2",
            "hunter2 hunter2 hunter2",
            "hunter2hunter2h\u{e4}nter2",
            &WORD.repeat(100),
        ] {
            let why = Token::new(wrong).expect_err(wrong);
            assert!(!why.contains("hunter2"), "{why}");
        }
        assert!(
            Token::new("hunter2hunter2hunter2\n")
                .expect("of a file")
                .is(WORD.as_bytes())
        );
    }

    /// A comparison that stops at the first wrong byte is a thousand times faster for this one.
    #[test]
    fn a_wrong_word_takes_as_long_wherever_it_is_wrong() {
        let token = Token::new(&"x".repeat(LONGEST)).expect("a token");
        let (mut early, mut late) = (vec![b'x'; LONGEST], vec![b'x'; LONGEST]);
        early[0] = b'y';
        late[LONGEST - 1] = b'y';
        let time = |given: &[u8]| {
            let began = Instant::now();
            for _ in 0..200 {
                assert!(!token.is(black_box(given)));
            }
            began.elapsed()
        };
        // The least of many, in turns: what else runs here only makes both longer.
        let (mut least_early, mut least_late) = (Duration::MAX, Duration::MAX);
        for _ in 0..50 {
            least_early = least_early.min(time(&early));
            least_late = least_late.min(time(&late));
        }
        assert!(
            least_late < 20 * least_early && least_early < 20 * least_late,
            "early {least_early:?}, late {least_late:?}"
        );
    }
}
