//! How much is read before an answer begins: a server may send `100 Continue` for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The heads of an answer, and what is read ahead of its body.
const LARGEST_HEAD: u64 = 1 << 20;
const NO_LIMIT: u64 = u64::MAX;

/// What may still be read of a connection; shared by who asks and who reads.
#[derive(Clone)]
pub(super) struct Budget(Arc<AtomicU64>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(LARGEST_HEAD)))
    }
}

impl Budget {
    /// A question is sent: its answer has to begin.
    pub(super) fn asked(&self) {
        self.0.store(LARGEST_HEAD, Relaxed);
    }

    /// It has begun; whoever reads its body counts for himself.
    pub(super) fn answered(&self) {
        self.0.store(NO_LIMIT, Relaxed);
    }

    pub(super) fn is_spent(&self) -> bool {
        self.0.load(Relaxed) == 0
    }

    fn spend(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let spent = |left: u64| (left != NO_LIMIT).then(|| left.saturating_sub(bytes));
        // Without a limit there is nothing to take from.
        self.0.fetch_update(Relaxed, Relaxed, spent).ok();
    }
}

/// A stream whose reader fails when the budget is spent.
pub(super) struct Bounded<S> {
    pub(super) stream: S,
    pub(super) budget: Budget,
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.budget.is_spent() {
            let why = format!("more than {LARGEST_HEAD} bytes and no answer in them");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.budget.spend(buf.filled().len().saturating_sub(before));
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_head_has_a_limit_and_a_body_has_its_own() {
        let budget = Budget::default();
        let stream = tokio::io::repeat(b'x').take(3 * LARGEST_HEAD);
        let stream = tokio::io::join(stream, tokio::io::sink());
        let mut bounded = Bounded {
            stream,
            budget: budget.clone(),
        };
        let mut buf = vec![0; 1 << 16];
        let mut read = 0;
        let error = loop {
            match bounded.read(&mut buf).await {
                Ok(n) => read += n as u64,
                Err(e) => break e,
            }
        };
        assert_eq!(
            (read, error.kind()),
            (LARGEST_HEAD, io::ErrorKind::InvalidData)
        );
        budget.asked();
        assert!(bounded.read(&mut buf).await.is_ok());
        budget.answered();
        let mut rest = Vec::new();
        bounded.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.len() as u64, 2 * LARGEST_HEAD - (1 << 16));
    }
}
