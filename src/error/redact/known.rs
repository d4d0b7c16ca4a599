//! Secrets that are known, in any spelling.

use super::{CUT, TELLING};

/// The words without the secret, and without an end of them, or of a quotation in them, that is its
/// beginning.
pub(super) fn without(words: &str, secret: &str) -> String {
    let text: Vec<char> = words.chars().collect();
    let secret = letters(secret);
    if secret.is_empty() {
        return words.to_owned();
    }
    let mut safe = String::with_capacity(words.len());
    let mut at = 0;
    while let Some(c) = text.get(at) {
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        match spelled(&text[at..], &secret, before) {
            Some(length) => {
                safe.push_str(CUT);
                at += length;
            }
            None => {
                safe.push(*c);
                at += 1;
            }
        }
    }
    safe
}

/// The secret's characters; a run of blanks is one, as whoever makes one line of it writes it.
fn letters(secret: &str) -> Vec<char> {
    let is_blank = |c: char| c.is_whitespace() || c.is_control();
    let mut letters: Vec<char> = Vec::with_capacity(secret.len());
    for c in secret.trim_matches(is_blank).chars() {
        match is_blank(c) {
            true if letters.last() == Some(&' ') => {}
            true => letters.push(' '),
            false => letters.push(c),
        }
    }
    letters
}

/// How much of the text, from its start, is the secret, or what is left of it where the text was cut.
fn spelled(text: &[char], secret: &[char], before: Option<&char>) -> Option<usize> {
    // Where a spelling of what was seen of the secret may end: `\\` is one backslash or two.
    let mut ends = vec![0];
    for (seen, wanted) in secret.iter().enumerate() {
        let mut next = Vec::new();
        for &at in &ends {
            each_spelling(&text[at..], |c, length| {
                let is_blank = c.is_whitespace() || c.is_control();
                if c == *wanted || (*wanted == ' ' && is_blank) {
                    next.push(at + length);
                }
            });
        }
        if *wanted == ' ' {
            more_blanks(text, &mut next);
        }
        next.sort_unstable();
        next.dedup();
        if next.is_empty() {
            let cut = ends.into_iter().rev().find(|at| is_end(&text[*at..]));
            return cut.filter(|_| seen >= TELLING);
        }
        ends = next;
    }
    let end = *ends.last()?;
    // One or two letters are in every other word: by themselves only.
    let in_word = |c: Option<&char>| c.is_some_and(|c| c.is_alphanumeric());
    let alone = !in_word(before) && !in_word(text.get(end));
    (secret.len() >= TELLING || alone).then_some(end)
}

fn more_blanks(text: &[char], ends: &mut Vec<usize>) {
    let mut at = 0;
    while let Some(&end) = ends.get(at) {
        let mut found = Vec::new();
        each_spelling(&text[end..], |c, length| {
            if c.is_whitespace() || c.is_control() {
                found.push(end + length);
            }
        });
        found.retain(|end| !ends.contains(end));
        ends.append(&mut found);
        at += 1;
    }
}

/// Whether somebody cut here: the end, a quotation's end, dots, half an escape.
fn is_end(rest: &[char]) -> bool {
    let dots = rest.starts_with(&['.', '.', '.']) || rest.first() == Some(&'\u{2026}');
    let half = matches!(rest.first(), Some('\\' | '%' | '&')) && rest.len() < 10;
    let quote = |c: &char| matches!(c, '"' | '\'' | '`');
    rest.first().is_none_or(quote) || dots || half
}

/// What the text may begin with: a character as it is, or escaped as JSON, Rust, C, a URL or HTML do.
fn each_spelling(text: &[char], mut found: impl FnMut(char, usize)) {
    let Some(&first) = text.first() else { return };
    found(first, 1);
    match first {
        '\\' => {
            // Escaped twice has more of them.
            let slashes = text.iter().take_while(|c| **c == '\\').count();
            let rest = &text[slashes..];
            if slashes > 1 {
                (2..=slashes).for_each(|length| found('\\', length));
            }
            let Some(&c) = rest.first() else { return };
            found(c, slashes + 1);
            let control = match c {
                'n' => Some('\n'),
                'r' => Some('\r'),
                't' => Some('\t'),
                'b' => Some('\u{8}'),
                'f' => Some('\u{c}'),
                '0' => Some('\0'),
                _ => None,
            };
            if let Some(c) = control {
                found(c, slashes + 1);
            }
            match c {
                'u' => {
                    if let Some((c, length)) = unicode(&rest[1..]) {
                        found(c, slashes + 1 + length);
                    }
                }
                'x' => bytes(&text[slashes - 1..], &['\\', 'x'], |c, length| {
                    found(c, slashes - 1 + length);
                }),
                _ => {}
            }
        }
        '%' => bytes(text, &['%'], found),
        '+' => found(' ', 1),
        '&' => {
            const NAMED: [(&str, char); 7] = [
                ("amp;", '&'),
                ("lt;", '<'),
                ("gt;", '>'),
                ("quot;", '"'),
                ("apos;", '\''),
                ("#39;", '\''),
                ("#34;", '"'),
            ];
            for (name, c) in NAMED {
                if text[1..].iter().copied().take(name.len()).eq(name.chars()) {
                    found(c, 1 + name.len());
                }
            }
        }
        _ => {}
    }
}

/// The character of `XXXX`, of two of them that are one, or of `{X..}`, behind `\u`.
fn unicode(text: &[char]) -> Option<(char, usize)> {
    if text.first() == Some(&'{') {
        let length = text.iter().take(8).position(|c| *c == '}')?;
        return Some((char::from_u32(number(&text[1..length])?)?, length + 1));
    }
    let high = number(text.get(..4)?)?;
    if let Some(c) = char::from_u32(high) {
        return Some((c, 4));
    }
    let rest = &text[4..];
    let slashes = rest.iter().take_while(|c| **c == '\\').count();
    let low = match rest.get(slashes) {
        Some('u') => number(rest.get(slashes + 1..slashes + 5)?)?,
        _ => return None,
    };
    let pair = [u16::try_from(high).ok()?, u16::try_from(low).ok()?];
    let c = char::decode_utf16(pair).next()?.ok()?;
    Some((c, 4 + slashes + 5))
}

fn number(digits: &[char]) -> Option<u32> {
    let value = |n: u32, c: &char| Some(n * 16 + c.to_digit(16)?);
    digits
        .iter()
        .try_fold(0, value)
        .filter(|_| !digits.is_empty())
}

/// The character whose bytes of UTF-8 stand there as two digits each, behind `sign`.
fn bytes(text: &[char], sign: &[char], mut found: impl FnMut(char, usize)) {
    let step = sign.len() + 2;
    let mut bytes = Vec::with_capacity(4);
    for piece in text.chunks(step).take(4) {
        let byte = piece.strip_prefix(sign).filter(|digits| digits.len() == 2);
        let Some(byte) = byte.and_then(number) else {
            return;
        };
        bytes.extend(u8::try_from(byte));
        if let Ok(text) = std::str::from_utf8(&bytes) {
            if let Some(c) = text.chars().next() {
                found(c, bytes.len() * step);
            }
            return;
        }
    }
}
