//! `fluster select`: proxenos' command, against its own answers and real sources.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use serde_json::Value;

use super::{Files, Ran, fluster, run};
use crate::support::{Daemon, PortClaim, http, need, wait_until};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn it_selects_as_proxenos_does() {
    let file: Value = serde_json::from_str(include_str!("../vectors/proxenos.json")).expect("JSON");
    let (mut cases, mut keys, mut others) = (0, 0, 0);
    for case in file["cases"].as_array().expect("cases") {
        let nodes = case["nodes"].as_array().expect("nodes");
        let params = &case["params"];
        let options = params["options"].as_object().expect("options");
        if !case["down"].as_array().is_none_or(Vec::is_empty) {
            continue;
        }
        let address = |node: &Value| {
            let host = node["host"].as_str().expect("a host");
            let host = host.strip_prefix("::ffff:").unwrap_or(host);
            match host.contains(':') {
                true => format!("[{host}]:{}", node["port"]),
                false => format!("{host}:{}", node["port"]),
            }
        };
        let list: Vec<_> = nodes.iter().map(address).collect();
        let name = |owner: &Value| {
            nodes
                .iter()
                .find(|node| node["name"] == *owner)
                .map(address)
        };
        for key in case["keys"].as_array().expect("keys").iter().take(3) {
            let hex = key["key_hex"].as_str().expect("hex");
            let bytes: Vec<u8> = (0..hex.len() / 2)
                .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).expect("hex"))
                .collect();
            if bytes.contains(&0) || bytes.starts_with(b"-") {
                continue;
            }
            let method = params["hash_method"].as_str().expect("a method");
            // By proxenos's own variables, and as a rule.
            let mut rule = format!("proxenos:method={method}");
            let mut by_variables = super::program();
            for (option, value) in options {
                let value = value.as_str().map_or(value.to_string(), str::to_owned);
                rule += &format!(",{option}={value}");
                let variable = match option.as_str() {
                    "seed" => "PROXENOS_MMH_SEED",
                    "optimize" => "PROXENOS_MMH_OPTIMIZE",
                    "secret" => "PROXENOS_SIPHASH_KEY",
                    other => panic!("{other}"),
                };
                by_variables.env(variable, value);
                others += 1;
            }
            let mut by_rule = super::program();
            for (command, how, what) in [
                (&mut by_variables, "-H", method),
                (&mut by_rule, "--placement", &rule),
            ] {
                let list = list.join(",");
                command.args(["select", "-b", "static", "-h", &list, how, what, "--"]);
                let output = command.arg(OsStr::from_bytes(&bytes)).output();
                let ran = super::ran(&output.expect("fluster runs")).works();
                assert_eq!(
                    Some(ran.stdout.trim_end().to_owned()),
                    name(&key["owner"]),
                    "{} {key} {how}",
                    case["id"]
                );
            }
            keys += 1;
        }
        cases += 1;
    }
    println!("select: {keys} keys of {cases} cases");
    assert!(cases > 20 && keys > 60, "{cases} cases, {keys} keys");
    assert!(others >= 12, "{others} keys with a seed, a key or x86");
}

#[test]
fn every_rule_selects_as_the_cluster_that_follows_the_source_places() {
    let hosts = ["10.0.0.1:7000", "10.0.0.2:7000", "cache.internal:7001"];
    let list = hosts.join(",");
    let nodes: Vec<String> = hosts
        .iter()
        .map(|host| format!("--node {host}=redis://{host}"))
        .collect();
    let nodes = nodes.join(" ");
    let mut chosen = std::collections::BTreeSet::new();
    for rule in [
        "ring",
        "ring:points=7",
        "rendezvous",
        "modulo",
        "fluster-py",
        "fastring",
        "go-redis",
        "ringpop",
        "twemproxy:hash=md5",
        "redis-rb",
        "redis-array",
    ] {
        for key in ["user:42", "{a}:b", "k3"] {
            for tags in ["", "--hash-tags redis"] {
                let rule = format!("--placement {rule} {tags}");
                let located = run(&format!("locate {nodes} {rule} {key}")).works().stdout;
                let selected = run(&format!("select -b static -h {list} {rule} {key}"));
                let expected = located.trim_end().split('\t').nth(1).expect("a node");
                assert_eq!(selected.works().stdout.trim_end(), expected, "{rule} {key}");
                chosen.insert(expected.to_owned());
            }
        }
    }
    assert_eq!(chosen.len(), 3, "every node has something");
    let ran = run(&format!("select -b static -h {list} --placement rign k"));
    ran.refuses(2, &["rign"]);
    run(&format!(
        "select -b static -h {list} --placement ring -H MD5 k"
    ))
    .refuses(2, &["--placement", "--hash-method"]);
}

#[test]
fn the_variables_of_proxenos_are_checked_where_the_method_uses_them() {
    let with = |variable: &str, value: &str, method: &str| {
        let mut command = super::program();
        command.env(variable, value);
        command.args(["select", "-b", "static", "-h", "10.0.0.1,10.0.0.2"]);
        let output = command.args(["-H", method, "k"]).output();
        super::ran(&output.expect("fluster runs"))
    };
    for (variable, value, uses, not) in [
        ("PROXENOS_MMH_SEED", "-1", "MMH3_32", "SIPHASH"),
        ("PROXENOS_MMH_OPTIMIZE", "arm", "MMH3_128", "MMH3_32"),
        ("PROXENOS_SIPHASH_KEY", "hunter2", "SIPHASH", "MD5"),
    ] {
        let ran = with(variable, value, uses);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
        ran.refuses(2, &[variable]);
        with(variable, value, not).works();
        with(variable, "", uses).works();
    }
    // Sixteen bytes as they are, which is what proxenos reads, and the same as digits.
    let raw = with("PROXENOS_SIPHASH_KEY", "0123456789abcdef", "SIPHASH").works();
    let digits = "30313233343536373839616263646566";
    let hex = with("PROXENOS_SIPHASH_KEY", digits, "SIPHASH").works();
    assert_eq!(raw.stdout, hex.stdout);
}

#[test]
fn the_method_may_come_from_the_environment_and_in_lower_case() {
    let with = |args: &str| {
        run(&format!(
            "select -b static -h 10.0.0.1,10.0.0.2,10.0.0.3 {args} k"
        ))
        .works()
        .stdout
    };
    let mut differs = false;
    for method in ["MD5", "SHA1", "SHA512", "MMH3_32"] {
        let output = super::program()
            .env("PROXENOS_PRF", method)
            .args([
                "select",
                "-b",
                "static",
                "-h",
                "10.0.0.1,10.0.0.2,10.0.0.3",
                "k",
            ])
            .output()
            .expect("fluster runs");
        let expected = with(&format!("-H {}", method.to_lowercase()));
        assert_eq!(super::ran(&output).works().stdout, expected);
        differs |= expected != with("");
    }
    assert!(differs, "methods select alike");
}

#[test]
fn files_are_read_and_filtered() {
    let files = Files::new();
    let list = files.write(
        "nodes",
        "redis://:hunter2@10.0.0.1:7001 name=one\n10.0.0.2:7002 name=two\n",
    );
    let toml = files.write("nodes.toml", "nodes = [\"redis://:hunter2@10.0.0.9:7009\"]");
    let file = |args: &str| run(&format!("select -b file -h {list} {args} user:42"));
    assert_eq!(file("-N one").works().stdout, "10.0.0.1:7001\n");
    assert_eq!(file(r"-A 10\.0\.0\.2:").works().stdout, "10.0.0.2:7002\n");
    file("-A 0.0.2").refuses(65, &["no endpoint"]);
    file("-N one -A 10.0.0.2").refuses(65, &["no endpoint"]);
    let [answer] = &file("-N two --json").works().json()[..] else {
        panic!("one line")
    };
    assert_eq!(
        (&answer["address"], &answer["id"]),
        (&"10.0.0.2:7002".into(), &"two".into())
    );
    assert_eq!(answer["key_hex"], "757365723a3432");
    assert_eq!(
        run(&format!("select -b file -h {toml} k")).works().stdout,
        "10.0.0.9:7009\n"
    );
    run("select -b file -h /no/such/list k").refuses(64, &["/no/such/list"]);
    let bad = files.write("bad", "redis://:hunter2@h:99999\n");
    run(&format!("select -b file -h {bad} k")).refuses(64, &["bad"]);
}

#[test]
fn names_are_resolved() {
    assert_eq!(
        run("select -b dns -h localhost -p 7000 -A 127 k")
            .works()
            .stdout,
        "127.0.0.1:7000\n"
    );
    assert_eq!(
        run("select -b static -h localhost:7000 k").works().stdout,
        "127.0.0.1:7000\n"
    );
    let ran = run("select -b dns -h no-such-name.invalid k");
    assert!(
        [64, 65].contains(&ran.code),
        "64 where no name server answers: {}",
        ran.stderr
    );
    ran.refuses(ran.code, &["no-such-name.invalid"]);
}

#[test]
fn a_source_that_is_not_there_is_64() {
    let port = PortClaim::new().port();
    for backend in ["consul", "etcd"] {
        let ran = run(&format!("select -b {backend} -h 127.0.0.1 -p {port} k"));
        println!("{}", ran.stderr.trim_end());
        ran.refuses(64, &[backend, &format!("{port}")]);
        run(&format!(
            "select -b {backend} -h https://127.0.0.1 -p {port} k"
        ))
        .refuses(64, &[backend]);
    }
}

/// Waits for the source to know what it was just told.
fn until(code: i32, line: &str) -> Ran {
    wait_until(SOON, || run(line).code == code);
    run(line)
}

#[test]
fn it_selects_from_a_real_consul() {
    let Some(program) = need("consul") else {
        return;
    };
    let ports: [PortClaim; 2] = std::array::from_fn(|_| PortClaim::new());
    let [api, server] = [0, 1].map(|n: usize| ports[n].port());
    // Gossip needs the UDP port too, which a claim holds: nobody in this process gets it again.
    let serf = PortClaim::new().port();
    let _agent = Daemon::start(
        program,
        |_| {
            let text = format!(
                "agent -dev -node vm -bind 127.0.0.1 -client 127.0.0.1 -log-level err -http-port {api} -dns-port -1 \
                 -grpc-port -1 -server-port {server} -serf-lan-port {serf} -serf-wan-port -1"
            );
            text.split(' ').map(OsString::from).collect()
        },
        move || matches!(http(api, "GET", "/v1/status/leader", ""), Ok((200, leader)) if leader.len() > 4),
    );
    let select = format!("select -b consul -h 127.0.0.1 -p {api} -N cache");
    until(65, &format!("{select} k")).refuses(65, &["consul"]);
    for (id, tags) in [("one", r#"["v1","blue"]"#), ("two", r#"["v1","old"]"#)] {
        let port = if id == "one" { 7001 } else { 7002 };
        let body = format!(
            r#"{{"Name":"cache","ID":"{id}","Address":"10.0.0.1","Port":{port},"Tags":{tags}}}"#
        );
        let (code, _) =
            http(api, "PUT", "/v1/agent/service/register", &body).expect("consul answers");
        assert_eq!(code, 200);
    }
    assert_eq!(
        until(0, &format!("{select} -A .*:7001$ k")).works().stdout,
        "10.0.0.1:7001\n"
    );
    let ran = until(0, &format!("{select} -T v1|blue --json k")).works();
    assert_eq!(ran.json()[0]["tags"], serde_json::json!(["v1", "blue"]));
    run(&format!("{select} -T blue k")).refuses(65, &["consul"]);
    run(&format!("select -b consul -h https://127.0.0.1 -p {api} k")).refuses(64, &["consul"]);
}

#[test]
fn it_selects_from_a_real_etcd() {
    let Some(program) = need("etcd") else { return };
    let ports: [PortClaim; 2] = std::array::from_fn(|_| PortClaim::new());
    let [client, peer] = [0, 1].map(|n: usize| ports[n].port());
    let _store = Daemon::start(
        program,
        |dir| {
            let text = format!(
                "--data-dir {} --listen-client-urls http://127.0.0.1:{client} --advertise-client-urls \
                 http://127.0.0.1:{client} --listen-peer-urls http://127.0.0.1:{peer} --initial-advertise-peer-urls \
                 http://127.0.0.1:{peer} --initial-cluster default=http://127.0.0.1:{peer}",
                dir.join("data").display()
            );
            text.split_whitespace().map(OsString::from).collect()
        },
        move || matches!(http(client, "GET", "/health", ""), Ok((200, health)) if health.contains("true")),
    );
    let select = format!("select -b etcd -h 127.0.0.1/services/cache/ -p {client} k");
    run(&select).refuses(65, &["etcd"]);
    // "/services/cache/one" and "10.0.0.7:7007".
    let body = r#"{"key":"L3NlcnZpY2VzL2NhY2hlL29uZQ==","value":"MTAuMC4wLjc6NzAwNw=="}"#;
    let (code, _) = http(client, "POST", "/v3/kv/put", body).expect("etcd answers");
    assert_eq!(code, 200);
    assert_eq!(run(&select).works().stdout, "10.0.0.7:7007\n");
    let everything = format!("select -b etcd -h 127.0.0.1 -p {client} k");
    assert_eq!(run(&everything).works().stdout, "10.0.0.7:7007\n");
}

#[test]
fn it_selects_from_real_srv_records() {
    let Some(program) = need("dnsmasq") else {
        return;
    };
    // A name server needs the UDP port too, which a claim holds: nobody in this process gets it again.
    let port = PortClaim::new().port();
    let _names = Daemon::start(
        program,
        |dir| {
            let text = format!(
                "--keep-in-foreground --conf-file=/dev/null --pid-file={}/pid --no-resolv --no-hosts --no-poll \
                 --listen-address=127.0.0.1 --bind-interfaces --port={port} --user=root --local=/test/ \
                 --srv-host=_redis._tcp.cache.test,localhost,7003",
                dir.display()
            );
            text.split_whitespace().map(OsString::from).collect()
        },
        move || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(),
    );
    let select = |name: &str| run(&format!("select -b srv -h {name}@127.0.0.1 -p {port} k"));
    assert_eq!(
        select("_redis._tcp.cache.test").works().stdout,
        "127.0.0.1:7003\n"
    );
    select("_redis._tcp.other.test").refuses(65, &["srv"]);
}

/// proxenos lists them: servers that told a registry the address they listen on.
#[test]
fn a_server_at_the_address_of_all_is_placed_by_its_address() {
    let files = Files::new();
    let list = files.write("servers", "[::]:7000\n0.0.0.0:7001\n");
    fluster(["select", "-b", "file", "-h", &list, "k"]).works();
    let nodes = "--node a=redis://[::]:7000 --node b=redis://10.0.0.1";
    run(&format!("locate --placement proxenos {nodes} k")).works();
    run("status --node a=redis://[::]:7000").refuses(2, &["no server's address"]);
}
