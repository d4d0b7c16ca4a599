//! `make demo`: three private Redis servers under load; one is killed and comes back.
//!
//! With `REDIS_URLS=redis://a,redis://b` it uses those servers instead, and kills none.

#![allow(
    unreachable_pub,
    reason = "nothing of a program can be reached from outside"
)]

mod outage;
mod screen;
mod workload;

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fluster::{Event, FlusterCluster};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::outage::{Outage, short};
use crate::screen::Screen;
use crate::workload::Workload;
use fluster::testing::{Server, urls};

/// How long the workload runs against servers that are not ours to kill.
const WITHOUT_OUTAGE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => code,
        // `make demo | head`: nobody reads any more, which is no failure of ours.
        Err(e)
            if e.downcast_ref()
                .is_some_and(|e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<ExitCode, Box<dyn Error>> {
    // First, so that from here on a Ctrl-C ends the demo in an orderly way.
    let mut interrupts = Interrupts::new()?;
    let given = std::env::var("REDIS_URLS")
        .ok()
        .filter(|urls| !urls.trim().is_empty());
    let servers = match &given {
        Some(_) => Vec::new(),
        None => (0..3)
            .map(|_| Server::builder().try_start())
            .collect::<io::Result<_>>()?,
    };
    let cluster = match &given {
        Some(urls) => FlusterCluster::from_urls(urls.split(',').map(str::trim))?,
        None => FlusterCluster::from_urls(urls(&servers))?,
    };
    let mut events = cluster.events();
    let workload = Workload::start(&cluster);
    let mut screen = Screen::new(&cluster, Arc::clone(workload.tally()))?;
    let servers = Arc::new(servers);

    let (notes, mut noted) = tokio::sync::mpsc::unbounded_channel();
    let mut story = Box::pin(async {
        if servers.is_empty() {
            let _ = notes
                .send("your own servers: none is killed; stop one to see its keys move".to_owned());
            tokio::time::sleep(WITHOUT_OUTAGE).await;
            return Ok(None);
        }
        outage::run(&cluster, &workload, &servers, &notes)
            .await
            .map(Some)
    });
    let mut tick = tokio::time::interval(screen.period());
    let outage: Option<Option<Outage>> = loop {
        tokio::select! {
            () = interrupts.next() => break None,
            result = &mut story => break Some(result?),
            Some(event) = events.next() => screen.note(&sentence(&event))?,
            Some(note) = noted.recv() => screen.note(&note)?,
            _ = tick.tick() => screen.draw(&cluster)?,
        }
    };
    drop(story);
    screen.leave(&cluster)?;
    let tally = workload.stop(&cluster, given.is_some()).await;
    cluster.shutdown(Duration::from_secs(1)).await;
    // The servers are killed and their directories removed here, before the last word.
    drop(servers);
    match outage {
        Some(outage) => {
            outage::summary(&tally, outage.as_ref())?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            eprintln!("interrupted; nothing is left running");
            Ok(ExitCode::from(130))
        }
    }
}

fn sentence(event: &Event) -> String {
    match event {
        Event::NodeDown {
            node,
            reason,
            retry_after,
            ..
        } => {
            let next = short(*retry_after);
            format!("{node} is out ({reason}), stand-ins serve its keys; first probe in {next}")
        }
        Event::NodeStillDown {
            node,
            reason,
            retry_after,
            ..
        } => {
            format!(
                "{node} was probed: {reason}; next probe in {}",
                short(*retry_after)
            )
        }
        Event::NodeUp { node, out_for, .. } => {
            let out_for = short(*out_for);
            format!("{node} answered its probes and serves its keys again, after {out_for}")
        }
        other => format!("{other:?}"),
    }
}

/// Ctrl-C, a polite kill, a closed terminal.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [int, term, hup] = &mut self.0;
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hup.recv() => {}
        }
    }
}
