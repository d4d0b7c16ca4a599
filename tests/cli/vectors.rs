//! `fluster locate` against the answers that other libraries gave themselves.

use serde_json::Value;

use super::{Files, fluster_with};

/// How much of a vector file was compared, in both ways to describe a cluster.
#[derive(Debug, Default, PartialEq)]
struct Compared {
    cases: usize,
    owners: usize,
    /// Cases with nodes down.
    with_nodes_down: usize,
    nobody: usize,
    replicas: usize,
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// Nodes without weight get no keys there and are no nodes here.
fn nodes(case: &Value) -> impl Iterator<Item = &Value> {
    array(&case["nodes"])
        .iter()
        .filter(|node| node["weight"] != 0)
}

/// An address for the node: its own where the rule places by it.
fn url(node: &Value, place: usize) -> String {
    match (node["host"].as_str(), node["port"].as_u64()) {
        (Some(host), Some(port)) if host.contains(':') => format!("redis://[{host}]:{port}"),
        (Some(host), Some(port)) => format!("redis://{host}:{port}"),
        _ => format!("redis://127.0.0.1:{}", 20_000 + place),
    }
}

fn by_arguments(case: &Value, rule: &str, tags: Option<&str>) -> Vec<String> {
    let mut args = vec!["--placement".to_owned(), rule.to_owned()];
    args.extend(
        tags.into_iter()
            .flat_map(|tags| ["--hash-tags".to_owned(), tags.to_owned()]),
    );
    for (place, node) in nodes(case).enumerate() {
        let mut text = format!("{}={}", text(&node["name"]), url(node, place));
        text.push_str(&format!(",weight={}", node["weight"]));
        if let Some(identity) = node["identity"].as_str() {
            text.push_str(&format!(",label.identity={identity}"));
        }
        args.extend(["--node".to_owned(), text]);
    }
    args
}

fn by_file(case: &Value, rule: &str, tags: Option<&str>, files: &Files) -> Vec<String> {
    let node = |(place, node): (usize, &Value)| {
        let identity = node["identity"].as_str();
        let labels = identity
            .map(|identity| toml::Table::from_iter([("identity".to_owned(), identity.into())]));
        let mut table = toml::Table::from_iter([
            ("name".to_owned(), text(&node["name"]).into()),
            ("url".to_owned(), url(node, place).into()),
            (
                "weight".to_owned(),
                node["weight"].as_i64().expect("a number").into(),
            ),
        ]);
        table.extend(labels.map(|labels| ("labels".to_owned(), labels.into())));
        toml::Value::from(table)
    };
    let mut config = toml::Table::from_iter([
        ("placement".to_owned(), rule.into()),
        (
            "nodes".to_owned(),
            nodes(case).enumerate().map(node).collect::<Vec<_>>().into(),
        ),
    ]);
    config.extend(tags.map(|tags| ("hash_tags".to_owned(), tags.into())));
    let file = files.write("cluster.toml", &toml::to_string(&config).expect("TOML"));
    vec!["--config".to_owned(), file]
}

/// Asks the program for every key of every case; `rule` is the RULE of a case, and the hash tags.
fn compare<'a>(file: &'a str, rule: impl Fn(&'a Value) -> (String, Option<&'a str>)) -> Compared {
    let cases = serde_json::from_str::<Value>(file).expect("a vector file is JSON");
    let cases: &Value = Box::leak(Box::new(cases));
    let (mut compared, files) = (Compared::default(), Files::new());
    for case in array(&cases["cases"]) {
        let (rule, tags) = rule(&case["params"]);
        let down: Vec<&str> = array(&case["down"]).iter().map(text).collect();
        let keys = array(&case["keys"]);
        let input: String = keys
            .iter()
            .flat_map(|key| [text(&key["key_hex"]), "\n"])
            .collect();
        let wanted = [
            &case["params"]["replicas_count"],
            &case["params"]["lookup_n"],
        ];
        let wanted = wanted.into_iter().find_map(Value::as_u64);
        for cluster in [
            by_arguments(case, &rule, tags),
            by_file(case, &rule, tags, &files),
        ] {
            let mut args = vec!["locate".to_owned()];
            args.extend(cluster);
            args.extend(down.iter().map(|name| format!("--down={name}")));
            args.extend(wanted.map(|n| format!("--replicas={n}")));
            args.extend(["--keys-from", "-", "--hex", "--json"].map(str::to_owned));
            let ran = fluster_with(input.as_bytes(), &args);
            assert_eq!(ran.stderr, "", "case {}, {args:?}", case["id"]);
            let answers = ran.json();
            assert_eq!(answers.len(), keys.len(), "case {}", case["id"]);
            for (key, answer) in keys.iter().zip(&answers) {
                assert_eq!(answer["key_hex"], key["key_hex"]);
                assert_eq!(
                    answer["owner"], key["owner"],
                    "case {}, {rule}, {key}",
                    case["id"]
                );
                let replicas = key["replicas"].as_array().filter(|_| wanted.is_some());
                if let Some(replicas) = replicas {
                    assert_eq!(
                        array(&answer["replicas"]),
                        replicas,
                        "case {}, {key}",
                        case["id"]
                    );
                    compared.replicas += 1;
                }
                compared.owners += 1;
                compared.nobody += usize::from(key["owner"].is_null());
            }
            let homeless = keys.iter().any(|key| key["owner"].is_null());
            assert_eq!(
                ran.code,
                if homeless { 4 } else { 0 },
                "case {}",
                case["id"]
            );
            compared.cases += 1;
            compared.with_nodes_down += usize::from(!down.is_empty());
        }
    }
    compared
}

#[test]
fn fluster_py() {
    let file = include_str!("../vectors/fluster_py.json");
    let compared = compare(file, |_| ("fluster-py".to_owned(), None));
    println!("fluster-py: {compared:?}");
    let all = Compared {
        cases: 172,
        owners: 5632,
        with_nodes_down: 138,
        nobody: 16,
        replicas: 0,
    };
    assert_eq!(compared, all, "no vector was skipped");
}

#[test]
fn fastring() {
    let file = include_str!("../vectors/fastring.json");
    let compared = compare(file, |params| {
        (
            format!("fastring:virtual_nodes={}", params["virtual_nodes"]),
            None,
        )
    });
    println!("fastring: {compared:?}");
    let all = Compared {
        cases: 46,
        owners: 2034,
        with_nodes_down: 8,
        nobody: 16,
        replicas: 2034,
    };
    assert_eq!(compared, all, "no vector was skipped");
}

#[test]
fn go_redis() {
    let file = include_str!("../vectors/go_redis_ring.json");
    let compared = compare(file, |_| ("go-redis".to_owned(), None));
    println!("go-redis: {compared:?}");
    let all = Compared {
        cases: 40,
        owners: 2700,
        with_nodes_down: 18,
        nobody: 12,
        replicas: 0,
    };
    assert_eq!(compared, all, "no vector was skipped");
}

#[test]
fn proxenos() {
    let file = include_str!("../vectors/proxenos.json");
    let compared = compare(file, |params| {
        let options = params["options"].as_object().expect("options");
        let option = |(name, value): (&String, &Value)| match value.as_str() {
            Some(value) => format!(",{name}={value}"),
            None => format!(",{name}={value}"),
        };
        let options: String = options.iter().map(option).collect();
        (
            format!("proxenos:method={}{options}", text(&params["hash_method"])),
            None,
        )
    });
    println!("proxenos: {compared:?}");
    let all = Compared {
        cases: 74,
        owners: 2828,
        with_nodes_down: 6,
        nobody: 26,
        replicas: 0,
    };
    assert_eq!(compared, all, "no vector was skipped");
}

#[test]
fn ringpop() {
    let file = include_str!("../vectors/ringpop_go.json");
    let compared = compare(file, |params| {
        (
            format!("ringpop:replica_points={}", params["replica_points"]),
            None,
        )
    });
    println!("ringpop: {compared:?}");
    let all = Compared {
        cases: 38,
        owners: 2086,
        with_nodes_down: 8,
        nobody: 0,
        replicas: 2086,
    };
    assert_eq!(compared, all, "no vector was skipped");
}

#[test]
fn redis_rb() {
    let file = include_str!("../vectors/redis_rb_distributed.json");
    let compared = compare(file, |_| ("redis-rb".to_owned(), None));
    println!("redis-rb: {compared:?}");
    let all = Compared {
        cases: 22,
        owners: 1248,
        with_nodes_down: 4,
        nobody: 0,
        replicas: 0,
    };
    assert_eq!(compared, all, "no vector was skipped");
}

#[test]
fn redis_array() {
    let file = include_str!("../vectors/phpredis_redisarray.json");
    let compared = compare(file, |params| {
        let algorithm = match text(&params["algorithm"]) {
            "crc32 (default)" => String::new(),
            algorithm => format!(",algorithm={algorithm}"),
        };
        (
            format!("redis-array:consistent={}{algorithm}", params["consistent"]),
            None,
        )
    });
    println!("redis-array: {compared:?}");
    let all = Compared {
        cases: 40,
        owners: 1728,
        with_nodes_down: 0,
        nobody: 0,
        replicas: 0,
    };
    assert_eq!(compared, all, "no vector was skipped");
}

#[test]
fn twemproxy() {
    let file = include_str!("../vectors/twemproxy.json");
    let compared = compare(file, |params| {
        let (distribution, hash) = (text(&params["distribution"]), text(&params["hash"]));
        let eject = &params["auto_eject_hosts"];
        let rule = format!("twemproxy:distribution={distribution},hash={hash},auto_eject={eject}");
        (rule, params["hash_tag"].as_str())
    });
    println!("twemproxy: {compared:?}");
    let all = Compared {
        cases: 132,
        owners: 6218,
        with_nodes_down: 16,
        nobody: 0,
        replicas: 0,
    };
    assert_eq!(compared, all, "no vector was skipped");
}
