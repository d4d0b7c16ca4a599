//! Arbitrary and damaged input to everything that reads text: URLs, configurations, rules, keys.
//!
//! `PROPTEST_CASES` sets how many cases each property gets (256), `make soak` many more. A failing
//! seed is kept beside this file, to be committed.

use fluster::placement::{HashTags, Placement};
use fluster::{BuildError, Node};
#[cfg(feature = "serde")]
use fluster::{Config, FlusterCluster};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// What no error may show.
const SECRET: &str = "hunter2-Zq8";

fn config() -> ProptestConfig {
    ProptestConfig {
        // Beside this file: the default looks for a `lib.rs`, which a test directory does not have.
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource(
            "proptest-regressions",
        ))),
        // `PROPTEST_CASES` is in here.
        ..ProptestConfig::default()
    }
}

/// One damage to a text.
#[derive(Clone, Debug)]
enum Damage {
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, String),
    Replace(prop::sample::Index, String),
    Swap(prop::sample::Index, prop::sample::Index),
    Truncate(prop::sample::Index),
    Repeat(prop::sample::Index),
}

fn any_piece() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "@",
        ":",
        "/",
        "//",
        "://",
        "?",
        "#",
        "%",
        "%00",
        "%40",
        "%3A",
        "%2F",
        "[",
        "]",
        "&",
        "=",
        ",",
        "\"",
        "'",
        "\n",
        " ",
        "{",
        "}",
        "-1",
        "0",
        "99999",
        "#insecure",
        "redis://",
        "unix://",
        "?db=1",
        "?pass=",
        "?protocol=resp3",
        "null",
        "[[nodes]]",
        "\\",
        "\u{0}",
        "ß",
    ]);
    prop_oneof![3 => known.prop_map(String::from), 1 => "\\PC{0,3}"]
}

fn any_damage() -> impl Strategy<Value = Damage> {
    use Damage::{Cut, Insert, Repeat, Replace, Swap, Truncate};
    let at = any::<prop::sample::Index>;
    prop_oneof![
        3 => at().prop_map(Cut),
        3 => (at(), any_piece()).prop_map(|(at, piece)| Insert(at, piece)),
        3 => (at(), any_piece()).prop_map(|(at, piece)| Replace(at, piece)),
        1 => (at(), at()).prop_map(|(a, b)| Swap(a, b)),
        1 => at().prop_map(Truncate),
        1 => at().prop_map(Repeat),
    ]
}

/// The text, damaged; with `SECRET` as one unit, so that what is left of it can be looked for.
fn damaged(text: &str, damages: &[Damage]) -> String {
    const UNIT: char = '\u{f8ff}';
    let mut chars: Vec<char> = text.replace(SECRET, &UNIT.to_string()).chars().collect();
    for damage in damages {
        if chars.is_empty() {
            break;
        }
        let len = chars.len();
        match damage {
            Damage::Cut(at) => drop(chars.remove(at.index(len))),
            Damage::Insert(at, piece) => {
                let at = at.index(len);
                chars.splice(at..at, piece.chars());
            }
            Damage::Replace(at, piece) => {
                let at = at.index(len);
                chars.splice(at..=at, piece.chars());
            }
            Damage::Swap(a, b) => chars.swap(a.index(len), b.index(len)),
            Damage::Truncate(at) => chars.truncate(at.index(len)),
            Damage::Repeat(at) => chars.extend_from_within(at.index(len)..),
        }
    }
    let text: String = chars.into_iter().collect();
    text.replace(UNIT, SECRET)
}

fn valid_url() -> impl Strategy<Value = String> {
    let user = prop::sample::select(vec!["", "u", "app%40x"]);
    let host = prop::sample::select(vec![
        "10.0.0.1",
        "h",
        "cache.local",
        "[::1]",
        "[fe80::1]:7000",
        "h:7000",
        "localhost:1",
    ]);
    let db = prop::sample::select(vec!["", "/", "/0", "/3"]);
    let query = prop::sample::select(vec!["", "?protocol=resp3", "?protocol=2"]);
    let schemes = vec!["redis", "rediss", "valkey", "valkeys"];
    let tcp = (prop::sample::select(schemes), user, host, db, query)
        .prop_map(|(s, u, h, d, q)| format!("{s}://{u}:{SECRET}@{h}{d}{q}"));
    let path = prop::sample::select(vec!["/run/redis.sock", "/s", "/a%20b"]);
    let rest = prop::sample::select(vec!["", "&db=1", "&user=u", "&protocol=resp3"]);
    let unix = (path, rest).prop_map(|(p, r)| format!("unix://{p}?pass={SECRET}{r}"));
    prop_oneof![4 => tcp, 1 => unix]
}

/// Whether `SECRET` stands where a password does: behind a ':' of the user-info or in `pass=`, and
/// not where a host, a port, a path or a name does, which are shown.
fn is_password(url: &str) -> bool {
    let tcp = ["redis://", "rediss://", "valkey://", "valkeys://"];
    let Some(rest) = tcp.iter().find_map(|s| url.strip_prefix(s)) else {
        // Once, and right behind a `pass=` of the query.
        let at = url.find(SECRET).unwrap_or_default();
        let before = &url[..at];
        let is_pass = before.ends_with("?pass=") || before.ends_with("&pass=");
        let in_query = before.contains('?') && !before.contains('#');
        return url.starts_with("unix:///")
            && is_pass
            && in_query
            && url.matches(SECRET).count() == 1;
    };
    let before = rest.split(SECRET).next().unwrap_or_default();
    before.contains(':') && !before.contains(['/', '[', '@']) && rest.matches(SECRET).count() == 1
}

/// What must hold of every text that is taken for a URL.
fn check_url(url: &str) -> Result<(), TestCaseError> {
    let shown = match Node::new(url) {
        Ok(node) => {
            let again = match node.id().as_str().starts_with('/') {
                false => {
                    let again = Node::new(format!("redis://{}", node.id()));
                    prop_assert!(
                        again.is_ok(),
                        "{url:?}: its name {} is no address",
                        node.id()
                    );
                    again
                }
                true => {
                    let id = node.id();
                    let path = id.as_str().strip_prefix('/').unwrap_or(id.as_str());
                    let path = utf8_percent_encode(path, NON_ALPHANUMERIC);
                    Node::new(format!("unix:///{path}"))
                }
            };
            prop_assert_eq!(again.map(|n| n.id()), Ok(node.id()), "{:?}", url);
            prop_assert!(url.parse::<Node>().is_ok_and(|parsed| parsed == node));
            format!("{node:?} {node:#?} {}", node.id())
        }
        Err(e) => {
            prop_assert!(matches!(e, BuildError::Url { .. }), "{e:?}");
            format!("{e} {e:?} {e:#?}")
        }
    };
    if is_password(url) {
        prop_assert!(!shown.contains(SECRET), "{url:?} leaks: {shown}");
    }
    Ok(())
}

/// Redis Cluster's rule once more, as cluster.c has it: byte by byte.
fn tag(key: &[u8]) -> &[u8] {
    let len = key.len();
    let mut s = 0;
    while s < len && key[s] != b'{' {
        s += 1;
    }
    if s == len {
        return key;
    }
    let mut e = s + 1;
    while e < len && key[e] != b'}' {
        e += 1;
    }
    if e == len || e == s + 1 {
        return key;
    }
    &key[s + 1..e]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_text_is_a_url_or_is_not(text in prop_oneof![
        "\\PC{0,60}",
        ".{0,60}",
        vec(any_piece(), 0..12).prop_map(|pieces| pieces.concat()),
        "(redis|rediss|valkey|unix|redis\\+unix)://[ -~]{0,30}",
    ]) {
        check_url(&text)?;
    }

    #[test]
    fn a_damaged_url_never_shows_its_password(url in valid_url(), damages in vec(any_damage(), 0..4)) {
        check_url(&damaged(&url, &damages))?;
    }

    #[test]
    fn any_password_that_is_escaped_is_taken_and_never_shown(password in "\\PC{6,24}") {
        let escaped = utf8_percent_encode(&password, NON_ALPHANUMERIC);
        let url = format!("redis://u:{escaped}@10.0.0.1:7000/2");
        let node = Node::new(&url).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let shown = format!("{node:?}");
        // Short ones of plain letters may well be part of a field's name.
        let telling = password.chars().any(|c| !c.is_ascii_alphanumeric() && !" _<>:\",".contains(c));
        prop_assert!(!telling || !shown.contains(&password), "{shown}");
    }

    #[test]
    fn a_password_that_is_not_escaped_is_never_shown(
        before in "[ -~]{0,6}", after in "[ -~]{0,6}", port in prop::option::of(any::<u16>()),
    ) {
        let port = port.map(|p| format!(":{p}")).unwrap_or_default();
        let url = format!("redis://u:{before}{SECRET}{after}@10.0.0.1{port}");
        match Node::new(&url) {
            // "u:a@hunter2" is a password and a host to anybody.
            Ok(node) => {
                let text = format!("{node:?}");
                prop_assert!(!text.contains(SECRET), "{url:?} leaks: {text}");
            }
            Err(e) => {
                let text = format!("{e} {e:?}");
                prop_assert!(!text.contains(SECRET), "{url:?} leaks: {text}");
            }
        }
    }

    #[test]
    fn any_text_is_a_rule_or_is_not(text in prop_oneof![
        "\\PC{0,40}",
        "(ring|rendezvous|modulo|fluster-py)(:(points|hash_tags|x)=[0-9a-z-]{0,12}(,(points|hash_tags)=[0-9a-z]{0,6})?)?",
    ]) {
        if let Ok(rule) = text.parse::<Placement>() {
            let again = rule.to_string().parse::<Placement>();
            prop_assert_eq!(again, Ok(rule), "{}", text);
        }
        if let Ok(tags) = text.parse::<HashTags>() {
            prop_assert_eq!(tags.to_string(), text);
        }
    }

    #[test]
    fn hash_tags_are_those_of_redis_cluster(key in vec(prop_oneof![
        3 => any::<u8>(), 1 => Just(b'{'), 1 => Just(b'}'),
    ], 0..48)) {
        prop_assert_eq!(HashTags::Redis.tagged(&key), tag(&key));
        prop_assert_eq!(HashTags::Off.tagged(&key), &*key);
    }
}

#[cfg(feature = "serde")]
const TOML: &str = r#"
placement = "ring:points=64"
hash_tags = "off"
failover = "if-safe"
response_timeout_ms = 250
pool_size = "8"
deadline = "1.5s"
penalty = { multiplier = 1.5, preset = "fluster-py", decay_ms = 5 }

[[nodes]]
name = "a"
url = "redis://u:hunter2-Zq8@10.0.0.1"
weight = 2
labels = { zone = "a" }

[[nodes]]
url = "redis://10.0.0.2/1"
"#;

#[cfg(feature = "serde")]
const JSON: &str = r#"{"placement": "modulo", "nodes": ["redis://u:hunter2-Zq8@10.0.0.1",
{"url": "redis://10.0.0.2", "name": "b", "weight": 3, "labels": {"zone": "a"}}],
"deadline_ms": 1000, "wait_for_node_ms": "20", "penalty_min_wait_ms": 20, "slow_nodes": "report"}"#;

/// Whatever could be read can be judged, and shows nothing.
#[cfg(feature = "serde")]
fn check_config(config: Config) -> Result<(), TestCaseError> {
    // A name, a label and a host are shown, whatever somebody writes there.
    let is_shown = config.nodes.iter().any(|n| {
        !is_password(&n.url)
            || n.name.iter().any(|name| name.contains(SECRET))
            || n.labels
                .iter()
                .any(|(k, v)| k.contains(SECRET) || v.contains(SECRET))
    });
    let mut shown = format!("{config:?} {config:#?}");
    match FlusterCluster::try_from(config) {
        Ok(cluster) => shown += &format!("{cluster:?} {:?}", cluster.status()),
        Err(e) => shown += &format!("{e} {e:?}"),
    }
    prop_assert!(is_shown || !shown.contains(SECRET), "leaks: {shown}");
    Ok(())
}

#[cfg(feature = "serde")]
proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_damaged_toml_configuration_is_read_or_refused(damages in vec(any_damage(), 0..6)) {
        if let Ok(config) = toml::from_str::<Config>(&damaged(TOML, &damages)) {
            check_config(config)?;
        }
    }

    #[test]
    fn a_damaged_json_configuration_is_read_or_refused(damages in vec(any_damage(), 0..6)) {
        if let Ok(config) = serde_json::from_str::<Config>(&damaged(JSON, &damages)) {
            check_config(config)?;
        }
    }

    #[test]
    fn any_text_is_a_configuration_or_is_not(text in "\\PC{0,80}") {
        let read = [toml::from_str::<Config>(&text).ok(), serde_json::from_str(&text).ok()];
        for config in read.into_iter().flatten() {
            check_config(config)?;
        }
    }

    #[test]
    fn an_unknown_field_is_refused_by_its_name(field in "[a-z][a-z_]{2,20}", value in any::<u32>()) {
        // `x_` begins no field there is.
        let field = format!("x_{field}");
        for toml in [
            format!("{field} = {value}\n{TOML}"),
            format!("{TOML}{field} = {value}\n"),
        ] {
            let error = toml::from_str::<Config>(&toml).expect_err("unknown field");
            prop_assert!(error.message().contains(&field), "{}", error.message());
            prop_assert!(!error.message().contains(SECRET));
        }
        let json = JSON.replacen('{', &format!("{{\"{field}\": {value}, "), 1);
        let error = serde_json::from_str::<Config>(&json).expect_err("unknown field").to_string();
        prop_assert!(error.contains(&field) && !error.contains(SECRET), "{error}");
    }
}

/// What people write where a URL with a password belongs, right or wrong; `S` is the password.
const FORMS: [&str; 22] = [
    "redis://u:S@h",
    "redis://:S@h:1/x",
    "redis://:S@h:99999",
    "redis://u:S@[fe80::1%eth0]:1/0",
    "redis://u:S@",
    "redis://u:S",
    "rediss://u:S@h#insecure",
    "redis://h,password=S",
    "redis://h:6380,password=S,ssl=True",
    "redis://h;pwd=S",
    "redis://h&token=S",
    "redis://h?password=S",
    "redis://h?secret=x&password=S",
    "redis://h/0?pass=S&db=1",
    "unix:///s?pass=S",
    "UNIX:///s?pass=S&x=1",
    " unix:///s?pass=S&db=x",
    "unix:///s?pass=a&S",
    "unix:///s&pass=S",
    "http://u:S@h",
    "redis//u:S@h",
    "u:S@h",
];

/// All that can be read of an error.
fn all_of(e: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(e);
    while let Some(e) = next {
        text += &format!("{e} {e:?} {e:#?} ");
        next = e.source();
    }
    text
}

#[cfg(feature = "serde")]
#[derive(Debug, serde::Deserialize)]
struct App {
    #[allow(dead_code, reason = "it is printed")]
    redis: Config,
}

/// Where in a configuration the text `T` may end up.
#[cfg(feature = "serde")]
const PLACES: [&str; 20] = [
    r#"{"redis": T}"#,
    r#"{"redis": [T]}"#,
    r#"{"redis": {T: 1}}"#,
    r#"{"redis": {"nodes": T}}"#,
    r#"{"redis": {"nodes": [T]}}"#,
    r#"{"redis": {"nodes": ["redis://a", T, "redis://b"]}}"#,
    r#"{"redis": {"nodes": {T: T}}}"#,
    r#"{"redis": {"nodes": [{"url": T}]}}"#,
    r#"{"redis": {"nodes": [{"url": T, "wieght": 1}]}}"#,
    r#"{"redis": {"nodes": [{T: 1}]}}"#,
    r#"{"redis": {"nodes": [{"url": "redis://a", "weight": T}]}}"#,
    r#"{"redis": {"nodes": [{"url": "redis://a", "labels": T}]}}"#,
    r#"{"redis": {"placement": T, "nodes": "redis://a"}}"#,
    r#"{"redis": {"hash_tags": T}}"#,
    r#"{"redis": {"failover": T}}"#,
    r#"{"redis": {"deadline_ms": T}}"#,
    r#"{"redis": {"penalty_multiplier": T}}"#,
    r#"{"redis": {"penalty": T}}"#,
    r#"{"redis": {"penalty": {T: 1}}}"#,
    r#"{"redis": {"penalty": {"preset": T, "max_wait": T}}}"#,
];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_marked_password_shows_in_no_node_no_rule_and_no_error(
        form in prop::sample::select(&FORMS[..]), before in "[!-~]{0,5}", after in "[!-~]{0,5}",
    ) {
        // Behind an '@' is a host to anybody, where no other follows.
        let junk = |junk: &str| if form.contains("S@") { junk.to_owned() } else { junk.replace('@', "") };
        let url = form.replace('S', &format!("{}{SECRET}{}", junk(&before), junk(&after)));
        let mut shown = String::new();
        match Node::new(&url) {
            Ok(node) => shown += &format!("{node:?} {node:#?} {}", node.id()),
            Err(e) => shown += &all_of(&e),
        }
        if let Err(e) = url.parse::<Placement>() {
            shown += &all_of(&e);
        }
        if let Err(e) = format!("ring:points={url}").parse::<Placement>() {
            shown += &all_of(&e);
        }
        if let Err(e) = url.parse::<HashTags>() {
            shown += &all_of(&e);
        }
        // Who names a node so is told; a name without these signs is a name to anybody.
        if url.contains("://") && url.contains('@') || form.contains("pass") {
            let node = Node::new("redis://a").map_err(|e| TestCaseError::fail(e.to_string()))?;
            let built = FlusterCluster::builder().node(node.name(&url)).build();
            match built {
                Err(e) => shown += &all_of(&e),
                Ok(cluster) => prop_assert!(false, "{url:?} is a name: {cluster:?}"),
            }
        }
        prop_assert!(!shown.contains(SECRET), "{url:?} leaks: {shown}");
    }
}

#[cfg(feature = "serde")]
proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_marked_password_shows_in_no_configuration(
        form in prop::sample::select(&FORMS[..]), place in prop::sample::select(&PLACES[..]),
        before in "[!-~]{0,5}", after in "[!-~]{0,5}",
    ) {
        let junk = |junk: &str| if form.contains("S@") { junk.to_owned() } else { junk.replace('@', "") };
        let url = form.replace('S', &format!("{}{SECRET}{}", junk(&before), junk(&after)));
        let json = place.replace('T', &serde_json::Value::from(url).to_string());
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let of_toml = toml::Value::try_from(&value).expect("TOML").try_into::<App>();
        let mut shown = match of_toml {
            Ok(app) => format!("{app:?} "),
            Err(e) => format!("{} ", e.message()),
        };
        match serde_json::from_str::<App>(&json) {
            Err(e) => shown += &all_of(&e),
            Ok(app) => {
                shown += &format!("{app:?} {app:#?}");
                match FlusterCluster::try_from(app.redis) {
                    Ok(cluster) => shown += &format!("{cluster:?} {:?}", cluster.status()),
                    Err(e) => shown += &all_of(&e),
                }
            }
        }
        prop_assert!(!shown.contains(SECRET), "{json} leaks: {shown}");
    }
}

/// Inputs that are worth keeping, whatever the generator makes of them.
#[test]
fn the_corpus_holds() {
    for url in [
        "redis://u:hunter2-Zq8",
        "redis://:hunter2-Zq8",
        "redis://u:hunter2-Zq8/10.0.0.1",
        "redis://u:1?hunter2-Zq8@h",
        "redis://u:1?hunter2-Zq8=1",
        "redis://u:1/hunter2-Zq8@h",
        "redis://u:1#hunter2-Zq8@h",
        "redis://u%3Ahunter2-Zq8%40h",
        "redis://u:hunter2-Zq8%40h",
        "redis://u:p@w:hunter2-Zq8@h:x",
        "redis://u:hunter2-Zq8@[::1",
        "redis://u:hunter2-Zq8@[::1]:7000/1",
        "redis://u:hunter2-Zq8@h?protocol=hunter2-Zq8",
        "unix:///s?pass=hunter2-Zq8&db=x",
        "unix:///s?pass=hunter2-Zq8&hunter2-Zq8",
        "unix:///%2e",
        "unix:///a%2F..%2Fb",
        "redis://%00",
        "redis://%ff",
        "redis://h%3A1",
        "redis://h%20",
        "rediss://h#insecure",
        "redis://[::]",
        "redis:h",
        "redis:///",
    ] {
        check_url(url).expect(url);
    }
    for url in [
        "redis://u:hunter2-Zq8",
        "redis://u:1?hunter2-Zq8@h",
        "redis://u:1?hunter2-Zq8=1",
        "redis://u:1/hunter2-Zq8",
        "redis://u%3Ahunter2-Zq8%40h",
        "redis://:hunter2-Zq8[fe80::1]:7000",
        "redis://[u:hunter2-Zq8]:7000",
        "unix:///s?pass=p@hunter2-Zq8&x=1",
        "u:hunter2-Zq8@h",
        "u:hunter2-Zq8",
        "hunter2-Zq8:x@h",
        "redis:/u:hunter2-Zq8@h",
        "https://h/?hunter2-Zq8",
    ] {
        let e = Node::new(url).expect_err(url);
        let text = format!("{e} {e:?}");
        assert!(!text.contains(SECRET), "{url} leaks: {text}");
    }
    for rule in [
        "ring:",
        "ring:points=0",
        "ring:points=4294967296",
        ":",
        "ring:points=1,points=2",
    ] {
        assert!(rule.parse::<Placement>().is_err(), "{rule}");
    }
}
