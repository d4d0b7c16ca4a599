//! The placements of feature `compat` against the answers that the libraries gave themselves.

use fluster::placement::{Member, Placement, Proxenos, ProxenosHash, Rendezvous, Ringpop};
use serde_json::Value;

use super::{array, bytes, live, number, text, vectors};

/// How much of a vector file was compared.
#[derive(Debug, Default, PartialEq)]
struct Compared {
    cases: usize,
    owners: usize,
    /// Owners with nodes down.
    stand_ins: usize,
    refused: usize,
    replicas: usize,
}

/// The nodes with all that a rule may place by.
fn members(case: &Value) -> Vec<Member<'_>> {
    let member = |node| {
        let mut member = super::member(node);
        if let (Some(host), Some(port)) = (node["host"].as_str(), node["port"].as_u64()) {
            member = member.address(host, u16::try_from(port).expect("a port"));
        }
        match node["identity"].as_str() {
            Some(identity) => member.identity(identity),
            None => member,
        }
    };
    array(&case["nodes"]).iter().map(member).collect()
}

/// Compares a whole file; `rule` gives the RULE string of a case.
fn compare(file: &str, rule: impl Fn(&Value) -> String) -> Compared {
    let mut compared = Compared::default();
    for case in &vectors(file) {
        let (id, members) = (&case["id"], members(case));
        let rule: Placement = rule(&case["params"]).parse().expect("a RULE");
        let table = rule.table(&members).expect("a table");
        let live = live(case, &members);
        let name = |node: usize| members[node].name;
        // What a cluster does: one table per set of live nodes, if the rule has it so.
        let serving = table.for_live(&live);
        for key in array(&case["keys"]) {
            let (bytes, owner) = (bytes(&key["key_hex"]), key["owner"].as_str());
            for table in [&table].into_iter().chain(&serving) {
                let first = table.first(&bytes, &live).map(name);
                assert_eq!(first, owner, "case {id}, {rule}, key {key}");
                let candidate = table.live_candidates(&bytes, &live).next().map(name);
                assert_eq!(candidate, owner, "case {id}, {rule}, key {key}");
            }
            if live.count() == members.len() {
                assert_eq!(
                    Some(name(table.owner(&bytes))),
                    owner,
                    "case {id}, key {key}"
                );
            } else {
                compared.stand_ins += 1;
            }
            if let Some(replicas) = key["replicas"].as_array() {
                let replicas: Vec<&str> = replicas.iter().map(text).collect();
                let wanted = number(&case["params"]["lookup_n"]) as usize;
                let got: Vec<&str> = table
                    .live_candidates(&bytes, &live)
                    .take(wanted)
                    .map(name)
                    .collect();
                assert_eq!(got, replicas, "case {id}, key {key}");
                compared.replicas += 1;
            }
            compared.owners += 1;
            compared.refused += usize::from(owner.is_none());
        }
        compared.cases += 1;
    }
    compared
}

/// `,name=value` for a rule, or nothing for null.
fn param(name: &str, value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(value) => format!(",{name}={value}"),
        value => format!(",{name}={value}"),
    }
}

#[test]
fn go_redis_answers_as_its_ring_does() {
    let file = include_str!("../vectors/go_redis_ring.json");
    let compared = compare(file, |_| "go-redis".to_owned());
    println!("go-redis: {compared:?}");
    let all = Compared {
        cases: 20,
        owners: 1350,
        stand_ins: 510,
        refused: 6,
        replicas: 0,
    };
    assert_eq!(compared, all, "no vector was skipped");
}

#[test]
fn proxenos_answers_as_the_original_does() {
    let file = include_str!("../vectors/proxenos.json");
    let compared = compare(file, |params| {
        let method = text(&params["hash_method"]);
        let option = |name| param(name, &params["options"][name]);
        format!(
            "proxenos:method={method}{}{}{}",
            option("seed"),
            option("secret"),
            option("optimize")
        )
    });
    println!("proxenos: {compared:?}");
    let all = Compared {
        cases: 37,
        owners: 1414,
        stand_ins: 103,
        refused: 13,
        replicas: 0,
    };
    assert_eq!(compared, all, "no vector was skipped");
}

/// `select` over the nodes that are up, as proxenos's callers write it.
#[test]
fn rendezvous_selects_as_proxenos_does() {
    let (mut owners, mut refused) = (0, 0);
    for case in &vectors(include_str!("../vectors/proxenos.json")) {
        let params = &case["params"];
        let method: ProxenosHash = text(&params["hash_method"]).parse().expect("a method");
        let options = &params["options"];
        let mut rule = Proxenos::new(method).optimize_x86(options["optimize"] == "x86");
        if !options["seed"].is_null() {
            rule = rule.seed(number(&options["seed"]));
        }
        if !options["secret"].is_null() {
            let secret = u128::from_str_radix(text(&options["secret"]), 16).expect("a secret");
            rule = rule.secret(secret.to_be_bytes());
        }
        let members = members(case);
        let mut labels = std::collections::BTreeMap::new();
        let mut nodes = Rendezvous::proxenos(rule);
        for node in live(case, &members).iter() {
            let (host, port) = members[node].address.expect("an address");
            let name = match host.contains(':') {
                true => format!("[{host}]:{port}"),
                false => format!("{host}:{port}"),
            };
            assert_eq!(nodes.add_node(&name, 1), Ok(true), "case {}", case["id"]);
            labels.insert(name, members[node].name);
        }
        for key in array(&case["keys"]) {
            let owner = nodes
                .select(bytes(&key["key_hex"]))
                .map(|name| labels[name]);
            assert_eq!(owner, key["owner"].as_str(), "case {}, {key}", case["id"]);
            owners += 1;
            refused += usize::from(owner.is_none());
        }
    }
    assert_eq!((owners, refused), (1414, 13), "no vector was skipped");
}

#[test]
fn ringpop_answers_as_its_hash_ring_does() {
    let file = include_str!("../vectors/ringpop_go.json");
    let compared = compare(file, |params| {
        format!("ringpop:replica_points={}", params["replica_points"])
    });
    println!("ringpop: {compared:?}");
    let all = Compared {
        cases: 19,
        owners: 1043,
        stand_ins: 200,
        refused: 0,
        replicas: 1043,
    };
    assert_eq!(compared, all, "no vector was skipped");
}

#[test]
fn ringpop_checksums_are_those_of_the_live_ring() {
    let mut sums = 0;
    for case in &vectors(include_str!("../vectors/ringpop_go.json")) {
        let members = members(case);
        let live = live(case, &members);
        let members: Vec<_> = live.iter().map(|node| members[node]).collect();
        let points = number(&case["params"]["replica_points"])
            .try_into()
            .expect("points");
        let got = Ringpop::default()
            .replica_points(points)
            .checksums(&members);
        let wanted = &case["checksums"];
        assert_eq!(
            got.identity,
            number(&wanted["ring_identity"]),
            "{}",
            case["id"]
        );
        assert_eq!(
            got.replica,
            number(&wanted["ring_replica"]),
            "{}",
            case["id"]
        );
        sums += 2;
    }
    println!("ringpop: {sums} checksums");
    assert_eq!(sums, 38, "no vector was skipped");
}

#[test]
fn redis_rb_answers_as_redis_distributed_does() {
    let file = include_str!("../vectors/redis_rb_distributed.json");
    let compared = compare(file, |_| "redis-rb".to_owned());
    println!("redis-rb: {compared:?}");
    let all = Compared {
        cases: 11,
        owners: 624,
        stand_ins: 120,
        refused: 0,
        replicas: 0,
    };
    assert_eq!(compared, all, "no vector was skipped");
}

#[test]
fn redis_array_answers_as_phpredis_does() {
    let file = include_str!("../vectors/phpredis_redisarray.json");
    let compared = compare(file, |params| {
        let algorithm = match text(&params["algorithm"]) {
            "crc32 (default)" => String::new(),
            algorithm => format!(",algorithm={algorithm}"),
        };
        format!("redis-array:consistent={}{algorithm}", params["consistent"])
    });
    println!("redis-array: {compared:?}");
    let all = Compared {
        cases: 20,
        owners: 864,
        stand_ins: 0,
        refused: 0,
        replicas: 0,
    };
    assert_eq!(compared, all, "no vector was skipped");
}

#[test]
fn twemproxy_answers_as_nutcracker_does() {
    let file = include_str!("../vectors/twemproxy.json");
    let compared = compare(file, |params| {
        format!(
            "twemproxy:distribution={}{}{}{}",
            text(&params["distribution"]),
            param("hash", &params["hash"]),
            param("auto_eject", &params["auto_eject_hosts"]),
            param("hash_tags", &params["hash_tag"])
        )
    });
    println!("twemproxy: {compared:?}");
    let all = Compared {
        cases: 66,
        owners: 3109,
        stand_ins: 336,
        refused: 0,
        replicas: 0,
    };
    assert_eq!(compared, all, "no vector was skipped");
}
