//! Whoever hears nobody takes nobody with it.

use std::collections::BTreeMap;

use super::*;
use crate::gossip::profile::GossipProfile;
use crate::gossip::record::Phase;
use crate::sealed::Keyring;

const STEP: Duration = Duration::from_millis(10);
const N: usize = 5;
const DEAF: usize = 4;

fn addr(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + n as u8], 7_946))
}

/// Five instances on a network that is as fast as one step.
struct Five {
    now: Instant,
    all: Vec<Instance>,
    /// Nothing reaches the last one.
    is_deaf: bool,
    /// Who held whom for down.
    downs: Vec<(usize, SocketAddr)>,
}

impl Five {
    fn new(seed: u8) -> Self {
        let now = Instant::now() + Duration::from_secs(1_000);
        let one = |n: usize| {
            let setup = Setup {
                cluster: "five".into(),
                address: addr(n),
                wall: 1_800_000_000_000,
                record: Record {
                    ring_id: format!("i{n}").into(),
                    http: None,
                    phase: Phase::Joining,
                    weight: 1,
                    labels: BTreeMap::new(),
                },
                times: GossipProfile::Lan.times(),
                keyring: Some(Keyring::from_bytes([1; 32])),
                seed: [seed ^ (n as u8 * 32); 32],
            };
            let mut instance = Instance::new(setup, now);
            instance.set_doors(now, (0..N).map(addr));
            instance
        };
        Self {
            now,
            all: (0..N).map(one).collect(),
            is_deaf: false,
            downs: Vec::new(),
        }
    }

    fn run(&mut self, lasts: Duration) {
        let end = self.now + lasts;
        while self.now < end {
            self.now += STEP;
            let mut flying = VecDeque::new();
            for n in 0..N {
                if self.all[n].next_deadline() <= self.now {
                    self.all[n].tick(self.now);
                }
                self.take(n, &mut flying);
            }
            while let Some((to, bytes)) = flying.pop_front() {
                if self.is_deaf && to == addr(DEAF) {
                    continue;
                }
                let Some(n) = (0..N).find(|n| addr(*n) == to) else {
                    continue;
                };
                self.all[n].datagram(self.now, &bytes);
                self.take(n, &mut flying);
            }
        }
    }

    fn take(&mut self, n: usize, flying: &mut VecDeque<(SocketAddr, Vec<u8>)>) {
        while let Some(output) = self.all[n].next_output() {
            match output {
                Output::Send { to, bytes } => flying.push_back((to, bytes)),
                Output::Event(GossipEvent::MemberDown(member)) => {
                    self.downs.push((n, member.address));
                }
                _ => {}
            }
        }
    }

    fn active(&self) -> Vec<usize> {
        self.all.iter().map(|i| i.swim.active()).collect()
    }
}

#[test]
fn a_deaf_instance_is_given_up_before_it_can_take_somebody_with_it() {
    for seed in 0..20 {
        let mut five = Five::new(seed);
        five.run(Duration::from_secs(5));
        assert_eq!((five.active(), five.downs.len()), (vec![4; N], 0), "{seed}");
        five.is_deaf = true;
        five.run(Duration::from_secs(30));
        let (own, others): (Vec<_>, Vec<_>) = five.downs.iter().partition(|(n, _)| *n == DEAF);
        assert!(
            others.len() == 4 && others.iter().all(|(_, whom)| *whom == addr(DEAF)),
            "{seed}: {others:?}"
        );
        // It does find itself alone, only later.
        assert_eq!(
            (own.len(), five.active()),
            (4, vec![3, 3, 3, 3, 0]),
            "{seed}"
        );
        five.is_deaf = false;
        five.run(Duration::from_secs(30));
        assert_eq!(five.active(), [4; N], "{seed}: whole again");
    }
}
