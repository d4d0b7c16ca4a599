//! The way of one request to its owner: attempts, until somebody answers.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::timeout_at;
use tracing::Instrument as _;

use super::attempt::{Attempts, End, JITTER, Seen, Step, Target};
use super::body::ForwardBody;
use super::client::{Failure, Lease, What};
use super::error::{ForwardError, ForwardErrorKind};
use super::flight::InFlight;
use super::forwarder::{Forwarder, Found, keys_diverged, no_members};
use super::headers;
use super::mark;
use super::peers::Peer;
use super::repeat::Origin;
use crate::clock;
use crate::tasks::give_way;

const MARK: HeaderName = HeaderName::from_static(mark::HEADER);
const DEADLINE: HeaderName = HeaderName::from_static(headers::DEADLINE);

/// A request on its way.
pub(crate) struct Trip<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) keys: &'a [&'a [u8]],
    pub(crate) origin: Origin,
    pub(crate) is_idempotent: bool,
    /// The one that it is for, whoever owns the keys.
    pub(crate) pinned: Option<Peer>,
    /// The owner, as it was just looked up.
    pub(crate) owner: Option<Peer>,
    /// How many instances passed it on before.
    pub(crate) hops: u8,
}

/// What became of it.
pub(crate) enum Arrived {
    Answer(Response<ForwardBody>),
    /// This instance is the owner by now: it is handled here, with this body.
    Here(ForwardBody),
    Failed(ForwardError),
}

/// What there was of the attempts, for the error.
#[derive(Default)]
struct Log {
    attempts: u32,
    owner: Option<Arc<str>>,
    /// The first one: later ones may only follow from it.
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl Log {
    fn error(self, kind: ForwardErrorKind, why: &str) -> ForwardError {
        ForwardError::new(kind, why)
            .of_owner(self.owner.as_deref())
            .after(self.attempts)
            .caused_by(self.cause)
    }
}

impl Forwarder {
    /// Sends a request to the owner of its keys, as often as it takes and is allowed. By reference, as everything that is
    /// handed to a future by value is in it twice.
    pub(crate) async fn travel(&self, trip: &mut Trip<'_>) -> Arrived {
        let began = clock::now();
        let span = tracing::debug_span!(
            "fluster.forward",
            member = tracing::field::Empty,
            attempts = tracing::field::Empty
        );
        let (arrived, result) = async {
            let Some(in_flight) = self.inner.flights.start() else {
                let why = "as many requests are being forwarded as are allowed at once";
                let error = ForwardError::new(ForwardErrorKind::Overloaded, why);
                return (Arrived::Failed(error), "refused");
            };
            self.inner.pools.keep_swept(&self.inner.peers);
            self.attempts(trip, began, in_flight).await
        }
        .instrument(span)
        .await;
        if let Arrived::Failed(error) = &arrived {
            give_way().await;
            self.inner.complaints.ended(error.kind(), error.owner());
        }
        self.inner.meter.request(result);
        self.inner.meter.lasted(clock::since(began));
        arrived
    }

    async fn attempts(
        &self,
        trip: &mut Trip<'_>,
        began: Instant,
        in_flight: InFlight,
    ) -> (Arrived, &'static str) {
        let inner = &*self.inner;
        let deadline = clock::later(began, inner.setup.deadline);
        let until = tokio::time::Instant::from_std(deadline);
        let mut attempts = Attempts::new(trip.is_idempotent, inner.setup.unreachable);
        let mut target = Target::Owner;
        let mut log = Log::default();
        loop {
            let stands_in_for = match &target {
                Target::StandIn { of } => Some(of.clone()),
                Target::Owner | Target::Named(_) => None,
            };
            let found = match trip.owner.take().or_else(|| trip.pinned.clone()) {
                Some(peer) => Found::One(peer),
                None => self.find(&target, trip, attempts.drained()),
            };
            let peer = match found {
                Found::One(peer) if peer.is_me => {
                    inner.meter.reroute("local");
                    let body = trip.origin.again();
                    return (Arrived::Here(body), "local");
                }
                Found::One(peer) => peer,
                Found::Several => return (Arrived::Failed(keys_diverged()), "failed"),
                Found::Nobody => return (Arrived::Failed(no_members()), "failed"),
            };
            if log
                .owner
                .as_ref()
                .is_some_and(|before| **before != *peer.ring_id)
            {
                inner.meter.reroute("remote");
            }
            log.owner = Some(Arc::clone(&peer.ring_id));
            let Some(pool) = peer.base.as_ref().and_then(|base| inner.pools.to(base)) else {
                let why = "the owner does not say where it takes requests, or says https:// and there is no TLS here";
                return (
                    Arrived::Failed(log.error(ForwardErrorKind::NoAddress, why)),
                    "failed",
                );
            };
            log.attempts += 1;
            let span = tracing::Span::current();
            span.record("member", &*peer.ring_id)
                .record("attempts", log.attempts);
            let mut request = Some(self.request(trip, &peer, stands_in_for.as_deref(), deadline));
            let Ok(sent) = timeout_at(until, inner.pools.send(&pool, &mut request)).await else {
                inner.meter.attempt("deadline");
                let why = "no answer came in time";
                return (
                    Arrived::Failed(log.error(ForwardErrorKind::Deadline, why)),
                    "failed",
                );
            };
            let hint;
            let seen = match sent {
                Ok((answer, lease)) => match refusal(&answer) {
                    None => {
                        inner.meter.attempt("answered");
                        inner.complaints.answered(&peer.ring_id);
                        let result = match stands_in_for {
                            Some(_) => "stand_in",
                            None => "forwarded",
                        };
                        return (Arrived::Answer(answered(answer, lease, in_flight)), result);
                    }
                    Some(refusal) => {
                        inner.meter.attempt(refusal.as_str());
                        // Its body is short, and its connection good for others when it is read; closed is simpler.
                        hint = self.named(&answer);
                        let hint = hint.as_deref();
                        match refusal {
                            Refusal::NotOwner => Seen::NotOwner { hint },
                            Refusal::Draining => Seen::Draining { hint },
                            Refusal::NotProcessed => Seen::NotProcessed,
                        }
                    }
                },
                Err(failure) => {
                    inner.meter.attempt(failure.what.as_str());
                    if failure.what == What::Refused {
                        inner.peers.refused(&peer);
                    }
                    inner.complaints.unanswered(&peer.ring_id, &failure.cause);
                    let seen = seen_of(&failure);
                    log.cause.get_or_insert_with(|| failure.cause.into());
                    seen
                }
            };
            let left = deadline.saturating_duration_since(clock::now());
            let can_repeat = trip.origin.take_back();
            let step = match trip.pinned {
                // Whoever was named is not looked for elsewhere.
                Some(_) if matches!(seen, Seen::NotOwner { .. } | Seen::Draining { .. }) => {
                    Step::End(End::Disputed)
                }
                _ => attempts.next(&peer.ring_id, seen, can_repeat, left),
            };
            match step {
                Step::End(end) => {
                    let (kind, why) = told(end);
                    return (Arrived::Failed(log.error(kind, why)), "failed");
                }
                Step::Go {
                    after,
                    target: next,
                } => {
                    target = next;
                    if !after.is_zero() {
                        let unit = fastrand::f64().mul_add(2.0, -1.0);
                        tokio::time::sleep(after.mul_f64(unit.mul_add(JITTER, 1.0))).await;
                    }
                }
            }
        }
    }

    fn find(&self, target: &Target, trip: &Trip<'_>, left_out: &[Box<str>]) -> Found {
        let inner = &*self.inner;
        match target {
            Target::Named(name) => match inner.peers.named(name) {
                Some(peer) => Found::One(peer),
                None => inner.owner_of_all(trip.keys, left_out),
            },
            Target::StandIn { of } => inner.next_of_all(of, trip.keys, left_out),
            Target::Owner => inner.owner_of_all(trip.keys, left_out),
        }
    }

    /// The request as it goes to that instance, with a mark and the rest of the time.
    fn request(
        &self,
        trip: &Trip<'_>,
        to: &Peer,
        stands_in_for: Option<&str>,
        deadline: Instant,
    ) -> Request<ForwardBody> {
        let parts = trip.parts;
        let mut request = Request::new(trip.origin.again());
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = parts.uri.clone();
        *request.version_mut() = parts.version;
        let client = self.inner.setup.client(&parts.extensions);
        let mut lines = headers::onward(&parts.headers, &parts.uri, parts.version, client);
        let mark = self.inner.mark(to, stands_in_for, parts, trip.keys);
        if let Ok(mark) = HeaderValue::try_from(mark) {
            lines.insert(MARK, mark);
        }
        let left = deadline.saturating_duration_since(clock::now()).as_millis();
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        lines.insert(DEADLINE, left.into());
        // One hop is what a mark says itself.
        if trip.hops > 0 {
            lines.insert(headers::HOPS, (u16::from(trip.hops) + 1).into());
        }
        *request.headers_mut() = lines;
        request
    }

    /// The owner that an instance names, if it can be reached as far as we know.
    fn named(&self, answer: &Response<Incoming>) -> Option<String> {
        let name = answer.headers().get(headers::OWNER)?.to_str().ok()?;
        let name = percent_encoding::percent_decode_str(name)
            .decode_utf8()
            .ok()?;
        self.inner.peers.named(&name).map(|_| name.into_owned())
    }
}

/// How an instance refuses what is not its own.
#[derive(Clone, Copy)]
enum Refusal {
    NotOwner,
    Draining,
    NotProcessed,
}

impl Refusal {
    fn as_str(self) -> &'static str {
        match self {
            Self::NotOwner => "not_owner",
            Self::Draining => "draining",
            Self::NotProcessed => "not_processed",
        }
    }
}

/// Whether the instance, and not its application, says that it did not handle the request. Applications cannot: their
/// own headers of that name are taken out.
fn refusal(answer: &Response<Incoming>) -> Option<Refusal> {
    let reason = answer.headers().get(headers::REASON)?.as_bytes();
    match (answer.status(), reason) {
        (StatusCode::MISDIRECTED_REQUEST, b"draining") => Some(Refusal::Draining),
        (StatusCode::MISDIRECTED_REQUEST, _) => Some(Refusal::NotOwner),
        (StatusCode::SERVICE_UNAVAILABLE, b"draining") => Some(Refusal::NotProcessed),
        _ => None,
    }
}

fn seen_of(failure: &Failure) -> Seen<'static> {
    match failure.what {
        What::Refused | What::Unreachable => Seen::Unreachable,
        What::NotProcessed => Seen::NotProcessed,
        What::Broken => Seen::Broken,
    }
}

fn told(end: End) -> (ForwardErrorKind, &'static str) {
    match end {
        End::Disputed => (
            ForwardErrorKind::Disputed,
            "the instances do not agree on the owner of the key",
        ),
        End::Unreachable => (
            ForwardErrorKind::Unreachable,
            "the owner of the key cannot be reached",
        ),
        End::OutcomeUnknown => (
            ForwardErrorKind::OutcomeUnknown,
            "the request was sent and no answer came: it may have been handled",
        ),
    }
}

fn answered(
    answer: Response<Incoming>,
    lease: Option<Lease>,
    in_flight: InFlight,
) -> Response<ForwardBody> {
    let (mut parts, incoming) = answer.into_parts();
    let reason = parts.headers.remove(headers::REASON);
    headers::backward(&mut parts.headers);
    // Why that instance failed, which is not its application's word, is true for us, too.
    if let Some(reason) = reason
        && ForwardErrorKind::is_said(reason.as_bytes(), parts.status)
    {
        parts.headers.insert(headers::REASON, reason);
    }
    Response::from_parts(parts, ForwardBody::away(incoming, lease, in_flight))
}
