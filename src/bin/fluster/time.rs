//! Times as they are written and read.

use std::time::Duration;

use crate::fault::Fault;
use crate::text::excerpt;

/// `500ms`, `2s`, `1.5s`, `1m`, or seconds.
pub fn read(option: &str, text: &str) -> Result<Duration, Fault> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let seconds = match unit {
        "ms" => Some(1e-3),
        "s" | "" => Some(1.0),
        "m" => Some(60.0),
        _ => None,
    };
    let time = number.parse::<f64>().ok().zip(seconds);
    let time = time.map(|(number, seconds)| number * seconds);
    time.filter(|time| (1e-3..=86_400.0).contains(time))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| {
            Fault::usage(format!(
                "{option} {}: write a time such as 500ms, 2s or 1m, of a day at most",
                excerpt(text.as_bytes())
            ))
        })
}

/// `12 s`, `3 min 20 s`, `5 h 2 min`, `8 d 3 h`.
pub fn shown(millis: u64) -> String {
    let s = millis / 1000;
    match s {
        0 => format!("{millis} ms"),
        1..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_units_and_nothing_else_is() {
        for (text, millis) in [
            ("500ms", 500),
            ("2s", 2000),
            ("1.5s", 1500),
            ("1m", 60_000),
            ("3", 3000),
        ] {
            assert_eq!(
                read("--x", text).expect(text),
                Duration::from_millis(millis)
            );
        }
        for text in [
            "", "s", "-1s", "0", "1h", "1 s", "1e9", "99999999", "NaN", "inf", ".",
        ] {
            assert!(read("--x", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn times_are_shown_in_two_units() {
        for (millis, text) in [
            (7, "7 ms"),
            (12_345, "12 s"),
            (200_000, "3 min 20 s"),
            (18_120_000, "5 h 2 min"),
            (702_000_000, "8 d 3 h"),
        ] {
            assert_eq!(shown(millis), text);
        }
    }
}
