//! What becomes of an answer that is none.

use std::fmt;

use hyper::StatusCode;

use super::super::error::{DiscoveryError, DiscoveryErrorKind};
use super::{Answer, Http};
use crate::error::redact::redacted;

/// How much of an unexpected answer is shown.
const SHOWN: usize = 120;
/// How much of it is looked through for that: a cut must not hide that a secret begins before it.
const LOOKED_AT: usize = 64 << 10;

impl Http {
    /// What no error may show.
    pub(in crate::discovery) fn add_secret(&mut self, secret: &str) {
        self.secrets.push(secret.to_owned());
    }

    /// What no error may show until the next login.
    #[cfg(feature = "discovery-etcd")]
    pub(in crate::discovery) fn set_session(&mut self, secret: &str) {
        self.session = vec![secret.to_owned()];
    }

    pub(in crate::discovery) fn error(
        &self,
        kind: DiscoveryErrorKind,
        why: impl fmt::Display,
    ) -> DiscoveryError {
        DiscoveryError::new(kind, &self.name, self.redacted(&why.to_string()))
    }

    fn redacted(&self, text: &str) -> String {
        let secrets: Vec<&str> = self
            .secrets
            .iter()
            .chain(&self.session)
            .map(String::as_str)
            .collect();
        redacted(text, &secrets)
    }

    pub(super) fn broken(&self, e: &hyper::Error) -> DiscoveryError {
        use std::error::Error as _;
        let cause = e
            .source()
            .map_or(String::new(), |cause| format!(" ({cause})"));
        let is_invalid = |cause: &(dyn std::error::Error + 'static)| {
            let io = cause.downcast_ref::<std::io::Error>();
            io.is_some_and(|e| e.kind() == std::io::ErrorKind::InvalidData)
        };
        if e.source().is_some_and(is_invalid) {
            let why = format!("it does not answer as it should{cause}");
            return self.error(DiscoveryErrorKind::Invalid, why);
        }
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
        let text = String::from_utf8_lossy(&body[..body.len().min(LOOKED_AT)]);
        // Secrets first: what is cut in two is not found any more.
        let text = self.redacted(&text);
        let words: Vec<_> = text.split_whitespace().collect();
        words.join(" ").chars().take(SHOWN).collect()
    }
}
