//! The cluster as one client: every command, cut and merged, with honest failover.

mod bad_input;
mod calls;
mod differential;
mod failing;
mod keyless;
mod pubsub;
mod scanning;
mod scripts;
mod transactions;
