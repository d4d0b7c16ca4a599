//! A process, two servers and all orders of what can happen between them: no read is older than was promised.
//!
//! The process's decisions are those of this crate; the servers, the connections and the tasks are played. Each rule is
//! left out once, and then the same seeds find a read that breaks the promise.

use std::collections::{HashMap, HashSet, VecDeque};

use fastrand::Rng;

use super::store::{Answered, Found};
use super::{Begun, Current, Near, Store, Told};

const SEEDS: u64 = 3000;
const STEPS: u32 = 300;
const MS: u64 = 1000;
const KEYS: [&[u8]; 2] = [b"p:a", b"p:b"];

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    /// What a server tells is not applied.
    Told,
    /// What a server tells leaves reads under way alone.
    Place,
    /// Any read may keep what it brought while some read of the key has a place.
    Identity,
    /// Entries of any connection are current.
    Epoch,
    /// What is kept is stamped when it comes, not when it was asked.
    Stamp,
    /// A silent connection proves what it ever proved.
    Silence,
    /// An answer proves up to when it came, not up to when it was asked for.
    Asked,
    /// The entry is looked at before the proof.
    Order,
    /// Own writes are applied when they begin, and not when they end.
    End,
    /// A flush is not applied.
    Flush,
    /// The time to live on the server does not matter.
    Ttl,
    /// Nor does how old a value is, whatever nobody told of it.
    Age,
}

#[derive(Clone, Copy)]
struct Version {
    number: u64,
    /// When it expires there.
    until: u64,
    /// When another one, or none, took its place, and whether that was told.
    gone: Option<(u64, bool)>,
}

#[derive(Default)]
struct Server {
    /// All versions that a key ever had; the last one is there unless it is gone.
    keys: HashMap<usize, Vec<Version>>,
    /// What was read over the connection.
    registered: HashSet<usize>,
}

#[derive(Clone, Copy)]
enum Said {
    Reply {
        task: u64,
        value: Option<(u64, i64)>,
    },
    Told(usize),
    Flushed,
}

struct Connection {
    current: Current,
    asked: VecDeque<(u64, Option<usize>)>,
    said: VecDeque<Said>,
    is_hole: bool,
}

struct Task {
    key: Option<usize>,
    server: usize,
    id: u64,
    connection: u64,
    epoch: u64,
    asked: u64,
    before: Told,
    answered: Option<Option<(u64, i64)>>,
}

struct World {
    without: Without,
    rng: Rng,
    now: u64,
    store: Store,
    servers: [Server; 2],
    /// With a number each, so that a task finds out whether its own is still there.
    connections: [Option<(u64, Connection)>; 2],
    owner: usize,
    tasks: HashMap<u64, Task>,
    last: u64,
    /// Own writes: key, server, and the version once it was executed.
    writes: Vec<(usize, usize, Option<u64>)>,
    /// The least version of a key that a read may have from a server, for what this process wrote there.
    own: HashMap<(usize, usize), u64>,
    /// A read that has its entry, and not its proof: key, when it began, value, number.
    halfway: Option<(usize, u64, u64, u64)>,
    hits: u64,
}

impl World {
    fn new(seed: u64, without: Without) -> Self {
        let near = Near::default().capacity(64 << 10);
        let ms = std::time::Duration::from_millis;
        let near = near.max_silence(ms(50)).max_age(ms(400));
        Self {
            without,
            rng: Rng::with_seed(seed),
            now: MS,
            store: Store::new(b"p:", near),
            servers: Default::default(),
            connections: [None, None],
            owner: 0,
            tasks: HashMap::new(),
            last: 0,
            writes: Vec::new(),
            own: HashMap::new(),
            halfway: None,
            hits: 0,
        }
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn key(&mut self) -> usize {
        self.rng.usize(..KEYS.len())
    }

    /// One thing happens; an error where a read breaks the promise.
    fn step(&mut self) -> Result<(), String> {
        self.now += self.rng.u64(..2 * MS);
        let (key, server) = (self.key(), self.rng.usize(..2));
        // Most of what happens, happens where reads go.
        let near = if self.rng.u8(..4) == 0 {
            server
        } else {
            self.owner
        };
        match self.rng.u32(..100) {
            0..=14 => self.read(key)?,
            15..=34 => self.serve(near),
            35..=54 => self.hear(near),
            55..=72 => self.resume(),
            73..=77 => drop(self.write(server, key, true)),
            78..=79 => {
                let owner = self.owner;
                self.writes.push((key, owner, None));
                if self.without == Without::End {
                    self.store.forget(KEYS[key]);
                }
            }
            80..=84 => self.own_write(),
            85..=88 => self.ask(None, self.owner),
            89 => self.lose(server),
            90 => {
                if let Some((_, connection)) = &mut self.connections[server] {
                    connection.is_hole = !connection.is_hole;
                }
            }
            91 => self.now += self.rng.u64(..100 * MS),
            92 => self.flush(server),
            93 => {
                // The one that served goes out, and what reads over it is lost.
                self.lose(self.owner);
                self.owner = 1 - self.owner;
            }
            94 => drop(self.write(server, key, false)),
            95 => {
                // A caller is dropped.
                let any = self.tasks.keys().copied().min();
                if let Some(task) = any.and_then(|task| self.tasks.remove(&task)) {
                    self.leave(&task);
                }
            }
            _ => self.order()?,
        }
        Ok(())
    }

    fn connect(&mut self, server: usize) {
        if self.connections[server].is_none() {
            let connection = Connection {
                current: Current::new(),
                asked: VecDeque::new(),
                said: VecDeque::new(),
                is_hole: false,
            };
            let number = self.next();
            self.connections[server] = Some((number, connection));
            self.servers[server].registered.clear();
        }
    }

    fn lose(&mut self, server: usize) {
        if let Some((number, connection)) = self.connections[server].take() {
            connection.current.end();
            let lost: Vec<u64> = self
                .tasks
                .iter()
                .filter(|(_, t)| t.connection == number)
                .map(|(id, _)| *id)
                .collect();
            // A reply that has come is still handled by its task.
            for id in lost {
                if self.tasks[&id].answered.is_none()
                    && let Some(task) = self.tasks.remove(&id)
                {
                    self.leave(&task);
                }
            }
        }
    }

    fn leave(&self, task: &Task) {
        if let Some(key) = task.key {
            self.store.places().leave(KEYS[key], task.id);
        }
    }

    fn judged(&self) -> (u64, u64) {
        let owner = self.connections[self.owner].as_ref();
        let (epoch, proven) = owner.map_or((0, 0), |(_, c)| c.current.judged());
        match self.without {
            Without::Epoch => (u64::from(epoch != 0), proven),
            Without::Silence => (epoch, self.now),
            _ => (epoch, proven),
        }
    }

    fn read(&mut self, key: usize) -> Result<(), String> {
        let owner = self.owner;
        self.connect(owner);
        let judged = self.judged();
        if self.without == Without::Order {
            // The entry, whatever is proven; the proof is looked at later.
            let looked = self
                .store
                .look_up(KEYS[key], (judged.0, self.now), self.now);
            if let (Found::Hit(Some(bytes)), None) = (&looked, &self.halfway) {
                self.halfway = Some((key, self.now, number(bytes), judged.0));
                return Ok(());
            }
        }
        match self.store.look_up(KEYS[key], judged, self.now) {
            Found::Hit(Some(bytes)) => self.check(key, self.now, number(&bytes)),
            Found::Hit(None) => Err("nothing was to be kept of what is not there".to_owned()),
            Found::Miss(_) => {
                self.ask(Some(key), owner);
                Ok(())
            }
        }
    }

    fn order(&mut self) -> Result<(), String> {
        let Some((key, began, value, epoch)) = self.halfway.take() else {
            return Ok(());
        };
        let judged = self.judged();
        let is_proven = self.now.saturating_sub(judged.1) <= self.store.options().silence();
        match judged.0 == epoch && is_proven {
            true => self.check(key, began, value),
            false => Ok(()),
        }
    }

    /// A read that began then was answered by this process.
    fn check(&mut self, key: usize, began: u64, value: u64) -> Result<(), String> {
        self.hits += 1;
        let least = self.own.get(&(key, self.owner)).copied().unwrap_or(0);
        if value < least {
            return Err(format!("{value} was served after {least} was written here"));
        }
        let versions = self.servers[self.owner].keys.get(&key);
        let found = versions.and_then(|all| all.iter().find(|v| v.number == value));
        let Some(version) = found else {
            return Err(format!("{value} was never at the owner"));
        };
        if began >= version.until {
            return Err(format!("{value} has expired"));
        }
        let options = self.store.options();
        match version.gone {
            Some((at, true)) if began.saturating_sub(at) > options.silence() => {
                Err(format!("{value} has been gone for {} us", began - at))
            }
            Some((at, false)) if began.saturating_sub(at) > options.age() => Err(format!(
                "{value} has been gone untold for {} us",
                began - at
            )),
            _ => Ok(()),
        }
    }

    fn ask(&mut self, key: Option<usize>, server: usize) {
        self.connect(server);
        let task = self.next();
        let (now, silence) = (self.now, self.store.options().silence());
        let Some((connection, c)) = &mut self.connections[server] else {
            return;
        };
        let epoch = match self.without {
            Without::Epoch => 1,
            _ => c.current.epoch(),
        };
        let mut id = 0;
        if let Some(key) = key {
            match self
                .store
                .places()
                .begin(KEYS[key], epoch, now, silence, |_| ())
            {
                Begun::Lead(own) => id = own,
                // It reads as well, and keeps nothing.
                Begun::Follow(()) => {}
            }
        }
        c.asked.push_back((task, key));
        let before = c.current.told();
        let task_of = Task {
            key,
            server,
            id,
            connection: *connection,
            epoch,
            asked: now,
            before,
            answered: None,
        };
        self.tasks.insert(task, task_of);
    }

    /// The server executes what was asked of it.
    fn serve(&mut self, server: usize) {
        let Some((_, connection)) = &mut self.connections[server] else {
            return;
        };
        if connection.is_hole {
            return;
        }
        if let Some((task, key)) = connection.asked.pop_front() {
            let value = key.and_then(|key| {
                self.servers[server].registered.insert(key);
                let last = *self.servers[server].keys.get(&key)?.last()?;
                let is_there = last.gone.is_none() && self.now < last.until;
                let left = i64::try_from(last.until.saturating_sub(self.now) / MS).unwrap_or(-1);
                is_there.then_some((last.number, left))
            });
            connection.said.push_back(Said::Reply { task, value });
        }
    }

    /// The process hears one thing that a server said.
    fn hear(&mut self, server: usize) {
        let Some((_, connection)) = &mut self.connections[server] else {
            return;
        };
        if connection.is_hole {
            return;
        }
        match connection.said.pop_front() {
            Some(Said::Reply { task, value }) => {
                if let Some(task) = self.tasks.get_mut(&task) {
                    task.answered = Some(value);
                }
            }
            Some(Said::Told(key)) => match self.without {
                Without::Told => {}
                Without::Place => self.store.forget_entry(KEYS[key]),
                _ => self.store.told(KEYS[key]),
            },
            Some(Said::Flushed) if self.without != Without::Flush => connection.current.renew(),
            Some(Said::Flushed) | None => {}
        }
    }

    /// A task that has its answer goes on.
    fn resume(&mut self) {
        let ready = self
            .tasks
            .iter()
            .filter(|(_, task)| task.answered.is_some());
        let ready: Vec<u64> = ready.map(|(id, _)| *id).collect();
        if ready.is_empty() {
            return;
        }
        let any = *ready.iter().min().expect("there are some");
        let some = if self.rng.bool() {
            any
        } else {
            *ready.iter().max().expect("some")
        };
        let Some(task) = self.tasks.remove(&some) else {
            return;
        };
        let asked = match self.without {
            Without::Asked => self.now,
            _ => task.asked,
        };
        let mut epoch = task.epoch;
        if let Some((number, connection)) = &self.connections[task.server] {
            if *number == task.connection {
                connection.current.prove(asked, task.before);
            }
            if self.without == Without::Stamp {
                epoch = connection.current.epoch();
            }
        }
        let (Some(key), Some(answered)) = (task.key, task.answered) else {
            return;
        };
        let id = match self.without {
            Without::Identity => self.store.places().id(KEYS[key]),
            _ => task.id,
        };
        let Some((value, left)) = answered else {
            self.store
                .land(KEYS[key], id, (epoch, task.asked), Answered::Nothing(-2));
            return;
        };
        let left = match self.without {
            Without::Ttl => -1,
            _ => left,
        };
        let asked = match self.without {
            // As if it were asked anew for ever.
            Without::Age => task.asked + 3600 * 1000 * MS,
            _ => task.asked,
        };
        let bytes = value.to_be_bytes();
        let answered = Answered::Value(bytes.as_slice().into(), left);
        self.store.land(KEYS[key], id, (epoch, asked), answered);
    }

    /// Somebody writes; `told` as by all commands but `SWAPDB`.
    fn write(&mut self, server: usize, key: usize, told: bool) -> u64 {
        let number = self.next();
        let lives = match self.rng.u32(..3) {
            0 => self.rng.u64(1..60) * MS,
            _ => 3600 * 1000 * MS,
        };
        self.gone(server, key, told);
        let until = self.now + lives;
        let version = Version {
            number,
            until,
            gone: None,
        };
        self.servers[server]
            .keys
            .entry(key)
            .or_default()
            .push(version);
        number
    }

    fn gone(&mut self, server: usize, key: usize, told: bool) {
        let at = self.now;
        let last = self.servers[server].keys.entry(key).or_default().last_mut();
        if let Some(last) = last.filter(|last| last.gone.is_none()) {
            last.gone = Some((at, told));
        }
        if told
            && self.servers[server].registered.remove(&key)
            && let Some((_, connection)) = &mut self.connections[server]
        {
            connection.said.push_back(Said::Told(key));
        }
    }

    /// An own write is executed, or ends.
    fn own_write(&mut self) {
        if self.writes.is_empty() {
            return;
        }
        let at = self.rng.usize(..self.writes.len());
        let (key, server, executed) = self.writes[at];
        match executed {
            None => self.writes[at].2 = Some(self.write(server, key, true)),
            Some(number) => {
                self.writes.swap_remove(at);
                if self.without != Without::End {
                    self.store.forget(KEYS[key]);
                }
                let least = self.own.entry((key, server)).or_default();
                *least = (*least).max(number);
            }
        }
    }

    fn flush(&mut self, server: usize) {
        for key in 0..KEYS.len() {
            let at = self.now;
            let last = self.servers[server].keys.entry(key).or_default().last_mut();
            if let Some(last) = last.filter(|last| last.gone.is_none()) {
                last.gone = Some((at, true));
            }
        }
        self.servers[server].registered.clear();
        if let Some((_, connection)) = &mut self.connections[server] {
            connection.said.push_back(Said::Flushed);
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

/// The first seed that breaks the promise, and how; how many reads were hits.
fn run(without: Without) -> (Option<(u64, String)>, u64) {
    let mut hits = 0;
    for seed in 0..SEEDS {
        let mut world = World::new(seed, without);
        for _ in 0..STEPS {
            if let Err(why) = world.step() {
                return (Some((seed, why)), hits);
            }
        }
        hits += world.hits;
    }
    (None, hits)
}

#[test]
fn no_read_is_older_than_was_promised() {
    let (broken, hits) = run(Without::Nothing);
    assert_eq!(broken, None);
    assert!(hits > SEEDS, "there were reads to judge: {hits}");
}

#[test]
fn each_rule_is_needed() {
    for without in [
        Without::Told,
        Without::Place,
        Without::Identity,
        Without::Epoch,
        Without::Stamp,
        Without::Silence,
        Without::Asked,
        Without::Order,
        Without::End,
        Without::Flush,
        Without::Ttl,
        Without::Age,
    ] {
        let (broken, _) = run(without);
        assert!(broken.is_some(), "nothing broke without {without:?}");
    }
}
