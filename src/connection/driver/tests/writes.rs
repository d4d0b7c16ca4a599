//! How often a socket is written to, and what is known when it fails.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::io::ReadBuf;

use super::*;

/// A pipe whose writes are counted, and which breaks after so many bytes.
struct Watched {
    pipe: DuplexStream,
    writes: Arc<AtomicUsize>,
    left: usize,
    is_opaque: bool,
}

impl Stream for Watched {
    fn is_opaque(&self) -> bool {
        self.is_opaque
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Relaxed);
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let most = self.left.min(buf.len());
        let n = std::task::ready!(Pin::new(&mut self.pipe).poll_write(cx, &buf[..most]))?;
        self.left -= n;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

fn watched(left: usize, is_opaque: bool) -> (Watched, Arc<AtomicUsize>, DuplexStream) {
    let (pipe, theirs) = duplex(1 << 16);
    let writes = Arc::<AtomicUsize>::default();
    let watched = Watched {
        pipe,
        writes: Arc::clone(&writes),
        left,
        is_opaque,
    };
    (watched, writes, theirs)
}

/// A runtime runs the driver next once somebody has woken it, before the other callers that are about to ask.
#[tokio::test(start_paused = true)]
async fn the_first_of_many_waits_for_the_others_and_a_lone_caller_for_nobody() {
    let (stream, writes, mut theirs) = watched(usize::MAX, false);
    let (wire, driver) = driver_on(stream, Pushes::Never, false);
    let mut driver = pin!(driver);
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(driver.as_mut().poll(cx).is_pending());
    let asked = || writes.load(Relaxed);
    let mut told = async |replies: usize| {
        let mut bytes = vec![0; 1 << 10];
        let n = theirs.read(&mut bytes).await.expect("requests");
        assert_eq!(bytes[..n].iter().filter(|b| **b == b'*').count(), replies);
        let answers = b"+OK\r\n".repeat(replies);
        theirs.write_all(&answers).await.expect("the pipe is open");
    };
    let cmd = echo("a");
    let call = || Box::pin(ask(&wire, Request::One(&cmd), None));

    for n in 1..=3 {
        let mut alone = call();
        assert!(alone.as_mut().poll(cx).is_pending());
        assert!(driver.as_mut().poll(cx).is_pending());
        assert_eq!(asked(), n, "at once");
        told(1).await;
        assert!(driver.as_mut().poll(cx).is_pending());
        alone.await.expect("a reply");
    }
    // Several at once: the driver gives the others one more turn.
    let mut calls = [call(), call(), call()];
    for call in &mut calls {
        assert!(call.as_mut().poll(cx).is_pending());
    }
    assert!(driver.as_mut().poll(cx).is_pending());
    assert_eq!(asked(), 3, "there may be more");
    assert!(driver.as_mut().poll(cx).is_pending());
    assert_eq!(asked(), 4, "there were no more");
    told(3).await;
    assert!(driver.as_mut().poll(cx).is_pending());
    for call in calls {
        call.await.expect("a reply");
    }
    // There were several last time: the first one is not written alone, nor the second.
    let mut calls = [call(), call(), call()];
    for call in &mut calls {
        assert_eq!(asked(), 4, "more are to come");
        assert!(call.as_mut().poll(cx).is_pending());
        assert!(driver.as_mut().poll(cx).is_pending());
    }
    assert_eq!(
        asked(),
        5,
        "all three in one piece, and nobody waits longer"
    );
    told(3).await;
    assert!(driver.as_mut().poll(cx).is_pending());
    for call in calls {
        call.await.expect("a reply");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_write_that_failed_nothing_was_sent_but_under_encryption_where_nobody_knows() {
    let cmd = echo("abc");
    let whole = cmd.get_packed_command().len();
    for is_opaque in [false, true] {
        for left in 0..=whole {
            let (stream, _, theirs) = watched(left, is_opaque);
            let (wire, driver) = driver_on(stream, Pushes::Never, false);
            let mut first = pin!(ask(&wire, Request::One(&cmd), None));
            assert!(first.as_mut().now_or_never().is_none());
            let task = tokio::spawn(driver);
            sleep(ms(1)).await;
            // A second one, by which the failure is seen where all of the first was taken.
            let second = ask(&wire, Request::One(&cmd), Some(LIMIT)).await;
            let second = second.expect_err("it broke");
            let first = first.await.expect_err("it broke");
            let what = format!("{left} of {whole}, opaque {is_opaque}");
            assert_eq!((first.fault, second.fault), (Fault::Lost, Fault::Lost));
            assert_eq!(first.unsent, !is_opaque && left < whole, "{what}");
            let was_offered = is_opaque && left == whole;
            assert_eq!(second.unsent, !was_offered, "{what}");
            drop((theirs, task));
        }
    }
}
