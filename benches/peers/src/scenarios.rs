//! Ten faults: how each is made and healed.

use std::sync::Mutex;
use std::time::Duration;

use crate::faults::proxy::{End, Fault, Proxy, Way};
use crate::support::{Raw, Server};

/// The key of every command; its value is text.
pub const KEY: &str = "key";

/// What the tasks send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    Read,
    Write,
    /// Each read comes after one whose text is asked for as a number.
    Mistyped,
}

pub struct Scenario {
    pub name: &'static str,
    /// The first cell of its row.
    pub says: &'static str,
    pub load: Load,
    /// Whether the proxy stands in front of the server.
    pub through_proxy: bool,
    pub inject: fn(&Scene),
    pub heal: fn(&Scene),
}

/// The servers of one contestant in one scenario.
pub struct Scene {
    pub server: Server,
    pub second: Server,
    pub proxy: Option<Proxy>,
    /// A connection that is kept while the server lets nobody else in.
    kept: Mutex<Raw>,
}

impl Scene {
    pub fn new(scenario: &Scenario) -> Self {
        let server = Server::builder()
            .arg("--enable-debug-command", "yes")
            .arg("--loading-process-events-interval-bytes", "1024")
            .start();
        let second = Server::start();
        for s in [&server, &second] {
            s.raw(["SET", KEY, "text"]);
        }
        let proxy = scenario.through_proxy.then(|| Proxy::start(&server));
        let kept = Mutex::new(server.connect().expect("a connection"));
        Self {
            server,
            second,
            proxy,
            kept,
        }
    }

    pub fn url(&self) -> String {
        self.proxy
            .as_ref()
            .map_or_else(|| self.server.url(), Proxy::url)
    }

    pub fn name(&self) -> String {
        self.proxy
            .as_ref()
            .map_or_else(|| self.server.name(), Proxy::name)
    }

    fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("a scenario with a proxy")
    }

    /// A fault that hit nobody has shown nothing.
    fn fired(&self) {
        assert!(self.proxy().fired() > 0, "the fault hit no connection");
    }

    /// A command over the kept connection.
    fn say<const N: usize>(&self, words: [&str; N]) {
        let mut kept = self.kept.lock().expect("one thread");
        kept.call(words).expect("an answer");
    }
}

fn nothing(_: &Scene) {}

/// Both threads of the runtime sleep, five times 300 ms: the process stalls, the server is well.
fn stall(_: &Scene) {
    for _ in 0..5 {
        for _ in 0..2 {
            tokio::spawn(async { std::thread::sleep(Duration::from_millis(300)) });
        }
        std::thread::sleep(Duration::from_millis(400));
    }
}

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "kill",
        says: "SIGKILL, restart after 3 s",
        load: Load::Read,
        through_proxy: false,
        inject: |s| s.server.kill(),
        heal: |s| {
            s.server.restart();
            s.server.raw(["SET", KEY, "text"]);
        },
    },
    Scenario {
        name: "stop",
        says: "SIGSTOP for 3 s",
        load: Load::Read,
        through_proxy: false,
        inject: |s| s.server.stop(),
        heal: |s| s.server.cont(),
    },
    Scenario {
        name: "restart",
        says: "restart at once",
        load: Load::Read,
        through_proxy: false,
        inject: |s| {
            s.server.kill();
            s.server.restart();
        },
        heal: nothing,
    },
    Scenario {
        name: "blackhole",
        says: "every connection, old and new, falls silent for 3 s",
        load: Load::Read,
        through_proxy: true,
        inject: |s| {
            s.proxy().set(Fault::Cut {
                way: Way::Request,
                after: 0,
                end: End::Silence,
            })
        },
        heal: |s| {
            s.fired();
            s.proxy().set(Fault::Pass);
        },
    },
    Scenario {
        name: "half_reply",
        says: "each old connection falls silent in the middle of a reply",
        load: Load::Read,
        through_proxy: true,
        inject: |s| {
            s.proxy().set(Fault::Cut {
                way: Way::Reply,
                after: 3,
                end: End::Silence,
            });
            std::thread::sleep(Duration::from_millis(100));
            s.fired();
            s.proxy().set(Fault::Pass);
        },
        heal: nothing,
    },
    Scenario {
        name: "maxclients",
        says: "`max number of clients`, all connections closed",
        load: Load::Read,
        through_proxy: false,
        inject: |s| {
            s.say(["CONFIG", "SET", "maxclients", "1"]);
            s.say(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        },
        heal: |s| s.say(["CONFIG", "SET", "maxclients", "10000"]),
    },
    Scenario {
        name: "readonly",
        says: "`READONLY` for 3 s, writes",
        load: Load::Write,
        through_proxy: false,
        inject: |s| {
            s.server
                .raw(["REPLICAOF", "127.0.0.1", &s.second.port().to_string()]);
        },
        heal: |s| {
            s.server.raw(["REPLICAOF", "NO", "ONE"]);
        },
    },
    Scenario {
        name: "loading",
        says: "`LOADING` for some 3 s",
        load: Load::Read,
        through_proxy: false,
        inject: |s| {
            s.server.raw(["DEBUG", "POPULATE", "3000"]);
            s.server.raw(["CONFIG", "SET", "key-load-delay", "1000"]);
            let reload = s.server.connect().expect("a connection");
            std::thread::spawn(move || {
                let mut reload = reload;
                drop(reload.call(["DEBUG", "RELOAD"]));
            });
        },
        heal: nothing,
    },
    Scenario {
        name: "type_error",
        says: "the application reads text as a number",
        load: Load::Mistyped,
        through_proxy: false,
        inject: nothing,
        heal: nothing,
    },
    Scenario {
        name: "stall",
        says: "the process stalls, 5 x 300 ms",
        load: Load::Read,
        through_proxy: false,
        inject: stall,
        heal: nothing,
    },
];
