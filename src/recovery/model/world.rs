//! Servers, the connections to them, and a clock that counts steps. Each command is a step of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::judge::Judge;
use super::{Rules, Weather};
use crate::recovery::names::Set;

pub(super) const NODES: usize = 3;
pub(super) const KEYS: usize = 3;
pub(super) const PROCESSES: usize = 3;

/// After so many steps a caller gives up.
const TIMEOUT: u64 = 60;

pub(super) type Key = u8;
/// A write, by its number.
pub(super) type Version = u32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Up {
    Runs,
    Stopped,
    Down,
}

/// What a server has when it starts again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keeps {
    Nothing,
    All,
    LastSave,
}

/// What a server has.
#[derive(Clone, Default)]
pub(super) struct Data {
    /// With the step in which it was executed.
    pub(super) values: [Option<(Version, u64)>; KEYS],
    pub(super) open: [BTreeSet<Key>; NODES],
    pub(super) closed: BTreeMap<(usize, u64), BTreeSet<Key>>,
    pub(super) index: BTreeSet<(usize, Set)>,
}

pub(super) struct Server {
    pub(super) up: Up,
    pub(super) keeps: Keeps,
    pub(super) data: Data,
    pub(super) saved: Data,
    /// It takes nothing that needs memory.
    pub(super) is_full: bool,
    /// How often it lost something; what a run id and the lack of an append-only file tell.
    pub(super) losses: u32,
    pub(super) lost_at: u64,
    pub(super) until: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Command {
    Set(Key, Version),
    Del(Key),
    Get(Key),
    Owe(usize, Key),
    Index(usize),
    ReadIndex,
    Close(usize, u64),
    Pick(usize, Set),
    Unlink(Vec<Key>),
    Remove(usize, Set, Vec<Key>),
    Forget(usize, Set),
    /// Connections of this process that are given up end at the server too.
    Kill(usize),
    Flush,
    Info,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Done,
    Value(Option<(Version, u64)>),
    Keys(Vec<Key>),
    Sets(Vec<(usize, Set)>),
    Number(usize),
    Refused,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    NotSent,
    MaybeExecuted,
}

/// A call of one or more commands, written in one piece and answered in order.
pub(super) struct Waiter {
    pub(super) connection: usize,
    pub(super) process: usize,
    pub(super) life: u32,
    pub(super) node: usize,
    commands: usize,
    /// The caller's own command; what comes before and behind it is ours.
    pub(super) own: usize,
    sent: usize,
    replies: Vec<Reply>,
    answered: bool,
    pub(super) result: Option<Result<Vec<Reply>, Failure>>,
    /// To whom it owes which key.
    owes: Vec<(usize, Key)>,
    /// Of whom the index is told.
    tells: Vec<usize>,
    /// What it writes.
    version: Option<Version>,
    born: u64,
}

pub(super) struct Connection {
    pub(super) node: usize,
    pub(super) process: usize,
    life: u32,
    is_open: bool,
    /// Its server may still read what is in its socket.
    is_read: bool,
    unsent: VecDeque<(usize, Command)>,
    socket: VecDeque<(usize, Command)>,
    /// Whose open set the index was told of, and answered.
    pub(super) told: BTreeSet<usize>,
}

/// What one process believes, and does.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) is_alive: bool,
    pub(super) life: u32,
    pub(super) serves: [bool; NODES],
    /// The nodes that it knows.
    pub(super) set: u8,
    pub(super) connections: [Option<usize>; NODES],
    /// Writes under way, and late entries, that owe something to a node.
    pub(super) pending: [u32; NODES],
    pub(super) late: [u32; NODES],
    /// Something was left for the next look.
    pub(super) left: [bool; NODES],
    /// It has not looked since it began, or since the node is back.
    pub(super) unlooked: [bool; NODES],
    pub(super) prepares: [bool; NODES],
    pub(super) sweeps: [bool; NODES],
    /// When the last sweep for one node at another began.
    pub(super) swept: [[u64; NODES]; NODES],
    pub(super) published: [u64; NODES],
    /// What was known of the servers when a node went out.
    pub(super) losses: [[u32; NODES]; NODES],
    pub(super) reaches: [bool; NODES],
    pub(super) until: u64,
    /// What one node may hold for another was not read yet.
    pub(super) unread: [[bool; NODES]; NODES],
}

impl Process {
    pub(super) fn new(now: u64) -> Self {
        Self {
            is_alive: true,
            life: 0,
            serves: [true; NODES],
            set: ALL,
            connections: [None; NODES],
            pending: [0; NODES],
            late: [0; NODES],
            left: [false; NODES],
            unlooked: [true; NODES],
            prepares: [false; NODES],
            sweeps: [false; NODES],
            swept: [[0; NODES]; NODES],
            published: [now; NODES],
            losses: [[0; NODES]; NODES],
            reaches: [true; NODES],
            until: 0,
            unread: [[false; NODES]; NODES],
        }
    }

    pub(super) fn knows(&self, node: usize) -> bool {
        self.set & (1 << node) != 0
    }

    pub(super) fn uses(&self, node: usize) -> bool {
        self.knows(node) && self.serves[node]
    }
}

/// All nodes, as a set.
pub(super) const ALL: u8 = (1 << NODES) - 1;

/// The candidates of a key among the nodes of a set.
pub(super) fn candidates(key: Key, set: u8) -> Vec<usize> {
    let order = [[0, 1, 2], [1, 0, 2], [0, 2, 1]][usize::from(key) % 3];
    let of = order.into_iter().filter(|node| set & (1 << node) != 0);
    of.collect()
}

/// An entry that could not be made with its write.
pub(super) struct Late {
    pub(super) process: usize,
    pub(super) life: u32,
    pub(super) node: usize,
    pub(super) owes: Vec<(usize, Key)>,
    /// The write that they are of.
    pub(super) version: Option<Version>,
}

pub(super) struct World {
    pub(super) rules: Rules,
    pub(super) weather: Weather,
    seed: u64,
    pub(super) now: u64,
    pub(super) servers: Vec<Server>,
    pub(super) processes: Vec<Process>,
    pub(super) waiters: Vec<Waiter>,
    pub(super) connections: Vec<Connection>,
    pub(super) late: Vec<Late>,
    pub(super) judge: Judge,
    pub(super) next_set: u64,
    /// The set of nodes as the operator has it, and when some process began to use another one last.
    pub(super) set: u8,
    pub(super) changed_at: u64,
    /// `FLUSTER_TRACE`: each step is printed.
    traced: bool,
}

impl World {
    pub(super) fn new(rules: Rules, weather: Weather, seed: u64) -> Self {
        let mut world = Self {
            rules,
            weather,
            seed: (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            now: 1,
            servers: Vec::new(),
            processes: vec![Process::new(0); PROCESSES],
            waiters: Vec::new(),
            connections: Vec::new(),
            late: Vec::new(),
            judge: Judge::default(),
            next_set: 1,
            set: ALL,
            changed_at: 0,
            traced: std::env::var_os("FLUSTER_TRACE").is_some(),
        };
        for _ in 0..10 {
            world.draw(2);
        }
        for _ in 0..NODES {
            let keeps = match world.draw(3) {
                0 => Keeps::Nothing,
                1 if weather.saves => Keeps::LastSave,
                _ => Keeps::All,
            };
            world.servers.push(Server {
                up: Up::Runs,
                keeps,
                data: Data::default(),
                saved: Data::default(),
                is_full: false,
                losses: 0,
                lost_at: 0,
                until: 0,
            });
        }
        world
    }

    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        if self.traced {
            println!("{:>5} {}", self.now, what());
        }
    }

    /// A number below `n`.
    pub(super) fn draw(&mut self, n: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }

    /// Whether the server is a regular holder of the key, as the process has it.
    pub(super) fn is_regular(&self, process: usize, key: Key, node: usize) -> bool {
        let of = candidates(key, self.processes[process].set);
        of.into_iter().take(self.weather.copies).any(|n| n == node)
    }

    /// Puts commands on the process's connection to a node; the number of the waiter.
    pub(super) fn send(
        &mut self,
        process: usize,
        node: usize,
        commands: Vec<Command>,
        own: usize,
        owes: Vec<(usize, Key)>,
    ) -> usize {
        let life = self.processes[process].life;
        let open =
            self.processes[process].connections[node].filter(|c| self.connections[*c].is_open);
        let connection = open.unwrap_or_else(|| {
            self.connections.push(Connection {
                node,
                process,
                life,
                is_open: true,
                is_read: true,
                unsent: VecDeque::new(),
                socket: VecDeque::new(),
                told: BTreeSet::new(),
            });
            self.processes[process].connections[node] = Some(self.connections.len() - 1);
            self.connections.len() - 1
        });
        let tells = commands.iter().filter_map(|command| match command {
            Command::Index(of) => Some(*of),
            _ => None,
        });
        let tells: Vec<usize> = tells.collect();
        if self.rules.index_is_told_when_sent {
            self.connections[connection].told.extend(&tells);
        }
        let waiter = self.waiters.len();
        self.waiters.push(Waiter {
            connection,
            process,
            life,
            node,
            commands: commands.len(),
            own,
            sent: 0,
            replies: Vec::new(),
            answered: false,
            result: None,
            owes,
            tells,
            version: None,
            born: self.now,
        });
        if self.servers[node].up == Up::Down {
            self.waiters[waiter].result = Some(Err(Failure::NotSent));
            self.connections[connection].is_open = false;
            return waiter;
        }
        let commands = commands.into_iter().map(|command| (waiter, command));
        self.connections[connection].unsent.extend(commands);
        waiter
    }

    /// A caller goes away or gives up.
    pub(super) fn give_up(&mut self, waiter: usize) {
        let it = &mut self.waiters[waiter];
        if it.result.is_some() {
            return;
        }
        let whole = match self.rules.not_sent_is_judged_by_our_own {
            true => it.sent < it.commands,
            false => it.sent <= it.own,
        };
        it.result = Some(Err(match whole {
            true => Failure::NotSent,
            false => Failure::MaybeExecuted,
        }));
        if it.sent <= it.own {
            let connection = it.connection;
            self.connections[connection]
                .unsent
                .retain(|(of, _)| *of != waiter);
        }
        self.owe_late(waiter);
    }

    /// What is not certain of an entry is entered once more.
    fn owe_late(&mut self, waiter: usize) {
        let it = &self.waiters[waiter];
        let is_needless = it.owes.is_empty() || it.result == Some(Err(Failure::NotSent));
        if is_needless || self.rules.nothing_is_entered_late {
            return;
        }
        self.enter_late(Late {
            process: it.process,
            life: it.life,
            node: it.node,
            owes: it.owes.clone(),
            version: it.version,
        });
    }

    /// The waiter carries this write.
    pub(super) fn carries(&mut self, waiter: usize, version: Version) {
        self.waiters[waiter].version = Some(version);
    }

    pub(super) fn enter_late(&mut self, late: Late) {
        let of = &mut self.processes[late.process];
        if of.is_alive && of.life == late.life {
            for (to, _) in &late.owes {
                of.late[*to] += 1;
            }
            self.late.push(late);
        }
    }

    /// A connection ends. Of what is in its socket the server may still read some, or all.
    pub(super) fn cut(&mut self, connection: usize) {
        if !self.connections[connection].is_open {
            return;
        }
        self.connections[connection].is_open = false;
        let there = self.connections[connection].socket.len();
        let kept = self.draw(there + 1);
        if self.draw(2) == 0 {
            self.connections[connection].socket.truncate(kept);
        }
        let from = self.waiters.len().saturating_sub(80);
        for waiter in from..self.waiters.len() {
            if self.waiters[waiter].connection == connection {
                self.give_up(waiter);
            }
        }
        self.connections[connection].unsent.clear();
    }

    pub(super) fn cut_process(&mut self, process: usize) {
        for connection in 0..self.connections.len() {
            if self.connections[connection].process == process {
                self.cut(connection);
            }
        }
    }

    pub(super) fn kill_server(&mut self, node: usize) {
        self.say(|| format!("node {node} dies"));
        self.servers[node].up = Up::Down;
        for connection in 0..self.connections.len() {
            let it = &mut self.connections[connection];
            if it.node == node && it.is_read {
                it.is_read = false;
                it.socket.clear();
                self.cut(connection);
            }
        }
    }

    pub(super) fn start_server(&mut self, node: usize) {
        self.say(|| format!("node {node} starts"));
        let server = &mut self.servers[node];
        match server.keeps {
            Keeps::All => {}
            Keeps::Nothing => server.data = Data::default(),
            Keeps::LastSave => server.data = server.saved.clone(),
        }
        if server.keeps != Keeps::All {
            server.losses += 1;
            server.lost_at = self.now;
        }
        server.up = Up::Runs;
        server.is_full = false;
    }

    fn execute(&mut self, node: usize, command: Command) -> Reply {
        let now = self.now;
        let server = &mut self.servers[node];
        let is_full = server.is_full;
        let data = &mut server.data;
        match command {
            Command::Set(..) | Command::Owe(..) | Command::Index(_) if is_full => {
                return Reply::Refused;
            }
            Command::Set(key, version) => data.values[usize::from(key)] = Some((version, now)),
            Command::Del(key) => data.values[usize::from(key)] = None,
            Command::Get(key) => return Reply::Value(data.values[usize::from(key)]),
            Command::Owe(to, key) => {
                data.open[to].insert(key);
                if data.open[to].len() > self.weather.limit {
                    // The count is asked for behind the entry, and what follows from it done by who asked.
                    data.open[to].clear();
                    data.index.insert((to, Set::Full));
                }
            }
            Command::Index(to) => drop(data.index.insert((to, Set::Open))),
            Command::ReadIndex => return Reply::Sets(data.index.iter().copied().collect()),
            Command::Close(to, id) => {
                // Both in one transaction: a set that is not there leaves its name behind.
                data.index.insert((to, Set::Closed(id)));
                let is_new = !data.closed.contains_key(&(to, id));
                if !data.open[to].is_empty() && is_new {
                    let set = std::mem::take(&mut data.open[to]);
                    data.closed.insert((to, id), set);
                }
            }
            Command::Pick(to, set) => return Reply::Keys(data.members(to, set)),
            Command::Unlink(keys) => {
                for key in keys {
                    data.values[usize::from(key)] = None;
                }
            }
            Command::Remove(to, set, keys) => data.remove(to, set, &keys),
            Command::Forget(to, set) => drop(data.index.remove(&(to, set))),
            Command::Kill(process) => {
                let life = self.processes[process].life;
                for it in &mut self.connections {
                    let is_ours = it.node == node && it.process == process && it.life == life;
                    if is_ours && !it.is_open {
                        it.socket.clear();
                        it.is_read = false;
                    }
                }
            }
            Command::Flush => {
                *data = Data::default();
                server.losses += 1;
                server.lost_at = now;
            }
            Command::Info => {
                let values = data.values.iter().flatten().count();
                return Reply::Number(values);
            }
        }
        Reply::Done
    }

    /// One command that some server has in a socket is executed.
    pub(super) fn serve_one(&mut self) {
        let ready = self.which(|world, it| {
            it.is_read && !it.socket.is_empty() && world.servers[it.node].up == Up::Runs
        });
        let Some(connection) = ready else { return };
        let it = &mut self.connections[connection];
        let (node, is_open) = (it.node, it.is_open);
        let Some((waiter, command)) = it.socket.pop_front() else {
            return;
        };
        let is_entry = matches!(command, Command::Owe(..));
        let text = if self.traced {
            format!("{command:?}")
        } else {
            String::new()
        };
        let reply = self.execute(node, command);
        let process = self.waiters[waiter].process;
        self.say(|| format!("  node {node} for {process}: {text} -> {reply:?}"));
        let waiter = &mut self.waiters[waiter];
        if is_entry && reply == Reply::Done {
            self.judge.noted(waiter.version, node);
        }
        waiter.replies.push(reply);
        waiter.answered |= is_open && waiter.replies.len() == waiter.commands;
    }

    /// Some connection's bytes leave.
    pub(super) fn flush_one(&mut self) {
        let ready = self.which(|world, it| {
            it.is_open && !it.unsent.is_empty() && world.processes[it.process].reaches[it.node]
        });
        let Some(connection) = ready else { return };
        let n = 1 + self.draw(self.connections[connection].unsent.len());
        let it = &mut self.connections[connection];
        for (waiter, command) in it.unsent.drain(..n) {
            self.waiters[waiter].sent += 1;
            it.socket.push_back((waiter, command));
        }
    }

    fn which(&mut self, is: impl Fn(&Self, &Connection) -> bool) -> Option<usize> {
        let all = 0..self.connections.len();
        let ready: Vec<usize> = all.filter(|c| is(self, &self.connections[*c])).collect();
        match ready.len() {
            0 => None,
            n => Some(ready[self.draw(n)]),
        }
    }

    /// The answers to some call reach its process.
    pub(super) fn deliver_one(&mut self) {
        let from = self.waiters.len().saturating_sub(80);
        let is_ready = |world: &Self, waiter: &usize| {
            let it = &world.waiters[*waiter];
            it.answered && it.result.is_none() && world.processes[it.process].reaches[it.node]
        };
        let all = from..self.waiters.len();
        let ready: Vec<usize> = all.filter(|waiter| is_ready(self, waiter)).collect();
        if ready.is_empty() {
            return;
        }
        let waiter = ready[self.draw(ready.len())];
        let it = &mut self.waiters[waiter];
        let (replies, own) = (std::mem::take(&mut it.replies), it.own);
        let is_done = replies[own] != Reply::Refused;
        let is_owed = !replies
            .iter()
            .skip(own + 1)
            .any(|reply| *reply == Reply::Refused);
        if is_done && is_owed {
            self.connections[it.connection].told.extend(&it.tells);
        }
        it.result = Some(Ok(replies));
        if is_done && !is_owed {
            self.owe_late(waiter);
        }
    }

    /// Some call has waited for too long.
    pub(super) fn time_out_one(&mut self) {
        let from = self.waiters.len().saturating_sub(80);
        let mut all = from..self.waiters.len();
        let is_old = |waiter: &usize| {
            let it = &self.waiters[*waiter];
            it.result.is_none() && it.born + TIMEOUT < self.now
        };
        let Some(waiter) = all.find(is_old) else {
            return;
        };
        self.give_up(waiter);
        if self.draw(2) == 0 {
            self.cut(self.waiters[waiter].connection);
        }
    }

    /// Whether all processes have the node back, and nothing is left that they have noticed.
    pub(super) fn is_settled(&self, node: usize) -> bool {
        let is_done = |it: &Process| {
            it.is_alive
                && it.uses(node)
                && it.pending[node] + it.late[node] == 0
                && !it.left[node]
                && !it.unlooked[node]
                && it.unread[node] == [false; NODES]
        };
        self.late.is_empty() && self.processes.iter().all(is_done)
    }
}

impl Data {
    fn members(&self, to: usize, set: Set) -> Vec<Key> {
        match set {
            Set::Open => self.open[to].iter().copied().collect(),
            Set::Closed(id) => self
                .closed
                .get(&(to, id))
                .into_iter()
                .flatten()
                .copied()
                .collect(),
            Set::Full => Vec::new(),
        }
    }

    fn remove(&mut self, to: usize, set: Set, keys: &[Key]) {
        let of = match set {
            Set::Open => &mut self.open[to],
            Set::Closed(id) => match self.closed.get_mut(&(to, id)) {
                Some(of) => of,
                None => return,
            },
            Set::Full => return,
        };
        of.retain(|key| !keys.contains(key));
        self.closed.retain(|_, set| !set.is_empty());
    }
}
