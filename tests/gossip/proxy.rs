//! A network that a test may spoil: datagrams between instances pass a proxy. No root, nothing of the machine changes.
//!
//! An instance binds one address and advertises another, which is the proxy's; so whatever the others send it comes here,
//! and the port that it comes from tells who sent it. That is enough to be between any two: the protocol believes the
//! sender that a datagram names inside, and nothing of where it came from. Each pair has its weather in each direction,
//! and what becomes of its n-th datagram depends on the seed, the pair and n alone.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// What the network does to the datagrams of a pair.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// The share that is lost.
    pub loss: f64,
    /// The share that comes twice.
    pub twice: f64,
    /// How long they take at most, in milliseconds. Each takes its own time, so later ones overtake earlier ones.
    pub late: u64,
}

/// What became of all datagrams. A test whose weather met none has shown nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub passed: u64,
    pub lost: u64,
    pub doubled: u64,
    pub overtaken: u64,
    pub cut: u64,
}

/// From, to.
type Way = (usize, usize);

struct Pair {
    weather: Weather,
    is_cut: bool,
    rng: fastrand::Rng,
    /// How many were sent, and which is the last of those that arrived.
    sent: u64,
    arrived: u64,
}

#[derive(Default)]
struct State {
    pairs: BTreeMap<Way, Pair>,
    counts: Counts,
    /// What is sent to this instance is kept.
    tap: Option<(usize, Vec<Vec<u8>>)>,
}

struct Shared {
    binds: Vec<SocketAddr>,
    by_bind: HashMap<SocketAddr, usize>,
    seed: u64,
    state: Mutex<State>,
}

/// The network; gone when it is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    advertised: Vec<SocketAddr>,
    thread: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
}

impl Proxy {
    /// For so many instances, and fair weather.
    pub fn new(n: usize, seed: u64) -> Self {
        let binds = free_ports(n);
        let sockets: Vec<_> = (0..n)
            .map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        let advertised = sockets.iter().map(|s| s.local_addr().unwrap()).collect();
        let shared = Arc::new(Shared {
            by_bind: binds
                .iter()
                .enumerate()
                .map(|(n, bind)| (*bind, n))
                .collect(),
            binds,
            seed,
            state: Mutex::default(),
        });
        let (end, ended) = oneshot::channel();
        let its = Arc::clone(&shared);
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut doors = JoinSet::new();
                for (to, socket) in sockets.into_iter().enumerate() {
                    socket.set_nonblocking(true).unwrap();
                    let socket = UdpSocket::from_std(socket).unwrap();
                    doors.spawn(door(Arc::clone(&its), to, socket));
                }
                // Its end is a drop: an error.
                let _ = ended.await;
            });
        };
        Self {
            shared,
            advertised,
            thread: Some((end, std::thread::spawn(run))),
        }
    }

    /// Where the instance is to listen.
    pub fn bind(&self, n: usize) -> SocketAddr {
        self.shared.binds[n]
    }

    /// What the instance is to advertise.
    pub fn advertise(&self, n: usize) -> SocketAddr {
        self.advertised[n]
    }

    /// For all pairs.
    pub fn set(&self, weather: Weather) {
        self.each(|_, pair| pair.weather = weather);
    }

    /// Nothing passes from any of these to any of those; with both ways, ask twice.
    pub fn cut(&self, from: &[usize], to: &[usize]) {
        self.each(|(a, b), pair| pair.is_cut |= from.contains(&a) && to.contains(&b));
    }

    pub fn heal(&self) {
        self.each(|_, pair| pair.is_cut = false);
    }

    pub fn counts(&self) -> Counts {
        self.shared.state().counts
    }

    /// What is sent to the instance is kept, from now on.
    pub fn tap(&self, to: usize) {
        self.shared.state().tap = Some((to, Vec::new()));
    }

    /// What was kept, and the end of it.
    pub fn tapped(&self) -> Vec<Vec<u8>> {
        self.shared.state().tap.take().unwrap_or_default().1
    }

    fn each(&self, change: impl Fn(Way, &mut Pair)) {
        let (n, seed) = (self.advertised.len(), self.shared.seed);
        let mut state = self.shared.state();
        for from in 0..n {
            for to in (0..n).filter(|to| *to != from) {
                change((from, to), state.pair((from, to), seed));
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            drop(thread.join());
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The delays of the copies that arrive, and which datagram of the pair it is.
    fn fate(&self, way: Way, bytes: &[u8]) -> (u64, Vec<Duration>) {
        let mut state = self.state();
        if let Some((to, kept)) = &mut state.tap
            && *to == way.1
        {
            kept.push(bytes.to_vec());
        }
        let pair = state.pair(way, self.seed);
        pair.sent += 1;
        let (number, weather, is_cut) = (pair.sent, pair.weather, pair.is_cut);
        // All is drawn for each datagram, so that the n-th has its fate whatever the weather was before.
        let [lost, twice] = [
            pair.rng.f64() < weather.loss,
            pair.rng.f64() < weather.twice,
        ];
        let late = [(); 2].map(|()| pair.rng.u64(0..=1_000 * weather.late));
        let counts = &mut state.counts;
        let copies = match (is_cut, lost, twice) {
            (true, ..) => {
                counts.cut += 1;
                0
            }
            (_, true, _) => {
                counts.lost += 1;
                0
            }
            (.., is_doubled) => {
                counts.passed += 1;
                counts.doubled += u64::from(is_doubled);
                1 + usize::from(is_doubled)
            }
        };
        let late = late.into_iter().take(copies);
        (number, late.map(Duration::from_micros).collect())
    }

    fn arrives(&self, way: Way, number: u64) {
        let mut state = self.state();
        let pair = state.pair(way, self.seed);
        let is_overtaken = number < pair.arrived;
        pair.arrived = pair.arrived.max(number);
        state.counts.overtaken += u64::from(is_overtaken);
    }
}

impl State {
    fn pair(&mut self, way: Way, seed: u64) -> &mut Pair {
        self.pairs.entry(way).or_insert_with(|| Pair {
            weather: Weather::default(),
            is_cut: false,
            rng: fastrand::Rng::with_seed(seed ^ ((way.0 as u64) << 32) ^ ((way.1 as u64) << 48)),
            sent: 0,
            arrived: 0,
        })
    }
}

/// What comes for one instance, until the task is dropped, and with it all that is under way.
async fn door(shared: Arc<Shared>, to: usize, socket: UdpSocket) {
    let (socket, target) = (Arc::new(socket), shared.binds[to]);
    let mut under_way = JoinSet::new();
    let mut buffer = vec![0; 4_096];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            Some(_) = under_way.join_next() => continue,
        };
        let (length, from) = match received {
            Ok(received) => received,
            // The kernel's word that an earlier one did not reach a process that is dead.
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => continue,
            Err(e) => panic!("the proxy's socket: {e}"),
        };
        // Whoever is none of the instances is not in this network.
        let Some(from) = shared.by_bind.get(&from) else {
            continue;
        };
        let way = (*from, to);
        let bytes = &buffer[..length];
        let (number, copies) = shared.fate(way, bytes);
        for late in copies {
            if late.is_zero() {
                shared.arrives(way, number);
                let _ = socket.send_to(bytes, target).await;
                continue;
            }
            let (shared, socket, bytes) =
                (Arc::clone(&shared), Arc::clone(&socket), bytes.to_vec());
            under_way.spawn(async move {
                tokio::time::sleep(late).await;
                shared.arrives(way, number);
                let _ = socket.send_to(&bytes, target).await;
            });
        }
    }
}

pub fn free_ports(n: usize) -> Vec<SocketAddr> {
    let sockets: Vec<_> = (0..n)
        .map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap())
        .collect();
    sockets.iter().map(|s| s.local_addr().unwrap()).collect()
}
