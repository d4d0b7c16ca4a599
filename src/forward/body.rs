//! Bodies on their way: one type, whatever they come from.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::client::Lease;
use super::error::BoxError;
use super::flight::InFlight;
use super::headers;
use super::repeat::Repeated;

/// The body of a request or an answer that went through the layer: the application's own, or one that streams from
/// another instance. Trailers pass.
#[must_use]
pub struct ForwardBody {
    kind: Kind,
}

enum Kind {
    Empty,
    Full(Bytes),
    /// A request's, on its way to another instance.
    Repeated(Repeated),
    Foreign(Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>),
    Away(Away),
}

/// What another instance answers.
struct Away {
    incoming: Incoming,
    /// Its connection, which somebody else can have when the answer is read to its end.
    lease: Option<Lease>,
    /// It counts as forwarded until then.
    in_flight: Option<InFlight>,
}

impl Away {
    fn ended(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
        self.in_flight = None;
    }
}

/// Why a body broke off. Its [`source`](std::error::Error::source) says it.
pub struct BodyError {
    cause: BoxError,
}

impl BodyError {
    pub(crate) fn new(cause: impl Into<BoxError>) -> Self {
        Self {
            cause: cause.into(),
        }
    }
}

impl fmt::Debug for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BodyError").field(&self.cause).finish()
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body broke off")
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}

impl ForwardBody {
    /// A body of nothing. [Example](crate::guide::by_example#forwarding).
    pub fn empty() -> Self {
        Self { kind: Kind::Empty }
    }

    /// Any other body. [Example](crate::guide::by_example#forwarding).
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Self::empty();
        }
        Self {
            kind: Kind::Foreign(Box::pin(Foreign { body })),
        }
    }

    pub(crate) fn away(incoming: Incoming, lease: Option<Lease>, in_flight: InFlight) -> Self {
        let mut away = Away {
            incoming,
            lease,
            in_flight: Some(in_flight),
        };
        if away.incoming.is_end_stream() {
            away.ended();
        }
        Self {
            kind: Kind::Away(away),
        }
    }
}

impl From<Repeated> for ForwardBody {
    fn from(body: Repeated) -> Self {
        Self {
            kind: Kind::Repeated(body),
        }
    }
}

impl From<Bytes> for ForwardBody {
    fn from(bytes: Bytes) -> Self {
        let kind = match bytes.is_empty() {
            true => Kind::Empty,
            false => Kind::Full(bytes),
        };
        Self { kind }
    }
}

impl From<String> for ForwardBody {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for ForwardBody {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl Default for ForwardBody {
    fn default() -> Self {
        Self::empty()
    }
}

impl Body for ForwardBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Repeated(body) => body.poll(cx),
            Kind::Foreign(body) => body.as_mut().poll_frame(cx),
            Kind::Away(away) => {
                let frame = ready!(Pin::new(&mut away.incoming).poll_frame(cx));
                match &frame {
                    None => away.ended(),
                    Some(Ok(_)) if away.incoming.is_end_stream() => away.ended(),
                    // A connection that broke is nobody's any more.
                    Some(Err(_)) => (away.lease, away.in_flight) = (None, None),
                    Some(Ok(_)) => {}
                }
                Poll::Ready(frame.map(passed))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Repeated(body) => body.is_end_stream(),
            Kind::Foreign(body) => body.is_end_stream(),
            Kind::Away(away) => away.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Repeated(body) => body.size_hint(),
            Kind::Foreign(body) => body.size_hint(),
            Kind::Away(away) => away.incoming.size_hint(),
        }
    }
}

impl fmt::Debug for ForwardBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Empty => "empty",
            Kind::Full(_) => "full",
            Kind::Repeated(_) => "repeated",
            Kind::Foreign(_) => "foreign",
            Kind::Away(_) => "away",
        };
        f.debug_tuple("ForwardBody").field(&kind).finish()
    }
}

/// A part as it passes: trailers are headers that come late, and ours are nobody's business there either.
fn passed<E: Into<BoxError>>(frame: Result<Frame<Bytes>, E>) -> Result<Frame<Bytes>, BodyError> {
    let mut frame = frame.map_err(BodyError::new)?;
    if let Some(trailers) = frame.trailers_mut() {
        headers::strip_ours(trailers);
    }
    Ok(frame)
}

pin_project! {
    /// Another body, with our error.
    struct Foreign<B> {
        #[pin]
        body: B,
    }
}

impl<B> Body for Foreign<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.project().body.poll_frame(cx));
        Poll::Ready(frame.map(passed))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
