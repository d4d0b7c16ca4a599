//! A request's body, which may have to be sent again.
//!
//! It streams from the client to an instance as it comes, and what has passed is kept, up to a limit. The next attempt
//! begins with what is kept and goes on with the stream. A body that is larger than the limit passes once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;

use super::body::{BodyError, ForwardBody};
use super::error::BoxError;

/// The body as the client sends it.
#[derive(Clone)]
pub(crate) struct Origin {
    /// Guards the stream and what is kept of it, which one attempt after the other reads; held while the stream is
    /// polled, which does not wait. None where there is no body at all.
    state: Option<Arc<Mutex<State>>>,
}

struct State {
    /// None when it has ended.
    source: Option<ForwardBody>,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    limit: usize,
    trailers: Option<HeaderMap>,
    /// Something has passed that is not kept, or the client's stream broke off.
    is_spent: bool,
    /// Which attempt reads now; earlier ones end.
    turn: u32,
    /// Whoever waits for the stream.
    waker: Option<Waker>,
}

/// The body as one attempt sends it.
pub(crate) struct Repeated {
    state: Arc<Mutex<State>>,
    turn: u32,
    /// Chunks that were given.
    given: usize,
    /// Whether everything was given, trailers included.
    is_done: bool,
}

impl Origin {
    pub(crate) fn new(body: ForwardBody, limit: usize) -> Self {
        if body.is_end_stream() {
            return Self { state: None };
        }
        let state = State {
            source: Some(body),
            kept: Vec::new(),
            kept_bytes: 0,
            limit,
            trailers: None,
            is_spent: false,
            turn: 0,
            waker: None,
        };
        Self {
            state: Some(Arc::new(Mutex::new(state))),
        }
    }

    /// The body from its beginning; whoever reads it now is cut off.
    pub(crate) fn again(&self) -> ForwardBody {
        let Some(shared) = &self.state else {
            return ForwardBody::empty();
        };
        let mut state = shared.lock();
        state.cut();
        let is_empty = state.source.is_none() && state.kept.is_empty() && state.trailers.is_none();
        if is_empty && !state.is_spent {
            return ForwardBody::empty();
        }
        Repeated {
            state: Arc::clone(shared),
            turn: state.turn,
            given: 0,
            is_done: false,
        }
        .into()
    }

    /// Cuts off whoever reads it now, and says whether [`again`](Self::again) gives the whole body. An attempt that was
    /// answered early reads on: asked without that, the answer could be another one by the next attempt.
    pub(crate) fn take_back(&self) -> bool {
        let Some(state) = &self.state else {
            return true;
        };
        let mut state = state.lock();
        state.cut();
        !state.is_spent
    }
}

impl State {
    fn cut(&mut self) {
        self.turn += 1;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether it is a later attempt's.
    fn keep(&mut self, chunk: &Bytes) -> bool {
        if self.is_spent {
            return false;
        }
        // A chunk costs more than its bytes, and an empty one would cost nothing.
        self.kept_bytes += chunk.len().max(64);
        if self.kept_bytes > self.limit {
            self.is_spent = true;
            self.kept = Vec::new();
            return false;
        }
        self.kept.push(chunk.clone());
        true
    }
}

impl Repeated {
    /// The next part, as [`http_body::Body`] gives it.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let state = Arc::clone(&self.state);
        let mut state = state.lock();
        if state.turn != self.turn {
            return Poll::Ready(Some(Err(BodyError::new(
                "another attempt has the body now",
            ))));
        }
        if self.is_done {
            return Poll::Ready(None);
        }
        if let Some(chunk) = state.kept.get(self.given) {
            let chunk = chunk.clone();
            self.given += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        let Some(source) = &mut state.source else {
            self.is_done = true;
            let trailers = state.trailers.clone();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        };
        let frame = match Pin::new(&mut *source).poll_frame(cx) {
            Poll::Pending => {
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(frame) => frame,
        };
        let has_ended = source.is_end_stream();
        match frame {
            None => (state.source, self.is_done) = (None, true),
            Some(Err(e)) => {
                // What the client did not send cannot be sent again.
                (state.source, state.is_spent, self.is_done) = (None, true, true);
                return Poll::Ready(Some(Err(e)));
            }
            Some(Ok(frame)) => {
                if let Some(chunk) = frame.data_ref() {
                    self.given += usize::from(state.keep(chunk));
                    if state.is_spent {
                        self.given = 0;
                    }
                }
                if let Some(trailers) = frame.trailers_ref() {
                    (state.trailers, self.is_done) = (Some(trailers.clone()), true);
                }
                if has_ended || self.is_done {
                    (state.source, self.is_done) = (None, true);
                }
                return Poll::Ready(Some(Ok(frame)));
            }
        }
        Poll::Ready(None)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.is_done && self.state.lock().turn == self.turn
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let state = self.state.lock();
        if self.is_done || state.turn != self.turn {
            return SizeHint::default();
        }
        let kept = state.kept.iter().skip(self.given);
        let kept: u64 = kept.map(|chunk| chunk.len() as u64).sum();
        let rest = match &state.source {
            Some(source) => source.size_hint(),
            None => SizeHint::with_exact(0),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(kept));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(kept));
        }
        hint
    }
}

impl From<BoxError> for BodyError {
    fn from(cause: BoxError) -> Self {
        Self::new(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Body;
    use http_body_util::BodyExt as _;
    use std::collections::VecDeque;

    /// Chunks that come when they are there.
    struct Chunks(VecDeque<Result<Frame<Bytes>, BoxError>>);

    impl Body for Chunks {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    fn origin(chunks: &[&'static [u8]], limit: usize) -> Origin {
        let chunks = chunks
            .iter()
            .map(|c| Ok(Frame::data(Bytes::from_static(c))));
        Origin::new(ForwardBody::new(Chunks(chunks.collect())), limit)
    }

    fn is_whole(origin: &Origin) -> bool {
        let state = origin.state.as_ref();
        state.is_none_or(|state| !state.lock().is_spent)
    }

    async fn read(body: ForwardBody) -> Result<Vec<u8>, BodyError> {
        Ok(body.collect().await?.to_bytes().to_vec())
    }

    #[tokio::test]
    async fn what_fits_is_sent_again_from_the_beginning_and_goes_on_with_the_stream() {
        let origin = origin(&[b"a", b"b", b"c"], 1000);
        let mut first = origin.again();
        let frame = first.frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), "a");
        assert!(is_whole(&origin));
        let second = origin.again();
        assert!(
            first.frame().await.expect("it ends").is_err(),
            "it is the second one's"
        );
        assert_eq!(read(second).await.expect("the whole"), b"abc");
        assert_eq!(read(origin.again()).await.expect("again"), b"abc");
    }

    #[tokio::test]
    async fn what_is_larger_passes_once_and_whole() {
        let large: &[u8] = &[7; 600];
        let origin = origin(&[large, large, b"end"], 1000);
        let mut body = origin.again();
        let mut all = Vec::new();
        let mut can = Vec::new();
        while let Some(frame) = body.frame().await {
            all.extend_from_slice(&frame.expect("no error").into_data().expect("data"));
            can.push(is_whole(&origin));
        }
        assert_eq!(all, [large, large, b"end"].concat());
        assert_eq!(can, [true, false, false]);
    }

    #[tokio::test]
    async fn what_was_whole_when_it_was_taken_back_stays_whole() {
        let large: &[u8] = &[7; 600];
        let origin = origin(&[b"a", large, large], 1000);
        let mut first = origin.again();
        assert!(first.frame().await.expect("a frame").is_ok());
        assert!(origin.take_back());
        // The connection of an attempt that was answered early goes on to read, while the next one waits its pause.
        assert!(first.frame().await.expect("it ends").is_err());
        assert!(first.frame().await.expect("it ends").is_err());
        let all = read(origin.again()).await.expect("the whole");
        assert_eq!(all, [b"a", large, large].concat());
    }

    #[tokio::test]
    async fn empty_chunks_without_end_are_not_kept() {
        let origin = origin(&[&b""[..]; 100], 1000);
        assert_eq!(read(origin.again()).await.expect("nothing"), b"");
        assert!(!is_whole(&origin));
    }

    #[tokio::test]
    async fn trailers_come_again() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x", "y".parse().expect("a value"));
        let chunks = [
            Ok(Frame::data("a".into())),
            Ok(Frame::trailers(trailers.clone())),
        ];
        let origin = Origin::new(ForwardBody::new(Chunks(chunks.into())), 1000);
        for _ in 0..2 {
            let all = origin.again().collect().await.expect("no error");
            assert_eq!(all.trailers(), Some(&trailers));
            assert_eq!(all.to_bytes(), "a");
        }
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_is_not_repeated() {
        let chunks = [Ok(Frame::data("a".into())), Err("gone".into())];
        let origin = Origin::new(ForwardBody::new(Chunks(chunks.into())), 1000);
        assert!(read(origin.again()).await.is_err());
        assert!(!is_whole(&origin));
    }

    #[tokio::test]
    async fn nothing_is_nothing_every_time() {
        let origin = Origin::new(ForwardBody::empty(), 0);
        for _ in 0..2 {
            assert!(origin.again().is_end_stream() && is_whole(&origin));
        }
    }

    #[test]
    fn the_length_is_known_when_the_client_said_it() {
        let origin = Origin::new(Bytes::from_static(b"abc").into(), 1000);
        assert_eq!(origin.again().size_hint().exact(), Some(3));
    }
}
