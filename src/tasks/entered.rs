//! A future that runs inside the runtime that was given, whoever polls it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::runtime::Handle;

pin_project! {
    /// Enters the cluster's runtime for each poll, where one was given and the caller has none of its own:
    /// its own is the one that runs while it waits, and its timers tell how late the caller was.
    ///
    /// For each poll, and not once for all: the guard is bound to its thread, and a future that kept it over
    /// an await could not move to another one.
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct Entered<F> {
        runtime: Option<Handle>,
        #[pin]
        inner: F,
    }
}

impl<F> Entered<F> {
    pub(super) fn new(runtime: Option<Handle>, inner: F) -> Self {
        Self { runtime, inner }
    }
}

impl<F: Future> Future for Entered<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let needed = this
            .runtime
            .as_ref()
            .filter(|_| Handle::try_current().is_err());
        let _inside = needed.map(Handle::enter);
        this.inner.poll(cx)
    }
}
