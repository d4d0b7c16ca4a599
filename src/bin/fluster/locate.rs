//! `fluster locate`: where keys live.

use std::io::{self, Write as _};
use std::process::ExitCode;

use fluster::placement::{Live, Table};

use crate::args::Locate;
use crate::cluster::Cluster;
use crate::fault::{Fault, NO_NODE};
use crate::keys::Keys;
use crate::out::Out;
use crate::text::{escape, push_hex, shown};

pub fn run(args: &Locate, out: &mut Out) -> Result<ExitCode, Fault> {
    let cluster = Cluster::from_args(&args.cluster)?;
    let all = cluster.table()?;
    let live = live(&all, &args.down)?;
    // Some rules make another table when nodes are out; once, not for each key.
    let other = all.for_live(&live);
    let table = other.as_ref().unwrap_or(&all);
    let names = (0..).map_while(|node| all.name(node));
    let names: Vec<String> = match args.json {
        true => names
            .map(|name| serde_json::Value::from(name).to_string())
            .collect(),
        false => names.map(shown).collect(),
    };
    let mut answer = Answer {
        table,
        live: &live,
        names: &names,
        args,
        line: Vec::new(),
        homeless: false,
    };
    Keys::new(args)?.each(out, |key, out| answer.write(key, out))?;
    Ok(match answer.homeless {
        true => ExitCode::from(NO_NODE),
        false => ExitCode::SUCCESS,
    })
}

fn live(table: &Table, down: &[String]) -> Result<Live, Fault> {
    let mut live = Live::all(table.nodes());
    for name in down {
        let node = (0..)
            .map_while(|node| table.name(node))
            .position(|other| other == name);
        let node = node.ok_or_else(|| {
            let known: Vec<_> = (0..5).map_while(|node| table.name(node)).collect();
            Fault::usage(format!(
                "--down {}: no node has this name; the first are {}",
                shown(name),
                shown(known.join(", "))
            ))
        })?;
        live = live.with(node, false);
    }
    Ok(live)
}

struct Answer<'a> {
    table: &'a Table,
    live: &'a Live,
    /// As they are printed.
    names: &'a [String],
    args: &'a Locate,
    line: Vec<u8>,
    /// A key had no node.
    homeless: bool,
}

impl Answer<'_> {
    fn write(&mut self, key: &[u8], out: &mut Out) -> io::Result<()> {
        let owner = self.table.first(key, self.live);
        self.homeless |= owner.is_none();
        self.line.clear();
        match self.args.json {
            true => self.json(key, owner),
            false => self.plain(key, owner),
        }
        self.line.push(b'\n');
        out.write_all(&self.line)
    }

    fn plain(&mut self, key: &[u8], owner: Option<usize>) {
        escape(key, &mut self.line);
        self.line.push(b'\t');
        self.line
            .extend(owner.map_or("-", |node| &self.names[node]).as_bytes());
        let wanted = self.args.replicas.unwrap_or(0);
        for node in self
            .table
            .live_candidates(key, self.live)
            .take(wanted)
            .skip(1)
        {
            self.line.push(b'\t');
            self.line.extend(self.names[node].as_bytes());
        }
    }

    fn json(&mut self, key: &[u8], owner: Option<usize>) {
        self.line.extend(b"{\"key_hex\":\"");
        push_hex(key, &mut self.line);
        self.line.extend(b"\",\"owner\":");
        self.line
            .extend(owner.map_or("null", |node| &self.names[node]).as_bytes());
        self.line.extend(b",\"replicas\":[");
        let wanted = self.args.replicas.unwrap_or(0);
        for (n, node) in self
            .table
            .live_candidates(key, self.live)
            .take(wanted)
            .enumerate()
        {
            if n > 0 {
                self.line.push(b',');
            }
            self.line.extend(self.names[node].as_bytes());
        }
        self.line.extend(b"]}");
    }
}
