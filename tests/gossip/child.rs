//! An instance as a process of its own, and what it says; shared by the tests and `benches/gossip.rs`.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fluster::discovery::{Endpoint, File, Static};
use fluster::gossip::{Gossip, GossipProfile, Keyring};

/// Where a process is told which instance it is.
const CHILD: &str = "FLUSTER_GOSSIP_CHILD";

/// What an instance is.
#[derive(Clone, Debug)]
pub struct Told {
    pub bind: SocketAddr,
    pub advertise: SocketAddr,
    pub seeds: Seeds,
    pub id: String,
    pub key: String,
    pub profile: GossipProfile,
}

/// Where it looks for the others.
#[derive(Clone, Debug)]
pub enum Seeds {
    Fixed(Vec<SocketAddr>),
    File(PathBuf),
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            bind,
            advertise,
            id,
            key,
            profile,
            ..
        } = self;
        write!(f, "{bind} {advertise} {id} {key} {profile} ")?;
        match &self.seeds {
            Seeds::File(path) => write!(f, "@{}", path.display()),
            Seeds::Fixed(seeds) => {
                let seeds: Vec<_> = seeds.iter().map(ToString::to_string).collect();
                write!(f, "{}", seeds.join(","))
            }
        }
    }
}

impl FromStr for Told {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let [bind, advertise, id, key, profile, seeds] = text.split(' ').collect::<Vec<_>>()[..]
            .try_into()
            .map_err(drop)?;
        Ok(Self {
            bind: bind.parse().map_err(drop)?,
            advertise: advertise.parse().map_err(drop)?,
            seeds: match seeds.strip_prefix('@') {
                Some(path) => Seeds::File(path.into()),
                None => Seeds::Fixed(seeds.split(',').flat_map(str::parse).collect()),
            },
            id: id.to_owned(),
            key: key.to_owned(),
            profile: profile.parse().map_err(drop)?,
        })
    }
}

/// Is the instance that the environment names, if it names one.
pub fn be_told() -> bool {
    let Ok(told) = std::env::var(CHILD) else {
        return false;
    };
    let told = told.parse().unwrap_or_else(|()| panic!("{told}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(be(told));
    true
}

/// Prints each picture, and does what its stdin says; whose end is its own.
async fn be(told: Told) {
    let builder = Gossip::builder("processes")
        .bind(told.bind)
        .advertise(told.advertise)
        .keyring(Keyring::from_hex(&told.key).unwrap())
        .ring_id(told.id)
        .profile(told.profile)
        .drain(Duration::from_millis(300))
        .linger(Duration::from_millis(200));
    let builder = match told.seeds {
        Seeds::File(path) => builder.seeds(File::new(path)),
        Seeds::Fixed(seeds) => builder.seeds(Static::new(
            seeds
                .iter()
                .map(|a| Endpoint::new(a.ip().to_string(), a.port())),
        )),
    };
    let gossip = builder.start().await.unwrap();
    let mut changes = gossip.changes();
    let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let _ = told.send(line.unwrap_or_default());
        }
    });
    loop {
        {
            let view = changes.borrow_and_update();
            let members = view.members().iter().map(|m| {
                let (state, phase) = (m.state.as_str(), m.phase.as_str());
                format!("{}={state}/{phase}@{}", m.ring_id, m.generation)
            });
            let fingerprint = view
                .fingerprint()
                .map(|f| f.to_string())
                .unwrap_or_default();
            println!(
                "\nview {fingerprint} {}",
                members.collect::<Vec<_>>().join(" ")
            );
        }
        tokio::select! {
            changed = changes.changed() => changed.unwrap(),
            tell = tells.recv() => match tell.as_deref().map(|tell| tell.split_once(' ').unwrap_or((tell, ""))) {
                Some(("leave", _)) => {
                    gossip.leave().await;
                    return;
                }
                Some(("drain", on)) => gossip.set_draining(on == "on"),
                Some(("measure", seconds)) => {
                    tokio::spawn(measure(gossip.clone(), seconds.parse().unwrap()));
                }
                // Whoever started us is gone.
                _ => return,
            },
        }
    }
}

/// Tells how many bytes a second were sent in the next so many seconds.
async fn measure(gossip: Gossip, seconds: u32) {
    let mut sent = 0.0;
    for _ in 0..seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sent += gossip.status().bytes_per_second.0;
    }
    println!("\nsent {:.0}", sent / f64::from(seconds));
}

/// What an instance told of.
#[derive(Default)]
struct Said {
    /// Its pictures: the fingerprint, and `id=state/phase@generation` of each.
    views: Vec<(Instant, String)>,
    /// What it measured.
    sent: Option<f64>,
}

/// A process that is an instance; it ends with this.
pub struct Instance {
    child: Child,
    stdin: ChildStdin,
    said: Arc<Mutex<Said>>,
}

impl Instance {
    /// `command` leads to [`be_told`].
    pub fn start(mut command: Command, told: &Told) -> Self {
        let mut child = command
            .env(CHILD, told.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (out, said) = (
            child.stdout.take().unwrap(),
            Arc::new(Mutex::new(Said::default())),
        );
        let its = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let mut said = its.lock().unwrap();
                if let Some(view) = line.strip_prefix("view ") {
                    said.views.push((Instant::now(), view.to_owned()));
                } else if let Some(sent) = line.strip_prefix("sent ") {
                    said.sent = sent.parse().ok();
                }
            }
        });
        Self {
            stdin: child.stdin.take().unwrap(),
            child,
            said,
        }
    }

    /// The last picture, and since when it is that.
    pub fn last(&self) -> Option<(Instant, String)> {
        self.said.lock().unwrap().views.last().cloned()
    }

    pub fn view(&self) -> String {
        self.last().map(|(_, view)| view).unwrap_or_default()
    }

    pub fn sees(&self, what: &str) -> bool {
        self.view().contains(what)
    }

    /// How many pictures there were.
    pub fn seen(&self) -> usize {
        self.said.lock().unwrap().views.len()
    }

    /// Those that came after the first so many, one a line.
    pub fn since(&self, seen: usize) -> String {
        let said = self.said.lock().unwrap();
        let views = said.views[seen..].iter();
        let texts: Vec<_> = views.map(|(_, view)| view.as_str()).collect();
        texts.join("\n")
    }

    /// Bytes a second, once it has `measure`d.
    #[allow(dead_code, reason = "for the measurement")]
    pub fn sent(&self) -> Option<f64> {
        self.said.lock().unwrap().sent
    }

    pub fn tell(&mut self, what: &str) {
        writeln!(self.stdin, "{what}").unwrap();
    }

    #[allow(dead_code, reason = "for the measurement")]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One ring of so many at all of them.
pub fn agree(all: &[Instance], n: usize) -> bool {
    let first = all[0].view();
    let ring = first.split(' ').next().unwrap_or_default().to_owned();
    !ring.is_empty()
        && all.iter().all(|i| {
            let view = i.view();
            view.starts_with(&ring) && view.matches("=alive/ready").count() == n
        })
}
