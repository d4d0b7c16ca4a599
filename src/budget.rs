//! What may be spent beyond what was asked for: repetitions, hedged reads, repairs.

pub(crate) mod hedge;
pub(crate) mod repair;
pub(crate) mod retry;
mod token_bucket;
