//! What one datagram may make an instance hold, whatever it claims.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to panic")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use fluster::discovery::{Endpoint, Static};
use fluster::gossip::{Gossip, GossipBuilder};

use super::{alone, counting, one_thread};

const BOUND: i64 = 64 << 10;
const LARGEST: usize = 1_200;
/// The version byte and the name of the cluster.
const PLAIN_HEAD: usize = 9;

fn plain() -> GossipBuilder {
    Gossip::builder("memory").insecure_plaintext()
}

/// The head of a datagram without a seal, as an instance of the cluster writes it.
async fn head() -> Vec<u8> {
    let door = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = door.local_addr().unwrap();
    let source = Static::new([Endpoint::new("127.0.0.1", at.port())]);
    let _other = plain().seeds(source).start().await.unwrap();
    let mut knock = vec![0; LARGEST];
    door.recv(&mut knock).await.unwrap();
    knock.truncate(PLAIN_HEAD);
    knock
}

fn number(mut n: u64, into: &mut Vec<u8>) {
    while n > 127 {
        into.push(n as u8 | 128);
        n >>= 7;
    }
    into.push(n as u8);
}

/// From an instance that does not exist, for the `counter`th time.
fn datagram(head: &[u8], kind: u8, counter: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head.to_vec();
    // An IPv4 address and a port, and the generation.
    bytes.extend([kind, 0, 127, 0, 0, 1, 9, 1]);
    number(counter, &mut bytes);
    bytes.extend(&payload[..payload.len().min(LARGEST - bytes.len())]);
    bytes
}

/// So many entries are announced, and as many bytes come.
fn claim(before: &[u8], n: usize, filler: u8) -> Vec<u8> {
    let mut payload = before.to_vec();
    number(n as u64, &mut payload);
    payload.resize(payload.len() + n, filler);
    payload
}

#[test]
fn one_datagram_makes_an_instance_hold_no_more_than_64_kib_whatever_it_claims() {
    let _alone = alone();
    one_thread().block_on(async {
        let head = head().await;
        let gossip = plain().start().await.unwrap();
        let at = gossip.whoami().address;
        gossip.wait_ready(1, Duration::from_secs(30)).await.unwrap();
        let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let (mut rng, mut worst) = (fastrand::Rng::with_seed(5), (0, String::new()));
        for counter in 0..3_000_u64 {
            let n = rng.usize(900..1_150);
            let filler = if rng.bool() { 0 } else { 255 };
            let (kind, payload) = match counter % 8 {
                // Lists of heads, of members, of items, of wants.
                0 => (2, claim(&[1, 7, 0, 0], n, filler)),
                1 => (2, claim(&[2, 7], n, filler)),
                2 => (2, claim(&[2, 7, 0], n, filler)),
                3 => (2, claim(&[2, 7, 0, 0], n, filler)),
                // The keys of a question.
                4 => (5, claim(&[1, 1, 2], n, filler)),
                // Something that the protocol itself is to read.
                5 => (0, claim(&[0, 127, 0, 0, 1, 9, 1, 0], n, filler)),
                _ => {
                    let mut some = vec![0; rng.usize(..1_150)];
                    rng.fill(&mut some);
                    (rng.u8(..6), some)
                }
            };
            let bytes = datagram(&head, kind, counter, &payload);
            counting::forget_peak();
            let before = counting::mine().live;
            socket.send_to(&bytes, at).unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            let held = counting::mine().peak - before;
            if held > worst.0 {
                worst = (
                    held,
                    format!("{kind} {:?}", &payload[..payload.len().min(8)]),
                );
            }
        }
        tokio::time::sleep(Duration::from_millis(2_200)).await;
        let status = gossip.status();
        println!(
            "{worst:?} at worst; {} refused of {}",
            status.refused, status.packets.1
        );
        assert!(status.refused > 1_000, "{status:?}");
        assert!(worst.0 <= BOUND, "{worst:?}");
        assert_eq!(gossip.view().members().len(), 1);
    });
}
