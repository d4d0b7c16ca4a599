//! The inside of that process: a proxy of the kit, told line by line what to do.

use std::io::BufRead;
use std::net::Ipv4Addr;
use std::time::Duration;

use fluster::testing::{self, End, Fault, Way};

use super::{ENVIRONMENT, Seen};

/// The test that is the proxy, and what its answers begin with.
pub(super) const TEST: &str = "faults::proxy::process::be_the_proxy_when_told_to";
pub(super) const MARK: &str = "@proxy ";

#[test]
fn be_the_proxy_when_told_to() {
    serve_when_told_to();
}

/// Becomes the proxy, for good, when the environment says so.
pub fn serve_when_told_to() {
    let Ok(upstream) = std::env::var(ENVIRONMENT) else {
        return;
    };
    let port: u16 = upstream.parse().expect("a port");
    let proxy = testing::Proxy::to((Ipv4Addr::LOCALHOST, port).into());
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match line.as_str() {
            "seen" => {}
            "reset" => proxy.reset_all(),
            fault => proxy.set(parse(fault).unwrap_or_else(|| panic!("no fault: {fault}"))),
        }
        let seen = proxy.seen();
        // The runner's own line before it has no end.
        println!(
            "\n{MARK}{} {} {} {} {}",
            proxy.port(),
            seen.fired,
            seen.accepted,
            seen.open,
            seen.most
        );
    }
    std::process::exit(0);
}

/// A fault as one line; [`parse`] reads it.
pub(super) fn encode(fault: Fault) -> String {
    let cut = |name, way, after, end| format!("{name} {way:?} {after} {end:?}");
    match fault {
        Fault::Pass => "pass".into(),
        Fault::Refuse => "refuse".into(),
        Fault::Hold => "hold".into(),
        Fault::Blackhole => "blackhole".into(),
        Fault::Delay(d) => format!("delay {}", d.as_millis()),
        Fault::Slice => "slice".into(),
        Fault::Cut { way, after, end } => cut("cut", way, after, end),
        Fault::CutOnce { way, after, end } => cut("cutonce", way, after, end),
        Fault::Garbage => "garbage".into(),
        Fault::Gray { percent, after } => format!("gray {percent} {after}"),
        Fault::Swallow => "swallow".into(),
        other => panic!("{other:?} has no line yet"),
    }
}

fn parse(line: &str) -> Option<Fault> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let mut word = || words.next();
    Some(match name {
        "pass" => Fault::Pass,
        "refuse" => Fault::Refuse,
        "hold" => Fault::Hold,
        "blackhole" => Fault::Blackhole,
        "delay" => Fault::Delay(Duration::from_millis(word()?.parse().ok()?)),
        "slice" => Fault::Slice,
        "cut" | "cutonce" => {
            let way = match word()? {
                "Request" => Way::Request,
                _ => Way::Reply,
            };
            let after = word()?.parse().ok()?;
            let end = match word()? {
                "Fin" => End::Fin,
                "Rst" => End::Rst,
                _ => End::Silence,
            };
            match name {
                "cut" => Fault::Cut { way, after, end },
                _ => Fault::CutOnce { way, after, end },
            }
        }
        "garbage" => Fault::Garbage,
        "gray" => Fault::Gray {
            percent: word()?.parse().ok()?,
            after: word()?.parse().ok()?,
        },
        "swallow" => Fault::Swallow,
        _ => return None,
    })
}

/// The port of the proxy, and what it has seen.
pub(super) fn decode(numbers: &str) -> (u16, Seen) {
    let mut numbers = numbers
        .split_whitespace()
        .map(|n| n.parse().expect("a number"));
    let mut next = || numbers.next().expect("five numbers");
    let port = u16::try_from(next()).expect("a port");
    let mut seen = Seen::default();
    seen.fired = next();
    seen.accepted = next();
    seen.open = next();
    seen.most = next();
    (port, seen)
}
