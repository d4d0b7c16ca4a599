//! What a server may be told to call a connection.

/// Why Redis would refuse the name; an empty one is none at all.
pub(crate) fn refusal(name: &str) -> Option<&'static str> {
    // Redis's own rule.
    let is_fit = name.bytes().all(|b| (b'!'..=b'~').contains(&b));
    (!is_fit).then_some(
        "a client's name has no spaces, line ends or letters beyond ASCII: use letters, digits, '-', '.' and '_'",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_refused_here_when_a_server_would_refuse_it() {
        for name in ["", "fluster", "billing-7.eu_west", "a:b/c~!", "\"{}\""] {
            assert_eq!(refusal(name), None, "{name}");
        }
        for name in [
            "a b",
            " a",
            "a\n",
            "a\r\nQUIT",
            "a\tb",
            "a\0",
            "\u{7f}",
            "grün",
        ] {
            assert!(refusal(name).is_some(), "{name:?}");
        }
    }
}
