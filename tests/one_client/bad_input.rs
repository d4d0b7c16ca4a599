//! What callers get wrong: an error before sending, or the server's own; never a panic.

use fluster::{Error, ErrorKind, FlusterCluster, Outcome};
use redis::{AsyncCommands, Cmd, Value};

use crate::support::{Server, fleet, urls};

fn cmd(line: &str) -> Cmd {
    let mut cmd = Cmd::new();
    for word in line.split('|') {
        cmd.arg(word);
    }
    cmd
}

async fn three() -> ([Server; 3], FlusterCluster) {
    let servers: [Server; 3] = fleet();
    let cluster = FlusterCluster::from_urls(urls(&servers)).unwrap();
    (servers, cluster)
}

#[tokio::test]
async fn a_wrong_call_is_an_error_and_never_a_panic() {
    let (_servers, cluster) = three().await;
    for line in [
        "",
        " ",
        "GET",
        "GET|a|b",
        "GET ",
        " GET|a",
        "CLIENT LIST",
        "CLIENT|NONSENSE",
        "EVAL|return 1|0",
        "EVAL|return 1|-1|a",
        "EVAL|return 1|7|a",
        "EVAL|return 1|x|a",
        "EVAL|return 1||a",
        "EVAL|return 1|99999999999999999999|a",
        "FCALL|f|2|a",
        "ZUNION|3|a|b",
        "LMPOP|0|a|LEFT",
        "XREAD|STREAMS|a",
        "XREAD|COUNT|1|STREAMS",
        "XREADGROUP|GROUP|g|c|STREAMS|a|b|>",
        "MSET|a",
        "MSET|a|1|b",
        "MSET|a|1|b|2|c",
        "SORT|a|BY|w_*",
        "MIGRATE|h|1||0|10|KEYS",
        "NOSUCH|a",
        "FT.SEARCH|i|q",
        "SCAN|0",
        "RANDOMKEY",
        "SHUTDOWN",
        "MULTI",
        "SUBSCRIBE|c",
        "BLPOP|a|0",
        "SELECT|1",
        "OBJECT|ENCODING",
        "\u{0}",
        "GET\r\nGET|a",
        "BITOP|AND|d|a|b|c|e|f",
        "JSON.MGET|a",
        "WAIT|1|100",
    ] {
        let result: Result<Value, Error> = cluster.run(&cmd(line)).await;
        let error = result.expect_err(line);
        let sent = error.outcome() == Outcome::Answered;
        assert!(
            sent || error.outcome() == Outcome::NotSent,
            "{line:?}: {error}"
        );
        assert!(
            !error.is_connection_error(),
            "{line:?} is not the node's fault: {error:?}"
        );
        let mut pipe = redis::pipe();
        pipe.add_command(cmd(line)).set("after", 1);
        // What may not share a connection refuses its pipeline; everything else fails by itself.
        match cluster.pipeline(&pipe).await {
            Ok(results) => {
                assert_eq!(results.len(), 2, "{line:?}");
                assert!(
                    results[0].is_err() && results[1].is_ok(),
                    "{line:?}: {results:?}"
                );
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid, "{line:?}"),
        }
        pipe.atomic();
        assert!(
            match cluster.pipeline(&pipe).await {
                Ok(results) => results.iter().any(Result::is_err),
                Err(_) => true,
            },
            "{line:?}"
        );
    }
    let empty: Result<Value, Error> = cluster.run(&Cmd::new()).await;
    assert_eq!(empty.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(cluster.status().active(), 3, "nobody was ejected for it");
}

#[tokio::test]
async fn a_refusal_says_what_to_call_instead() {
    let (_servers, cluster) = three().await;
    let many = (0..60).fold("SINTER".to_owned(), |line, n| format!("{line}|k{n}"));
    for (line, remedy) in [
        ("NOSUCH|a", "run_with_key"),
        ("SCAN|0", "scan()"),
        ("SUBSCRIBE|c", "cluster.subscribe"),
        ("WATCH|k", "dedicated()"),
        ("EVAL|return 1|0", "run_with_key"),
        ("RANDOMKEY", "clients()"),
        ("CONFIG|GETT", "get_client"),
        // So many keys are on several nodes, whatever the servers' ports.
        (&*many, "hash tag"),
    ] {
        let error = cluster.run::<Value>(&cmd(line)).await.unwrap_err();
        assert!(error.to_string().contains(remedy), "{line}: {error}");
        assert_eq!(error.outcome(), Outcome::NotSent, "{line}");
    }
    let custom: i64 = cluster
        .run_with_key("a", &cmd("EVAL|return 7|0"))
        .await
        .unwrap();
    assert_eq!(custom, 7, "the remedy works");
}

#[tokio::test]
async fn names_in_any_case_go_where_the_upper_case_goes() {
    let (_servers, cluster) = three().await;
    for n in 0..50 {
        let key = format!("k{n}");
        let _: () = cluster.run(&cmd(&format!("sEt|{key}|{n}"))).await.unwrap();
        let client: i64 = cluster.get_client(&key).unwrap().get(&key).await.unwrap();
        assert_eq!(client, n);
    }
    let keys: Vec<String> = (0..50).map(|n| format!("k{n}")).collect();
    let all: Vec<i64> = cluster.run(redis::cmd("mget").arg(&keys)).await.unwrap();
    assert_eq!(all, (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn ten_thousand_keys_in_one_call_come_back_in_order() {
    let (_servers, cluster) = three().await;
    let keys: Vec<String> = (0..10_000).map(|n| format!("k{n}")).collect();
    let pairs: Vec<(String, usize)> = keys.iter().cloned().zip(0..).collect();
    let mut connection = cluster.clone();
    let _: () = connection.mset(&pairs).await.unwrap();
    let began = std::time::Instant::now();
    let all: Vec<usize> = connection.mget(&keys).await.unwrap();
    println!("MGET of 10 000 keys over 3 nodes: {:?}", began.elapsed());
    assert_eq!(all, (0..10_000).collect::<Vec<_>>());
    let each = cluster.get_many::<_, usize>(&keys).await;
    assert!(each.iter().zip(0..).all(|(r, n)| *r.as_ref().unwrap() == n));
    let gone: usize = connection.del(&keys).await.unwrap();
    assert_eq!(gone, 10_000);
    let none = cluster.get_many::<_, Option<usize>>(&keys).await;
    assert!(none.iter().all(|r| r.as_ref().unwrap().is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_of_a_hundred_megabytes_arrives() {
    let (_servers, cluster) = three().await;
    let cluster = cluster.with_deadline(std::time::Duration::from_secs(30));
    let value = vec![b'x'; 100 << 20];
    let _: () = cluster
        .run(redis::cmd("SET").arg("big").arg(&value))
        .await
        .or_else(|e| match e.outcome() {
            // On a busy machine it takes longer than the response time-out; it may have arrived.
            Outcome::MaybeExecuted => Ok(()),
            _ => Err(e),
        })
        .unwrap();
    let sizes: i64 = cluster
        .run::<i64>(redis::cmd("STRLEN").arg("big"))
        .await
        .unwrap_or_default();
    println!("STRLEN {sizes}");
    let small: Option<String> = cluster.run(redis::cmd("GET").arg("other")).await.unwrap();
    assert_eq!(small, None, "and the cluster goes on");
}

#[tokio::test]
async fn empty_calls_have_empty_answers() {
    let (_servers, cluster) = three().await;
    assert!(cluster.pipeline(&redis::pipe()).await.unwrap().is_empty());
    assert!(cluster.get_many::<&str, String>([]).await.is_empty());
    assert!(cluster.set_many::<&str, i64>([]).await.is_empty());
    assert!(cluster.del_many::<&str>([]).await.is_empty());
    let mut connection = cluster.clone();
    let nothing: Vec<Value> = redis::pipe().query_async(&mut connection).await.unwrap();
    assert!(nothing.is_empty());
    let mut atomic = redis::pipe();
    atomic.atomic();
    assert!(cluster.pipeline(&atomic).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_command_that_breaks_replies_is_refused_also_inside_a_pipeline() {
    let (_servers, cluster) = three().await;
    let mut pipe = redis::pipe();
    pipe.set("a", 1).cmd("SUBSCRIBE").arg("c").get("a");
    let error = cluster.pipeline(&pipe).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    // What has no place in a cluster fails by itself: the others were asked for as well.
    let mut pipe = redis::pipe();
    pipe.set("a", 1).cmd("NO.SUCH").arg("c").get("a");
    let results = cluster.pipeline(&pipe).await.unwrap();
    assert!(results[0].is_ok());
    assert_eq!(results[1].as_ref().unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(
        results[2].as_ref().unwrap(),
        &Value::BulkString(b"1".into())
    );
}
