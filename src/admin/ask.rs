//! What stands in a request: keys and names, whatever their bytes.

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::refusal::Refusal;

const KEY: &str = "send {\"key\": \"TEXT\"} or {\"key_hex\": \"00ff\"}, or ask for ?key= with its bytes percent-encoded";
const NODE: &str = "send {\"node\": \"NAME\"}";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyForm {
    key: Option<String>,
    key_hex: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeForm {
    node: String,
}

/// The key of a body. It is told to nobody.
pub(super) fn key_in(body: &[u8]) -> Result<Vec<u8>, Refusal> {
    // Not the parser's complaint: it may repeat what it read.
    let form: KeyForm = serde_json::from_slice(body).map_err(|_| Refusal::Form(KEY))?;
    match (form.key, form.key_hex) {
        (Some(key), None) => Ok(key.into_bytes()),
        (None, Some(digits)) => unhex(&digits).ok_or(Refusal::Form(KEY)),
        _ => Err(Refusal::Form(KEY)),
    }
}

/// The key of a query. A plus is a plus.
pub(super) fn key_of(query: Option<&str>) -> Result<Vec<u8>, Refusal> {
    let mut keys = query
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.strip_prefix("key="));
    match (keys.next(), keys.next()) {
        (Some(key), None) => Ok(percent_decode_str(key).collect()),
        _ => Err(Refusal::Form(KEY)),
    }
}

/// The name of a node.
pub(super) fn node_in(body: &[u8]) -> Result<String, Refusal> {
    let form: Result<NodeForm, _> = serde_json::from_slice(body);
    form.map(|form| form.node).map_err(|_| Refusal::Form(NODE))
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let bytes = pairs
        .iter()
        .map(|&[high, low]| Some(value(high)? << 4 | value(low)?));
    bytes.collect::<Option<_>>().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_have_any_bytes() {
        assert_eq!(
            key_in(br#"{"key": "a\u0000\u00e9"}"#),
            Ok("a\0\u{e9}".into())
        );
        assert_eq!(key_in(br#"{"key_hex": "00fF7B"}"#), Ok(vec![0, 0xff, b'{']));
        assert_eq!(key_in(br#"{"key": ""}"#), Ok(Vec::new()));
        assert_eq!(key_of(Some("key=a%00%ff%26+b")), Ok(b"a\0\xff&+b".to_vec()));
        assert_eq!(key_of(Some("x=1&key=")), Ok(Vec::new()));
    }

    #[test]
    fn what_makes_no_sense_is_refused_without_being_repeated() {
        for body in [
            &b""[..],
            b"{}",
            b"[]",
            b"null",
            b"{\"key\": 1}",
            b"{\"key_hex\": \"abc\"}",
            b"{\"key_hex\": \"zz\"}",
            b"{\"key\": \"a\", \"key_hex\": \"00\"}",
            b"{\"key\": \"hunter2\", \"more\": 1}",
            b"\xff",
            b"{\"key\": \"hunter2\"",
            b"{\"node\": 1}",
        ] {
            assert_eq!(key_in(body), Err(Refusal::Form(KEY)));
            assert_eq!(node_in(body), Err(Refusal::Form(NODE)));
        }
        assert_eq!(node_in(b"{\"node\": \"<b>\"}"), Ok("<b>".to_owned()));
        for query in [
            None,
            Some(""),
            Some("key"),
            Some("key=a&key=b"),
            Some("KEY=a"),
        ] {
            assert_eq!(key_of(query), Err(Refusal::Form(KEY)), "{query:?}");
        }
        let nested = "[".repeat(60_000);
        assert_eq!(
            key_in(nested.as_bytes()),
            Err(Refusal::Form(KEY)),
            "no depth breaks it"
        );
    }
}
