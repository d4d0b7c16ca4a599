//! `--of`: a running application, and what is none.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use fluster::admin::Admin;
use fluster::{FlusterCluster, Node};
use tokio::runtime::Runtime;

use super::{Files, fluster, program, ran};
use crate::support::{Server, fleet, urls, wait_until};

const TOKEN: &str = "hunter2-cli-token";

/// An application with a page, in this process.
struct App {
    _runtime: Runtime,
    cluster: FlusterCluster,
    admin: Admin,
}

impl App {
    fn new(urls: &[String], token: Option<&str>) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let nodes = ["a", "b", "c"].iter().zip(urls);
        let nodes = nodes.map(|(name, url)| Node::new(url).unwrap().name(*name));
        let cluster = FlusterCluster::builder()
            .nodes(nodes)
            .runtime(runtime.handle().clone())
            .build()
            .unwrap();
        let mut admin = cluster.admin();
        if let Some(token) = token {
            admin = admin.token(token).allow_actions();
        }
        let admin = admin.listen("127.0.0.1:0").unwrap();
        Self {
            _runtime: runtime,
            cluster,
            admin,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.admin.address())
    }
}

/// Answers each connection with these bytes; says what it was asked.
fn hostile(answer: &'static [u8]) -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut bytes = [0; 4096];
            stream
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            let read = stream.read(&mut bytes).unwrap_or(0);
            if tell
                .send(String::from_utf8_lossy(&bytes[..read]).into_owned())
                .is_err()
            {
                return;
            }
            let _ = stream.write_all(answer);
        }
    });
    (address, told)
}

#[test]
fn status_top_and_explain_show_what_the_application_sees() {
    let servers: [Server; 3] = fleet();
    let app = App::new(&urls(&servers), None);
    let of = app.url();
    app._runtime.block_on(app.cluster.warm_up());
    let all_is_well = fluster(["status", "--of", &of]).works().stdout;
    assert!(
        all_is_well.contains("3 of 3 nodes in service; ring, fingerprint"),
        "{all_is_well}"
    );
    servers[1].kill();
    wait_until(Duration::from_secs(20), || {
        let _ = app.cluster.probe_node("b");
        app.cluster.status().active() == 2
    });
    let ran = fluster(["status", "--of", &of]);
    assert_eq!((ran.code, ran.stderr.as_str()), (3, ""), "{}", ran.stdout);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    println!("{}", ran.stdout);
    assert!(
        lines[1].starts_with("b ") && lines[1].contains("(refused)"),
        "{}",
        ran.stdout
    );
    assert!(lines[2].starts_with("  out for "), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("2 of 3 nodes in service"),
        "{}",
        ran.stdout
    );
    let json = fluster(["status", "--of", &of, "--json"]).json();
    assert_eq!(
        (&json[0]["schema"], &json[0]["active"]),
        (&1.into(), &2.into())
    );
    let own = fluster([
        "status",
        "--node",
        &format!("a={}", servers[0].url()),
        "--json",
    ])
    .works()
    .json();
    let fields = |value: &serde_json::Value| -> Vec<String> {
        value["nodes"][0]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    for field in fields(&json[0]) {
        assert!(
            fields(&own[0]).contains(&field),
            "one schema: {field} is missing"
        );
    }

    let key = (0..)
        .map(|n| format!("k{n}"))
        .find(|key| app.cluster.explain(key).owner == "b")
        .unwrap();
    let said = fluster(["explain", "--of", &of, &key]).works().stdout;
    assert!(said.contains("b is out (refused)"), "{said}");
    let said = fluster(["explain", "--of", &of, "--hex", "00ff7b", "--json"])
        .works()
        .json();
    assert_eq!(said[0]["hashed_hex"], "00ff7b");

    let mut top = program()
        .args(["top", "--of", &of, "--interval", "100ms"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = String::new();
    let mut bytes = [0; 4096];
    let stdout = top.stdout.as_mut().unwrap();
    while out.matches("commands/s").count() < 3 {
        let read = stdout.read(&mut bytes).unwrap();
        assert!(read > 0, "it goes on: {out}");
        out.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    drop(top.stdout.take());
    assert_eq!(top.wait().unwrap().code(), Some(0));
}

#[test]
fn the_token_comes_from_a_file_or_a_variable_and_goes_to_this_machine_alone() {
    let app = App::new(&["redis://127.0.0.1:1".to_owned()], Some(TOKEN));
    let (of, files) = (app.url(), Files::new());
    let right = files.write("token", &format!("{TOKEN}\n"));
    let wrong = files.write("wrong", "wrong-wrong-wrong-wrong\n");
    fluster(["status", "--of", &of]).refuses(3, &["wants a token", "--token-file"]);
    fluster(["status", "--of", &of, "--token-file", &wrong]).refuses(3, &["another token"]);
    let with_file = fluster(["status", "--of", &of, "--token-file", &right])
        .works()
        .stdout;
    assert!(with_file.contains("1 of 1 nodes in service"), "{with_file}");
    let output = program()
        .args(["status", "--of", &of])
        .env("FLUSTER_ADMIN_TOKEN", TOKEN)
        .output()
        .unwrap();
    assert_eq!(ran(&output).works().stdout, with_file);
    for elsewhere in [
        "http://10.0.0.1:9800",
        "http://admin.internal",
        "http://localhost.evil.example",
        "http://[2001:db8::1]",
    ] {
        fluster(["status", "--of", elsewhere, "--token-file", &right])
            .refuses(2, &["plain http", "https://"]);
    }
    let explained = fluster(["explain", "--of", &of, "--token-file", &right, "user:42"])
        .works()
        .stdout;
    assert!(!explained.contains("hunter2"), "{explained}");
}

#[test]
fn a_redirect_is_not_followed_and_takes_no_token_along() {
    let (other, told) = hostile(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
    let location = format!(
        "HTTP/1.1 307 Elsewhere\r\nlocation: http://{other}/status\r\ncontent-length: 0\r\n\r\n"
    );
    let (here, asked) = hostile(Box::leak(location.into_bytes().into_boxed_slice()));
    let files = Files::new();
    let token = files.write("token", TOKEN);
    let of = format!("http://{here}");
    fluster(["status", "--of", &of, "--token-file", &token]).refuses(3, &["307", "not followed"]);
    let asked = asked
        .recv_timeout(Duration::from_secs(5))
        .expect("it was asked");
    assert!(
        asked.contains(TOKEN),
        "the one that was named has it: {asked}"
    );
    assert!(
        told.recv_timeout(Duration::from_millis(500)).is_err(),
        "the other one hears nothing"
    );
}

#[test]
fn what_is_no_admin_page_is_said_to_be_none() {
    for (answer, words) in [
        (
            &b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"[..],
            &["no admin page"][..],
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            &["no admin page"],
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{\"schema\":1,\"nodes\":1}",
            &["no admin page"],
        ),
        (
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            &["404"],
        ),
        (
            b"HTTP/1.1 500 Oops\r\ncontent-length: 25\r\n\r\n{\"error\":\"\\u001b[31mred\"}",
            &["500", "\\u{1b}[31mred"],
        ),
        (b"+PONG\r\n", &["speaks no HTTP"]),
        (b"", &["speaks no HTTP"]),
    ] {
        let (address, _asked) = hostile(answer);
        let ran = fluster([
            "status",
            "--of",
            &format!("http://{address}"),
            "--timeout",
            "2s",
        ]);
        println!("{}", ran.stderr.trim_end());
        ran.refuses(3, words);
        assert_eq!(ran.stdout, "");
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let of = format!("http://{}", silent.local_addr().unwrap());
    fluster(["status", "--of", &of, "--timeout", "300ms"])
        .refuses(3, &["no whole answer within 300ms"]);
    fluster(["status", "--of", "http://127.0.0.1:1"]).refuses(3, &["cannot connect", "refused"]);
}
