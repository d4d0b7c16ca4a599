//! The page in a real browser, which is asked over its pipe. `FLUSTER_SHOTS=DIR` keeps the pictures, to be looked at.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use fluster::{FlusterCluster, Node};
use serde_json::{Value, json};

use super::{TOKEN, many};
use crate::support::{Server, fleet, forget, new_dir, urls, watch};

/// How long the browser may take for anything, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A headless Chromium with one tab; it ends with this.
struct Browser {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: Option<String>,
    asked: u64,
    dir: PathBuf,
    /// What it said beside answers: exceptions, refusals of the policy.
    complaints: Vec<String>,
}

impl Browser {
    /// `None`, and said loudly, where there is none.
    fn start() -> Option<Self> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let has = |name: &&&str| {
            let version = Command::new(**name).arg("--version").output();
            version.is_ok_and(|version| version.status.success())
        };
        let Some(name) = names.iter().find(has) else {
            println!("SKIPPED: there is no Chromium on this machine, so nobody looked at the page");
            return None;
        };
        let dir = new_dir("b");
        let profile = dir.display();
        // What it reads and writes as 3 and 4 are our pipes.
        let line = format!(
            "exec {name} --headless=new --no-sandbox --disable-gpu --hide-scrollbars --remote-debugging-pipe \
             --user-data-dir={profile} about:blank 3<&0 4>&1 >/dev/null 2>&1"
        );
        let mut child = Command::new("sh")
            .args(["-c", &line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh");
        watch(&child);
        let mut browser = Self {
            asks: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
            session: None,
            asked: 0,
            dir,
            complaints: Vec::new(),
        };
        let tab = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let to = json!({ "targetId": tab["targetId"], "flatten": true });
        let session = browser.ask("Target.attachToTarget", to);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for part in ["Page", "Runtime", "Log"] {
            browser.ask(&format!("{part}.enable"), json!({}));
        }
        Some(browser)
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut ask = json!({ "id": self.asked, "method": method, "params": params });
        if let Some(session) = &self.session {
            ask["sessionId"] = session.as_str().into();
        }
        self.asks
            .write_all(format!("{ask}\0").as_bytes())
            .expect("it runs");
        loop {
            let mut bytes = Vec::new();
            let read = self.answers.read_until(0, &mut bytes).expect("it runs");
            assert!(read > 0, "the browser has ended");
            let said: Value = serde_json::from_slice(&bytes[..read - 1]).expect("JSON");
            match said["method"].as_str() {
                Some("Runtime.exceptionThrown" | "Log.entryAdded") => {
                    self.complaints.push(said["params"].to_string())
                }
                Some(_) => {}
                None if said["id"] == self.asked => {
                    assert_eq!(said["error"], Value::Null, "{method}: {said}");
                    return said["result"].clone();
                }
                None => {}
            }
        }
    }

    /// A window of this size, a phone's or a desk's, in the dark or not.
    fn window(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.ask("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.ask("Emulation.setEmulatedMedia", scheme);
    }

    fn open(&mut self, url: &str) {
        self.ask("Page.navigate", json!({ "url": url }));
    }

    /// The value of an expression, on the page.
    fn value(&mut self, expression: &str) -> Value {
        let said = self.ask(
            "Runtime.evaluate",
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true }),
        );
        said["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    fn until(&mut self, expression: &str) {
        let began = Instant::now();
        while self.value(expression) != true {
            let text = self.value("document.body.innerText");
            assert!(
                began.elapsed() < PATIENCE,
                "never: {expression}\n{text}\n{:?}",
                self.complaints
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn text(&mut self) -> String {
        self.value("document.body.innerText")
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Keeps a picture, where they are wanted; says how large its file is.
    fn shot(&mut self, name: &str) -> usize {
        let shot = self.ask("Page.captureScreenshot", json!({ "format": "png" }));
        let bytes = base64(shot["data"].as_str().expect("a picture"));
        if let Some(dir) = std::env::var_os("FLUSTER_SHOTS") {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(PathBuf::from(dir).join(format!("{name}.png")), &bytes).unwrap();
        }
        bytes.len()
    }

    /// Nothing was thrown, and nothing was refused by the page's own policy.
    #[track_caller]
    fn is_content(&self) {
        // The browser asks for an icon by itself, and gets none; a token that is missing is a 401.
        let odd =
            |complaint: &&String| !complaint.contains("favicon.ico") && !complaint.contains("401");
        let odd: Vec<_> = self.complaints.iter().filter(odd).collect();
        assert!(odd.is_empty(), "{odd:#?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        forget(self.child.id());
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

fn base64(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => Some(u32::from(c - b'A')),
        b'a'..=b'z' => Some(u32::from(c - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(c - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0, 0);
    for six in text.bytes().filter_map(value) {
        (bits, held) = (bits << 6 | six, held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_an_outage_as_it_comes_and_goes_and_acts_with_its_token() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let servers: [Server; 3] = fleet();
    let names = ["cache-a", "cache-b", "cache-c"].iter().zip(urls(&servers));
    let nodes = names.map(|(name, url)| Node::new(&url).unwrap().name(*name));
    let cluster = FlusterCluster::builder().nodes(nodes).build().unwrap();
    let jobs = cluster.queue("mails");
    for _ in 0..12 {
        jobs.push("a").await.unwrap();
    }
    let admin = cluster
        .admin()
        .token(TOKEN)
        .allow_actions()
        .queue(&jobs)
        .listen("127.0.0.1:0")
        .unwrap();
    let load = cluster.clone();
    let load = tokio::spawn(async move {
        for n in 0_u64.. {
            let _: Result<u64, _> = load.run(redis::cmd("INCR").arg(n % 100)).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    tokio::task::block_in_place(|| {
        browser.window(1200, 1300, "light");
        browser.open(&format!("http://{}/", admin.address()));
        browser.until("!document.getElementById('gate').hidden");
        assert!(!browser.text().contains("cache-a"), "not without the token");
        browser.shot("locked");
        let enter = |word: &str| {
            format!(
                "document.getElementById('token').value = '{word}'; document.querySelector('#token-form button').click(); true"
            )
        };
        browser.value(&enter("wrong-wrong-wrong"));
        browser.until("document.body.innerText.includes('That is not the token.')");
        browser.value(&enter(TOKEN));
        browser.until("document.body.innerText.includes('All 3 nodes in service')");
        browser.until("document.querySelectorAll('path.arc.good').length === 3");
        browser.until("document.querySelector('#nodes tr td:nth-child(4)').textContent > '0'");
        assert_eq!(browser.value("location.href + document.cookie + JSON.stringify(localStorage) + sessionStorage.length"),
            format!("http://{}/{{}}0", admin.address()), "the token is in the page's memory alone");
        browser.shot("light");

        servers[1].kill();
        browser.until("document.body.innerText.includes('1 node of 3 is out')");
        browser.until("document.querySelector('#nodes tr').innerText.includes('cache-b')");
        browser.until("document.querySelectorAll('path.arc.bad').length === 1");
        browser
            .until("document.getElementById('log').innerText.includes('cache-b is out: refused')");
        let explain = "document.getElementById('key').value = 'cart:{42}'; document.querySelector('#explain-form button').click(); true";
        browser.value(explain);
        browser.until("document.getElementById('explained').innerText.includes('hash tag')");
        browser.shot("sick");
        browser.window(1200, 1300, "dark");
        browser.shot("dark");
        browser.window(390, 1900, "light");
        assert_eq!(
            browser.value("document.documentElement.scrollWidth <= 390"),
            true,
            "nothing sticks out on a phone"
        );
        browser.shot("narrow");
        browser.window(1200, 1300, "light");

        servers[1].restart();
        browser.until("document.body.innerText.includes('cache-b is back after')");
        let drain = "[...document.querySelectorAll('#nodes tr')].find(r => r.innerText.includes('cache-c')).querySelector('button')";
        browser.value(&format!("{drain}.click(); true"));
        browser.until("document.body.innerText.includes('drained by the operator')");
        assert!(cluster.status().node("cache-c").unwrap().drained);
        browser.until(&format!(
            "{drain}.textContent === 'Restore' && !{drain}.disabled"
        ));
        browser.value(&format!("{drain}.click(); true"));
        browser.until("!document.body.innerText.includes('drained by the operator')");
        browser.is_content();

        // What is old is not to be taken for what is.
        admin.stop();
        browser.until("document.body.classList.contains('stale')");
        browser.until("document.getElementById('live').innerText.includes('no answer since')");
        browser.shot("stale");
    });
    load.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_markup_is_text_and_a_thousand_nodes_are_shown() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    // No blanks: a name may not have any.
    let evil = "<img/src=x/onerror=document.title='owned'>";
    let script = "</script><script>document.title='owned'</script>";
    let node = |url: &str, name: &str| Node::new(url).unwrap().name(name);
    let cluster = FlusterCluster::builder()
        .node(node("redis://127.0.0.1:1", evil))
        .node(node("redis://127.0.0.1:2", script))
        .build()
        .unwrap();
    let admin = cluster.admin().listen("127.0.0.1:0").unwrap();
    let large = many(1000);
    let large_admin = large.admin().listen("127.0.0.1:0").unwrap();
    tokio::task::block_in_place(|| {
        browser.window(1200, 900, "light");
        browser.open(&format!("http://{}/", admin.address()));
        browser.until("document.querySelectorAll('#nodes tr').length === 2");
        let _ = cluster.probe_node(evil);
        browser.until("document.body.innerText.includes('onerror=document.title')");
        browser.until("document.getElementById('log').innerText.includes('is out')");
        assert_eq!(browser.value("document.querySelectorAll('img').length + document.querySelectorAll('script').length"), 1);
        let title = browser.value("document.title");
        assert!(
            title.as_str().is_some_and(|title| !title.contains("owned")),
            "{title}"
        );
        browser.shot("markup");
        browser.is_content();

        browser.open(&format!("http://{}/", large_admin.address()));
        browser.until("document.querySelectorAll('path.arc').length === 1000");
        browser.until("document.querySelectorAll('#nodes tr').length === 100");
        browser.shot("thousand");
        browser.value("document.getElementById('filter').value = 'cache-0999'; document.getElementById('filter').dispatchEvent(new Event('input')); true");
        browser.until("document.querySelectorAll('#nodes tr').length === 1");
        browser.value("document.getElementById('filter').value = ''; document.getElementById('show-all').click(); true");
        browser.until("document.querySelectorAll('#nodes tr').length === 1000");
        browser.is_content();
    });
}
