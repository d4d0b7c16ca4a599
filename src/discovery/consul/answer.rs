//! What an agent answers. Pure: bytes in, endpoints out.

use std::collections::BTreeMap;

use hyper::HeaderMap;
use serde::{Deserialize, Deserializer};

use super::super::endpoint::Endpoint;
use super::super::json::{Listed as Entries, or_default, texts, words};

/// The index of an answer; `None` where there is none that can be waited on.
pub(super) fn index_of(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get("x-consul-index")?.to_str().ok()?;
    text.trim().parse().ok().filter(|index| *index > 0)
}

/// The index to ask with next. One that goes back (an agent that was restarted, servers that were
/// restored) starts again from the beginning: waiting for the old one would be waiting for ever.
pub(super) fn next_index(asked: u64, answered: Option<u64>) -> u64 {
    match answered {
        Some(index) if index >= asked => index,
        _ => 0,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Service,
    #[serde(default, deserialize_with = "or_default")]
    checks: Vec<Check>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    #[serde(default, deserialize_with = "or_default")]
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID", default, deserialize_with = "or_default")]
    id: String,
    service: String,
    #[serde(default, deserialize_with = "or_default")]
    address: String,
    #[serde(default, deserialize_with = "or_default")]
    port: u16,
    #[serde(default, deserialize_with = "words")]
    tags: Vec<String>,
    #[serde(default, deserialize_with = "texts")]
    meta: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    weights: Weights,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Weights {
    #[serde(deserialize_with = "or_one")]
    passing: i64,
    #[serde(deserialize_with = "or_one")]
    warning: i64,
}

fn or_one<'de, D: Deserializer<'de>>(d: D) -> Result<i64, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or(1))
}

impl Default for Weights {
    /// What Consul takes for a service that names none.
    fn default() -> Self {
        Self {
            passing: 1,
            warning: 1,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Check {
    #[serde(deserialize_with = "or_default")]
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    node: String,
    #[serde(default, deserialize_with = "or_default")]
    address: String,
    #[serde(rename = "ServiceID", default, deserialize_with = "or_default")]
    service_id: String,
    service_name: String,
    #[serde(default, deserialize_with = "or_default")]
    service_address: String,
    #[serde(default, deserialize_with = "or_default")]
    service_port: u16,
    #[serde(default, deserialize_with = "words")]
    service_tags: Vec<String>,
    #[serde(default, deserialize_with = "texts")]
    service_meta: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    service_weights: Weights,
}

/// `/v1/health/service/NAME`.
pub(super) fn health(body: &[u8]) -> Result<Vec<Endpoint>, serde_json::Error> {
    let Entries::<Entry>(entries) = serde_json::from_slice(body)?;
    let endpoints = entries.into_iter().map(|entry| {
        let is_warning = entry.checks.iter().any(|check| check.status == "warning");
        let Weights { passing, warning } = entry.service.weights;
        endpoint(
            entry.node,
            entry.service,
            if is_warning { warning } else { passing },
        )
    });
    Ok(endpoints.collect())
}

/// `/v1/catalog/service/NAME`.
pub(super) fn catalog(body: &[u8]) -> Result<Vec<Endpoint>, serde_json::Error> {
    let Entries::<Listed>(listed) = serde_json::from_slice(body)?;
    let endpoints = listed.into_iter().map(|entry| {
        let node = Node {
            node: entry.node,
            address: entry.address,
        };
        let service = Service {
            id: entry.service_id,
            service: entry.service_name,
            address: entry.service_address,
            port: entry.service_port,
            tags: entry.service_tags,
            meta: entry.service_meta,
            weights: entry.service_weights,
        };
        let weight = service.weights.passing;
        endpoint(node, service, weight)
    });
    Ok(endpoints.collect())
}

/// `/v1/catalog/services`: the names.
pub(super) fn services(body: &[u8]) -> Result<Vec<String>, serde_json::Error> {
    let all: BTreeMap<String, serde::de::IgnoredAny> = serde_json::from_slice(body)?;
    Ok(all.into_keys().collect())
}

fn endpoint(node: Node, service: Service, weight: i64) -> Endpoint {
    let host = match service.address.is_empty() {
        true => node.address,
        false => service.address,
    };
    let id = match service.id.is_empty() {
        true => &service.service,
        false => &service.id,
    };
    let mut endpoint = Endpoint::new(host, service.port);
    endpoint.id = format!("{}/{id}", node.node);
    endpoint.service = Some(service.service);
    endpoint.weight = u32::try_from(weight.max(1)).unwrap_or(u32::MAX);
    endpoint.tags = service.tags;
    endpoint.meta = service.meta;
    endpoint
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &[u8] = include_bytes!("../../../tests/fixtures/consul/health.json");

    #[test]
    fn an_agent_s_answer_becomes_endpoints() {
        let found = health(RECORDED).unwrap();
        assert_eq!(found.len(), 2);
        let second = &found[1];
        assert_eq!(second.id, "vm/redis-2");
        assert_eq!(second.service.as_deref(), Some("redis"));
        assert_eq!(second.address(), "10.0.0.2:6379");
        assert_eq!(
            (found[0].weight, second.weight),
            (10, 20),
            "Weights.Passing"
        );
        assert_eq!(second.tags, ["v1", "shard-a"]);
        assert_eq!(second.meta["weight"], "2", "somebody's own");
    }

    #[test]
    fn what_is_missing_has_consul_s_own_meaning() {
        let text = br#"[{"Node": {"Node": "n", "Address": "10.0.0.9", "New": 1},
            "Service": {"ID": "", "Service": "s", "Address": "", "Port": 7, "Tags": null, "Meta": null, "Weights": null}, "Checks": null},
            {"Node": {"Node": "n", "Address": "10.0.0.9"},
            "Service": {"ID": "w", "Service": "s", "Port": 8, "Weights": {"Passing": 5, "Warning": 0}}, "Checks": [{"Status": "warning"}]}]"#;
        let found = health(text).unwrap();
        assert_eq!(
            (&*found[0].id, &*found[0].address(), found[0].weight),
            ("n/s", "10.0.0.9:7", 1)
        );
        // Whatever may be absent may be `null`.
        let null = br#"[{"Node": {"Node": "n", "Address": null}, "Service": {"ID": null, "Service": "s", "Address": null,
            "Port": null, "Tags": ["a", null], "Meta": {"a": null, "b": "1"}, "Weights": {"Passing": null, "Warning": null}},
            "Checks": [{"Status": null}]}]"#;
        let odd = health(null).unwrap();
        assert_eq!((&*odd[0].id, odd[0].weight), ("n/s", 1));
        assert_eq!(
            (&*odd[0].tags, odd[0].meta.len()),
            (&["a".to_owned()][..], 1)
        );
        let null = br#"[{"Node": "n", "Address": null, "ServiceID": null, "ServiceName": "s", "ServiceAddress": null,
            "ServicePort": null, "ServiceTags": null, "ServiceMeta": null, "ServiceWeights": null}]"#;
        assert_eq!(catalog(null).unwrap()[0].id, "n/s");
        assert_eq!(services(br#"{"a": null}"#).unwrap(), ["a"]);
        assert_eq!(
            (&*found[1].id, found[1].weight),
            ("n/w", 1),
            "0 is no weight of ours"
        );
        let text = br#"[{"Node": "n", "Address": "10.0.0.9", "ServiceID": "a", "ServiceName": "s", "ServiceAddress": "",
            "ServicePort": 7, "ServiceTags": [], "ServiceMeta": {"k": "v"}, "ServiceWeights": {"Passing": 3, "Warning": 1}}]"#;
        let found = catalog(text).unwrap();
        assert_eq!(
            (&*found[0].id, &*found[0].address(), found[0].weight),
            ("n/a", "10.0.0.9:7", 3)
        );
        assert_eq!(services(br#"{"b": [], "a": ["t"]}"#).unwrap(), ["a", "b"]);
    }

    #[test]
    fn garbage_is_an_error_and_never_an_empty_list() {
        for text in [
            "",
            "null",
            "{}",
            "[1]",
            "[{}]",
            "<html>",
            "[{\"Node\":",
            "\u{0}",
            "[]]",
            "{\"a\": 1}",
        ] {
            assert!(health(text.as_bytes()).is_err(), "{text}");
            assert!(catalog(text.as_bytes()).is_err(), "{text}");
        }
        assert!(health(&vec![b'['; 100_000]).is_err(), "deep");
        let one = r#"{"Node": {"Node": "n"}, "Service": {"Service": "s"}}"#;
        let many = |count: usize| format!("[{}]", vec![one; count].join(","));
        assert_eq!(health(many(65_536).as_bytes()).unwrap().len(), 65_536);
        let why = health(many(65_537).as_bytes()).unwrap_err().to_string();
        assert!(why.contains("65536"), "{why}");
        assert!(health(b"[]").unwrap().is_empty());
    }

    proptest::proptest! {
        /// A recorded answer with some bytes replaced, and cut somewhere.
        #[test]
        fn a_damaged_answer_never_panics(
            at in proptest::collection::vec((0..RECORDED.len(), proptest::num::u8::ANY), 0..8),
            end in 0..=RECORDED.len(),
        ) {
            let mut text = RECORDED.to_vec();
            at.into_iter().for_each(|(i, byte)| text[i] = byte);
            if let Ok(found) = health(&text[..end]) {
                proptest::prop_assert_eq!(found.len(), 2, "no instance gets lost");
            }
        }
    }

    #[test]
    fn an_index_only_goes_on_or_starts_again() {
        assert_eq!(next_index(0, Some(14)), 14);
        assert_eq!(next_index(14, Some(14)), 14);
        assert_eq!(next_index(14, Some(13)), 0, "it went back");
        assert_eq!(next_index(14, None), 0);
        let mut headers = HeaderMap::new();
        for (text, index) in [
            ("15", Some(15)),
            ("0", None),
            ("-1", None),
            ("", None),
            ("99999999999999999999999", None),
            ("x", None),
        ] {
            headers.insert("x-consul-index", text.parse().unwrap());
            assert_eq!(index_of(&headers), index, "{text}");
        }
    }
}
