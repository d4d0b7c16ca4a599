use super::node::urls;
use super::*;

fn error(toml: &str) -> String {
    match toml::from_str::<Config>(toml) {
        Err(e) => e.to_string(),
        Ok(config) => FlusterCluster::try_from(config).unwrap_err().to_string(),
    }
}

#[test]
fn the_same_cluster_comes_from_toml_json_and_texts() {
    let toml = r#"
        nodes = ["redis://a", { url = "redis://b:7000", name = "b", weight = 3 }]
        response_timeout = "250ms"
        failover = "always"
        penalty = { preset = "fluster-py", max_wait = "60s", rise = 3 }
    "#;
    let json = r#"{"nodes": "redis://a, redis://b:7000", "response_timeout_ms": "250",
        "penalty_rise": "3", "penalty_max_wait": "1m", "penalty": "fluster-py"}"#;
    let from_toml: Config = toml::from_str(toml).unwrap();
    let from_json: Config = serde_json::from_str(json).unwrap();
    assert_eq!(from_toml.nodes.len(), 2);
    assert_eq!(from_json.nodes.len(), 2);
    assert_eq!(from_toml.response_timeout, from_json.response_timeout);
    let penalty = Penalty::fluster_py()
        .max_wait(Duration::from_secs(60))
        .rise(3);
    assert_eq!(from_toml.penalty, Some(penalty));
    assert_eq!(from_toml.penalty, from_json.penalty);
    let cluster = FlusterCluster::try_from(from_toml).unwrap();
    assert_eq!(cluster.status().node("b").unwrap().weight, 3);
}

#[test]
fn unknown_fields_and_impossible_values_are_named() {
    for (toml, needle) in [
        (
            "nodes = ['redis://a']\nrespons_timeout_ms = 1",
            "respons_timeout_ms",
        ),
        ("nodes = [{ url = 'redis://a', wieght = 2 }]", "wieght"),
        ("nodes = [{ name = 'a' }]", "url"),
        ("nodes = []", "at least one node"),
        ("", "at least one node"),
        ("nodes = ['redis://a']\nresponse_timeout_ms = -1", "-1"),
        (
            "nodes = ['redis://a']\nresponse_timeout_ms = 0",
            "response_timeout",
        ),
        ("nodes = ['redis://a']\nplacement = 'rings'", "rings"),
        ("nodes = ['redis://a']\nfailover = 'perhaps'", "perhaps"),
        ("nodes = ['redis://a']\nhash_tags = 'maybe'", "maybe"),
        ("nodes = ['redis://a', 'redis://a:6379/0']", "a:6379"),
        ("nodes = [{ url = 'redis://a', weight = 0 }]", "weight is 0"),
        ("nodes = [{ url = 'redis://a', weight = 513 }]", "65"),
        (
            "nodes = ['redis://a']\npenalty_min_wait_ms = 9000",
            "penalty",
        ),
        ("nodes = ['redis://a']\n[penalty]\nrises = 3", "rises"),
        ("nodes = ['redis://a']\n[penalty]\nrise = 0", "rise is 0"),
        (
            "nodes = ['redis://a']\n[penalty]\nstrikes = 'x'",
            "`strikes`",
        ),
        ("nodes = ['redis://a']\npenalty = 'php'", "fluster-py"),
        (
            "penalty_rise = 1\nnodes = ['redis://a']\n[penalty]\nrise = 2",
            "twice",
        ),
        ("nodes = ['redis://a']\ndeadline_ms = 10", "deadline"),
        ("nodes = ['redis://a']\npool_size = 0", "pool_size"),
    ] {
        let text = error(toml);
        assert!(text.contains(needle), "{toml}: {text}");
    }
}

#[test]
fn no_error_quotes_what_may_be_a_url() {
    #[derive(Debug, Deserialize)]
    struct App {
        #[allow(dead_code, reason = "only whether it can be read matters")]
        redis: Config,
    }
    const URL: &str = "redis://u:hunter2@h";
    for json in [
        r#"{"redis": "URL"}"#,
        r#"{"redis": ["URL"]}"#,
        r#"{"redis": {"URL": 1}}"#,
        r#"{"redis": {"placement": "URL"}}"#,
        r#"{"redis": {"failover": "URL"}}"#,
        r#"{"redis": {"hash_tags": "URL"}}"#,
        r#"{"redis": {"deadline_ms": "URL"}}"#,
        r#"{"redis": {"penalty_multiplier": "URL"}}"#,
        r#"{"redis": {"penalty": "URL"}}"#,
        r#"{"redis": {"penalty": {"URL": 1}}}"#,
        r#"{"redis": {"penalty": {"rise": "URL"}}}"#,
        r#"{"redis": {"nodes": {"URL": 1}}}"#,
        r#"{"redis": {"nodes": [{"URL": 1}]}}"#,
        r#"{"redis": {"nodes": [{"url": "h", "weight": "URL"}]}}"#,
        r#"{"redis": {"nodes": [{"url": "h", "labels": "URL"}]}}"#,
        r#"{"redis": {"nodes": [{"url": "h", "labels": ["URL"]}]}}"#,
    ] {
        let json = json.replace("URL", URL);
        let error = serde_json::from_str::<App>(&json).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{json}: {error}");
        let value: toml::Value = serde_json::from_str(&json).unwrap();
        let error = App::deserialize(value).unwrap_err();
        assert!(!error.message().contains("hunter2"), "{json}: {error}");
    }
    let error = serde_json::from_str::<App>(r#"{"redis": "redis://h"}"#).unwrap_err();
    assert!(
        error.to_string().contains("a table with the `nodes`"),
        "{error}"
    );
}

#[test]
fn a_comma_that_no_url_follows_is_a_part_of_the_one_before() {
    for (text, expected) in [
        (
            "redis://a, redis://b:7000",
            &["redis://a", "redis://b:7000"][..],
        ),
        (
            "redis://u:p,q@a,rediss://b,",
            &["redis://u:p,q@a", "rediss://b"],
        ),
        (" ,redis://a,,", &["redis://a"]),
        ("redis://a,b", &["redis://a,b"]),
        ("", &[]),
    ] {
        assert_eq!(urls(text).collect::<Vec<_>>(), expected, "{text:?}");
    }
    let text = error("nodes = 'redis://u:12,hunter2,x@y,z'");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn debug_never_shows_a_password() {
    let config: Config = toml::from_str("nodes = ['redis://:hunter2@a']").unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}
