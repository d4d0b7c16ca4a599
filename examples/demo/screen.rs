//! The terminal: a table that is redrawn in place; or plain lines, when nobody watches.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use fluster::{FlusterCluster, NodeState, NodeStatus};

use crate::workload::{KEYS, TASKS, Tally};

/// More nodes than this are summed up in one line: the table must fit the window.
const ROWS: usize = 12;
const NOTES: usize = 8;
/// Rates are those of the last second, or nearly: ticks come now and then a little early.
const SMOOTHED: Duration = Duration::from_millis(950);

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
// Lines that are too long are cut, not wrapped: a wrapped one would shift the table.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

pub struct Screen {
    live: bool,
    colours: bool,
    began: Instant,
    tally: Arc<Tally>,
    /// Counts of each node a second ago and since: own keys, and keys of others.
    history: VecDeque<(Instant, Vec<(u64, u64)>)>,
    notes: VecDeque<String>,
    /// Lines of the table that stand above the cursor now.
    drawn: usize,
}

impl Screen {
    pub fn new(cluster: &FlusterCluster, tally: Arc<Tally>) -> io::Result<Self> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let live = io::stdout().is_terminal() && !dumb;
        let colours = live && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let mut out = io::stdout().lock();
        let nodes = cluster.status().nodes.len();
        writeln!(
            out,
            "{nodes} servers, {KEYS} keys, {TASKS} tasks that read and write"
        )?;
        if live {
            write!(out, "{HIDE_CURSOR}")?;
        }
        out.flush()?;
        Ok(Self {
            live,
            colours,
            began: Instant::now(),
            tally,
            history: VecDeque::new(),
            notes: VecDeque::new(),
            drawn: 0,
        })
    }

    pub fn period(&self) -> Duration {
        Duration::from_millis(if self.live { 200 } else { 1000 })
    }

    /// Something happened.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        let line = format!("{:>5.2} s  {text}", self.began.elapsed().as_secs_f64());
        if !self.live {
            return writeln!(io::stdout().lock(), "{line}");
        }
        if self.notes.len() == NOTES {
            self.notes.pop_front();
        }
        self.notes.push_back(line);
        Ok(())
    }

    /// The state of things now.
    pub fn draw(&mut self, cluster: &FlusterCluster) -> io::Result<()> {
        let nodes = cluster.status().nodes;
        let rows = self.rows(&nodes);
        let seconds = self.began.elapsed().as_secs_f64();
        let mut lines: Vec<String> = Vec::new();
        if self.live {
            lines.push(String::new());
            lines.push(format!(
                "{:<24} {:<10} {:>7} {:>9} {:>6} {:>7}",
                "node", "state", "keys/s", "stand-in", "dials", "probes"
            ));
            lines.extend(rows);
            lines.push(String::new());
            lines.push(format!(
                "{seconds:>5.1} s  {} operations, {} errors seen by the application",
                self.tally.operations(),
                self.tally.errors()
            ));
            lines.push(String::new());
            lines.extend(self.notes.iter().cloned());
            lines.resize(lines.len() + NOTES - self.notes.len(), String::new());
            self.redraw(&lines)
        } else {
            let mut out = io::stdout().lock();
            rows.iter()
                .try_for_each(|row| writeln!(out, "{seconds:>5.2} s  {row}"))
        }
    }

    fn redraw(&mut self, lines: &[String]) -> io::Result<()> {
        let mut frame = String::from(NO_WRAP);
        if self.drawn > 0 {
            frame += &format!("\x1b[{}A", self.drawn);
        }
        for line in lines {
            frame += &format!("\r\x1b[2K{line}\n");
        }
        frame += WRAP;
        self.drawn = lines.len();
        // In one piece, so that no half table is ever seen.
        let mut out = io::stdout().lock();
        out.write_all(frame.as_bytes())?;
        out.flush()
    }

    fn rows(&mut self, nodes: &[NodeStatus]) -> Vec<String> {
        let rates = self.rates();
        let mut rows: Vec<String> = nodes
            .iter()
            .take(ROWS)
            .map(|node| {
                let (own, stand_in) = rates
                    .iter()
                    .find(|(name, ..)| *name == node.name)
                    .map_or((0.0, 0.0), |r| (r.1, r.2));
                let share = match own + stand_in {
                    0.0 => "-".to_owned(),
                    all => format!("{:.0} %", 100.0 * stand_in / all),
                };
                format!(
                    "{:<24} {} {:>7.0} {share:>9} {:>6} {:>7}",
                    node.name,
                    self.painted(node.state),
                    own + stand_in,
                    node.dials,
                    node.probes
                )
            })
            .collect();
        if nodes.len() > ROWS {
            rows.push(format!("... and {} more", nodes.len() - ROWS));
        }
        if !self.live {
            let titles = |row: &String| row.split_whitespace().collect::<Vec<_>>().join(" ");
            rows = rows.iter().map(titles).collect();
        }
        rows
    }

    /// Keys per second of each node: its own, and those it stands in for.
    fn rates(&mut self) -> Vec<(fluster::NodeId, f64, f64)> {
        let now = Instant::now();
        let counts: Vec<(u64, u64)> = self
            .tally
            .nodes
            .values()
            .map(|s| (s.own.load(Relaxed), s.stand_in.load(Relaxed)))
            .collect();
        self.history.push_back((now, counts.clone()));
        while self
            .history
            .get(1)
            .is_some_and(|(at, _)| now - *at >= SMOOTHED)
        {
            self.history.pop_front();
        }
        let (since, old) = self
            .history
            .front()
            .cloned()
            .unwrap_or((now, counts.clone()));
        let seconds = (now - since).as_secs_f64().max(0.001);
        let rate = |new: u64, old: u64| (new - old) as f64 / seconds;
        let each = self.tally.nodes.keys().zip(counts).zip(old);
        each.map(|((name, new), old)| (name.clone(), rate(new.0, old.0), rate(new.1, old.1)))
            .collect()
    }

    fn painted(&self, state: NodeState) -> String {
        let text = format!("{:<10}", state.as_str());
        if !self.colours {
            return text;
        }
        let colour = match state {
            NodeState::Up => 32,
            NodeState::Down => 31,
            _ => 33,
        };
        format!("\x1b[{colour}m{text}\x1b[0m")
    }

    /// The table stays where it is; what is printed next stands below it.
    pub fn leave(&mut self, cluster: &FlusterCluster) -> io::Result<()> {
        if self.live {
            self.draw(cluster)?;
        }
        let mut out = io::stdout().lock();
        if self.live {
            write!(out, "{SHOW_CURSOR}")?;
        }
        writeln!(out)?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.live {
            // Also after an error: a terminal without a cursor is a nuisance. Nobody is left to
            // tell when even this fails.
            let _ = write!(io::stdout().lock(), "{SHOW_CURSOR}{WRAP}");
        }
    }
}
