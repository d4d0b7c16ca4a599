//! `fluster gossip`, against instances.

use std::net::SocketAddr;
use std::time::Duration;

use fluster::discovery::{Endpoint, Static};
use fluster::gossip::{Gossip, Keyring};

use super::{Files, Ran, fluster};

const LONG: Duration = Duration::from_secs(30);

/// Three instances, and the file of their key.
async fn three(files: &Files) -> (Vec<Gossip>, String) {
    let key = Keyring::generate();
    let file = files.write("gossip.key", &format!("# ours\n{}\n", key.to_hex()));
    let mut all: Vec<Gossip> = Vec::new();
    for n in 0..3 {
        let seeds = all.iter().map(|g| g.whoami().address);
        let seeds = seeds.map(|a| Endpoint::new(a.ip().to_string(), a.port()));
        let gossip = Gossip::builder("app")
            .keyring(key.clone())
            .ring_id(format!("i{n}"))
            .label("zone", if n == 0 { "a" } else { "b" })
            .seeds(Static::new(seeds));
        all.push(gossip.start().await.unwrap());
    }
    for gossip in &all {
        gossip.wait_ready(3, LONG).await.unwrap();
    }
    (all, file)
}

/// Off the runtime's threads, which the instances need.
async fn ask(command: &str, file: &str, at: SocketAddr, more: &str) -> Ran {
    let line = format!("gossip {command} --cluster app --key-file {file} --at {at} {more}");
    let run = move || fluster(line.split_whitespace());
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_instances_know_is_printed_and_what_they_are_told_is_done() {
    let files = Files::new();
    let (mut all, file) = three(&files).await;
    let at = all[0].whoami().address;
    let text = ask("status", &file, at, "").await.works().stdout;
    assert!(
        text.starts_with(&format!("i0 of app, {at}")) && text.contains("3 alive"),
        "{text}"
    );
    let json = ask("status", &file, at, "--json").await.works().json();
    assert_eq!(
        json[0]["fingerprint"].as_str(),
        all[0]
            .view()
            .fingerprint()
            .map(|f| f.to_string())
            .as_deref()
    );
    let text = ask("list", &file, at, "").await.works().stdout;
    assert_eq!(text.lines().count(), 4, "{text}");
    let text = ask("list", &file, at, "--label zone=a")
        .await
        .works()
        .stdout;
    assert!(text.lines().count() == 2 && text.contains("i0"), "{text}");
    assert_eq!(
        ask("count", &file, at, "").await.works().stdout,
        "alive\t3\n"
    );
    let owner = all[1].lookup("user:42").unwrap().ring_id.clone();
    let text = ask("lookup", &file, at, "-n 2 user:42")
        .await
        .works()
        .stdout;
    assert!(text.starts_with(&format!("user:42\t{owner}\t")), "{text}");
    let text = ask("dist", &file, at, "--keys 1000").await.works().stdout;
    assert_eq!(text.lines().count(), 4, "{text}");
    let text = ask("checksums", &file, at, "").await.works().stdout;
    assert_eq!(text.lines().count(), 4, "{text}");
    let text = ask("partitions", &file, at, "").await.works().stdout;
    assert!(
        text.lines().count() == 1 && text.ends_with("3 members\ti0 i1 i2\n"),
        "{text}"
    );

    assert_eq!(
        ask("drain", &file, at, "on").await.works().stdout,
        format!("{at}: owns no keys from now on\n")
    );
    assert_eq!(
        ask("drain", &file, at, "on").await.code,
        1,
        "it does already"
    );
    ask("drain", &file, at, "off").await.works();
    ask("heal", &file, at, "").await.works();
    let gone = all[2].whoami().address;
    ask("leave", &file, gone, "").await.works();
    let began = std::time::Instant::now();
    // Both: whoever has not heard of it yet would tell it anew to who forgets it.
    let is_there = |gossip: &Gossip| gossip.view().at(gone).is_some_and(|m| m.is_reachable());
    while all[..2].iter().any(is_there) {
        assert!(began.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        ask("list", &file, at, "")
            .await
            .works()
            .stdout
            .lines()
            .count(),
        3
    );
    assert!(
        ask("list", &file, at, "--all")
            .await
            .works()
            .stdout
            .contains("left")
    );
    // Its process ends as well: who has forgotten that it left believes what it would say.
    drop(all.remove(2));
    ask("forget", &file, at, &gone.to_string()).await.works();
    assert_eq!(
        ask("forget", &file, at, "--down").await.code,
        1,
        "nobody is down"
    );
    // Gone without a word, it lives for the others for some seconds yet, and does not answer.
    drop(all.remove(1));
    let (checksums, partitions, json) = tokio::join!(
        ask("checksums", &file, at, ""),
        ask("partitions", &file, at, ""),
        ask("partitions", &file, at, "--json"),
    );
    assert_eq!((checksums.code, partitions.code, json.code), (3, 3, 3));
    assert!(
        checksums.stdout.contains("no answer"),
        "{}",
        checksums.stdout
    );
    let lines: Vec<_> = partitions.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].ends_with("2 members\ti0"), "{lines:?}");
    assert_eq!(lines[1], "no answer\t-\ti1");
    let json = json.json();
    assert_eq!(
        (&json[0]["instances"][0], &json[0]["answers"]),
        (&"i0".into(), &true.into())
    );
    assert_eq!(
        json[1],
        serde_json::json!({ "ring": null, "members": null, "instances": ["i1"], "answers": false })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_key_there_is_no_answer_and_bad_usage_is_said() {
    let files = Files::new();
    let (all, file) = three(&files).await;
    let at = all[0].whoami().address;
    let other = files.write("other.key", &fluster(["gossip", "keygen"]).works().stdout);
    ask("status", &other, at, "")
        .await
        .refuses(3, &["does not answer", "another key"]);
    let nobody = "127.0.0.1:9".parse().unwrap();
    ask("list", &file, nobody, "")
        .await
        .refuses(3, &["127.0.0.1:9"]);
    // The second address answers.
    ask("count", &file, nobody, &format!("--at {at}"))
        .await
        .works();
    ask("list", &file, at, "--label zone")
        .await
        .refuses(2, &["KEY=VALUE"]);
    ask("leave", &file, at, &format!("--at {nobody}"))
        .await
        .refuses(2, &["one --at"]);
    ask("lookup", &file, at, "-n 99 k")
        .await
        .refuses(2, &["1 to 16"]);
    ask("lookup", &file, at, &"k".repeat(2_000))
        .await
        .refuses(2, &["a key of 2000 bytes"]);
    let at = at.to_string();
    fluster(["gossip", "list", "--cluster", "app", "--at", &at]).refuses(2, &["--key-file"]);
    let bad = files.write("bad.key", "hunter2hunter2");
    fluster([
        "gossip",
        "list",
        "--cluster",
        "app",
        "--at",
        &at,
        "--key-file",
        &bad,
    ])
    .refuses(2, &["line 1", "64"]);
    fluster(["gossip", "list", "--cluster", "app", "--at", "nowhere"]).refuses(2, &["--at"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_keys_is_asked_also_where_the_variable_names_a_file() {
    let plain = Gossip::builder("app").insecure_plaintext();
    let plain = plain.placement(fluster::Placement::rendezvous());
    let plain = plain.ring_id("only").start().await.unwrap();
    let at = plain.whoami().address.to_string();
    let ask = |command: &'static str, is_plain: bool| {
        let mut program = super::program();
        program
            .args(["gossip", command, "--cluster", "app", "--at", &at])
            .args(is_plain.then_some("--plaintext"))
            .env("FLUSTER_GOSSIP_KEY_FILE", "no-such-file");
        let run = move || super::ran(&program.output().unwrap());
        tokio::task::spawn_blocking(run)
    };
    let ran = ask("count", true).await.unwrap().works();
    assert_eq!(ran.stdout, "alive\t1\n");
    let ran = ask("count", false).await.unwrap();
    ran.refuses(2, &["no-such-file"]);
    plain.wait_ready(1, LONG).await.unwrap();
    let ran = ask("dist", true).await.unwrap();
    ran.refuses(2, &["another placement"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_instances_agree_on_about_nodes_is_printed_and_a_node_is_drained_at_all_of_them() {
    let files = Files::new();
    let (all, file) = three(&files).await;
    // Nobody calls them, so nobody knows that no server is there.
    let urls = ["redis://127.0.0.1:1", "redis://127.0.0.1:2"];
    let clusters: Vec<_> = all
        .iter()
        .map(|gossip| {
            let cluster = fluster::FlusterCluster::from_urls(urls).unwrap();
            let fleet = fluster::gossip::Fleet::advisory().scope("cache");
            let health = cluster.share_health(gossip, fleet).unwrap();
            (cluster, health)
        })
        .collect();
    let heard = || {
        let all = clusters.iter().map(|(_, health)| health.opinions());
        all.into_iter().all(|o| o.len() == 2 && o[0].live == 3)
    };
    fluster::testing::eventually(LONG, heard).await;
    let at = all[1].whoami().address;
    let text = ask("nodes", &file, at, "").await.works().stdout;
    assert!(
        text.starts_with("SCOPE") && text.contains("127.0.0.1:2"),
        "{text}"
    );
    assert!(text.contains("3/3") && text.contains("up"), "{text}");
    let ran = ask("nodes", &file, at, "--scope cache drain 127.0.0.1:2").await;
    assert!(ran.works().stdout.contains("is drained at all instances"));
    let drained = || {
        let mut all = clusters.iter().map(|(cluster, _)| cluster.status());
        all.all(|status| status.node("127.0.0.1:2").is_some_and(|n| n.drained))
    };
    fluster::testing::eventually(LONG, drained).await;
    let json = ask("nodes", &file, at, "--json --scope cache")
        .await
        .works()
        .json();
    assert_eq!(json[0][1]["effective"], "drained");
    assert_eq!(json[0][1]["drained_by"], "i1");
    let ran = ask("nodes", &file, at, "--scope other drain 127.0.0.1:1").await;
    assert_eq!(ran.code, 1, "no such scope");
    let ran = ask("nodes", &file, at, "--scope cache restore 127.0.0.1:2").await;
    assert!(ran.works().stdout.contains("is restored at all instances"));
    fluster::testing::eventually(LONG, || !drained()).await;
}
