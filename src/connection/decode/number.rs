//! Numbers as RESP writes them.

/// What may stand where the length of a string or an aggregate does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Of(usize),
    /// -1, with which RESP2 says that there is nothing.
    Null,
    /// A question mark: the length is not known yet. RESP3 has it, and no server sends it.
    Streamed,
    Bad,
}

#[inline]
pub(super) fn length(text: &[u8]) -> Length {
    match text {
        b"-1" => Length::Null,
        b"?" => Length::Streamed,
        digits => digits_of(digits)
            .and_then(|len| usize::try_from(len).ok())
            // What is allocated is no larger, and so are the numbers that it is added to.
            .filter(|len| *len < usize::MAX / 4)
            .map_or(Length::Bad, Length::Of),
    }
}

/// A whole number with or without a sign.
#[inline]
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] => 0_i64.checked_sub_unsigned(digits_of(digits)?),
        [b'+', digits @ ..] | digits => i64::try_from(digits_of(digits)?).ok(),
    }
}

#[inline]
fn digits_of(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut number = 0_u64;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

/// A number with a point, an exponent, or `inf`, `-inf`, `nan`.
pub(super) fn double(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether it is a whole number, however large.
pub(super) fn is_integer(text: &[u8]) -> bool {
    let digits = match text {
        [b'-' | b'+', digits @ ..] | digits => digits,
    };
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_of_64_bits() {
        for number in [
            0,
            1,
            -1,
            9,
            10,
            1234567890,
            i64::MAX,
            i64::MIN,
            i64::MIN + 1,
        ] {
            assert_eq!(integer(number.to_string().as_bytes()), Some(number));
        }
        assert_eq!(integer(b"+7"), Some(7));
        assert_eq!(integer(b"-0"), Some(0));
        assert_eq!(integer(b"007"), Some(7));
        for bad in [
            "",
            "-",
            "+",
            "--1",
            "+-1",
            "1a",
            " 1",
            "1 ",
            "1.0",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999999",
        ] {
            assert_eq!(integer(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn lengths_are_digits_alone() {
        assert_eq!(length(b"0"), Length::Of(0));
        assert_eq!(length(b"536870912"), Length::Of(512 << 20));
        assert_eq!(length(b"-1"), Length::Null);
        assert_eq!(length(b"?"), Length::Streamed);
        for bad in [
            "",
            "-",
            "-2",
            "-01",
            "+1",
            "x",
            "1x",
            "??",
            "18446744073709551615",
        ] {
            assert_eq!(length(bad.as_bytes()), Length::Bad, "{bad}");
        }
    }

    #[test]
    fn doubles_have_all_their_forms() {
        let same = |text: &str, number: f64| {
            let read = double(text.as_bytes()).map(f64::to_bits);
            assert_eq!(read, Some(number.to_bits()), "{text}");
        };
        same("1.23", 1.23);
        same("10", 10.0);
        same("-0", -0.0);
        same("2.67923e+8", 267_923_000.0);
        same("2.1E-2", 0.021);
        same("inf", f64::INFINITY);
        same("-inf", f64::NEG_INFINITY);
        assert!(double(b"nan").is_some_and(|n| n.is_nan() && n.is_sign_positive()));
        assert!(double(b"-nan").is_some_and(|n| n.is_nan() && n.is_sign_negative()));
        for bad in ["", " 1", "1 ", "x", "1,5", "0x10", "\u{ff11}"] {
            assert_eq!(double(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn big_numbers_are_digits() {
        for good in [
            "0",
            "-1",
            "+1",
            "3492890328409238509324850943850943825024385",
        ] {
            assert!(is_integer(good.as_bytes()), "{good}");
        }
        for bad in ["", "-", "1-", "1.0", "a"] {
            assert!(!is_integer(bad.as_bytes()), "{bad}");
        }
    }
}
