//! What becomes of an answer that is none.

use hyper::StatusCode;

use super::super::error::{DiscoveryError, DiscoveryErrorKind};
use super::{Answer, Http};

/// How much of an unexpected answer is shown.
const SHOWN: usize = 120;

impl Http {
    pub(super) fn broken(&self, e: &hyper::Error) -> DiscoveryError {
        use std::error::Error as _;
        let cause = e
            .source()
            .map_or(String::new(), |cause| format!(" ({cause})"));
        if e.is_parse() {
            let why = format!(
                "it does not speak HTTP as it should: {e}{cause}; if the port is for TLS, write https://"
            );
            return self.error(DiscoveryErrorKind::Invalid, why);
        }
        self.error(
            DiscoveryErrorKind::Unreachable,
            format!("the connection ended: {e}{cause}"),
        )
    }

    /// The error for an answer that is none of ours to read.
    pub(in crate::discovery) fn refused(&self, answer: &Answer) -> DiscoveryError {
        let said = self.shown(&answer.body);
        let wants_tls = said.contains("HTTPS server");
        let kind = match answer.status {
            // Go's answer to plain HTTP where it speaks TLS: nothing was asked yet.
            StatusCode::BAD_REQUEST if wants_tls => DiscoveryErrorKind::Unreachable,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => DiscoveryErrorKind::Denied,
            StatusCode::NOT_FOUND => DiscoveryErrorKind::NotFound,
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                DiscoveryErrorKind::Unavailable
            }
            _ => DiscoveryErrorKind::Invalid,
        };
        let hint = match kind {
            DiscoveryErrorKind::Denied => "; give it a token that may read this",
            _ if wants_tls => "; write https://",
            _ => "",
        };
        let colon = if said.is_empty() { "" } else { ": " };
        self.error(
            kind,
            format!("it answers {}{colon}{said}{hint}", answer.status),
        )
    }

    /// The error for an answer that does not parse.
    pub(in crate::discovery) fn garbage(&self, e: &serde_json::Error) -> DiscoveryError {
        // Serde's words quote what it read.
        self.error(
            DiscoveryErrorKind::Invalid,
            format!("its answer is not what it should be: {e}"),
        )
    }

    /// The beginning of what a server said, in one line.
    fn shown(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN)]);
        let words: Vec<_> = text.split_whitespace().collect();
        let said: String = words.join(" ").chars().take(SHOWN).collect();
        said
    }
}
