//! What serde says of a configuration that it cannot read, fit to be shown.

use serde::de;

use crate::error::redact::{CUT, redacted};
use crate::error::text::escaped;

/// Whatever stands in a field's place may be a URL with its password, and serde's own words quote it.
pub(super) fn without_values<E: de::Error>(error: E) -> E {
    const LONGEST: usize = 1000;
    let text = error.to_string();
    let safe = plain(&text);
    match safe == text {
        // It knows its line.
        true => error,
        false => E::custom(escaped(safe, LONGEST)),
    }
}

/// What serde says, without the texts that it found, and with a field's or a value's name only when it is one.
fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    // `invalid type: string "..", expected ..`: the text is quoted as Rust does it.
    while let Some(at) = rest.find("string \"") {
        safe.push_str(&rest[..at]);
        safe.push_str("a text");
        let quoted = &rest[at + "string \"".len()..];
        let mut escaped = false;
        let end = quoted.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        rest = end.map_or("", |end| &quoted[end + 1..]);
    }
    safe.push_str(rest);
    // "unknown field `..`, expected one of ..": between backticks as it is.
    for what in ["unknown field `", "unknown variant `", "duplicate field `"] {
        let Some((before, name)) = safe.split_once(what) else {
            continue;
        };
        let end = name.rfind("`, ").unwrap_or(name.len());
        let end = name
            .find("`, expected")
            .or(name.find("`, there are"))
            .unwrap_or(end);
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if name[..end].chars().all(is_name) && end <= 40 {
            continue;
        }
        safe = format!("{before}{what}{CUT}{}", &name[end..]);
    }
    redacted(&safe, &[])
}
