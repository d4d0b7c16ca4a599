//! A source that panics: that is an error like any other, and the source is asked again.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt as _;

use super::Discovery;
use super::endpoint::Snapshot;
use super::error::{DiscoveryError, DiscoveryErrorKind};

/// The next snapshot, whatever the source does.
pub(crate) async fn next<D: Discovery + ?Sized>(
    source: &mut D,
) -> Result<Snapshot, DiscoveryError> {
    // The call itself may panic, too, so it is inside. A source that was left half-way through is the
    // source's own affair: it is asked again, and its words are looked at like any others.
    let asked = AssertUnwindSafe(async { source.next().await }).catch_unwind();
    match asked.await {
        Ok(result) => result,
        Err(panic) => Err(panicked(&name_of(source), &*panic)),
    }
}

/// Tells the source to read again.
pub(crate) fn refresh<D: Discovery + ?Sized>(source: &mut D) -> Result<(), DiscoveryError> {
    let told = catch_unwind(AssertUnwindSafe(|| source.refresh()));
    told.map_err(|panic| panicked(&name_of(source), &*panic))
}

/// What a function of the application gives, for the source that is called `source`.
pub(super) fn call<T>(source: &str, run: impl FnOnce() -> T) -> Result<T, DiscoveryError> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| panicked(source, &*panic))
}

fn name_of<D: Discovery + ?Sized>(source: &D) -> String {
    let name = catch_unwind(AssertUnwindSafe(|| source.source()));
    name.unwrap_or_else(|_| "a source without a name".into())
}

fn panicked(source: &str, panic: &(dyn Any + Send)) -> DiscoveryError {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let why = format!("it panicked: {}", said.unwrap_or("without a word"));
    DiscoveryError::new(DiscoveryErrorKind::Panicked, source, why)
}
