//! What etcd's JSON gateway is asked and answers. Pure: text in, endpoints out.
//!
//! It is the gateway's own dialect: keys and values are base64, 64-bit numbers are texts, and what is
//! empty or 0 is left out.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, de::Error as _};
use serde_json::{Value, json};

use super::super::endpoint::{Endpoint, Snapshot, host_and_port};
use super::super::json::{at_most, or_default, texts, words};
use crate::error::text::{one_line, quoted};

/// What a line of a watch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Something has changed.
    Change,
    /// Nothing: it has begun, or is still there.
    Nothing,
    /// There will be no more.
    Over(String),
}

/// The first key behind all that begin with `prefix`.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    // "To the last key there is".
    vec![0]
}

fn range(prefix: &str) -> Value {
    let prefix = prefix.as_bytes();
    json!({ "key": STANDARD.encode(prefix), "range_end": STANDARD.encode(end_of(prefix)) })
}

pub(super) fn range_of(prefix: &str) -> String {
    range(prefix).to_string()
}

pub(super) fn watch_from(prefix: &str, revision: u64) -> String {
    let mut create = range(prefix);
    create["start_revision"] = revision.to_string().into();
    json!({ "create_request": create }).to_string()
}

pub(super) fn log_in(user: &str, password: &str) -> String {
    json!({ "name": user, "password": password }).to_string()
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

pub(super) fn token(body: &[u8]) -> Result<String, serde_json::Error> {
    Ok(serde_json::from_slice::<Token>(body)?.token)
}

#[derive(Deserialize)]
struct Header {
    revision: Number,
}

/// A number, as a text or as itself.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Plain(u64),
}

impl Number {
    fn get(&self) -> Option<u64> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::Plain(n) => Some(*n),
        }
    }
}

#[derive(Deserialize)]
struct Range {
    header: Header,
    #[serde(default, deserialize_with = "at_most")]
    kvs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    key: String,
    #[serde(default, deserialize_with = "or_default")]
    value: String,
}

/// What an answer lists.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) snapshot: Snapshot,
    /// The first revision that it does not know.
    pub(super) next: u64,
    /// What is wrong with the keys that are no endpoints: how many there are, and the first.
    pub(super) left_out: Option<(usize, String)>,
}

/// All endpoints, and where to go on.
pub(super) fn endpoints(body: &[u8], prefix: &str) -> Result<Listed, serde_json::Error> {
    let range: Range = serde_json::from_slice(body)?;
    let revision = range.header.revision.get();
    let next = revision
        .and_then(|revision| revision.checked_add(1))
        .ok_or_else(|| {
            serde_json::Error::custom("its revision is no number that has a next one")
        })?;
    let (mut all, mut left_out) = (Vec::new(), None::<(usize, String)>);
    for pair in range.kvs {
        let bytes = |text: &str| STANDARD.decode(text).map_err(serde_json::Error::custom);
        let (key, value) = (bytes(&pair.key)?, bytes(&pair.value)?);
        let key = String::from_utf8_lossy(&key);
        // A prefix that is itself a key: the server's own name would be empty.
        let id = key.strip_prefix(prefix).filter(|id| !id.is_empty());
        let id = id.unwrap_or(&key);
        match endpoint(id, &value) {
            Ok(endpoint) => all.push(endpoint),
            Err(why) => match &mut left_out {
                Some((count, _)) => *count += 1,
                None => left_out = Some((1, format!("{}: {why}", quoted(&*key)))),
            },
        }
    }
    Ok(Listed {
        snapshot: all.into_iter().collect(),
        next,
        left_out,
    })
}

/// What a key's value may hold as JSON: ours, and what etcd's `naming/endpoints` writes.
#[derive(Deserialize)]
struct Written {
    #[serde(default, alias = "Addr", alias = "address")]
    addr: Option<String>,
    #[serde(default)]
    host: Option<String>,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    weight: Option<u32>,
    #[serde(default, deserialize_with = "words")]
    tags: Vec<String>,
    #[serde(default, deserialize_with = "texts")]
    meta: BTreeMap<String, String>,
}

/// The endpoint that a value describes, or what is wrong with it. The value is not shown: it may be a URL
/// with a password.
fn endpoint(id: &str, value: &[u8]) -> Result<Endpoint, String> {
    let no_address = || "its value is neither host:port nor JSON with an address".to_owned();
    let text = std::str::from_utf8(value).map_err(|_| "its value is not UTF-8".to_owned())?;
    let text = text.trim();
    let mut endpoint = if text.starts_with('{') {
        let written: Written = serde_json::from_str(text).map_err(|e| wrong(&e))?;
        let mut endpoint = match (written.host, written.port, written.addr) {
            (Some(host), port, None) => Endpoint::new(host, port.unwrap_or(6379)),
            (None, None, Some(addr)) => split(&addr).ok_or_else(no_address)?,
            (None, _, None) => return Err("its value names no host".into()),
            _ => return Err("its value has both a host or port and an address".into()),
        };
        endpoint.weight = written.weight.unwrap_or(1).max(1);
        endpoint.tags = written.tags;
        endpoint.meta = written.meta;
        endpoint
    } else {
        split(text).ok_or_else(no_address)?
    };
    endpoint.id = id.to_owned();
    Ok(endpoint)
}

/// What is wrong with a value's JSON, without its words, which quote the value.
fn wrong(e: &serde_json::Error) -> String {
    let what = match e.classify() {
        serde_json::error::Category::Data => {
            "a field of its JSON has another type than it should have"
        }
        _ => "its JSON does not parse",
    };
    format!("{what}, at line {} column {}", e.line(), e.column())
}

/// `host:port`, `[v6]:port`.
fn split(address: &str) -> Option<Endpoint> {
    host_and_port(address).map(|(host, port)| Endpoint::new(host, port))
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    result: Option<Told>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Told {
    #[serde(default, deserialize_with = "or_default")]
    canceled: bool,
    #[serde(default, deserialize_with = "or_default")]
    cancel_reason: String,
    #[serde(default)]
    compact_revision: Option<Number>,
    #[serde(default, deserialize_with = "or_default")]
    events: Vec<serde::de::IgnoredAny>,
}

/// What one line of a watch says; one that makes no sense ends it, and everything is read again.
pub(super) fn heard(line: &[u8]) -> Heard {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Heard::Nothing;
    }
    match serde_json::from_slice(line) {
        Err(e) => Heard::Over(one_line(format!("a line that makes no sense: {e}"))),
        Ok(Line { error: Some(e), .. }) => Heard::Over(one_line(e.to_string())),
        Ok(Line { result: None, .. }) => Heard::Over("a line without a result".into()),
        Ok(Line {
            result: Some(told), ..
        }) => {
            let compacted = told
                .compact_revision
                .and_then(|n| n.get())
                .filter(|n| *n > 0);
            match (told.canceled, compacted) {
                (_, Some(at)) => Heard::Over(format!("compacted at revision {at}")),
                (true, _) => Heard::Over(one_line(told.cancel_reason)),
                _ if told.events.is_empty() => Heard::Nothing,
                _ => Heard::Change,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_no_key_begins_with_it() {
        assert_eq!(end_of(b"/a/"), b"/a0");
        assert_eq!(end_of(b"a\xff\xff"), b"b");
        assert_eq!(end_of(b"\xff\xff"), b"\0");
        assert_eq!(end_of(b""), b"\0");
    }

    fn body(pairs: &[(&str, &str)]) -> String {
        let kvs: Vec<_> = pairs
            .iter()
            .map(|(k, v)| json!({ "key": STANDARD.encode(k), "value": STANDARD.encode(v) }))
            .collect();
        json!({ "header": { "revision": "7" }, "kvs": kvs, "count": "1" }).to_string()
    }

    #[test]
    fn values_are_addresses_or_json() {
        let text = body(&[
            ("/s/a", "10.0.0.1:6379"),
            (
                "/s/b",
                r#"{"host": "h", "port": 7, "weight": 3, "tags": ["t"], "meta": {"z": "1"}}"#,
            ),
            ("/s/c", r#"{"Op":0,"Addr":"[::1]:7","Metadata":null}"#),
            ("/s/d", "h"),
            ("/s/e", "{"),
            ("/s/f", "redis://u:hunter2@h:1"),
            ("/s/g", r#"{"host": "h", "port": 70000}"#),
            ("/s/h", "h:0"),
            ("/s/i", ""),
            ("/s/j", "::1:7"),
        ]);
        let found = endpoints(text.as_bytes(), "/s/").unwrap();
        assert_eq!(found.next, 8);
        let (count, first) = found.left_out.unwrap();
        assert_eq!(
            (count, &*first),
            (
                7,
                "\"/s/d\": its value is neither host:port nor JSON with an address"
            )
        );
        let all = found.snapshot.endpoints();
        let ids: Vec<_> = all
            .iter()
            .map(|e| (&*e.id, e.address(), e.weight))
            .collect();
        let wanted = [
            ("a", "10.0.0.1:6379", 1),
            ("b", "h:7", 3),
            ("c", "[::1]:7", 1),
        ];
        assert_eq!(ids, wanted.map(|(id, a, w)| (id, a.to_owned(), w)));
        assert_eq!((&*all[1].tags[0], &*all[1].meta["z"]), ("t", "1"));
        let none = br#"{"header": {"revision": 1}}"#;
        assert!(endpoints(none, "/s/").unwrap().snapshot.is_empty());
    }

    #[test]
    fn what_is_null_is_absent() {
        let null = r#"{"host": "h", "port": null, "addr": null, "weight": null, "tags": null, "meta": null}"#;
        let found = endpoint("a", null.as_bytes()).unwrap();
        assert_eq!((&*found.address(), found.weight), ("h:6379", 1));
        let odd = r#"{"Addr": "h:7", "host": null, "tags": ["a", null], "meta": {"a": null, "b": 1, "c": true, "d": {}}}"#;
        let found = endpoint("a", odd.as_bytes()).unwrap();
        assert_eq!(found.tags, ["a"]);
        let meta: Vec<_> = found.meta.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(meta, [("b", "1"), ("c", "true")]);
        let text = format!(
            r#"{{"header": {{"revision": "7"}}, "kvs": [{{"key": "{}", "value": null}}]}}"#,
            STANDARD.encode("/s/a")
        );
        assert_eq!(
            endpoints(text.as_bytes(), "/s/")
                .unwrap()
                .left_out
                .unwrap()
                .0,
            1
        );
        let none = br#"{"header": {"revision": 1}, "kvs": null, "count": null}"#;
        assert!(endpoints(none, "/s/").unwrap().snapshot.is_empty());
        let quiet = br#"{"result":{"header":null,"canceled":null,"cancel_reason":null,"compact_revision":null,"events":null},"error":null}"#;
        assert_eq!(heard(quiet), Heard::Nothing);
    }

    #[test]
    fn what_is_wrong_with_a_value_is_said_without_its_words() {
        for (value, needle) in [
            (r#"{"host": "h", "port": "hunter2"}"#, "another type"),
            (r#"{"host": "h", "weight": -1}"#, "another type"),
            (r#"{"hunter2"#, "does not parse"),
            ("redis://u:hunter2@h:1", "neither"),
            (r#"{"port": 1}"#, "no host"),
            (r#"{"host": "h", "addr": "h:1"}"#, "both"),
        ] {
            let why = endpoint("a", value.as_bytes()).unwrap_err();
            assert!(
                why.contains(needle) && !why.contains("hunter2"),
                "{value}: {why}"
            );
        }
    }

    #[test]
    fn a_list_is_read_up_to_a_number_of_keys() {
        let pairs = |count: usize| {
            let kvs = vec![r#"{"key": "YQ=="}"#; count].join(",");
            format!(r#"{{"header": {{"revision": "1"}}, "kvs": [{kvs}]}}"#)
        };
        assert!(endpoints(pairs(65_536).as_bytes(), "/").is_ok());
        let why = endpoints(pairs(65_537).as_bytes(), "/")
            .unwrap_err()
            .to_string();
        assert!(why.contains("65536"), "{why}");
    }

    #[test]
    fn garbage_is_an_error_and_never_an_empty_list() {
        for text in [
            "",
            "{}",
            "[]",
            "null",
            "<html>",
            r#"{"kvs": []}"#,
            r#"{"header": {"revision": "x"}}"#,
            r#"{"header": {"revision": "18446744073709551615"}}"#,
            r#"{"header": {"revision": 18446744073709551615}}"#,
            r#"{"header": {"revision": 18446744073709551616}}"#,
            r#"{"header": {"revision": -1}}"#,
            r#"{"header": {"revision": null}}"#,
            r#"{"header": {"revision": "1"}, "kvs": [{"key": "%"}]}"#,
            r#"{"header": {"revision": "1"}, "kvs": 3}"#,
        ] {
            assert!(endpoints(text.as_bytes(), "/s/").is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_line_of_some_sort(line in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            heard(&line);
            proptest::prop_assert!(endpoints(&line, "/s/").is_err());
            drop(endpoint("id", &line));
        }
    }

    #[test]
    fn a_line_of_a_watch_is_a_change_nothing_or_its_end() {
        let over = |line: &str| matches!(heard(line.as_bytes()), Heard::Over(_));
        assert_eq!(heard(b"\n"), Heard::Nothing);
        assert_eq!(
            heard(br#"{"result":{"header":{"revision":"2"},"created":true}}"#),
            Heard::Nothing
        );
        assert_eq!(
            heard(br#"{"result":{"header":{"revision":"3"},"events":[{"kv":{}}]}}"#),
            Heard::Change
        );
        assert!(over(
            r#"{"result":{"header":{},"canceled":true,"compact_revision":"9"}}"#
        ));
        assert!(over(r#"{"result":{"canceled":true,"cancel_reason":"x"}}"#));
        assert!(over(r#"{"error":{"grpc_code":14}}"#));
        assert!(over("garbage") && over("{}") && over("[]"));
    }
}
