//! Keys and names as text: printed so that a line stays a line, read from hexadecimal digits.

use std::fmt::Write as _;

use crate::foreign::is_unseen;
use crate::redact::redacted;

/// `bytes` for people: UTF-8 as it is; backslashes, control characters and everything else escaped.
pub fn escape(bytes: &[u8], into: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\t' => into.extend(b"\\t"),
                '\n' => into.extend(b"\\n"),
                '\r' => into.extend(b"\\r"),
                '\\' => into.extend(b"\\\\"),
                c if is_unseen(c) => escape_bytes(c.encode_utf8(&mut [0; 4]).as_bytes(), into),
                c => into.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        escape_bytes(chunk.invalid(), into);
    }
}

fn escape_bytes(bytes: &[u8], into: &mut Vec<u8>) {
    for byte in bytes {
        into.extend(b"\\x");
        push_hex(&[*byte], into);
    }
}

/// [`escape`] as a string.
pub fn shown(bytes: impl AsRef<[u8]>) -> String {
    let mut text = Vec::new();
    escape(bytes.as_ref(), &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The same, of a text of any length, for a message.
pub fn excerpt(bytes: &[u8]) -> String {
    const LONGEST: usize = 40;
    match bytes.get(..LONGEST) {
        Some(start) if bytes.len() > LONGEST => format!("{}...", shown(start)),
        _ => shown(bytes),
    }
}

/// Two lower-case digits per byte.
pub fn push_hex(bytes: &[u8], into: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    into.extend(bytes.iter().flat_map(|byte| {
        [
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]
    }));
}

/// [`push_hex`] as a string.
pub fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// The bytes that hexadecimal digits stand for, into `bytes`.
pub fn unhex(digits: &[u8], bytes: &mut Vec<u8>) -> Result<(), String> {
    let digits = digits.trim_ascii();
    bytes.clear();
    let wrong = |why: &str| format!("\"{}\" {why}", excerpt(digits));
    let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let (pairs, rest) = digits.as_chunks::<2>();
    for &[high, low] in pairs {
        let (Some(high), Some(low)) = (value(high), value(low)) else {
            return Err(wrong(
                "is not hexadecimal: write 0 to 9 and a to f, two per byte, or leave --hex out",
            ));
        };
        bytes.push(high << 4 | low);
    }
    match rest {
        [] => Ok(()),
        _ => Err(wrong(
            "has an odd number of digits: hexadecimal has two per byte",
        )),
    }
}

/// The text without what stands for a password in it: what the argument parser repeats may hold one.
pub fn masked(text: &str) -> String {
    redacted(text, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_on_their_line() {
        for (key, text) in [
            (&b"user:42"[..], "user:42"),
            ("cl\u{e9}".as_bytes(), "cl\u{e9}"),
            (b"a\tb\nc\rd\\e", r"a\tb\nc\rd\\e"),
            (b"\0\x1b[31m\x7f", r"\x00\x1b[31m\x7f"),
            (b"\xff\xc3", r"\xff\xc3"),
            ("\u{85}\u{202e}".as_bytes(), r"\xc2\x85\xe2\x80\xae"),
        ] {
            assert_eq!(shown(key), text);
        }
    }

    #[test]
    fn digits_are_read_and_what_is_none_is_named() {
        let mut bytes = Vec::new();
        for (digits, expected) in [("", &b""[..]), ("00fFa0", b"\0\xff\xa0"), (" 61\r", b"a")] {
            assert_eq!(unhex(digits.as_bytes(), &mut bytes), Ok(()), "{digits:?}");
            assert_eq!(bytes, expected);
            assert_eq!(hex(&bytes), digits.trim().to_lowercase());
        }
        let why = unhex(b"abc", &mut bytes).unwrap_err();
        assert_eq!(
            why,
            "\"abc\" has an odd number of digits: hexadecimal has two per byte"
        );
        let why = unhex(b"zz", &mut bytes).unwrap_err();
        assert!(why.starts_with("\"zz\" is not hexadecimal"), "{why}");
    }
}
