//! Whom to ask, and with which key.

use std::net::SocketAddr;

use fluster::gossip::{GossipError, GossipErrorKind, GossipStatus, Keyring, Operator};

use super::args::Whom;
use crate::fault::{Fault, UNREACHABLE};

/// The operator, and the first instance that answers.
pub struct Asked {
    pub operator: Operator,
    pub at: SocketAddr,
    pub status: GossipStatus,
}

pub fn fault(e: GossipError) -> Fault {
    let code = match e.kind() {
        GossipErrorKind::Timeout | GossipErrorKind::Address => UNREACHABLE,
        _ => crate::fault::USAGE,
    };
    Fault::new(code, e.to_string())
}

impl Asked {
    pub async fn first(whom: &Whom) -> Result<Self, Fault> {
        let keyring = match (&whom.key_file, whom.plaintext) {
            (_, true) => None,
            (Some(file), false) => {
                Some(Keyring::from_file(file).map_err(|e| Fault::usage(e.to_string()))?)
            }
            (None, false) => {
                return Err(Fault::usage(
                    "which key? Give --key-file FILE (or FLUSTER_GOSSIP_KEY_FILE), or --plaintext for a cluster without",
                ));
            }
        };
        let mut operator = Operator::new(&whom.cluster, keyring);
        match (whom.known_as, &whom.at[..]) {
            (Some(known_as), [at]) => operator = operator.known_as(*at, known_as),
            (Some(_), _) => {
                return Err(Fault::usage("--as says who one instance is: give one --at"));
            }
            (None, _) => {}
        }
        let mut last = Fault::usage("give --at ADDR");
        for at in &whom.at {
            match operator.status(*at).await {
                Ok(status) => {
                    return Ok(Self {
                        operator,
                        at: *at,
                        status,
                    });
                }
                Err(e) => last = fault(e),
            }
        }
        Err(last)
    }
}
