//! What was written, and whether what a read gave is older than what had been acknowledged before it began.

use super::world::{ALL, Keeps, Key, NODES, Version, World, candidates};

pub(super) struct Write {
    key: Key,
    begin: u64,
    /// When its caller knew; `u64::MAX` for never.
    end: u64,
    is_acked: bool,
    /// Who has it, and to whom it is owed.
    nodes: Vec<usize>,
    owed: Vec<usize>,
    /// The nodes at which its entry was executed, or that it was entered late for.
    noted: Vec<usize>,
    /// Who wrote it, in which of its lives.
    process: (usize, u32),
    /// When its process had last begun to sweep what lay for one node at another.
    swept: [[u64; NODES]; NODES],
}

/// What a reader knows when it begins.
pub(super) struct Reader {
    pub(super) process: usize,
    pub(super) key: Key,
    pub(super) begin: u64,
    pub(super) swept: [[u64; NODES]; NODES],
    /// Nodes that it has had since before all were settled last.
    pub(super) steady: [bool; NODES],
}

/// How many, and the longest time behind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    pub(super) count: u64,
    pub(super) longest: u64,
}

impl Window {
    fn add(&mut self, behind: u64) {
        self.count += 1;
        self.longest = self.longest.max(behind);
    }

    fn join(&mut self, other: Self) {
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }
}

/// What came out of one seed, or of many.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) reads: u64,
    /// Old values that no rule excuses, and the seeds with any.
    pub(super) stale: u64,
    pub(super) seeds: Vec<u64>,
    pub(super) first: Option<String>,
    /// A write that was executed after its caller had been told that nobody knows.
    pub(super) late: Window,
    /// Old values at a node that came back, while not all processes agree that it has: where the reader never lost it,
    /// and where it got it back before the writer did.
    pub(super) never_out: Window,
    pub(super) at_returned: Window,
    /// Old values at a stand-in, while not all processes agree that it is none any more.
    pub(super) at_stand_in: Window,
    /// Of these, values that the reader's own process had replaced.
    pub(super) own: u64,
    /// Copies of writes whose process died between the command and the entry behind it.
    pub(super) torn: u64,
    /// What cannot be known, and is said.
    pub(super) unknown: u64,
    /// The keys moved with the set of nodes.
    pub(super) moved: u64,
}

impl Tally {
    pub(super) fn add(&mut self, seed: u64, other: Self) {
        self.reads += other.reads;
        self.stale += other.stale;
        self.late.join(other.late);
        self.never_out.join(other.never_out);
        self.at_returned.join(other.at_returned);
        self.at_stand_in.join(other.at_stand_in);
        self.own += other.own;
        self.torn += other.torn;
        self.unknown += other.unknown;
        self.moved += other.moved;
        if other.stale > 0 {
            self.seeds.push(seed);
            self.first = self.first.take().or(other.first);
        }
    }
}

pub(super) struct Judge {
    writes: Vec<Write>,
    acked: Vec<Vec<Version>>,
    /// When all processes agreed last that a node is back.
    pub(super) settled: [u64; NODES],
    /// When it was said last that nobody knows what a node holds.
    pub(super) unknown: [u64; NODES],
    pub(super) tally: Tally,
}

impl Default for Judge {
    fn default() -> Self {
        Self {
            writes: Vec::new(),
            acked: vec![Vec::new(); super::world::KEYS],
            settled: [1; NODES],
            unknown: [0; NODES],
            tally: Tally::default(),
        }
    }
}

impl Judge {
    pub(super) fn begins(
        &mut self,
        key: Key,
        process: (usize, u32),
        now: u64,
        swept: [[u64; NODES]; NODES],
    ) -> Version {
        self.writes.push(Write {
            key,
            begin: now,
            end: u64::MAX,
            is_acked: false,
            nodes: Vec::new(),
            owed: Vec::new(),
            noted: Vec::new(),
            process,
            swept,
        });
        (self.writes.len() - 1) as Version
    }

    /// Its caller was told that it is done.
    pub(super) fn acked(
        &mut self,
        version: Version,
        now: u64,
        nodes: Vec<usize>,
        owed: Vec<usize>,
    ) {
        let write = &mut self.writes[version as usize];
        (write.end, write.is_acked) = (now, true);
        (write.nodes, write.owed) = (nodes, owed);
        self.acked[usize::from(write.key)].push(version);
    }

    /// Its caller was told something else, or went away.
    pub(super) fn ends(&mut self, version: Version, now: u64) {
        let write = &mut self.writes[version as usize];
        write.end = write.end.min(now);
    }

    /// An entry of the write at this node was made.
    pub(super) fn noted(&mut self, version: Option<Version>, node: usize) {
        if let Some(version) = version {
            self.writes[version as usize].noted.push(node);
        }
    }

    pub(super) fn is_acked(&self, version: Version) -> bool {
        self.writes[version as usize].is_acked
    }
}

impl World {
    /// Judges what a read at `node` gave.
    pub(super) fn judge(&mut self, reader: &Reader, node: usize, value: Option<(Version, u64)>) {
        self.judge.tally.reads += 1;
        let Some((version, executed)) = value else {
            return;
        };
        let judge = &mut self.judge;
        let old = &judge.writes[version as usize];
        // The newest one that had ended before the read began, and began after this one had ended.
        let is_newer = |of: &&Version| {
            let write = &judge.writes[**of as usize];
            write.end < reader.begin && write.begin > old.end
        };
        let Some(newer) = judge.acked[usize::from(reader.key)]
            .iter()
            .rev()
            .find(is_newer)
        else {
            return;
        };
        let new = &judge.writes[*newer as usize];
        let behind = reader.begin - new.end;
        let tally = &mut judge.tally;
        if executed > old.end {
            return tally.late.add(behind);
        }
        if judge.unknown[node] > executed {
            tally.unknown += 1;
            return;
        }
        // Who looks at it next finds another run of the server, and says so.
        let server = &self.servers[node];
        if server.keeps == Keeps::LastSave && server.lost_at > executed {
            tally.unknown += 1;
            return;
        }
        let is_unread = |x: usize| {
            let mut all = self.processes.iter();
            all.any(|it| it.unread[x][node] || it.unread[node][x])
        };
        if new.nodes.iter().any(|x| is_unread(*x)) {
            tally.unknown += 1;
            return;
        }
        // Keys have other holders since: those of before keep what they have.
        if self.changed_at > old.begin {
            tally.moved += 1;
            return;
        }
        // All who have noted it for a node that is not back everywhere have lost it since.
        let lost = |at: &usize| self.servers[*at].lost_at > new.end;
        if judge.settled[node] < new.end && new.nodes.iter().all(lost) {
            tally.unknown += 1;
            return;
        }
        let (process, life) = old.process;
        let has_died = self.processes[process].life != life;
        if has_died && !old.is_acked && !old.noted.contains(&node) {
            tally.torn += 1;
            return;
        }
        let why = match (new.nodes.contains(&node), new.owed.contains(&node)) {
            (true, _) => "it had the newer one".to_owned(),
            (false, true) if judge.settled[node] < new.end => {
                if reader.steady[node] {
                    return tally.never_out.add(behind);
                }
                let is_behind_sweeps = new.nodes.iter().all(|s| new.end > reader.swept[node][*s]);
                if is_behind_sweeps {
                    tally.own += u64::from(new.process.0 == reader.process);
                    return tally.at_returned.add(behind);
                }
                "swept before".to_owned()
            }
            (false, true) => format!("owed, and settled at {}", judge.settled[node]),
            (false, false) => {
                let may_disagree =
                    |x: &usize| judge.settled[*x] < new.end && old.end > new.swept[*x][node];
                if new.nodes.iter().chain(&new.owed).any(may_disagree) {
                    return tally.at_stand_in.add(behind);
                }
                "a copy was left".to_owned()
            }
        };
        tally.stale += 1;
        tally.first.get_or_insert_with(|| {
            format!(
                "step {}, process {}, key {} at {node}: write {version} ({}..{}, acked {}, executed {executed}) \
                 though {newer} ({}..{} at {:?}, owed to {:?}): {why}; candidates {:?}",
                self.now,
                reader.process,
                reader.key,
                old.begin,
                old.end,
                old.is_acked,
                new.begin,
                new.end,
                new.nodes,
                new.owed,
                candidates(reader.key, ALL),
            )
        });
    }
}
